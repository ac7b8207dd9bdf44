"""Who waits for whom."""

from __future__ import annotations

from google.protobuf import json_format

from graph.service import Json, graph, node, promise
from lacewing.v1 import graph_pb2, task_pb2
from lacewing_server.domain.graph.plan import Plan, plan_of


def planned(*nodes: Json, **workflow: Json) -> Plan:
    """The plan of a graph of these nodes."""
    return plan_of(json_format.ParseDict(graph(*nodes, **workflow), task_pb2.Graph()))


def chosen(node_id: str, *inner: Json) -> Json:
    """A branch that chooses one of two nodes."""
    condition = {"comparison": {"left_value": {"var": "n"}, "right_value": {"var": "n"}}}
    block = {"case": {"condition": condition, "then_node": inner[0]}, "else_node": inner[1]}
    return {"id": node_id, "branch_node": {"if_else": block}}


def test_a_node_waits_once_for_each_that_it_depends_on() -> None:
    """Whether it takes values, or only comes after; the inputs of the graph are nothing to wait for."""
    plan = planned(
        node("a", "t", n=promise("start-node", "n")),
        node("b", "t"),
        node("c", "t", after=("b", "a"), n=promise("a"), m=promise("a", "o1")),
    )
    assert [each.upstream for each in plan.nodes] == [(), (), (0, 1)]
    assert [each.downstream for each in plan.nodes] == [[2], [2], []]


def test_a_branch_waits_for_what_is_inside_of_it() -> None:
    """However deep; what is inside waits for nothing by itself."""
    inner = chosen("inner", node("deep", "t", n=promise("a")), node("other", "t"))
    plan = planned(node("a", "t"), chosen("outer", node("low", "t"), inner))
    by_id = {each.node.id: each for each in plan.nodes}
    assert [each.node.id for each in plan.nodes] == ["a", "outer", "low", "inner", "deep", "other"]
    assert [(name, each.upstream) for name, each in by_id.items() if each.upstream] == [("outer", (0,))]
    assert by_id["outer"].inner == (2, 3)
    assert by_id["inner"].inner == (4, 5)
    assert (by_id["deep"].branch, by_id["inner"].branch, by_id["outer"].branch) == (3, 1, None)


def test_the_failure_node_is_apart() -> None:
    """As are nodes that only stand for inputs and outputs."""
    plan = planned({"id": "start-node"}, node("a", "t"), {"id": "end-node"}, failure_node=node("f", "t"))
    assert [each.node.id for each in plan.nodes] == ["a"]
    assert plan.failure is not None
    assert (plan.failure.node.id, plan.failure.index) == ("f", -1)
    assert plan.failure.kind == graph_pb2.NodeStatus.KIND_TASK
