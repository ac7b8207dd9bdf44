"""The calls of ``ExecutionService`` that are about graphs."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

from lacewing.v1 import execution_service_pb2 as pb
from lacewing.v1 import graph_pb2
from lacewing_server.domain import lifecycle
from lacewing_server.domain.errors import DomainError, invalid_field
from lacewing_server.domain.record import GRAPH, ExecutionRecord
from lacewing_server.engine.executions import Executions
from lacewing_server.engine.graphs.reading import GraphReading
from lacewing_server.engine.paging import encode_token, fingerprint, fitting, number_position
from lacewing_server.rpc.boundary import Context
from lacewing_server.rpc.render import render_admitted

_PAGE_MAX = 1_000
_PAUSE_SECONDS = 0.1
"""The least time between two looks at the nodes of a graph for one who watches it; more where a look takes long."""
_PAUSES_PER_LOOK = 5


class GraphCalls:
    """GetGraph, SignalExecution, RetryExecution, and the nodes of WatchExecution: part of the servicer."""

    _executions: Executions
    _reading: GraphReading

    async def GetGraph(  # noqa: N802 - the RPC's name
        self,
        request: pb.GetGraphRequest,
        context: Context,  # noqa: ARG002 - the RPC's shape
    ) -> pb.GetGraphResponse:
        """Gets the graph of an execution."""
        if request.page_size < 0:
            raise invalid_field("page_size", "must not be negative")
        size, mark = min(request.page_size or _PAGE_MAX, _PAGE_MAX), fingerprint(request)
        start = number_position(request.page_token, mark)
        record = await self._executions.get(request.id, inputs=False)
        graph, nodes = await self._reading.read(record, may_be_recent=start > 0)
        page = nodes[start : start + size]
        page = page[: fitting(node.ByteSize() for node in page)]
        following = start + len(page) if len(nodes) > start + len(page) else 0
        return pb.GetGraphResponse(
            graph=graph if not start else None,
            nodes=page,
            next_page_token=encode_token(mark, following) if following else "",
        )

    async def SignalExecution(  # noqa: N802 - the RPC's name
        self,
        request: pb.SignalExecutionRequest,
        context: Context,  # noqa: ARG002 - the RPC's shape
    ) -> pb.SignalExecutionResponse:
        """Answers a gate."""
        await self._reading.signal(request)
        return pb.SignalExecutionResponse()

    async def RetryExecution(  # noqa: N802 - the RPC's name
        self,
        request: pb.RetryExecutionRequest,
        context: Context,  # noqa: ARG002 - the RPC's shape
    ) -> pb.RetryExecutionResponse:
        """Executes again what did not succeed."""
        admitted = await self._reading.retry(request)
        return pb.RetryExecutionResponse(execution=render_admitted(admitted), replayed=admitted.replayed)

    async def _changed_nodes(
        self, record: ExecutionRecord, seen: dict[str, bytes]
    ) -> AsyncIterator[list[graph_pb2.NodeStatus]]:
        """The nodes that have changed since they were looked at, in pages; ``seen`` is brought up to date."""
        if not record.flags & GRAPH:
            return
        loop = asyncio.get_running_loop()
        begun = loop.time()
        try:
            _, nodes = await self._reading.read(record)
        except DomainError:
            if lifecycle.is_terminal(record.state):
                return  # its retention is over
            raise
        changed = []
        for node in nodes:
            packed = node.SerializeToString(deterministic=True)
            if seen.get(node.path) != packed:
                seen[node.path] = packed
                changed.append(node)
        for start in range(0, len(changed), _PAGE_MAX):
            yield changed[start : start + _PAGE_MAX]
        if not lifecycle.is_terminal(record.state):
            await asyncio.sleep(max(_PAUSE_SECONDS, _PAUSES_PER_LOOK * (loop.time() - begun)))
