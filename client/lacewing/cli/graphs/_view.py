"""What is known of a graph, and of the graphs in it, put in the order in which it is shown."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from lacewing.cli._messages import between_text
from lacewing.v1 import execution_pb2, graph_pb2, task_pb2, workflow_pb2

NodeStatus = graph_pb2.NodeStatus
State = NodeStatus.State

TROUBLED = frozenset({NodeStatus.STATE_FAILED, NodeStatus.STATE_TIMED_OUT})
"""States that a person looks for first."""

_ACTIVE = frozenset({NodeStatus.STATE_RUNNING, NodeStatus.STATE_QUEUED})
_CACHE = execution_pb2.CacheInfo
_CACHE_WORDS = {
    _CACHE.STATUS_HIT: "hit",
    _CACHE.STATUS_POPULATED: "populated",
    _CACHE.STATUS_MISS: "miss",
    _CACHE.STATUS_LOOKUP_FAILURE: "lookup failure",
    _CACHE.STATUS_PUT_FAILURE: "put failure",
    _CACHE.STATUS_SKIPPED: "skipped",
    _CACHE.STATUS_EVICTED: "evicted",
}


@dataclass(slots=True)
class GraphView:
    """An execution, and what is known of the graph that it runs."""

    execution: execution_pb2.Execution
    graph: task_pb2.Graph = field(default_factory=task_pb2.Graph)
    """What it is made of. Empty as long as that is not known."""
    nodes: dict[str, NodeStatus] = field(default_factory=dict)
    """Where each node stands, by path."""
    nested: dict[str, GraphView] = field(default_factory=dict)
    """The graphs that executions of nodes run, by the path of the node, as far as they were looked at."""

    def update(self, nodes: Iterable[NodeStatus]) -> None:
        """Take over where nodes stand now."""
        for node in nodes:
            self.nodes[node.path] = node


@dataclass(slots=True)
class Item:
    """A node with what it holds."""

    status: NodeStatus
    parts: list[Item] = field(default_factory=list)
    """Of a branch, its nodes; of an array, its elements that are known, by their index."""
    inside: list[Item] = field(default_factory=list)
    """The nodes of the graph that its execution runs, if that was looked at."""

    @property
    def title(self) -> str:
        """What people call it: its name, else that of the task that it or its elements run, else its path."""
        status = self.status
        if status.name not in {"", status.path}:
            return status.name
        if status.kind == NodeStatus.KIND_ELEMENT:
            return status.path
        runner = self.parts[0].status if status.kind == NodeStatus.KIND_ARRAY and self.parts else status
        return runner.task.name.rpartition(".")[2] or status.path

    @property
    def tally(self) -> Counter[State.ValueType]:
        """Of an array, how many elements are in each state; those that are not known are pending. Else empty."""
        if self.status.kind != NodeStatus.KIND_ARRAY:
            return Counter()
        counts = Counter(part.status.state for part in self.parts)
        unknown = self.status.element_count - len(self.parts)
        if unknown > 0:
            counts[NodeStatus.STATE_PENDING] += unknown
        return counts


def items_of(view: GraphView) -> list[Item]:
    """Return the nodes of a graph in its order, each with what it holds."""
    items = {path: Item(status) for path, status in view.nodes.items()}
    top: list[Item] = []
    for path, item in items.items():
        status = item.status
        holder = items.get(path.rpartition("/")[0] if status.kind == NodeStatus.KIND_ELEMENT else status.branch)
        (top if holder is None or holder is item else holder.parts).append(item)
        if path in view.nested:
            item.inside = items_of(view.nested[path])
    for item in items.values():
        if item.status.kind == NodeStatus.KIND_ARRAY:
            item.parts.sort(key=lambda element: _index(element.status.path))
    return top


def choose(items: Sequence[Item], most: int, *, is_filled: bool) -> tuple[list[Item], list[Item]]:
    """Choose which of many to show: those in trouble, then those that are active.

    Args:
        items: What there is.
        most: How many to choose at most.
        is_filled: Whether others follow until there are so many.

    Returns:
        The chosen ones and the others, both in their order. All are chosen if there are no more than `most`.
    """
    if len(items) <= most:
        return [*items], []
    ranked = sorted(range(len(items)), key=lambda index: _rank(items[index].status.state))
    if not is_filled:
        ranked = [index for index in ranked if _rank(items[index].status.state) < _OTHERS]
    chosen = {*ranked[:most]}
    shown = [item for index, item in enumerate(items) if index in chosen]
    return shown, [item for index, item in enumerate(items) if index not in chosen]


def state_word(state: State.ValueType) -> str:
    """Return `SUCCEEDED` for `STATE_SUCCEEDED`."""
    return State.Name(state).removeprefix("STATE_") if state in State.values() else str(state)


def tally_text(counts: Counter[State.ValueType]) -> str:
    """Return how many there are in each state: `2 failed, 4 running, 94 succeeded`."""
    ordered = sorted(counts, key=lambda state: (_rank(state), state))
    return ", ".join(f"{counts[state]} {state_word(state).lower().replace('_', ' ')}" for state in ordered)


def took_text(status: NodeStatus) -> str:
    """Return how long a node ran, or has run, or has waited to; empty if it was not reached."""
    if not status.HasField("create_time"):
        return ""
    begin = status.start_time if status.HasField("start_time") else status.create_time
    return between_text(begin, status.end_time if status.HasField("end_time") else None)


def cache_word(status: NodeStatus) -> str:
    """Return what memoization did for a node; empty if nothing."""
    return _CACHE_WORDS.get(status.cache_status, "")


def error_line(status: NodeStatus) -> str:
    """Return why a node did not succeed, on one line; empty if it is not known to have failed."""
    if not status.HasField("error"):
        return ""
    return f"{status.error.code}: {status.error.message.partition(chr(10))[0]}"


def gates_of(graph: task_pb2.Graph) -> Iterator[tuple[str, workflow_pb2.GateNode]]:
    """Yield the gates of a graph, those in its branches included, with the ids of their nodes."""
    pending = [*reversed(graph.workflow.nodes)]
    while pending:
        node = pending.pop()
        if node.HasField("gate_node"):
            yield node.id, node.gate_node
        elif node.HasField("branch_node"):
            pending += reversed([*_inner_nodes(node.branch_node.if_else)])


def _inner_nodes(block: workflow_pb2.IfElseBlock) -> Iterator[workflow_pb2.Node]:
    yield block.case.then_node
    for other in block.other:
        yield other.then_node
    if block.HasField("else_node"):
        yield block.else_node


_OTHERS = 2


def _rank(state: State.ValueType) -> int:
    return 0 if state in TROUBLED else 1 if state in _ACTIVE else _OTHERS


def _index(path: str) -> int:
    index = path.rpartition("/")[2]
    return int(index) if index.isdecimal() else 0
