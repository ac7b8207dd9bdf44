"""The `Work` stream from the worker's side: credit, leases, results, revocations, drains, and streams that break."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import grpc
import pytest

import lacewing
from lacewing import errors
from lacewing.task import AnyTask
from lacewing.v1 import errors_pb2, execution_pb2, worker_service_pb2
from lacewing.worker import Worker
from worker import bodies
from worker.leases import is_alive, lease, read_pid, until, until_ended
from worker.work_server import Stream, TaskServer, WorkServer, serving

Revocation = worker_service_pb2.Revocation
TASKS: Sequence[AnyTask] = [
    *(bodies.add_in_thread, bodies.add_on_loop, bodies.wait_in_thread, bodies.hang_on_loop),
]
IN_PROCESSES: Sequence[AnyTask] = [bodies.add, bodies.hang, bodies.resist, bodies.report]


class House:
    """A server for tests and one worker.

    Attributes:
        work: The server of work.
        tasks: The server of tasks.
        port: The port of both.
        worker: The worker.
        running: The task in which it runs.
    """

    def __init__(self, port: int, work: WorkServer, tasks: TaskServer) -> None:
        self.port = port
        self.work = work
        self.tasks = tasks
        self.worker: Worker
        self.running: asyncio.Task[None]

    @property
    def stream(self) -> Stream:
        """The stream that was opened last."""
        return self.work.stream

    async def start(self, tasks: Sequence[AnyTask] = TASKS, **options: Any) -> Stream:
        """Starts a worker and waits until it is there."""
        self.worker = Worker(f"127.0.0.1:{self.port}", tasks, **({"slots": 4} | options))
        self.running = asyncio.create_task(self.worker.run())
        return await self.stream_number(1)

    async def stream_number(self, number: int) -> Stream:
        """Waits until so many streams were opened, and leases can be sent on the last one."""
        await until(lambda: len(self.work.streams) >= number or self.running.done())
        if self.running.done():
            self.running.result()
        return self.work.streams[number - 1]

    async def completion(self, token: bytes) -> worker_service_pb2.Completion:
        """Waits for the completion of a lease."""
        completion: worker_service_pb2.Completion = await until(lambda: self.stream.completions.get(token))
        return completion

    async def value(self, task: AnyTask, **inputs: Any) -> Any:
        """Leases one attempt and returns what its body returned."""
        granted = lease(task, **inputs)
        await until(lambda: self.stream.credit > 0)
        self.stream.lease(granted)
        completion = await self.completion(granted.token)
        assert completion.HasField("outputs"), completion
        return task.interface.literals_to_outputs(completion.outputs)


@pytest.fixture
async def house() -> AsyncIterator[House]:
    async with AsyncExitStack() as stack:
        work, tasks = WorkServer(), TaskServer()  # type: ignore[abstract] # they serve what is tested
        house = House(await stack.enter_async_context(serving(work, tasks)), work, tasks)
        yield house
        if hasattr(house, "running"):
            house.worker.stop()
            await asyncio.wait([house.running], timeout=20)
            house.running.cancel()


@asynccontextmanager
async def blocked(house: House, folder: Path) -> AsyncIterator[worker_service_pb2.Lease]:
    """Has a body wait in a thread of the worker, for the time of the block."""
    granted = lease(bodies.wait_in_thread, folder=str(folder))
    house.stream.lease(granted)
    await until((folder / "started").exists)
    try:
        yield granted
    finally:
        (folder / "go").touch()


async def test_a_worker_introduces_itself(house: House) -> None:
    """Hello names the worker, what it offers, its labels and its software; the tasks are registered before."""
    stream = await house.start(name="me", project="p", domain="d", labels={"zone": "a"}, slots=3)
    hello = stream.hello
    assert (hello.worker, dict(hello.labels)) == ("me", {"zone": "a"})
    assert hello.sdk.startswith("lacewing-python/")
    assert list(hello.offer.task_types) == ["python-task"]
    assert (hello.offer.project, hello.offer.domain) == ("p", "d")
    assert set(hello.offer.task_names) == {task.name for task in TASKS}
    assert not hello.held_leases
    await until(lambda: stream.credit == 3)
    assert {request.id.name for request in house.tasks.requests} == {task.name for task in TASKS}
    assert all(request.id.project == "p" for request in house.tasks.requests)


async def test_queues_are_those_of_the_tasks(house: House) -> None:
    """A worker offers the queues that its tasks name, unless it is told others."""

    @lacewing.task(queue="gpu", isolation="thread")
    async def on_gpu() -> None:
        """Does nothing."""

    stream = await house.start([on_gpu, bodies.add_on_loop])
    assert set(stream.hello.offer.queues) == {"gpu", "default"}


async def test_bodies_run_in_the_worker_and_in_child_processes(house: House) -> None:
    """One worker runs tasks of both kinds of isolation."""
    await house.start([*TASKS, *IN_PROCESSES])
    assert await house.value(bodies.add, a=40, b=2) == 42
    assert await house.value(bodies.add_in_thread, a=40, b=2) == 42
    assert await house.value(bodies.add_on_loop, a=40, b=2) == 42


async def test_the_isolation_of_all_tasks_can_be_set(house: House) -> None:
    """A worker that is told so runs every body in itself."""
    await house.start([bodies.process_id], isolation="thread")
    assert await house.value(bodies.process_id) == os.getpid()


async def test_a_result_brings_its_slot_back(house: House) -> None:
    """Credit is what is free: it comes back in the very message that holds the completion, and never is too much."""
    stream = await house.start(slots=2)
    await until(lambda: stream.credit == 2)
    for _ in range(20):
        leases = [lease(bodies.add_on_loop, a=1), lease(bodies.add_in_thread, a=2)]
        stream.lease(*leases)
        for granted in leases:
            await house.completion(granted.token)
        await until(lambda: stream.credit == 2)
    for message in stream.messages[1:]:
        assert message.credit == len(message.completions)


async def test_results_of_a_batch_go_out_together(house: House) -> None:
    """A thousand leases in one message are answered in a few."""
    stream = await house.start(slots=1000)
    await until(lambda: stream.credit == 1000)
    leases = [lease(bodies.add_on_loop, a=number) for number in range(1000)]
    stream.lease(*leases)
    await until(lambda: len(stream.completions) == 1000)
    await until(lambda: stream.credit == 1000)
    assert len(stream.messages) < 10
    outputs = stream.completions[leases[7].token].outputs
    assert bodies.add_on_loop.interface.literals_to_outputs(outputs) == 8


async def test_signs_of_life_are_sent_each_interval(house: House, tmp_path: Path) -> None:
    """Every lease that is held has a heartbeat, all in one message, as often as the server asks."""
    house.work.welcome.heartbeat_interval.FromMilliseconds(40)
    stream = await house.start()
    (tmp_path / "2").mkdir()
    async with blocked(house, tmp_path) as one, blocked(house, tmp_path / "2") as two:
        await until(lambda: len(stream.heartbeats) >= 6)
        beats = [message for message in stream.messages if message.heartbeats]
        assert {beat.token for beat in beats[-1].heartbeats} == {one.token, two.token}


async def test_progress_is_sent_while_the_body_runs(house: House, tmp_path: Path) -> None:
    """What a body reports reaches the server in a heartbeat, before the result."""
    stream = await house.start(IN_PROCESSES)
    granted = lease(bodies.report, folder=str(tmp_path))
    stream.lease(granted)
    beat = await until(lambda: next((beat for beat in stream.heartbeats if beat.HasField("progress")), None))
    assert beat.token == granted.token
    assert beat.progress == execution_pb2.Progress(fraction=0.5, message="half")
    assert not stream.completions
    (tmp_path / "go").touch()
    assert (await house.completion(granted.token)).HasField("outputs")


async def test_a_timeout_stops_the_body(house: House, tmp_path: Path) -> None:
    """A body that runs longer than its attempt timeout is stopped, and reported with the place where it was."""
    stream = await house.start(IN_PROCESSES)
    granted = lease(bodies.hang, timeout=0.2, folder=str(tmp_path))
    stream.lease(granted)
    completion = await house.completion(granted.token)
    assert completion.WhichOneof("result") == "timed_out"
    assert "bodies.py" in completion.timed_out.stack_trace
    pid = read_pid(tmp_path / "pid")
    assert pid
    await until_ended(pid)
    assert await house.value(bodies.add, a=1) == 2


async def test_a_body_that_never_stops_talking_does_not_keep_the_worker(house: House) -> None:
    """While bodies write and report without end, others run; and the end of the log is kept."""
    stream = await house.start([bodies.flood, bodies.add_on_loop])
    leases = [lease(bodies.flood, timeout=0.5) for _ in range(3)]
    stream.lease(*leases)
    assert await house.value(bodies.add_on_loop, a=1) == 2
    for granted in leases:
        completion = await house.completion(granted.token)
        assert completion.WhichOneof("result") == "timed_out"
        assert completion.log_tail == "x" * 16 * 1024


async def test_a_timeout_cancels_an_asynchronous_body(house: House, tmp_path: Path) -> None:
    """On the event loop a body is cancelled, and its `finally` runs."""
    stream = await house.start()
    granted = lease(bodies.hang_on_loop, timeout=0.02, folder=str(tmp_path))
    stream.lease(granted)
    completion = await house.completion(granted.token)
    assert completion.WhichOneof("result") == "timed_out"
    assert "bodies.py" in completion.timed_out.stack_trace
    assert (tmp_path / "stopped").exists()


async def test_a_thread_that_is_too_slow_keeps_its_slot(house: House, tmp_path: Path) -> None:
    """A body in a thread cannot be stopped: it is reported at its timeout, and its slot is free once it has ended."""
    stream = await house.start(slots=1)
    granted = lease(bodies.wait_in_thread, timeout=0.02, folder=str(tmp_path))
    stream.lease(granted)
    assert (await house.completion(granted.token)).WhichOneof("result") == "timed_out"
    assert stream.credit == 0
    assert sum(message.credit for message in stream.messages) == 1
    (tmp_path / "go").touch()
    await until(lambda: stream.credit == 1)
    assert len(stream.completions) == 1


@pytest.mark.parametrize("reason", [Revocation.REASON_CANCELLED, Revocation.REASON_TIMED_OUT, Revocation.REASON_LOST])
async def test_a_lease_that_is_revoked_is_stopped_and_not_reported(
    house: House, tmp_path: Path, reason: worker_service_pb2.Revocation.Reason.ValueType
) -> None:
    """The body ends, nothing is reported of it, and its slot is granted again."""
    stream = await house.start(IN_PROCESSES, slots=1)
    granted = lease(bodies.hang, folder=str(tmp_path))
    stream.lease(granted)
    pid = await until(lambda: read_pid(tmp_path / "pid"))
    stream.revoke(granted.token, reason)
    await until_ended(pid)
    await until(lambda: stream.credit == 1)
    assert await house.value(bodies.add, a=1) == 2
    assert granted.token not in stream.completions


async def test_a_revoked_body_that_resists_is_killed(house: House, tmp_path: Path) -> None:
    """After the grace it is killed with all that it started."""
    stream = await house.start(IN_PROCESSES, slots=1, grace=0.05)
    granted = lease(bodies.resist, folder=str(tmp_path))
    stream.lease(granted)
    pids = [await until(partial(read_pid, tmp_path / name)) for name in ("pid", "near", "far")]
    stream.revoke(granted.token, Revocation.REASON_CANCELLED)
    for pid in pids:
        await until_ended(pid)
    assert await house.value(bodies.add, a=1) == 2


async def test_revoking_what_is_not_held_does_nothing(house: House) -> None:
    """A revocation may cross the result on its way."""
    stream = await house.start()
    stream.revoke(b"unknown", Revocation.REASON_LOST)
    assert await house.value(bodies.add_on_loop, a=1) == 2


async def test_bodies_go_on_when_the_stream_breaks(house: House, tmp_path: Path) -> None:
    """The worker connects again, names the leases it still holds, and reports their results on the new stream."""
    stream = await house.start(slots=2)
    async with blocked(house, tmp_path) as granted:
        stream.end(grpc.StatusCode.UNAVAILABLE)
        stream = await house.stream_number(2)
        assert list(stream.hello.held_leases) == [granted.token]
        await until(lambda: stream.credit == 1)
    assert (await house.completion(granted.token)).HasField("outputs")
    await until(lambda: stream.credit == 2)


async def test_results_that_were_not_acknowledged_are_sent_again(house: House) -> None:
    """A completion is sent on each stream until it is acknowledged, and then no more."""
    house.work.acknowledges = False
    stream = await house.start()
    granted = lease(bodies.add_on_loop, a=1)
    stream.lease(granted)
    first = await house.completion(granted.token)
    stream.end(grpc.StatusCode.UNAVAILABLE)
    house.work.acknowledges = True
    stream = await house.stream_number(2)
    assert await house.completion(granted.token) == first
    assert await house.value(bodies.add_on_loop, a=1) == 2
    stream.end(grpc.StatusCode.UNAVAILABLE)
    stream = await house.stream_number(3)
    assert await house.value(bodies.add_on_loop, a=1) == 2
    assert granted.token not in stream.completions


async def test_a_server_that_restarts_finds_its_worker_again(house: House, tmp_path: Path) -> None:
    """A worker outlives its server: it comes back to the same address, with what it holds."""
    async with AsyncExitStack() as stack:
        work, tasks = WorkServer(), TaskServer()  # type: ignore[abstract] # they serve what is tested
        port = await stack.enter_async_context(serving(work, tasks))
        here = House(port, work, tasks)
        await here.start()
        granted = lease(bodies.wait_in_thread, folder=str(tmp_path))
        here.stream.lease(granted)
        await until((tmp_path / "started").exists)
        await stack.aclose()
        await stack.enter_async_context(serving(work, tasks, port))
        stream = await here.stream_number(2)
        assert granted.token in stream.hello.held_leases
        (tmp_path / "go").touch()
        assert (await here.completion(granted.token)).HasField("outputs")
        here.worker.drain()
        await asyncio.wait_for(here.running, 20)


async def test_a_result_is_sent_again_when_the_store_was_unavailable(house: House) -> None:
    """`STORE_UNAVAILABLE` means to send the completion again, on the same stream."""
    refusals = [errors_pb2.RequestError(code=14, reason=errors_pb2.ERROR_REASON_STORE_UNAVAILABLE)]
    refusals[0].retry_delay.FromMilliseconds(10)
    house.work.refuse = lambda _completion: refusals.pop() if refusals else None
    stream = await house.start()
    granted = lease(bodies.add_on_loop, a=1)
    stream.lease(granted)
    sent = await until(
        lambda: [each for message in stream.messages for each in message.completions if len(message.completions)][1:]
    )
    assert [each.token for each in sent] == [granted.token]
    assert len(house.work.streams) == 1


@pytest.mark.parametrize("reason", [errors_pb2.ERROR_REASON_LEASE_LOST, errors_pb2.ERROR_REASON_OUTPUTS_INVALID])
async def test_a_result_that_is_refused_is_dropped(house: House, reason: errors_pb2.ErrorReason.ValueType) -> None:
    """A lost lease or outputs that do not fit are not sent again, and the worker goes on."""
    house.work.refuse = lambda _completion: errors_pb2.RequestError(code=9, reason=reason, message="refused")
    stream = await house.start()
    assert await house.value(bodies.add_on_loop, a=1) == 2
    stream.end(grpc.StatusCode.UNAVAILABLE)
    await house.stream_number(2)
    assert await house.value(bodies.add_on_loop, a=2) == 3
    assert len(house.stream.completions) == 1


async def test_a_lease_of_an_unknown_task_is_given_back(house: House) -> None:
    """A worker does not run what it has not; it says so."""
    stream = await house.start()
    granted = lease(bodies.add, a=1)
    stream.lease(granted)
    completion = await house.completion(granted.token)
    assert "'add'" in completion.abandoned.reason
    await until(lambda: stream.credit == 4)


async def test_draining_finishes_what_is_held(house: House, tmp_path: Path) -> None:
    """A worker that drains says so, takes no more leases, finishes, half-closes the stream and is done."""
    stream = await house.start()
    async with blocked(house, tmp_path) as granted:
        house.worker.drain()
        await until(lambda: stream.drain is not None)
        assert not house.running.done()
        assert not stream.half_closed
    await asyncio.wait_for(house.running, 20)
    assert stream.completions[granted.token].HasField("outputs")
    assert stream.half_closed
    assert sum(message.credit for message in stream.messages) == 4


async def test_draining_gives_back_what_takes_too_long(house: House, tmp_path: Path) -> None:
    """After `drain_timeout` bodies are stopped, and their attempts are given back."""
    stream = await house.start(IN_PROCESSES, drain_timeout=0.02)
    granted = lease(bodies.hang, folder=str(tmp_path))
    stream.lease(granted)
    pid = await until(lambda: read_pid(tmp_path / "pid"))
    house.worker.drain()
    await asyncio.wait_for(house.running, 20)
    assert stream.completions[granted.token].WhichOneof("result") == "abandoned"
    assert (tmp_path / "stopped").exists()
    assert not is_alive(pid)


async def test_a_worker_that_is_stopped_gives_everything_back_at_once(house: House, tmp_path: Path) -> None:
    """`stop` waits for no body, not even for one that resists."""
    stream = await house.start(IN_PROCESSES)
    granted = lease(bodies.resist, folder=str(tmp_path))
    stream.lease(granted)
    pids = [await until(partial(read_pid, tmp_path / name)) for name in ("pid", "near", "far")]
    house.worker.stop()
    await asyncio.wait_for(house.running, 20)
    assert stream.completions[granted.token].WhichOneof("result") == "abandoned"
    for pid in pids:
        await until_ended(pid)


async def test_a_server_that_drains_is_left_for_another(house: House, tmp_path: Path) -> None:
    """The worker finishes what it holds, half-closes the stream, and connects again for new leases."""
    stream = await house.start()
    async with blocked(house, tmp_path) as granted:
        stream.send(drain=worker_service_pb2.Drain(reason="restart"))
        assert not stream.half_closed
    await house.stream_number(2)
    assert stream.half_closed
    assert stream.completions[granted.token].HasField("outputs")
    assert await house.value(bodies.add_on_loop, a=1) == 2


async def test_a_worker_waits_for_a_server_that_is_not_there(house: House) -> None:
    """A worker that is drained while it looks for a server is done at once."""
    async with serving(house.work, house.tasks) as port:
        pass
    worker = Worker(f"127.0.0.1:{port}", TASKS, slots=1, register=False)
    running = asyncio.create_task(worker.run())
    await asyncio.sleep(0.03)
    assert not running.done()
    worker.drain()
    await asyncio.wait_for(running, 20)


async def test_a_worker_that_is_refused_gives_up(house: House) -> None:
    """A status that says that the worker is at fault is raised, and nothing is tried again."""
    stream = await house.start()
    stream.end(grpc.StatusCode.INVALID_ARGUMENT)
    with pytest.raises(errors.LacewingError, match="broken on purpose"):
        await asyncio.wait_for(house.running, 20)
    assert len(house.work.streams) == 1


async def test_a_registration_that_conflicts_stops_the_start(house: House) -> None:
    """A task that is registered with another spec under its version is told at once."""
    house.tasks.refuse = grpc.StatusCode.ALREADY_EXISTS
    with pytest.raises(errors.LacewingError, match="another spec"):
        await house.start()


async def test_two_tasks_of_one_name_are_refused() -> None:
    """A worker cannot tell them apart."""

    @lacewing.task(name="add")
    def another() -> None:
        """Does nothing."""

    with pytest.raises(ValueError, match="'add'"):
        Worker("127.0.0.1:1", [bodies.add, another])
    with pytest.raises(ValueError, match="task"):
        Worker("127.0.0.1:1", [])
