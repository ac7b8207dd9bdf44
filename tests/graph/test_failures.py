"""What happens when a node does not succeed, or the whole is cancelled; and how it is repeated."""

from __future__ import annotations

from typing import Any

from engine.service import Execution, eventually, value
from graph.service import GraphService, bound, graph, node, number, promise
from lacewing.v1 import execution_pb2, execution_service_pb2
from lacewing.v1.identifiers_pb2 import TaskId
from lacewing.v1.task_service_pb2 import ArchiveTaskRequest
from server.contract import refusal_of

SUCCEEDED, FAILED, CANCELLED = Execution.STATE_SUCCEEDED, Execution.STATE_FAILED, Execution.STATE_CANCELLED
GO_ON = {"metadata": {"on_failure": "ON_FAILURE_POLICY_FAIL_AFTER_EXECUTABLE_NODES_COMPLETE"}}


async def two_chains(service: GraphService, **workflow: Any) -> tuple[str, str, str]:
    """A workflow of a -> b beside c -> d, the task of the first chain and that of the second."""
    first, second = await service.register("first"), await service.register("second")
    nodes = (
        node("a", first),
        node("b", first, n=promise("a")),
        node("c", second),
        node("d", second, n=promise("c")),
    )
    return await service.workflow(graph(*nodes, **workflow)), first, second


async def test_a_failure_ends_the_graph_at_once(service: GraphService) -> None:
    """What runs is cancelled, what has not begun is skipped, and the error names node and execution."""
    name, first, second = await two_chains(service)
    created = await service.create(name)
    other = await service.lease(second)
    await service.fail(await service.lease(first), recoverable=False)
    ended = await service.wait(created)
    assert (ended.state, ended.error.code, ended.error.kind) == (
        FAILED,
        "NodeFailed",
        execution_pb2.TaskError.KIND_USER,
    )
    assert ended.error.message.startswith("node a (execution ")
    assert (ended.error.cause.code, ended.error.cause.message) == ("Oops", "Oops at attempt 1")
    assert (await service.succeed(other, 1)).HasField("error")
    assert await service.states(created) == {"a": "FAILED", "b": "SKIPPED", "c": "CANCELLED", "d": "SKIPPED"}
    await service.no_lease(second)


async def test_a_graph_may_go_on_after_a_failure(service: GraphService) -> None:
    """What does not depend on the node that failed runs to its end, and then the graph fails."""
    name, first, second = await two_chains(service, **GO_ON)
    created = await service.create(name)
    await service.fail(await service.lease(first), recoverable=False)
    await service.run(second, 1)
    await service.run(second, 2)
    ended = await service.wait(created)
    assert (ended.state, ended.error.cause.code) == (FAILED, "Oops")
    assert await service.states(created) == {"a": "FAILED", "b": "SKIPPED", "c": "SUCCEEDED", "d": "SUCCEEDED"}


async def test_nodes_have_their_own_retries(service: GraphService) -> None:
    """Those of their task, unless the node says otherwise; no retry of a node is one of the graph."""
    task = await service.register(policy={"backoff": {"initial": "0s"}})
    patient = node("a", task, metadata={"retries": {"retries": 1}, "timeout": "77s"})
    created = await service.create(await service.workflow(graph(patient)))
    lease = await service.lease(task)
    assert lease.attempt_timeout.ToSeconds() == 77
    await service.fail(lease)
    await service.run(task, 5)
    ended = await service.wait(created)
    assert (ended.state, value(ended), ended.attempt_count) == (SUCCEEDED, 5, 1)
    assert (await service.nodes(created))["a"].attempt_count == 2


async def test_what_a_node_says_of_its_task_reaches_the_worker(service: GraphService) -> None:
    """Settings and resources are for workers."""
    task = await service.register()
    special = node("a", task, metadata={"config": {"zone": "b"}})
    special["task_node"]["overrides"] = {"container_image": "better:1"}
    created = await service.create(await service.workflow(graph(special)))
    lease = await service.run(task, 1)
    assert (dict(lease.config), lease.overrides.container_image) == ({"zone": "b"}, "better:1")
    assert (await service.wait(created)).state == SUCCEEDED


async def test_a_node_may_switch_memoization_on(service: GraphService) -> None:
    """For a task that is not memoized by itself."""
    task = await service.register()
    kept = node("a", task, metadata={"cacheable": True, "cache_version": "1"})
    name = await service.workflow(graph(kept))
    created = await service.create(name)
    await service.run(task, 5)
    await service.wait(created)
    assert value(await service.execute(name)) == 5


async def test_a_node_that_follows_a_failure_is_told_of_it(service: GraphService) -> None:
    """It runs before the end, and changes nothing of it."""
    task = await service.register()
    simple = {"type": {"simple": "SIMPLE_TYPE_ERROR"}}
    interface = {"inputs": {"variables": {"err": simple}}, "outputs": {"variables": {}}}
    cleaner = await service.register("cleaner", template={"interface": interface})
    failure = {"id": "clean", "task_node": {"reference_id": {"name": cleaner}}}
    created = await service.create(await service.workflow(graph(node("a", task), failure_node=failure)))
    await service.fail(await service.lease(task), recoverable=False)
    lease = await service.lease(cleaner)
    told = lease.inputs.literals["err"].scalar.error
    assert told.failed_node_id == "a"
    assert "Oops" in told.message
    assert (await service.get(created)).state == Execution.STATE_RUNNING
    await service.fail(lease, recoverable=False)
    ended = await service.wait(created)
    assert (ended.state, ended.error.cause.code) == (FAILED, "Oops")


async def test_a_node_that_follows_a_failure_and_cannot_begin_changes_nothing(service: GraphService) -> None:
    """Its task was archived meanwhile; the execution ends with the error of the node that failed."""
    task, cleaner = await service.register(), await service.register("cleaner")
    failure = node("clean", cleaner)
    created = await service.create(await service.workflow(graph(node("a", task), failure_node=failure)))
    lease = await service.lease(task)
    await service.stubs.tasks.ArchiveTask(ArchiveTaskRequest(id=TaskId(name=cleaner)))
    await service.fail(lease, recoverable=False)
    ended = await service.wait(created)
    assert (ended.state, ended.error.cause.code) == (FAILED, "Oops")


async def test_a_cancelled_graph_cancels_its_nodes(service: GraphService) -> None:
    """And theirs: the whole tree."""
    task = await service.register()
    inner = await service.workflow(graph(node("x", task)), name="inner")
    outer_node = {"id": "w", "workflow_node": {"sub_workflow_ref": {"name": inner}}, "inputs": bound(n=number(4))}
    created = await service.create(await service.workflow(graph(outer_node), name="outer"))
    await service.lease(task)
    assert (await service.cancel(created, "enough")).state == CANCELLED
    (child,) = await service.children(created)
    assert (await service.wait(child)).state == CANCELLED
    (grandchild,) = await service.children(child)
    assert (await service.wait(grandchild)).state == CANCELLED
    assert await service.states(created) == {"w": "CANCELLED"}

    async def closed() -> bool:
        return service.world.store.zcard("lw:{0}:gx") == 0

    await eventually(closed)


async def test_a_deadline_ends_the_nodes_too(service: GraphService) -> None:
    """Of the whole, however long the nodes might take."""
    task = await service.register()
    created = await service.create(await service.workflow(graph(node("a", task))), deadline="30s")
    await service.lease(task)
    service.advance(31)
    ended = await service.wait(created)
    assert (ended.state, ended.error.code) == (Execution.STATE_TIMED_OUT, "DeadlineExceeded")
    (child,) = await service.children(created)
    assert (await service.wait(child)).state == CANCELLED


async def test_a_graph_has_no_attempt_timeout(service: GraphService) -> None:
    """That is for bodies; of a dynamic task it bounds what gives the graph."""
    task = await service.register()
    dynamic = await service.register("dynamic", metadata={"timeout": "10s"})
    created = await service.create(dynamic)
    await service.expand(await service.lease(dynamic), graph(node("a", task)))
    lease = await service.lease(task, lease_duration="3600s")
    service.advance(60)
    await service.succeed(lease, 5)
    assert value(await service.wait(created)) == 5


async def test_a_failed_graph_is_repeated_from_where_it_failed(service: GraphService) -> None:
    """Nodes that have succeeded are kept; the execution is a new one."""
    name, first, second = await two_chains(service, **GO_ON)
    created = await service.create(name)
    await service.run(second, 1)
    await service.run(second, 2)
    await service.run(first, 3)
    await service.fail(await service.lease(first), recoverable=False)
    assert (await service.wait(created)).state == FAILED
    again = await service.retry(created, failed_only=True)
    assert (again.id != created.id, again.retry_of) == (True, created.id)
    lease = await service.run(first, 4)
    assert lease.inputs.literals["n"].scalar.primitive.integer == 3
    ended = await service.wait(again)
    assert (ended.state, value(ended)) == (SUCCEEDED, 2)
    assert set((await service.states(again)).values()) == {"SUCCEEDED"}
    (child,) = await service.children(again)
    assert child.node == "b"
    await service.no_lease(second)


async def test_a_body_does_not_give_its_graph_again(service: GraphService) -> None:
    """What it gave is kept when only what failed is repeated; when all is, it runs again."""
    task = await service.register()
    dynamic = await service.register("dynamic")
    created = await service.create(dynamic)
    content = graph(node("a", task), node("b", task, n=promise("a")))
    await service.expand(await service.lease(dynamic), content)
    await service.run(task, 1)
    await service.fail(await service.lease(task), recoverable=False)
    assert (await service.wait(created)).state == FAILED
    again = await service.retry(created, failed_only=True)
    await service.run(task, 2)
    assert value(await service.wait(again)) == 2
    await service.no_lease(dynamic)
    whole = await service.retry(created)
    await service.expand(await service.lease(dynamic), content)
    await service.run(task, 1)
    await service.run(task, 3)
    assert value(await service.wait(whole)) == 3


async def test_a_graph_in_a_graph_is_repeated_from_where_it_failed(service: GraphService) -> None:
    """Only what failed in it, not the whole of the node."""
    task, last = await service.register(), await service.register("last")
    inner = await service.workflow(graph(node("a", task), node("b", last, n=promise("a"))), name="inner")
    outer_node = {"id": "w", "workflow_node": {"sub_workflow_ref": {"name": inner}}, "inputs": bound(n=number(4))}
    created = await service.create(await service.workflow(graph(outer_node), name="outer"))
    await service.run(task, 7)
    await service.fail(await service.lease(last), recoverable=False)
    assert (await service.wait(created)).state == FAILED
    again = await service.retry(created, failed_only=True)
    lease = await service.run(last, 8)
    assert lease.inputs.literals["n"].scalar.primitive.integer == 7
    assert value(await service.wait(again)) == 8
    await service.no_lease(task)


async def test_repeating_a_request_to_retry_gives_the_same_execution(service: GraphService) -> None:
    """By its request id."""
    task = await service.register()
    created = await service.create(task)
    await service.fail(await service.lease(task), recoverable=False)
    await service.wait(created)
    request = execution_service_pb2.RetryExecutionRequest(id=created.id, request_id=f"{task}-again")
    first = await service.stubs.executions.RetryExecution(request)
    second = await service.stubs.executions.RetryExecution(request)
    assert (first.execution.id, first.replayed, second.replayed) == (second.execution.id, False, True)
    assert first.execution.id != created.id


async def test_gates_take_no_answers_after_the_end(service: GraphService) -> None:
    """Nothing waits for them any more."""
    gate = {"id": "gate", "gate_node": {"approve": {"signal_id": "go"}}, "inputs": bound(n=number(1))}
    created = await service.create(await service.workflow(graph(gate, outputs={"o0": promise("gate", "n")})))
    await service.cancel(created)
    request = execution_service_pb2.SignalExecutionRequest(id=created.id, signal_id="go")
    request.value.scalar.primitive.boolean = True
    refusal = await refusal_of(service.stubs.executions.SignalExecution(request))
    assert (refusal.reason, refusal.metadata["state"]) == ("EXECUTION_ENDED", "CANCELLED")


async def test_graphs_are_bounded_in_depth(service: GraphService) -> None:
    """A body that gives graph after graph of itself comes to an end."""
    dynamic = await service.register("dynamic")
    created = await service.create(dynamic)
    for _ in range(16):
        assert not (await service.expand(await service.lease(dynamic), graph(node("d", dynamic)))).HasField("error")
    assert (await service.expand(await service.lease(dynamic), graph(node("d", dynamic)))).HasField("error")
    ended = await service.wait(created)
    assert ended.state == FAILED
    causes, error = [], ended.error
    while error.HasField("cause"):
        error = error.cause
        causes.append(error.code)
    assert causes[-1] in {"GraphInvalid", "NodeFailed"}
