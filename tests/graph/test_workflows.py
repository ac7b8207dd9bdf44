"""Workflows and dynamic tasks: they execute, list and memoize like any task."""

from __future__ import annotations

import asyncio

from engine.service import Attempt, Execution, value
from graph.service import GraphService, bound, graph, node, number, promise
from lacewing.v1 import execution_pb2, execution_service_pb2

SUCCEEDED, FAILED, RUNNING = Execution.STATE_SUCCEEDED, Execution.STATE_FAILED, Execution.STATE_RUNNING


async def test_values_flow_through_a_workflow(service: GraphService) -> None:
    """Inputs reach the first node, its output the second, that of this the caller; each node is an execution."""
    task = await service.register()
    name = await service.workflow(graph(node("a", task, n=promise("start-node", "n")), node("b", task, n=promise("a"))))
    created = await service.create(name, inputs_json={"n": 5})
    first = await service.run(task, 50)
    assert first.inputs.literals["n"].scalar.primitive.integer == 5
    second = await service.run(task, 500)
    assert second.inputs.literals["n"].scalar.primitive.integer == 50
    ended = await service.wait(created)
    assert (ended.state, value(ended), ended.attempt_count) == (SUCCEEDED, 500, 1)
    assert (ended.graph.node_count, ended.graph.succeeded_count, ended.graph.active_count) == (2, 2, 0)
    children = await service.children(created)
    assert {each.node for each in children} == {"a", "b"}
    assert all(each.parent == created.id and each.depth == 1 for each in children)


async def test_nodes_are_listed_with_their_task_and_parent_only(service: GraphService) -> None:
    """A list of what runs is not flooded by the nodes of graphs."""
    task = await service.register()
    created = await service.create(await service.workflow(graph(node("a", task))))
    await service.run(task, 1)
    await service.wait(created)
    listed = await service.stubs.executions.ListExecutions(execution_service_pb2.ListExecutionsRequest(page_size=500))
    shown = {each.id.name for each in listed.executions}
    assert created.id.name in shown
    (child,) = await service.children(created)
    assert child.id.name not in shown
    request = execution_service_pb2.ListExecutionsRequest(task_name=task)
    assert [each.id for each in (await service.stubs.executions.ListExecutions(request)).executions] == [child.id]


async def test_a_body_gives_a_graph_instead_of_outputs(service: GraphService) -> None:
    """The execution goes on with it as the same attempt, whose log is kept, and ends with its outputs."""
    task = await service.register()
    dynamic = await service.register("dynamic")
    created = await service.create(dynamic, inputs_json={"n": 3})
    lease = await service.lease(dynamic)
    nodes = [node(f"n{i}", task, n=number(i)) for i in range(3)]
    assert not (await service.expand(lease, graph(*nodes), "thinking")).HasField("error")
    for _ in range(3):
        piece = await service.lease(task)
        await service.succeed(piece, 10 * piece.inputs.literals["n"].scalar.primitive.integer)
    ended = await service.wait(created)
    assert (ended.state, value(ended), ended.attempt_count, ended.failure_count) == (SUCCEEDED, 20, 1, 0)
    (attempt,) = await service.attempts(created)
    assert (attempt.state, attempt.log_tail) == (Attempt.STATE_SUCCEEDED, "thinking")
    assert await service.states(created) == {"n0": "SUCCEEDED", "n1": "SUCCEEDED", "n2": "SUCCEEDED"}


async def test_a_graph_that_does_not_hold_fails_its_execution(service: GraphService) -> None:
    """For good, with every problem, before any node runs."""
    task = await service.register()
    dynamic = await service.register("dynamic", metadata={"retries": {"retries": 3}})
    created = await service.create(dynamic)
    bad = graph(node("a", task, n=promise("b")), node("b", "nobody", n=promise("a")), node("a", task))
    result = await service.expand(await service.lease(dynamic), bad)
    assert result.HasField("error")
    ended = await service.wait(created)
    assert (ended.state, ended.error.code, ended.error.recoverable) == (FAILED, "GraphInvalid", False)
    for part in ("nodes[2]", "nobody", "graph.workflow"):
        assert part in ended.error.message
    await service.no_lease(task)


async def test_an_empty_graph_gives_its_inputs(service: GraphService) -> None:
    """Outputs may come from inputs and constants."""
    name = await service.workflow({"workflow": {"nodes": [], "outputs": bound(o0=promise("start-node", "n"))}})
    ended = await service.execute(name, inputs_json={"n": 7})
    assert (ended.state, value(ended)) == (SUCCEEDED, 7)


async def test_a_workflow_is_a_node_of_another(service: GraphService) -> None:
    """The run of it is an execution with a graph of its own."""
    task = await service.register()
    inner = await service.workflow(graph(node("x", task, n=promise("start-node", "n"))), name="inner")
    outer_node = {"id": "w", "workflow_node": {"sub_workflow_ref": {"name": inner}}, "inputs": bound(n=number(4))}
    created = await service.create(await service.workflow(graph(outer_node), name="outer"))
    await service.run(task, 44)
    assert value(await service.wait(created)) == 44
    (child,) = await service.children(created)
    assert child.graph.node_count == 0  # absent in lists
    (grandchild,) = await service.children(child)
    assert (grandchild.depth, grandchild.node) == (2, "x")


async def test_what_a_graph_brings_along_is_registered(service: GraphService) -> None:
    """Its embedded tasks can be run at once, and executed by others after."""
    embedded = f"{service.prefix}.embedded"
    content = graph(node("a", embedded, n=number(1)))
    content["workflow"]["nodes"][0]["task_node"]["reference_id"]["version"] = "7"
    variables = {"variables": {"n": {"type": {"simple": "SIMPLE_TYPE_INTEGER"}}}}
    gives = {"variables": {"o0": {"type": {"simple": "SIMPLE_TYPE_INTEGER"}}}}
    content["tasks"] = [
        {
            "template": {
                "id": {"name": embedded, "version": "7"},
                "type": "raw",
                "interface": {"inputs": variables, "outputs": gives},
            }
        }
    ]
    created = await service.create(await service.workflow(content))
    await service.run(embedded, 3)
    assert value(await service.wait(created)) == 3
    direct = await service.create(embedded)
    await service.run(embedded, 4)
    assert value(await service.wait(direct)) == 4


async def test_a_whole_workflow_is_memoized(service: GraphService) -> None:
    """Like any task: the second time nothing runs."""
    task = await service.register()
    name = await service.workflow(
        graph(node("a", task, n=promise("start-node", "n"))), metadata={"discoverable": True, "discovery_version": "1"}
    )
    created = await service.create(name)
    await service.run(task, 9)
    await service.wait(created)
    again = await service.execute(name)
    assert (value(again), again.cache.status) == (9, execution_pb2.CacheInfo.STATUS_HIT)
    assert again.cache.producer == created.id


async def test_nodes_are_memoized_and_refreshed_with_their_graph(service: GraphService) -> None:
    """A hit is a node that has succeeded; a request to refresh runs the nodes too."""
    task = await service.register_cached()
    name = await service.workflow(graph(node("a", task)))
    first = await service.create(name)
    await service.run(task, 5)
    await service.wait(first)
    second = await service.execute(name)
    assert value(second) == 5
    assert (await service.nodes(second))["a"].cache_status == execution_pb2.CacheInfo.STATUS_HIT
    third = await service.create(name, cache_mode="CACHE_MODE_REFRESH")
    await service.run(task, 6)
    assert value(await service.wait(third)) == 6


async def test_at_most_so_many_nodes_run_at_a_time(service: GraphService) -> None:
    """Of a request, else of the task."""
    task = await service.register()
    nodes = [node(f"n{i}", task, n=number(i)) for i in range(5)]
    name = await service.workflow(graph(*nodes), policy={"max_parallelism": 2})
    created = await service.create(name)
    for left in (3, 2, 1, 0, 0):
        lease = await service.lease(task)
        states = list((await service.states(created)).values())
        assert states.count("PENDING") == left
        await service.succeed(lease, 1)
        while left and list((await service.states(created)).values()).count("PENDING") == left:
            await asyncio.sleep(0.005)
    ended = await service.wait(created)
    assert (ended.state, ended.max_parallelism) == (SUCCEEDED, 2)
