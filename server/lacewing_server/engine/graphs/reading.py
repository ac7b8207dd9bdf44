"""Graphs for those who look at them or steer them, at any server."""

from __future__ import annotations

import asyncio
import difflib
from collections.abc import Mapping
from typing import Final

from google.protobuf import struct_pb2

from lacewing.types import ConversionError, compile_checker, literal_map_from_json
from lacewing.v1 import (
    errors_pb2,
    execution_pb2,
    execution_service_pb2,
    graph_pb2,
    interface_pb2,
    literals_pb2,
    task_pb2,
    types_pb2,
)
from lacewing_server.domain import lifecycle, names
from lacewing_server.domain.errors import DomainError, Violation, Violations, invalid, invalid_field
from lacewing_server.domain.graph.plan import Plan, plan_of
from lacewing_server.domain.graph.statuses import paths_of, statuses
from lacewing_server.domain.record import GRAPH, ExecutionRecord
from lacewing_server.engine.admitted import Admitted
from lacewing_server.engine.executions import Executions
from lacewing_server.engine.graphs.driver import Graphs
from lacewing_server.engine.graphs.journal import SPEC, SUMMARY
from lacewing_server.engine.graphs.lineage import find
from lacewing_server.engine.tasks import Tasks
from lacewing_server.engine.terms import Terms
from lacewing_server.store.redis.store import Store

_RECENT_SECONDS: Final = 10.0
_RECENT_MAX: Final = 4
_BOOLEAN: Final = types_pb2.LiteralType(simple=types_pb2.SIMPLE_TYPE_BOOLEAN)


class GraphReading:
    """Reads graphs, answers their gates, repeats executions."""

    def __init__(self, store: Store, tasks: Tasks, executions: Executions, graphs: Graphs) -> None:
        self._store = store
        self._tasks = tasks
        self._executions = executions
        self._graphs = graphs
        self._recent: dict[bytes, tuple[float, task_pb2.Graph, list[graph_pb2.NodeStatus]]] = {}
        """What was found last of some executions, and when."""

    async def summary(self, record: ExecutionRecord) -> execution_pb2.GraphSummary | None:
        """How far the graph of an execution is; None if it runs none."""
        if not record.flags & GRAPH:
            return None
        if (summary := self._graphs.summary_of(record.id)) is not None:
            return summary
        packed = await self._store.call("HGET", self._store.keys.graph(record.id), SUMMARY)
        return execution_pb2.GraphSummary.FromString(packed) if packed is not None else execution_pb2.GraphSummary()

    async def read(
        self, record: ExecutionRecord, *, may_be_recent: bool = False
    ) -> tuple[task_pb2.Graph, list[graph_pb2.NodeStatus]]:
        """The graph of an execution, and where each node stands.

        Args:
            record: The execution.
            may_be_recent: Whether what was found some seconds ago will do: for what follows a first page.

        Raises:
            DomainError: ``GRAPH_NOT_FOUND``, or that of the store.
        """
        now = asyncio.get_running_loop().time()
        if may_be_recent and (recent := self._recent.get(record.id)) is not None and now - recent[0] < _RECENT_SECONDS:
            return recent[1], recent[2]
        graph, plan, journal = await self._journal(record)
        records = (await find(self._store, record, list(paths_of(plan, journal)))).records
        nodes = statuses(plan, journal, records, has_ended=lifecycle.is_terminal(record.state))
        self._recent.pop(record.id, None)
        self._recent[record.id] = (now, graph, nodes)
        if len(self._recent) > _RECENT_MAX:
            del self._recent[next(iter(self._recent))]
        return graph, nodes

    async def signal(self, request: execution_service_pb2.SignalExecutionRequest) -> None:
        """Answers a gate.

        Raises:
            DomainError: As ``SignalExecution``.
        """
        record = await self._executions.get(request.id, inputs=False)
        shown = names.display_execution(record.execution.id)
        _, plan, _ = await self._journal(record)
        gates = dict(_gates(plan))
        gate = gates.get(request.signal_id)
        if gate is None:
            near = difflib.get_close_matches(request.signal_id, gates, n=1)
            hint = f'; did you mean "{near[0]}"?' if near else f"; it has {', '.join(sorted(gates)) or 'none'}"
            raise DomainError(
                errors_pb2.ERROR_REASON_SIGNAL_NOT_FOUND,
                f'the graph of {shown} has no gate "{request.signal_id[:128]}"{hint}',
                metadata={"execution": shown, "signal": request.signal_id[:128]}
                | ({"similar": near[0]} if near else {}),
            )
        answer = _answer(request, gate).SerializeToString(deterministic=True)
        reply = await self._store.run("signal", record.id, f"signal:{request.signal_id}", answer)
        if reply[0] != b"done":
            now = await self._executions.get(request.id, inputs=False)
            state = execution_pb2.Execution.State.Name(now.state).removeprefix("STATE_")  # type: ignore[arg-type] # a plain int
            raise DomainError(
                errors_pb2.ERROR_REASON_EXECUTION_ENDED,
                f"{shown} has ended ({state}), so its gates take no answers",
                metadata={"execution": shown, "state": state},
            )
        if reply[1] != answer:
            raise DomainError(
                errors_pb2.ERROR_REASON_SIGNAL_CONFLICT,
                f'the gate "{request.signal_id}" of {shown} was answered otherwise',
                metadata={"execution": shown, "signal": request.signal_id},
            )
        self._graphs.signalled(record.id)

    async def retry(self, request: execution_service_pb2.RetryExecutionRequest) -> Admitted:
        """Executes again what did not succeed.

        Raises:
            DomainError: As ``RetryExecution``.
        """
        record = await self._executions.get(request.id)
        execution = record.execution
        if not lifecycle.is_terminal(record.state) or record.state == lifecycle.SUCCEEDED:
            shown = names.display_execution(execution.id)
            state = execution_pb2.Execution.State.Name(record.state).removeprefix("STATE_")  # type: ignore[arg-type] # likewise
            raise DomainError(
                errors_pb2.ERROR_REASON_EXECUTION_NOT_FAILED,
                f"{shown} is {state}; only what has ended without success can be repeated",
                metadata={"execution": shown, "state": state},
            )
        again = execution_service_pb2.ExecuteRequest(
            task=execution.task,
            inputs=literals_pb2.LiteralMap.FromString(record.inputs),
            name=request.name,
            request_id=request.request_id,
            cache_mode=execution.cache_mode,
            labels=execution.labels,
            max_parallelism=execution.max_parallelism,
        )
        if not (request.failed_only and record.flags & GRAPH):
            return await self._executions.create(again, record_hit=True)
        own = execution_pb2.Execution(retry_of=execution.id).SerializeToString()
        terms = Terms(own, kept_graph=record.id)
        return await self._executions.create(again, record_hit=True, terms=terms)

    async def _journal(self, record: ExecutionRecord) -> tuple[task_pb2.Graph, Plan, Mapping[str, bytes]]:
        if not record.flags & GRAPH:
            shown = names.display_execution(record.execution.id)
            raise DomainError(
                errors_pb2.ERROR_REASON_GRAPH_NOT_FOUND,
                f"{shown} runs no graph, or none yet",
                metadata={"execution": shown},
            )
        flat = await self._store.call("HGETALL", self._store.keys.graph(record.id))
        journal = {flat[i].decode(): flat[i + 1] for i in range(0, len(flat), 2)}
        packed = journal.pop(SPEC, b"")
        task = await self._tasks.ready_for(record)
        graph = task_pb2.Graph.FromString(packed) if packed else task.version.graph
        return graph, plan_of(graph), journal


def _gates(plan: Plan) -> list[tuple[str, types_pb2.LiteralType]]:
    """The gates of a graph that take answers, and the types of these."""
    gates = []
    for node in plan.nodes:
        gate = node.node.gate_node
        if gate.HasField("approve"):
            gates.append((gate.approve.signal_id, _BOOLEAN))
        elif gate.HasField("signal"):
            gates.append((gate.signal.signal_id, gate.signal.type))
    return gates


def _answer(
    request: execution_service_pb2.SignalExecutionRequest, literal_type: types_pb2.LiteralType
) -> literals_pb2.Literal:
    if request.HasField("value_json") == request.HasField("value"):
        raise invalid_field("value", "give either value or value_json")
    if request.HasField("value_json"):
        variables = interface_pb2.VariableMap(variables={"value_json": interface_pb2.Variable(type=literal_type)})
        struct = struct_pb2.Struct(fields={"value_json": request.value_json})
        try:
            return literal_map_from_json(struct, variables).literals["value_json"]
        except ConversionError as error:
            raise invalid([Violation(_own(each.path), each.message) for each in error.problems]) from error
    violations = Violations()
    for problem in compile_checker(literal_type)(request.value):
        violations.add(f"value{problem.path}", problem.message)
    violations.raise_if_any()
    return request.value


def _own(path: str) -> str:
    return path.removeprefix("inputs_json.").removeprefix("inputs.")
