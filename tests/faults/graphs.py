"""What must hold of graphs: of what they gave, and of each execution of their nodes. Pure."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from faults import bodies
from faults.checks import Attempt, Case, Rule, budgets, clocks, max_losses, one_end, starts, stopped
from faults.history import History, Request, Run, State, describe
from lacewing._handle import TERMINAL
from lacewing.v1 import execution_pb2, graph_pb2

Node = graph_pb2.NodeStatus

_ESTIMATE_MS: Final = 100
"""By how much a server's estimate of the store's time may be wrong: gates end by that."""
_PAUSE_MS: Final = round(bodies.PAUSE.total_seconds() * 1000)
_BY_NAME: Final = {task.name: task for task in bodies.ALL}
_OF_INFRASTRUCTURE: Final = frozenset({"LossesExhausted", "AttemptTimeout", "WorkerCrashed"})
"""Why a node may fail through no fault of its body."""


@dataclass(slots=True)
class Tree:
    """An execution as it ended, with its graph and the executions of its nodes."""

    execution: execution_pb2.Execution
    attempts: Sequence[execution_pb2.Attempt]
    nodes: Sequence[graph_pb2.NodeStatus] = ()
    children: Sequence[Tree] = field(default_factory=list)

    def all(self) -> Iterator[Tree]:
        """This one and all below it."""
        yield self
        for child in self.children:
            yield from child.all()


# --- of what was asked for


def result(case: Case) -> Iterator[str]:
    """It gave what can be computed from its inputs, or did not succeed for a reason that counts."""
    execution, task = case.execution, case.request.task
    expected = _EXPECTED[task.name](case.request.inputs) if task.name in _EXPECTED else None
    if execution.state == State.STATE_SUCCEEDED:
        if case.text != str(expected):
            yield f"gave {case.text}, and {expected} is right"
    elif execution.state == State.STATE_CANCELLED:
        if not case.request.cancelled:
            yield "was cancelled, which nobody asked for"
    elif execution.state == State.STATE_FAILED:
        causes = {execution.error.code, *_causes(execution.error)}
        if not (expected is None and task is bodies.bearing) and not causes & _OF_INFRASTRUCTURE:
            yield f"failed without a reason that counts: {describe(execution)} ({causes})"
    else:
        yield f"timed out, and has no clock that runs out: {describe(execution)}"


def attempts_of_graph(case: Case) -> Iterator[str]:
    """Whatever becomes of those who drive its graph is no loss of it, and no other attempt."""
    execution = case.execution
    states = Counter(attempt.state for attempt in case.attempts)
    if states[Attempt.STATE_LEASED]:
        yield "has ended, and an attempt of it is leased"
    if states[Attempt.STATE_LOST] != execution.loss_count or execution.loss_count > max_losses(case) + 1:
        yield f"was lost {execution.loss_count} times, {states[Attempt.STATE_LOST]} of its attempts were"
    # The failure of a graph that a body gave is none of the body's attempt.
    failed = states[Attempt.STATE_FAILED] + states[Attempt.STATE_TIMED_OUT]
    if not failed <= execution.failure_count <= failed + execution.HasField("graph"):
        yield f"its attempts do not add up to its counts: {describe(execution)}"
    if case.request.task.is_workflow and execution.attempt_count > 1:
        yield f"is a workflow, and had {execution.attempt_count} attempts"
    numbers = [attempt.number for attempt in case.attempts]
    if numbers != list(range(1, execution.attempt_count + 1)):
        yield f"its attempts are numbered {numbers}, and it had {execution.attempt_count}"


GRAPH_RULES: Final[tuple[Rule, ...]] = (one_end, result, attempts_of_graph, starts, stopped)
"""What must hold of each graph that was asked for and has ended."""


# --- of the executions of nodes


def check_tree(tree: Tree, history: History, runs: Mapping[str, Sequence[Run]]) -> Iterator[str]:
    """Says what is wrong with all that ran in a graph."""
    for parent in tree.all():
        for problem in _wrong_order(parent):
            yield f"in the graph of {parent.execution.id.name}: {problem}"
        for child in parent.children:
            name = f"node {child.execution.node} ({child.execution.id.name}) of {parent.execution.id.name}"
            for problem in _check_node(child, history, runs.get(child.execution.id.name, ())):
                yield f"{name}: {problem}"


def _check_node(node: Tree, history: History, runs: Sequence[Run]) -> Iterator[str]:
    task = _BY_NAME[node.execution.task.name]
    request = Request(0, "node", task, {}, name=node.execution.id.name, accepted=history.start)
    case = Case(request, history, [node.execution], node.attempts, runs)
    if node.execution.state not in TERMINAL:
        yield f"is alive: {describe(node.execution)}"
        return
    of_body = (budgets, starts, clocks, stopped)
    for rule in (attempts_of_graph, starts, stopped) if task in bodies.GRAPHS else of_body:
        yield from rule(case)


def _wrong_order(tree: Tree) -> Iterator[str]:
    """Nodes ran once each, after what they wait for had succeeded, and while their graph ran."""
    execution = tree.execution
    for path, count in Counter(child.execution.node for child in tree.children).items():
        if count > 1:
            yield f"node {path} is {count} executions"
    nodes = {node.path: node for node in tree.nodes}
    children = {child.execution.node: child.execution for child in tree.children}
    for path, child in children.items():
        if path not in nodes:
            yield f"node {path} ran, and the graph has none of that name"
            continue
        if child.create_time.ToMilliseconds() > execution.end_time.ToMilliseconds():
            yield f"node {path} began after the graph had ended"
        for before in _awaited(nodes, path):
            if before.state != Node.STATE_SUCCEEDED:
                yield f"node {path} began, and {before.path}, which it waits for, is {Node.State.Name(before.state)}"
            elif before.end_time.ToMilliseconds() > child.create_time.ToMilliseconds() + _ESTIMATE_MS:
                yield f"node {path} began before {before.path}, which it waits for, had ended"
    if execution.state == State.STATE_SUCCEEDED:
        good = {Node.STATE_SUCCEEDED, Node.STATE_SKIPPED}
        for node in tree.nodes:
            if node.state not in good and node.kind != Node.KIND_ELEMENT:
                yield f"succeeded, and its node {node.path} is {Node.State.Name(node.state)}"
    for node in tree.nodes:
        pause = node.end_time.ToMilliseconds() - node.create_time.ToMilliseconds()
        if node.kind == Node.KIND_GATE and node.state == Node.STATE_SUCCEEDED and pause < _PAUSE_MS - _ESTIMATE_MS:
            yield f"gate {node.path} was passed after {pause} ms of {_PAUSE_MS}"


def _awaited(nodes: Mapping[str, graph_pb2.NodeStatus], path: str) -> Iterator[graph_pb2.NodeStatus]:
    """The nodes that must have succeeded before one begins: those of its array, or of its branch, if it is in one."""
    node = nodes[path]
    if node.kind == Node.KIND_ELEMENT:
        node = nodes[path.partition("/")[0]]
    while node.branch:
        node = nodes[node.branch]
    yield from (nodes[each] for each in node.upstream_node_ids)


# --- what can be computed


def _widening(n: int) -> int:
    return sum(number + 1 for number in range(n))


def _choosing(n: int) -> int:
    return n + 101 if n + 1 > bodies.MIDDLE else n + 1


def _bearing(numbers: Sequence[int]) -> int | None:
    good = [number for number in numbers if number % 3]
    return sum(good) if len(good) >= math.ceil(len(numbers) / 2) else None


def _nested(n: int) -> int:
    return _nested(n - 1) + _widening(n) if n else 1


_EXPECTED: Final[Mapping[str, Callable[[Mapping[str, Any]], int | None]]] = {
    bodies.widening.name: lambda inputs: _widening(inputs["n"]),
    bodies.choosing.name: lambda inputs: _choosing(inputs["n"]),
    bodies.bearing.name: lambda inputs: _bearing(inputs["numbers"]),
    bodies.nested.name: lambda inputs: _nested(inputs["n"]),
    bodies.pausing.name: lambda inputs: 2 * inputs["n"] + 1,
}


def _causes(error: execution_pb2.TaskError) -> Iterator[str]:
    while error.HasField("cause"):
        error = error.cause
        yield error.code
