"""A graph made ready to run: who waits for whom. Pure; for graphs that have been compiled."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final

from lacewing.v1 import bindings_pb2, graph_pb2, task_pb2, workflow_pb2
from lacewing_server.domain.graph.bindings import promises_of

_Kind = graph_pb2.NodeStatus

TERMINALS: Final = frozenset({"", "start-node", "end-node"})
"""What stands for the inputs and outputs of a graph, in place of the id of a node."""
INPUTS: Final = frozenset({"", "start-node"})
"""What stands for the inputs of a graph in a promise."""
_KINDS: Final = {
    "task_node": _Kind.KIND_TASK,
    "workflow_node": _Kind.KIND_WORKFLOW,
    "branch_node": _Kind.KIND_BRANCH,
    "gate_node": _Kind.KIND_GATE,
    "array_node": _Kind.KIND_ARRAY,
}
_EXECUTIONS: Final = frozenset({_Kind.KIND_TASK, _Kind.KIND_WORKFLOW})


@dataclass(slots=True)
class PlanNode:
    """A node and its place among the others."""

    index: int
    node: workflow_pb2.Node
    kind: graph_pb2.NodeStatus.Kind.ValueType
    branch: int | None = None
    """The branch it is inside, or None."""
    upstream: tuple[int, ...] = ()
    """The nodes it waits for. What a node inside of a branch waits for, the outermost branch does."""
    downstream: list[int] = field(default_factory=list)
    """The nodes that wait for it."""
    inner: tuple[int, ...] = ()
    """Of a branch, the nodes it chooses from, in order: case, others, else."""

    @property
    def is_execution(self) -> bool:
        """Whether it runs a task or a workflow, as one execution."""
        return self.kind in _EXECUTIONS


class Plan:
    """The nodes of a graph in its order, those inside a branch right after it. The failure node is not among them."""

    def __init__(self, graph: task_pb2.Graph) -> None:
        self.graph = graph
        self.nodes: list[PlanNode] = []
        self.outputs: Sequence[bindings_pb2.Binding] = graph.workflow.outputs
        for node in graph.workflow.nodes:
            if node.WhichOneof("target") is not None:
                self._add(node, None)
        self.by_id = {each.node.id: each.index for each in self.nodes}
        for each in self.nodes:
            if each.branch is None and (ids := _awaited(each.node)):
                each.upstream = tuple(dict.fromkeys(self.by_id[node_id] for node_id in ids if node_id in self.by_id))
                for before in each.upstream:
                    self.nodes[before].downstream.append(each.index)
        self.failure: PlanNode | None = None
        if graph.workflow.HasField("failure_node"):
            failure = graph.workflow.failure_node
            self.failure = PlanNode(-1, failure, _KINDS[failure.WhichOneof("target") or "task_node"])

    def _add(self, node: workflow_pb2.Node, branch: int | None) -> int:
        target = node.WhichOneof("target")
        assert target is not None
        added = PlanNode(len(self.nodes), node, _KINDS[target], branch)
        self.nodes.append(added)
        if target == "branch_node":
            added.inner = tuple(self._add(inner, added.index) for inner in choices_of(node))
        return added.index


def plan_of(graph: task_pb2.Graph) -> Plan:
    """Makes a graph that was compiled ready to run, in time proportional to its size."""
    return Plan(graph)


def choices_of(node: workflow_pb2.Node) -> Iterator[workflow_pb2.Node]:
    """The nodes that a branch chooses from, in order; nothing if it is none."""
    if node.HasField("branch_node"):
        block = node.branch_node.if_else
        yield block.case.then_node
        yield from (other.then_node for other in block.other)
        if block.HasField("else_node"):
            yield block.else_node


def _awaited(node: workflow_pb2.Node) -> list[str]:
    """The ids of what a node waits for, and what the nodes inside of it do."""
    ids = [promise.node_id for promise in promises_of(node.inputs)]
    if upstream := node.upstream_node_ids:
        ids += upstream
    for inner in choices_of(node):
        ids += _awaited(inner)
    return ids
