"""One graph that this server drives."""

from __future__ import annotations

import asyncio
import itertools
import logging
import sys
from collections import deque
from typing import Final

from lacewing.v1 import errors_pb2, execution_pb2, graph_pb2, literals_pb2, workflow_pb2
from lacewing_server.domain import lifecycle, names, retrying
from lacewing_server.domain.errors import DomainError
from lacewing_server.domain.graph.arrays import Array, ArrayError
from lacewing_server.domain.graph.bindings import BindingError
from lacewing_server.domain.graph.conditions import ConditionError
from lacewing_server.domain.graph.plan import Plan, PlanNode
from lacewing_server.domain.graph.run import Run
from lacewing_server.domain.graph.statuses import END_STATES, paths_of, summary_of
from lacewing_server.domain.record import ExecutionRecord
from lacewing_server.domain.task_version import ReadyTask
from lacewing_server.engine.graphs.beginning import Beginning, NothingHoldsError, inner_task
from lacewing_server.engine.graphs.children import Child, Children
from lacewing_server.engine.graphs.gates import Gates
from lacewing_server.engine.graphs.journal import Journal
from lacewing_server.engine.graphs.services import Services
from lacewing_server.engine.graphs.values import Values

_log = logging.getLogger(__name__)

_BEGINNING_MAX: Final = 64
"""How many nodes are begun at a time: as many as go to Redis in one call. More begin faster than they end, and wait in
their queue instead of being leased at once, which costs another call."""
_AGAIN_SECONDS: Final = 0.5
PASSING: Final = frozenset(
    {
        errors_pb2.ERROR_REASON_STORE_UNAVAILABLE,
        errors_pb2.ERROR_REASON_STORE_FULL,
        errors_pb2.ERROR_REASON_QUEUE_FULL,
        errors_pb2.ERROR_REASON_BLOB_STORE_UNAVAILABLE,
    }
)
"""Reasons for which something is not done yet, but later."""
_ENDING: Final = frozenset({errors_pb2.ERROR_REASON_LEASE_LOST, errors_pb2.ERROR_REASON_SHUTTING_DOWN})
"""Reasons for which this server drives the graph no longer."""
_Unit = tuple[int, int | None]
"""A node; and of an array one of its elements, or None for the array itself."""
_USER: Final = execution_pb2.TaskError.KIND_USER
_FAILED: Final = END_STATES[lifecycle.FAILED]
_CANCELLED: Final = END_STATES[lifecycle.CANCELLED]
_STOPPED: Final = "another node of the graph has failed"


class GraphRun:
    """Drives one graph from where it stands to its end."""

    def __init__(
        self, services: Services, record: ExecutionRecord, task: ReadyTask, plan: Plan, journal: Journal
    ) -> None:
        self.record = record
        self._services = services
        self._task = task
        self._plan = plan
        policy = plan.graph.workflow.metadata.on_failure
        goes_on = policy == workflow_pb2.WorkflowMetadata.ON_FAILURE_POLICY_FAIL_AFTER_EXECUTABLE_NODES_COMPLETE
        self._run = Run(plan, goes_on_after_failure=goes_on)
        self._changed = asyncio.Event()
        self._journal = journal
        self._children = Children(services.store, services.executions, services.attempts, services.wakeups, record)
        inputs = literals_pb2.LiteralMap.FromString(record.inputs)
        self._values = Values(plan, task.inputs.complete(inputs), self._children, services.blobs)
        self._gates = Gates(services.store, journal, self._changed.set)
        self._beginner = Beginning(services.tasks, self._children, self._values, self._gates, journal, self._tell)
        self._arrays: dict[int, Array] = {}
        self._open_arrays: deque[int] = deque()
        """Those of which an element may begin, and maybe some more."""
        self._array_errors: dict[int, tuple[ExecutionRecord | None, execution_pb2.TaskError]] = {}
        """The first error of the elements of an array, and their execution."""
        self._gate_inputs: dict[int, literals_pb2.LiteralMap] = {}
        self._held: deque[_Unit] = deque()
        """Executions that `max_parallelism` holds back."""
        self._beginning: set[asyncio.Task[None]] = set()
        self._working = 0
        """Executions that are being begun or have begun and not ended."""
        self._most = record.execution.max_parallelism or sys.maxsize
        self._news: list[tuple[Child, ExecutionRecord | None]] = []
        self._error: execution_pb2.TaskError | None = None
        self._failed_path = ""
        self._fault: Exception | None = None
        self._has_news = True

    async def drive(self) -> None:
        """Drives the graph to its end, and ends its execution.

        Raises:
            DomainError: ``LEASE_LOST`` or ``SHUTTING_DOWN``: this server drives it no longer.
        """
        try:
            await self._restore()
            while True:
                self._begin_what_may()
                if self._run.is_over and not self._beginning:
                    break
                await self._changed.wait()
                self._changed.clear()
                await self._take_news()
                if self._fault is not None:
                    raise self._fault
            await self._conclude()
        finally:
            for task in self._beginning:
                task.cancel()
            self._gates.close()
            self._children.forget_all()

    def signalled(self) -> None:
        """A gate may have been answered."""
        self._changed.set()

    def summary(self) -> execution_pb2.GraphSummary:
        """How far the graph is."""
        return summary_of(self._run.states, {index: each.elements.states for index, each in self._arrays.items()})

    @property
    def waits_for_answers(self) -> bool:
        """Whether a gate waits to be answered."""
        return self._gates.is_waiting

    async def look_after(self, now: float) -> None:
        """Tells how far the graph is, and keeps what nodes have given for as long as it may need that."""
        if self._has_news:
            self._has_news = False
            await self._journal.summarize(self.summary())
        await self._children.keep(now)

    # --- beginning ---------------------------------------------------------------------------------------------------

    async def _restore(self) -> None:
        """Finds what a server that drove the graph before has left."""
        if self.record.execution.HasField("retry_of") or await self._journal.has_children():
            await self._children.find(list(paths_of(self._plan, self._journal.known)))

    def _begin_what_may(self) -> None:
        while len(self._beginning) < _BEGINNING_MAX:
            unit = self._next()
            if unit is None:
                return
            task = asyncio.create_task(self._begin(*unit))
            self._beginning.add(task)
            task.add_done_callback(self._begun)

    def _next(self) -> _Unit | None:
        """What to begin next, if anything may."""
        if self._held and self._working < self._most:
            self._working += 1
            return self._held.popleft()
        while self._run.has_ready:
            index = self._run.begin()
            if not self._plan.nodes[index].is_execution:
                return index, None
            if self._working < self._most:
                self._working += 1
                return index, None
            self._held.append((index, None))
        while self._open_arrays and self._working < self._most:
            index = self._open_arrays[0]
            if self._arrays[index].elements.has_ready:
                self._working += 1
                return index, self._arrays[index].elements.begin()
            self._open_arrays.popleft()
        return None

    def _begun(self, task: asyncio.Task[None]) -> None:
        self._beginning.discard(task)
        if not task.cancelled() and (fault := task.exception()) is not None:
            assert isinstance(fault, Exception)
            self._fault = fault
        self._changed.set()

    async def _begin(self, index: int, element: int | None) -> None:
        node = self._plan.nodes[index]
        while True:
            try:
                if element is not None or node.is_execution:
                    await self._begin_execution(node, element)
                else:
                    await self._begin_other(node)
            except (BindingError, ConditionError, ArrayError, NothingHoldsError) as error:
                if node.kind == graph_pb2.NodeStatus.KIND_BRANCH:
                    self._run.choose(index, None)
                await self._fail_here(node, element, str(error))
            except DomainError as refusal:
                if refusal.reason in PASSING:
                    await asyncio.sleep(_AGAIN_SECONDS)
                    continue
                if refusal.reason in _ENDING:
                    self._fault = refusal
                else:
                    await self._fail_here(node, element, refusal.message)
            except Exception as error:  # noqa: BLE001 - told to whoever drives
                self._fault = error
            return

    async def _begin_execution(self, node: PlanNode, element: int | None) -> None:
        if element is None:
            child, record = await self._beginner.task(node)
        else:
            child, record = await self._beginner.element(node, self._arrays[node.index], element)
        if lifecycle.is_terminal(record.state):
            self._tell(child, record)
        elif self._run.is_stopped or (element is not None and self._arrays[node.index].is_given_up):
            await self._children.cancel([child], _STOPPED)

    async def _begin_other(self, node: PlanNode) -> None:
        """Begins a node that has no execution of its own."""
        if node.kind == graph_pb2.NodeStatus.KIND_BRANCH:
            self._run.choose(node.index, await self._beginner.branch(node))
        elif node.kind == graph_pb2.NodeStatus.KIND_GATE:
            self._gate_inputs[node.index] = await self._beginner.gate(node)
        else:
            array = self._arrays[node.index] = await self._beginner.array(node)
            if array.width:
                self._open_arrays.append(node.index)
            else:
                await self._end_array(node, array)
        if self._run.is_stopped:
            await self._stop()

    # --- ending ------------------------------------------------------------------------------------------------------

    def _tell(self, child: Child, record: ExecutionRecord | None) -> None:
        self._news.append((child, record))
        self._changed.set()

    async def _take_news(self) -> None:
        news, self._news = self._news, []
        unknown = [child.id for child, record in news if record is None]
        read = await self._children.read(dict.fromkeys(unknown)) if unknown else {}
        for child, told in news:
            record = told
            if record is None:
                if child.id not in read:
                    continue  # It cannot be read here.
                record = read[child.id]
                if record is not None and not lifecycle.is_terminal(record.state):
                    child.revision = record.revision
                    continue
            if child.ended:
                continue
            child.ended = True
            self._children.forget(child)
            self._working -= 1
            await self._child_ended(child, record)
        for index in self._gates.take_slept():
            await self._pass_gate(index, literals_pb2.LiteralMap())
        if self._gates.is_waiting:
            for index, answer in await self._gates.answered():
                await self._answer(index, answer)
        if news:
            self._has_news = True
            self._services.on_change(self.record.id)

    async def _child_ended(self, child: Child, record: ExecutionRecord | None) -> None:
        node = self._plan.nodes[child.index]
        outputs = None
        state, error = _FAILED, None
        if record is None:
            error = execution_pb2.TaskError(kind=execution_pb2.TaskError.KIND_SYSTEM, message="its execution is gone")
        else:
            state = END_STATES[record.state]
            self._children.retentions[record.id] = record.retention
            if record.state == lifecycle.SUCCEEDED:
                outputs = literals_pb2.LiteralMap.FromString(record.outcome)
            else:
                error = execution_pb2.TaskError.FromString(record.outcome)
        if child.element is None:
            if outputs is not None and record is not None:
                self._values.put(child.index, outputs, len(record.outcome), record.id)
                self._succeed(child.index)
            else:
                await self._fail(node, node.node.id, state, record, error)
            return
        array = self._arrays[child.index]
        array.end(child.element, state, outputs)
        if error is not None:
            self._array_errors.setdefault(node.index, (record, error))
        if array.elements.is_lost and not node.node.array_node.run_all_sub_nodes and not array.is_given_up:
            array.is_given_up = True
            await self._cancel(node.index, "too few elements of the array can succeed")
        if array.elements.is_over:
            await self._end_array(node, array)
        elif array.elements.has_ready and child.index not in self._open_arrays:
            self._open_arrays.append(child.index)

    async def _end_array(self, node: PlanNode, array: Array) -> None:
        if array.elements.is_stopped:
            self._run.fail(node.index, _CANCELLED)
            self._changed.set()
            return
        if array.elements.is_lost:
            record, error = self._array_errors[node.index]
            await self._fail(node, node.node.id, _FAILED, record, error, array.why_lost)
            return
        task = await self._services.tasks.pinned(inner_task(node))
        outputs = array.gathered(task.output_variables.variables)
        array.outputs.clear()
        self._values.put(node.index, outputs, 0, None)
        self._succeed(node.index)

    def _succeed(self, index: int) -> None:
        ended = self._run.succeed(index)
        for inner, branch in itertools.pairwise(ended):
            self._values.put_choice(branch, inner)
        self._changed.set()

    async def _answer(self, index: int, answer: literals_pb2.Literal) -> None:
        gate = self._plan.nodes[index].node.gate_node
        if gate.WhichOneof("condition") == "signal":
            outputs = literals_pb2.LiteralMap()
            outputs.literals[gate.signal.output_variable_name].CopyFrom(answer)
            await self._pass_gate(index, outputs)
        elif answer.scalar.primitive.boolean:
            await self._pass_gate(index, self._gate_inputs[index])
        else:
            # An execution that repeats this one asks again.
            await self._journal.note(f"refused:{gate.approve.signal_id}", 1)
            await self._fail_here(self._plan.nodes[index], None, "it was not approved", retrying.GATE_REJECTED)

    async def _pass_gate(self, index: int, outputs: literals_pb2.LiteralMap) -> None:
        await self._journal.note(f"ended:{self._plan.nodes[index].node.id}", self._services.store.now_ms())
        self._values.put(index, outputs, outputs.ByteSize(), None)
        self._succeed(index)

    async def _fail_here(
        self, node: PlanNode, element: int | None, message: str, code: str = retrying.NODE_FAILED
    ) -> None:
        """Fails a node, or an element, that has no execution."""
        error = execution_pb2.TaskError(kind=_USER, code=code, message=message)
        error.time.FromMilliseconds(self._services.store.now_ms())
        path = node.node.id if element is None else f"{node.node.id}/{element}"
        try:
            await self._journal.note(f"failed:{path}", error.SerializeToString())
        except DomainError as refusal:
            if refusal.reason == errors_pb2.ERROR_REASON_LEASE_LOST:
                raise
            _log.warning("could not note that node %s of %s failed: %s", path, self.record.name, refusal)
        if element is None:
            if node.is_execution:
                self._working -= 1
            await self._fail(node, path, _FAILED, None, error)
            return
        child = Child(b"", node.index, element, self._tell)
        failed = ExecutionRecord(b"", lifecycle.FAILED, b"", outcome=error.SerializeToString())
        self._tell(child, failed)

    async def _fail(
        self,
        node: PlanNode,
        path: str,
        state: int,
        record: ExecutionRecord | None,
        cause: execution_pb2.TaskError | None,
        note: str = "",
    ) -> None:
        if self._error is None:
            cause = cause or execution_pb2.TaskError(kind=_USER, code=retrying.NODE_FAILED)
            self._failed_path = path
            what = f"node {path}"
            if record is not None and record.meta:
                what += f" (execution {names.display_execution(record.execution.id)})"
            message = f"{what} failed: {note or cause.message}"
            code = cause.code if cause.code == retrying.GATE_REJECTED else retrying.NODE_FAILED
            self._error = execution_pb2.TaskError(kind=cause.kind, code=code, message=message, cause=cause)
        was_stopped = self._run.is_stopped
        self._run.fail(node.index, state)
        self._changed.set()
        if self._run.is_stopped and not was_stopped:
            await self._stop()
            await self._cancel(None, _STOPPED)

    async def _stop(self) -> None:
        """Ends the nodes that wait for something that does not come any more, now that the graph has failed."""
        for index, element in self._held:
            if element is None:
                self._run.fail(index, _CANCELLED)
        self._held.clear()
        for index in self._gates.close():
            self._run.fail(index, _CANCELLED)
        for index, array in self._arrays.items():
            array.elements.stop()
            if array.elements.is_over and self._run.is_active(index):
                self._run.fail(index, _CANCELLED)

    async def _cancel(self, index: int | None, why: str) -> None:
        """Cancels the executions of a node, or all."""
        living = [child for child in self._children.living.values() if index is None or child.index == index]
        await self._children.cancel(living, why)

    async def _conclude(self) -> None:
        """Ends the execution."""
        outputs: literals_pb2.LiteralMap | None = None
        if not self._run.has_failed:
            try:
                outputs = await self._values.resolved(self._plan.outputs, self._task.output_variables.variables)
            except BindingError as error:
                self._error = execution_pb2.TaskError(kind=_USER, code=retrying.NODE_FAILED, message=str(error))
        elif self._plan.failure is not None and self._error is not None:
            await self._run_failure_node(self._plan.failure, self._error)
        while True:
            try:
                await self._journal.summarize(self.summary())
                await self._services.attempts.end_graph(self.record, outputs, self._error)
            except DomainError as refusal:
                if refusal.reason in PASSING:
                    await asyncio.sleep(_AGAIN_SECONDS)
                    continue
                if refusal.reason == errors_pb2.ERROR_REASON_LEASE_LOST:
                    raise
                # The outputs do not fit: that is recorded as the end.
            return

    async def _run_failure_node(self, node: PlanNode, error: execution_pb2.TaskError) -> None:
        """Runs the node that follows a failure; what comes of it changes nothing."""
        while True:
            try:
                child, record = await self._beginner.failure(node, error, self._failed_path)
                break
            except BindingError as problem:
                _log.warning("the failure node of %s does not run: %s", self.record.name, problem)
                return
            except DomainError as refusal:
                if refusal.reason in _ENDING:
                    raise
                if refusal.reason not in PASSING:
                    _log.warning("the failure node of %s does not run: %s", self.record.name, refusal)
                    return
                await asyncio.sleep(_AGAIN_SECONDS)
        while not lifecycle.is_terminal(record.state):
            await self._changed.wait()
            self._changed.clear()
            now = (await self._children.read([child.id])).get(child.id)
            if now is None:
                return
            record = now
