"""Bodies that build graphs: what the worker reports of them, from child processes, threads and the event loop."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

import lacewing
from lacewing.task import AnyTask
from lacewing.v1 import execution_pb2, task_pb2, worker_service_pb2, workflow_pb2
from lacewing.worker import Worker
from lacewing.worker._attempt import Attempt, Stop
from worker import graph_bodies as bodies
from worker.leases import lease, until
from worker.pool import Pool, running, written
from worker.work_server import TaskServer, WorkServer, serving

pytestmark = pytest.mark.asyncio(loop_scope="module")

PROCESS_TASKS: list[AnyTask] = [
    bodies.fan_out,
    bodies.fan_out_soon,
    bodies.nested,
    bodies.decide_by_a_promise,
    bodies.return_another,
    bodies.return_short,
    bodies.build_while_stopped,
    bodies.plain,
]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def pool() -> AsyncIterator[Pool]:
    registered = [(task.name, task.exact_version) for task in (*PROCESS_TASKS, bodies.add)]
    async with running(tasks=PROCESS_TASKS, registered=registered) as pool:
        yield pool


def called(graph: task_pb2.Graph) -> list[str]:
    """Returns what each node runs, with its version."""
    references = [
        node.workflow_node.sub_workflow_ref if node.HasField("workflow_node") else node.task_node.reference_id
        for node in graph.workflow.nodes
    ]
    return [f"{reference.name}@{reference.version}" for reference in references]


async def test_a_body_that_calls_tasks_gives_a_graph(pool: Pool) -> None:
    """It refers to what the worker has registered by its exact version, and says what happens on failure."""
    completion = await pool.run(bodies.fan_out, n=2)
    assert completion.WhichOneof("result") == "graph"
    graph = completion.graph
    assert called(graph) == [f"add@{bodies.add.exact_version}"] * 3
    assert not graph.tasks
    assert [node.inputs[0].binding.promise.node_id for node in graph.workflow.nodes[1:]] == ["n0", "n1"]
    assert graph.workflow.outputs[0].binding.promise.node_id == "n2"
    policy = workflow_pb2.WorkflowMetadata.ON_FAILURE_POLICY_FAIL_AFTER_EXECUTABLE_NODES_COMPLETE
    assert graph.workflow.metadata.on_failure == policy


async def test_a_body_that_calls_no_task_gives_outputs(pool: Pool) -> None:
    """A dynamic task is an ordinary one then; in an asynchronous body it is the same."""
    assert await pool.value(bodies.fan_out_soon, n=0) == 0
    completion = await pool.run(bodies.fan_out_soon, n=4)
    assert called(completion.graph) == [f"add@{bodies.add.exact_version}"]


async def test_what_is_not_registered_comes_along(pool: Pool) -> None:
    """Whole, with its policies; a workflow with its graph; the body itself is what its lease says it is."""
    attempt_lease = lease(bodies.nested, n=1)
    attempt_lease.task.version = "of the lease"
    completion = await pool.finish(Attempt(attempt_lease, bodies.nested))
    assert called(completion.graph) == [
        "nested@of the lease",
        f"inner@{bodies.inner.exact_version}",
        f"stranger@{bodies.stranger.exact_version}",
        f"add@{bodies.add.exact_version}",
    ]
    tasks = {task.template.id.name: task for task in completion.graph.tasks}
    assert set(tasks) == {"add", "inner", "stranger"}
    assert tasks["stranger"].template.metadata.retries.retries == 4
    assert tasks["inner"].graph.workflow == bodies.inner.spec.graph.workflow


async def test_calls_in_an_ordinary_body_run(pool: Pool) -> None:
    """Only bodies of dynamic tasks build graphs."""
    assert await pool.value(bodies.plain, n=3) == 5


async def test_a_wrong_graph_is_a_final_error(pool: Pool) -> None:
    """Its error says where in the body, and no attempt follows: it would be the same."""
    error = (await pool.run(bodies.decide_by_a_promise, n=1)).error
    assert (error.code, error.recoverable) == ("PromiseUsedAsValueError", False)
    assert error.kind == execution_pb2.TaskError.KIND_USER
    assert "conditional(...)" in error.message
    assert "return n if add(n) else 0" in error.stack_trace
    error = (await pool.run(bodies.return_another, n=1)).error
    assert (error.code, error.recoverable) == ("GraphBuildError", False)
    error = (await pool.run(bodies.return_short, n=1)).error
    assert (error.code, error.recoverable) == ("OutputsInvalid", False)


async def test_the_next_body_begins_anew(pool: Pool) -> None:
    """Nothing of a graph, nor of a failed one, is left in the process."""
    await pool.run(bodies.decide_by_a_promise, n=1)
    assert await pool.value(bodies.plain, n=0) == 2
    assert [node.id for node in (await pool.run(bodies.fan_out, n=0)).graph.workflow.nodes] == ["n0"]


async def test_a_graph_that_is_complete_when_it_is_stopped_counts(pool: Pool, tmp_path: Path) -> None:
    """Like outputs: the work of the body is done."""
    attempt = pool.start(bodies.build_while_stopped, folder=str(tmp_path))
    await written(tmp_path / "started")
    pool.stop(attempt, grace=10, why=Stop.ABANDONED)
    completion = await pool.result(attempt)
    assert completion.WhichOneof("result") == "graph"


async def _serve(tasks: list[AnyTask], *leases: worker_service_pb2.Lease, **options: Any) -> tuple[Any, Any, Any]:
    """Runs a worker until it has completed the leases; returns its stream, what it registered, and the completions."""
    work, task_server = WorkServer(), TaskServer()  # type: ignore[abstract] # they serve what is tested
    async with serving(work, task_server) as port:
        worker = Worker(f"127.0.0.1:{port}", tasks, slots=4, **options)
        running_worker = asyncio.create_task(worker.run())
        await until(lambda: work.streams or running_worker.done())
        for granted in leases:
            await until(lambda: work.stream.credit > 0)
            work.stream.lease(granted)
        await until(lambda: len(work.stream.completions) == len(leases))
        worker.stop()
        await running_worker
    return work.stream, task_server.requests, [work.stream.completions[each.token] for each in leases]


async def test_a_worker_registers_workflows_and_does_not_offer_them() -> None:
    """They come after the tasks, with their graphs; only tasks are offered."""
    tasks: list[AnyTask] = [bodies.inner, bodies.in_thread, bodies.on_loop]
    stream, requests, _ = await _serve(tasks)
    assert [request.id.name for request in requests] == ["in_thread", "on_loop", "inner"]
    assert requests[-1].spec == bodies.inner.spec
    assert list(stream.hello.offer.task_types) == ["python-task"]
    assert set(stream.hello.offer.task_names) == {"in_thread", "on_loop"}


async def test_bodies_in_the_worker_itself() -> None:
    """In a thread and on the event loop graphs are built as in a child process."""
    leases = lease(bodies.in_thread, n=1), lease(bodies.on_loop, n=1)
    tasks: list[AnyTask] = [bodies.in_thread, bodies.on_loop]
    _, _, completions = await _serve(tasks, *leases)
    for completion in completions:
        assert called(completion.graph) == [f"add@{bodies.add.exact_version}"]
        assert [task.template.id.name for task in completion.graph.tasks] == ["add"]


@pytest.mark.parametrize("register", [True, False])
async def test_a_worker_refers_only_to_what_it_has_registered(register: bool) -> None:  # noqa: FBT001 it is parametrized
    """A worker that registers nothing cannot know what is, so that its graphs bring everything along."""
    add_in_thread = lacewing.task(name="add", isolation="thread")(bodies.add.function)
    assert add_in_thread.exact_version == bodies.add.exact_version
    granted = lease(bodies.in_thread, n=1)
    tasks: list[AnyTask] = [bodies.in_thread, add_in_thread]
    _, _, (completion,) = await _serve(tasks, granted, register=register)
    assert called(completion.graph) == [f"add@{bodies.add.exact_version}"]
    assert [task.template.id.name for task in completion.graph.tasks] == ([] if register else ["add"])


async def test_a_graph_that_is_too_large_is_refused() -> None:
    """What the server would not take is an error that says so."""
    work, task_server = WorkServer(), TaskServer()  # type: ignore[abstract] # they serve what is tested
    work.welcome.max_outputs_bytes = 100
    async with serving(work, task_server) as port:
        worker = Worker(f"127.0.0.1:{port}", [bodies.in_thread], slots=1)
        running_worker = asyncio.create_task(worker.run())
        await until(lambda: work.streams and work.stream.credit > 0)
        granted = lease(bodies.in_thread, n=1)
        work.stream.lease(granted)
        completion = await until(lambda: work.stream.completions.get(granted.token))
        worker.stop()
        await running_worker
    assert completion.error.code == "GraphInvalid"
    assert "The graph has" in completion.error.message


async def test_a_worker_needs_something_to_run() -> None:
    """Workflows alone are for the server."""
    with pytest.raises(ValueError, match="workflows are run by the server"):
        Worker("127.0.0.1:1", [bodies.inner])
    reference = lacewing.reference_task("elsewhere")(bodies.add.function)
    with pytest.raises(ValueError, match="registered elsewhere"):
        Worker("127.0.0.1:1", [reference])
