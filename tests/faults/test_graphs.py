"""The rules of graphs, each on a history that keeps it and on one that breaks it: what cannot fail proves nothing."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from faults import bodies
from faults.checks import Case, check
from faults.graphs import GRAPH_RULES, Tree, check_tree
from faults.history import History, Run, State
from faults.test_checks import made
from lacewing.v1 import execution_pb2, graph_pb2

Attempt = execution_pb2.Attempt
Node = graph_pb2.NodeStatus
TreeChange = Callable[[Tree], object]
CaseChange = Callable[[Case], object]


def run_of(tree: Tree) -> Run:
    """The run of the body of an execution's only attempt."""
    name = tree.execution.id.name
    start, end = (time.ToMilliseconds() / 1000 for time in (tree.execution.create_time, tree.execution.end_time))
    return Run(name, 1, 77, "w0-1", start, end, "end")


def child(directory: Path, node: str, start: float, seconds: float = 0.5) -> Tree:
    """The execution of a node, which has succeeded."""
    case = made(directory, bodies.dwell, name=f"x-{node}", start=start, seconds=seconds)
    case.execution.task.name, case.execution.node = bodies.dwell.name, node
    return Tree(case.execution, case.attempts)


def grown(directory: Path) -> Tree:
    """A graph of two nodes of which the second waits for a gate, which waits for the first."""
    case = made(directory, bodies.pausing, seconds=4.0)
    children = [child(directory, "n0", 100.1), child(directory, "n2", 102.6)]
    nodes = []
    for path, kind, start, end, upstream in (
        ("n0", Node.KIND_TASK, 100.1, 100.6, ()),
        ("n1", Node.KIND_GATE, 100.7, 102.5, ("n0",)),
        ("n2", Node.KIND_TASK, 102.6, 103.1, ("n1",)),
    ):
        node = Node(path=path, kind=kind, state=Node.STATE_SUCCEEDED, upstream_node_ids=upstream)
        node.create_time.FromMilliseconds(round(start * 1000))
        node.end_time.FromMilliseconds(round(end * 1000))
        nodes.append(node)
    return Tree(case.execution, case.attempts, nodes, children)


def problems(directory: Path, tree: Tree, runs: dict[str, list[Run]] | None = None) -> list[str]:
    """What is wrong with all that ran in a graph."""
    history = History(directory)
    history.wall_offset = 0.0
    found = {each.execution.id.name: [run_of(each)] for each in tree.children} if runs is None else runs
    return list(check_tree(tree, history, found))


def test_a_graph_that_keeps_all_promises_is_not_reproached(tmp_path: Path) -> None:
    """Its nodes ran once each, in their order."""
    assert problems(tmp_path, grown(tmp_path)) == []


def _alive(tree: Tree) -> None:
    tree.children[1].execution.state = State.STATE_RUNNING


def _twice(tree: Tree) -> None:
    tree.children[1].execution.node = "n0"


def _unknown(tree: Tree) -> None:
    tree.children[1].execution.node = "n9"


def _too_soon(tree: Tree) -> None:
    tree.children[1].execution.create_time.FromMilliseconds(102_000)


def _too_late(tree: Tree) -> None:
    tree.execution.end_time.FromMilliseconds(102_000)


def _after_a_failure(tree: Tree) -> None:
    tree.nodes[1].state = Node.STATE_FAILED


def _short_pause(tree: Tree) -> None:
    tree.nodes[1].create_time.FromMilliseconds(102_200)


def _many_attempts(tree: Tree) -> None:
    tree.children[0].execution.failure_count = 3


def _uncounted(tree: Tree) -> None:
    tree.children[0].execution.attempt_count = 2


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (_alive, "is alive"),
        (_twice, "node n0 is 2 executions"),
        (_unknown, "node n9 ran, and the graph has none of that name"),
        (_too_soon, "node n2 began before n1, which it waits for, had ended"),
        (_too_late, "node n2 began after the graph had ended"),
        (_after_a_failure, "node n2 began, and n1, which it waits for, is STATE_FAILED"),
        (_after_a_failure, "succeeded, and its node n1 is STATE_FAILED"),
        (_short_pause, "gate n1 was passed after 300 ms"),
        (_many_attempts, "failed 3 times with 1 retries"),
        (_uncounted, "its attempts are numbered [1], and it had 2"),
    ],
)
def test_what_is_wrong_in_a_graph_is_said(tmp_path: Path, change: TreeChange, says: str) -> None:
    """One thing at a time."""
    tree = grown(tmp_path)
    change(tree)
    assert any(says in each for each in problems(tmp_path, tree)), problems(tmp_path, tree)


def test_a_node_whose_attempt_ran_twice_is_told(tmp_path: Path) -> None:
    """By the runs of bodies, whatever the server says."""
    tree = grown(tmp_path)
    runs = {"x-n0": [run_of(tree.children[0])] * 2}
    assert any("attempt 1 ran 2 times" in each for each in problems(tmp_path, tree, runs))


def test_elements_and_nodes_of_branches_wait_for_what_these_wait_for(tmp_path: Path) -> None:
    """Although they name nothing themselves."""
    for change in ({"path": "n2/0", "kind": Node.KIND_ELEMENT}, {"path": "inner", "branch": "n2"}):
        tree = grown(tmp_path)
        tree.nodes = [*tree.nodes, Node(state=Node.STATE_SUCCEEDED, **change)]
        tree.children[1].execution.node = str(change["path"])
        assert problems(tmp_path, tree) == []
        _too_soon(tree)
        assert any("began before n1" in each for each in problems(tmp_path, tree))


def graph_case(directory: Path) -> Case:
    """A workflow that gave what it should."""
    case = made(directory, bodies.pausing)
    case.request.inputs, case.text, case.runs = {"n": 5}, "11", []
    return case


def _wrong_sum(case: Case) -> None:
    case.text = "12"


def _cancelled(case: Case) -> None:
    case.execution.state = State.STATE_CANCELLED


def _failed(case: Case) -> None:
    case.execution.state = State.STATE_FAILED
    case.execution.error.code = "NodeFailed"


def _timed_out(case: Case) -> None:
    case.execution.state = State.STATE_TIMED_OUT


def _lost(case: Case) -> None:
    case.execution.loss_count = 1


def _again(case: Case) -> None:
    case.execution.attempt_count = 2


def _leased(case: Case) -> None:
    case.attempts[0].state = Attempt.STATE_LEASED


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (_wrong_sum, "gave 12, and 11 is right"),
        (_cancelled, "was cancelled, which nobody asked for"),
        (_failed, "failed without a reason that counts"),
        (_timed_out, "timed out, and has no clock"),
        (_lost, "was lost 1 times, 0 of its attempts were"),
        (_again, "is a workflow, and had 2 attempts"),
        (_leased, "an attempt of it is leased"),
    ],
)
def test_what_is_wrong_with_what_a_graph_gave_is_said(tmp_path: Path, change: CaseChange, says: str) -> None:
    """One thing at a time."""
    case = graph_case(tmp_path)
    assert list(check(case, GRAPH_RULES)) == []
    change(case)
    assert any(says in each for each in check(case, GRAPH_RULES)), list(check(case, GRAPH_RULES))


def test_a_graph_may_fail_by_what_befell_its_nodes(tmp_path: Path) -> None:
    """Or because so many elements fail as its inputs say."""
    case = graph_case(tmp_path)
    _failed(case)
    case.execution.failure_count, case.attempts[0].state = 1, Attempt.STATE_FAILED
    case.execution.error.cause.code = "LossesExhausted"
    case.request.seen.clear()
    case.executions = case.executions[:1]
    assert list(check(case, GRAPH_RULES)) == []
    case.execution.error.ClearField("cause")
    case.request.task, case.request.inputs = bodies.bearing, {"numbers": [3, 6, 1]}
    assert list(check(case, GRAPH_RULES)) == []
    case.request.inputs = {"numbers": [3, 2, 1]}
    assert list(check(case, GRAPH_RULES)) != []
