"""Asking for graphs: once, or until the execution has ended."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Iterator

from lacewing._channel import CALL_TIMEOUT, rpc_errors
from lacewing.cli.graphs._view import TROUBLED, GraphView, NodeStatus
from lacewing.client import Client
from lacewing.errors import ExecutionNotFound, GraphNotFound
from lacewing.v1 import execution_pb2, execution_service_pb2, identifiers_pb2, task_pb2

_MOST_NESTED = 100
"""How many executions of nodes are looked at in all: any of them may run a graph of its own."""

# What executions run, in the order in which they are looked at: workflows surely run a graph.
_KINDS = (NodeStatus.KIND_WORKFLOW, NodeStatus.KIND_TASK, NodeStatus.KIND_ELEMENT)
_NOT_BEGUN = frozenset({NodeStatus.STATE_PENDING, NodeStatus.STATE_QUEUED, NodeStatus.STATE_SKIPPED})


async def fetch_graph(client: Client, execution: identifiers_pb2.ExecutionId) -> task_pb2.Graph:
    """Return the graph that an execution runs, without its nodes. Raises `GraphNotFound` if there is none."""
    request = execution_service_pb2.GetGraphRequest(id=execution, page_size=1)
    with rpc_errors():
        return (await client.executions.GetGraph(request, timeout=CALL_TIMEOUT)).graph


class Look:
    """Looks at the graph of an execution, and at the graphs that executions of its nodes run."""

    def __init__(self, client: Client, execution: execution_pb2.Execution) -> None:
        """Begin with what is known of the execution.

        Attributes:
            view: What is known by now.
        """
        self.view = GraphView(execution)
        self._client = client
        self._left = _MOST_NESTED

    async def once(self, depth: int) -> None:
        """Look once.

        Args:
            depth: How deep graphs in graphs are looked at. 0: not at all.

        Raises:
            GraphNotFound: The execution runs no graph, or none yet.
        """
        await self._once(self.view, depth)

    async def _once(self, view: GraphView, depth: int) -> None:
        response = await self._client.get_graph(view.execution.id)
        view.graph = response.graph
        view.update(response.nodes)
        if depth:
            nodes = [*self._begun(response.nodes, set())]
            found = await asyncio.gather(*(self._nested(node, depth - 1) for node in nodes))
            view.nested = {node.path: each for node, each in zip(nodes, found, strict=True) if each is not None}

    async def _nested(self, node: NodeStatus, depth: int) -> GraphView | None:
        try:
            execution = await self._client.get(node.execution, view=execution_pb2.EXECUTION_VIEW_BASIC)
            if not execution.HasField("graph"):
                return None
            view = GraphView(execution)
            await self._once(view, depth)
        except (ExecutionNotFound, GraphNotFound):  # It is no longer kept.
            return None
        return view

    async def follow(self, depth: int) -> None:
        """Look until the execution has ended; `depth` and errors as of `once`."""
        try:
            async with asyncio.TaskGroup() as group:
                await self._follow(group, self.view, depth)
        except BaseExceptionGroup as errors:
            raise _first(errors) from None
        if not self.view.nodes:
            await self.once(depth)

    async def _follow(
        self, group: asyncio.TaskGroup, view: GraphView, depth: int, parent: tuple[GraphView, str] | None = None
    ) -> None:
        followed: set[str] = set()
        async for now in self._client.handle(view.execution.id, view.execution.task).watch(nodes=True):
            view.execution.CopyFrom(now.execution)
            if now.nodes and not view.nodes:
                view.graph = await fetch_graph(self._client, view.execution.id)
                if parent is not None:
                    parent[0].nested[parent[1]] = view
            view.update(now.nodes)
            for node in self._begun(now.nodes, followed) if depth else ():
                followed.add(node.path)
                nested = GraphView(execution_pb2.Execution(id=node.execution, task=node.task))
                group.create_task(self._follow_nested(group, nested, depth - 1, (view, node.path)))

    async def _follow_nested(
        self, group: asyncio.TaskGroup, view: GraphView, depth: int, parent: tuple[GraphView, str]
    ) -> None:
        try:
            await self._follow(group, view, depth, parent)
        except (ExecutionNotFound, GraphNotFound):
            return  # It is no longer kept.

    def _begun(self, nodes: Iterable[NodeStatus], known: set[str]) -> Iterator[NodeStatus]:
        """Yield nodes whose executions have begun, as long as not too many were looked at."""
        begun = (
            node
            for node in nodes
            if node.kind in _KINDS and node.HasField("execution") and node.state not in _NOT_BEGUN
        )
        for node in sorted(begun, key=lambda each: (_KINDS.index(each.kind), each.state not in TROUBLED)):
            if node.path in known:
                continue
            if not self._left:
                return
            self._left -= 1
            yield node


def _first(errors: BaseExceptionGroup) -> BaseException:
    """Return the error that ended the others of a group."""
    error = errors.exceptions[0]
    return _first(error) if isinstance(error, BaseExceptionGroup) else error
