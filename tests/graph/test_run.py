"""How a graph runs, whatever the order in which its nodes end."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from lacewing.v1 import graph_pb2, task_pb2, workflow_pb2
from lacewing_server.domain.graph.plan import Plan, plan_of
from lacewing_server.domain.graph.run import FAILED, PENDING, RUNNING, SKIPPED, SUCCEEDED, Run

END_STATES = {SUCCEEDED, FAILED, SKIPPED}


@st.composite
def plans(draw: st.DrawFn) -> Plan:
    """Plans of acyclic graphs, some of whose nodes are branches."""
    workflow = workflow_pb2.WorkflowTemplate()
    for index in range(draw(st.integers(1, 8))):
        node = workflow.nodes.add(id=f"n{index}")
        if index:
            before = draw(st.sets(st.integers(0, index - 1), max_size=3))
            node.upstream_node_ids.extend(f"n{each}" for each in sorted(before))
        if draw(st.booleans()):
            block = node.branch_node.if_else
            block.case.then_node.id, block.else_node.id = f"n{index}-then", f"n{index}-else"
            block.case.then_node.task_node.SetInParent()
            block.else_node.task_node.SetInParent()
        else:
            node.task_node.SetInParent()
    return plan_of(task_pb2.Graph(workflow=workflow))


@given(plan=plans(), goes_on=st.booleans(), data=st.data())
def test_every_node_comes_to_one_end(*, plan: Plan, goes_on: bool, data: st.DataObject) -> None:
    """And none begins before all that it waits for have succeeded, nor after a failure that stops the graph."""
    run = Run(plan, goes_on_after_failure=goes_on)
    active: list[int] = []
    ended: list[int] = []
    begun: list[int] = []
    while not run.is_over:
        if run.has_ready and (not active or data.draw(st.booleans(), "begin")):
            assert not run.is_stopped
            index = run.begin()
            begun.append(index)
            node = plan.nodes[index]
            assert all(run.states[each] == SUCCEEDED for each in node.upstream)
            assert node.branch is None or run.states[node.branch] == RUNNING
            if node.kind == graph_pb2.NodeStatus.KIND_BRANCH:
                choice = data.draw(st.sampled_from([None, *node.inner]), "choice")
                run.choose(index, choice)
                if choice is None or run.states[choice] == SKIPPED:
                    ended += run.fail(index)
            else:
                active.append(index)
        else:
            index = active.pop(data.draw(st.integers(0, len(active) - 1), "which ends"))
            ended += run.fail(index) if data.draw(st.booleans(), "fails") else run.succeed(index)
    assert not active
    assert len(set(begun)) == len(begun)
    assert sorted(ended) == sorted(begun), "a node that has begun did not end, or ended twice"
    assert set(run.states) <= END_STATES
    assert PENDING not in run.states
    assert all(run.states[node.index] == SKIPPED for node in plan.nodes if node.index not in begun)


@given(plans())
def test_all_succeed_where_none_fails(plan: Plan) -> None:
    """Except for what branches did not choose."""
    run = Run(plan, goes_on_after_failure=False)
    while run.has_ready:
        index = run.begin()
        if plan.nodes[index].inner:
            run.choose(index, plan.nodes[index].inner[0])
        else:
            run.succeed(index)
    assert run.is_over
    others = {each for node in plan.nodes for each in node.inner[1:]}
    assert [run.states[node.index] for node in plan.nodes] == [
        SKIPPED if node.index in others else SUCCEEDED for node in plan.nodes
    ]
