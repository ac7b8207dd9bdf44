"""``ExecutionService``."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any, Final, TypeAlias

from lacewing.v1 import execution_pb2
from lacewing.v1 import execution_service_pb2 as pb
from lacewing.v1.execution_service_pb2_grpc import ExecutionServiceServicer
from lacewing_server.domain import lifecycle
from lacewing_server.domain.durations import milliseconds
from lacewing_server.domain.errors import Violations
from lacewing_server.domain.record import ExecutionRecord
from lacewing_server.engine.cache import Cache
from lacewing_server.engine.executions import Executions
from lacewing_server.engine.fleet import Fleet
from lacewing_server.engine.graphs.reading import GraphReading
from lacewing_server.engine.listing import Listing
from lacewing_server.engine.paging import encode_token, fingerprint, fitting, number_position, page_size, text_position
from lacewing_server.engine.shutdown import Shutdown
from lacewing_server.engine.tasks import Tasks
from lacewing_server.rpc.boundary import Context
from lacewing_server.rpc.execute_stream import ExecuteStream, wait_seconds
from lacewing_server.rpc.graphs import GraphCalls
from lacewing_server.rpc.render import BASIC, FULL, render, render_admitted

_MARGIN_SECONDS: Final = 0.1

_Read: TypeAlias = (
    pb.GetExecutionRequest | pb.WaitExecutionRequest | pb.WatchExecutionRequest | pb.ListExecutionsRequest
)


class ExecutionServicer(GraphCalls, ExecutionServiceServicer):
    """Translates between the wire and :class:`Executions`."""

    def __init__(
        self,
        executions: Executions,
        tasks: Tasks,
        listing: Listing,
        fleet: Fleet,
        cache: Cache,
        reading: GraphReading,
        shutdown: Shutdown,
    ) -> None:
        self._executions = executions
        self._reading = reading
        self._cache = cache
        self._tasks = tasks
        self._listing = listing
        self._fleet = fleet
        self._shutdown = shutdown

    async def Execute(self, request: pb.ExecuteRequest, context: Context) -> pb.ExecuteResponse:  # noqa: N802 - the RPC's name
        """Creates an execution and waits for its end."""
        admitted = await self._executions.execute(request, _seconds(request, context))
        response = pb.ExecuteResponse()
        render_admitted(admitted, plain=request.plain, into=response.execution)
        return response

    async def CreateExecution(  # noqa: N802 - the RPC's name
        self,
        request: pb.CreateExecutionRequest,
        context: Context,  # noqa: ARG002 - the RPC's shape
    ) -> pb.CreateExecutionResponse:
        """Creates an execution."""
        admitted = await self._executions.create(request.request, record_hit=True)
        return pb.CreateExecutionResponse(
            execution=render_admitted(admitted, plain=request.request.plain), replayed=admitted.replayed
        )

    def ExecuteStream(  # noqa: N802 - the RPC's name
        self,
        request_iterator: AsyncIterator[pb.ExecuteStreamRequest],
        context: Context,  # noqa: ARG002 - likewise
    ) -> AsyncIterator[Any]:
        """Creates executions as they arrive and answers each when it has ended."""
        return ExecuteStream(self._executions, self._shutdown).serve(request_iterator)

    async def GetExecution(  # noqa: N802 - the RPC's name
        self,
        request: pb.GetExecutionRequest,
        context: Context,  # noqa: ARG002 - the RPC's shape
    ) -> pb.GetExecutionResponse:
        """Gets an execution."""
        _check(request)
        record = await self._executions.get(request.id, inputs=request.view != BASIC)
        if record.cache_status == execution_pb2.CacheInfo.STATUS_POPULATED and not await self._cache.is_kept(record):
            record.cache_status = execution_pb2.CacheInfo.STATUS_EVICTED
        return pb.GetExecutionResponse(execution=await self._render(record, request.view, plain=request.plain))

    async def WaitExecution(self, request: pb.WaitExecutionRequest, context: Context) -> pb.WaitExecutionResponse:  # noqa: N802 - the RPC's name
        """Waits for the end of an execution."""
        _check(request)
        record = await self._executions.wait(request.id, _seconds(request, context))
        return pb.WaitExecutionResponse(execution=await self._render(record, request.view, plain=request.plain))

    async def WatchExecution(  # noqa: N802 - the RPC's name
        self,
        request: pb.WatchExecutionRequest,
        context: Context,  # noqa: ARG002 - the RPC's shape
    ) -> AsyncIterator[pb.WatchExecutionResponse]:
        """Streams an execution after each change."""
        _check(request)
        seen: dict[str, bytes] = {}
        async for record in self._executions.watch(request.id, request.after_revision):
            execution = await self._render(record, request.view, plain=request.plain)
            told = False
            if request.nodes:
                async for nodes in self._changed_nodes(record, seen):
                    yield pb.WatchExecutionResponse(execution=execution, nodes=nodes)
                    told = True
            if not told:
                yield pb.WatchExecutionResponse(execution=execution)

    async def ListExecutions(  # noqa: N802 - the RPC's name
        self,
        request: pb.ListExecutionsRequest,
        context: Context,  # noqa: ARG002 - the RPC's shape
    ) -> pb.ListExecutionsResponse:
        """Lists executions."""
        _check(request)
        size, mark = page_size(request.page_size), fingerprint(request)
        records, following = await self._listing.page(request, text_position(request.page_token, mark), size)
        view = request.view or BASIC
        return pb.ListExecutionsResponse(
            executions=[await self._render(record, view, plain=False, summarized=False) for record in records],
            next_page_token=encode_token(mark, following) if following else "",
        )

    async def CancelExecution(  # noqa: N802 - the RPC's name
        self,
        request: pb.CancelExecutionRequest,
        context: Context,  # noqa: ARG002 - the RPC's shape
    ) -> pb.CancelExecutionResponse:
        """Cancels an execution."""
        record = await self._executions.cancel(request.id, request.reason)
        return pb.CancelExecutionResponse(execution=await self._render(record, FULL, plain=False))

    async def ListAttempts(  # noqa: N802 - the RPC's name
        self,
        request: pb.ListAttemptsRequest,
        context: Context,  # noqa: ARG002 - the RPC's shape
    ) -> pb.ListAttemptsResponse:
        """Lists the attempts of an execution."""
        size, mark = page_size(request.page_size), fingerprint(request)
        start = number_position(request.page_token, mark)
        attempts = await self._executions.attempts(request.id)
        page = attempts[start : start + size]
        page = page[: fitting(attempt.ByteSize() for attempt in page)]
        following = start + len(page) if len(attempts) > start + len(page) else 0
        return pb.ListAttemptsResponse(
            attempts=page,
            next_page_token=encode_token(mark, following) if following else "",
        )

    async def _render(
        self, record: ExecutionRecord, view: int, *, plain: bool, summarized: bool = True
    ) -> execution_pb2.Execution:
        task = await self._tasks.ready_for(record)
        execution = render(record, task, full=view != BASIC, plain=plain)
        if record.state == lifecycle.QUEUED and not record.not_before_ms:
            execution.state_reason = await self._fleet.why_queued(record)
        progress = self._executions.progress(record)
        if progress is not None:
            execution.progress.CopyFrom(progress)
        if summarized and (summary := await self._reading.summary(record)) is not None:
            execution.graph.CopyFrom(summary)
        return execution


def _check(request: _Read) -> None:
    """Checks what protobuf does not: that enumerations are known, and a wait is none into the past."""
    violations = Violations()
    if request.view not in execution_pb2.ExecutionView.values():
        violations.add("view", f"must be a known view, got {request.view}")
    if isinstance(request, pb.ListExecutionsRequest):
        for index, state in enumerate(request.states):
            if state not in execution_pb2.Execution.State.values():
                violations.add(f"states[{index}]", f"must be a known state, got {state}")
    if isinstance(request, pb.WaitExecutionRequest) and milliseconds(request.wait_timeout) < 0:
        violations.add("wait_timeout", "must not be negative")
    violations.raise_if_any()


def _seconds(request: pb.ExecuteRequest | pb.WaitExecutionRequest, context: Context) -> float | None:
    """How long to wait: the request's wait, and a little less than the call's deadline."""
    wanted = wait_seconds(request)
    remaining = context.time_remaining()
    if remaining is None:
        return wanted
    left: float = max(remaining - min(_MARGIN_SECONDS, remaining / 10), 0.0)
    return left if wanted is None else min(wanted, left)
