"""Compiling graphs: what they refer to is looked up, all is checked at once, what they bring along is registered."""

from __future__ import annotations

import asyncio
from typing import Final

from lacewing.v1 import errors_pb2, identifiers_pb2, interface_pb2, task_pb2
from lacewing_server.domain import limits, names
from lacewing_server.domain.errors import DomainError, Violation
from lacewing_server.domain.graph.compile import (
    CompiledGraph,
    GraphInvalidError,
    KnownTask,
    compile_graph,
    references,
)
from lacewing_server.domain.task_version import ReadyTask
from lacewing_server.engine.tasks import Tasks

_UNKNOWN: Final = frozenset(
    {
        errors_pb2.ERROR_REASON_TASK_NOT_FOUND,
        errors_pb2.ERROR_REASON_TASK_VERSION_NOT_FOUND,
        errors_pb2.ERROR_REASON_PROJECT_NOT_FOUND,
        errors_pb2.ERROR_REASON_DOMAIN_NOT_FOUND,
        errors_pb2.ERROR_REASON_FIELD_INVALID,
    }
)
"""What the lookup of a reference may come to; the compiler tells of it at the node."""


class Compiler:
    """Compiles graphs."""

    def __init__(self, tasks: Tasks) -> None:
        self._tasks = tasks

    async def given(self, graph: task_pb2.Graph, task: ReadyTask, depth: int) -> task_pb2.Graph:
        """Compiles the graph that a body has given, and registers what it brings along.

        Args:
            graph: The graph.
            task: What the body belongs to.
            depth: How deep its execution is in graphs.

        Raises:
            DomainError: ``GRAPH_INVALID``.
        """
        if depth >= limits.GRAPH_DEPTH_MAX:
            what = f"graphs are at most {limits.GRAPH_DEPTH_MAX} deep, and this one is in a graph at that depth already"
            raise self._refusal(task.id, [Violation("graph", what)])
        interface = task.version.spec.template.interface
        return await self._compile(graph, task.id, interface, "graph", validate_only=False)

    async def compile(
        self,
        graph: task_pb2.Graph,
        own: identifiers_pb2.TaskId,
        interface: interface_pb2.TypedInterface,
        *,
        validate_only: bool,
    ) -> task_pb2.Graph:
        """Compiles the graph of a workflow, and registers what it brings along unless that is only validated.

        Raises:
            DomainError: ``GRAPH_INVALID``, or that of the store.
        """
        return await self._compile(graph, own, interface, "spec.graph", validate_only=validate_only)

    async def _compile(
        self,
        graph: task_pb2.Graph,
        own: identifiers_pb2.TaskId,
        interface: interface_pb2.TypedInterface,
        path: str,
        *,
        validate_only: bool,
    ) -> task_pb2.Graph:
        known = {}
        for reference in references(graph, own):
            found = await self._find(reference)
            if found is not None:
                known[reference.project, reference.domain, reference.name, reference.version] = found
        try:
            large = graph.ByteSize() > limits.LARGE_BYTES
            if large:
                compiled = await asyncio.to_thread(compile_graph, graph, own, interface, known, path)
            else:
                compiled = compile_graph(graph, own, interface, known, path)
        except GraphInvalidError as error:
            raise self._refusal(own, list(error.problems)) from error
        await self._register(compiled, own, path, validate_only=validate_only)
        return compiled.graph

    async def _find(self, reference: identifiers_pb2.TaskId) -> KnownTask | None:
        try:
            ready, _ = await self._tasks.resolve(reference)
        except DomainError as error:
            if error.reason in _UNKNOWN:
                return None
            raise
        return KnownTask(ready.id, ready.version.spec)

    async def _register(
        self, compiled: CompiledGraph, own: identifiers_pb2.TaskId, path: str, *, validate_only: bool
    ) -> None:
        problems = []
        for task_id, spec in compiled.registrations:
            try:
                await self._tasks.confirm(task_id, spec)
            except DomainError as error:
                if error.reason != errors_pb2.ERROR_REASON_TASK_VERSION_CONFLICT:
                    raise
                problems.append(Violation(f"{path}.tasks", error.message))
        if problems:
            raise self._refusal(own, problems)
        if not validate_only:
            for task_id, spec in compiled.registrations:
                await self._tasks.register(task_id, spec, validate_only=False)

    def _refusal(self, own: identifiers_pb2.TaskId, problems: list[Violation]) -> DomainError:
        shown = names.display_task(own)
        first, more = problems[0], len(problems) - 1
        message = f"the graph of {shown} does not hold: {first.description}" + (f" (and {more} more)" if more else "")
        return DomainError(
            errors_pb2.ERROR_REASON_GRAPH_INVALID, message, metadata={"task": shown}, violations=problems
        )
