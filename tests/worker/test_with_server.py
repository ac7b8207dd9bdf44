"""The worker with a real server and a real store: what a body or a worker suffers becomes the state it should."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest

import lacewing
from lacewing import testing
from lacewing.errors import TaskCancelled
from lacewing.task import AnyTask
from lacewing.v1 import execution_pb2
from lacewing.worker import Worker
from lacewing_server.valkey import EmbeddedValkey
from worker import bodies
from worker.cut import wire_to
from worker.leases import read_pid, until, until_ended

TASKS: Sequence[AnyTask] = [bodies.crash_once, bodies.hang_once, bodies.resist, bodies.wait, bodies.add]
Attempt = execution_pb2.Attempt


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    """A server of this module's own, which soon gives up a worker that is gone."""
    with testing.server(reconnect_grace=1.0) as server:
        yield server.address


@pytest.fixture
async def client(address: str) -> AsyncIterator[lacewing.Client]:
    async with lacewing.Client(address) as client:
        await client.register(*TASKS)
        yield client


@asynccontextmanager
async def working(address: str, **options: Any) -> AsyncIterator[Worker]:
    """Runs a worker with child processes, for the time of the block."""
    worker = Worker(address, TASKS, **({"slots": 2, "grace": 0.5} | options))
    running = asyncio.create_task(worker.run())
    connected = asyncio.create_task(worker.connected())
    await asyncio.wait([running, connected], return_when=asyncio.FIRST_COMPLETED)
    try:
        yield worker
    finally:
        connected.cancel()
        worker.stop()
        await asyncio.wait_for(running, 20)


async def attempts(client: lacewing.Client, execution: execution_pb2.Execution) -> list[Attempt]:
    """Returns the attempts of an execution in their order."""
    found = [attempt async for attempt in client.attempts(execution.id)]
    return sorted(found, key=lambda attempt: attempt.number)


async def test_a_crash_is_retried(client: lacewing.Client, address: str) -> None:
    """A body that is killed by a signal fails its attempt, with the signal and the log, and is run again."""
    async with working(address):
        handle = await client.submit(bodies.crash_once)
        assert await handle.result() == 2
        first, second = await attempts(client, await handle.status())
        assert (first.state, second.state) == (Attempt.STATE_FAILED, Attempt.STATE_SUCCEEDED)
        assert first.error.code == "WorkerCrashed"
        assert "SIGSEGV" in first.error.message
        assert "about to crash" in first.log_tail


async def test_a_timeout_is_retried_and_leaves_no_process(
    client: lacewing.Client, address: str, tmp_path: Path
) -> None:
    """A body that outlives its attempt timeout really ends, and is run again."""
    async with working(address):
        handle = await client.submit(bodies.hang_once, folder=str(tmp_path))
        assert await handle.result() == 2
        await until_ended(read_pid(tmp_path / "pid"))
        first, second = await attempts(client, await handle.status())
        assert (first.state, second.state) == (Attempt.STATE_TIMED_OUT, Attempt.STATE_SUCCEEDED)
        assert first.error.code == "AttemptTimeout"


async def test_a_cancellation_kills_the_body_and_all_it_started(
    client: lacewing.Client, address: str, tmp_path: Path
) -> None:
    """Even a body that ignores SIGTERM ends soon after its execution was cancelled; its slot is used again."""
    async with working(address, slots=1):
        handle = await client.submit(bodies.resist, folder=str(tmp_path))
        pids = [await until(partial(read_pid, tmp_path / name)) for name in ("pid", "near", "far")]
        await handle.cancel("enough")
        with pytest.raises(TaskCancelled, match="enough"):
            await handle.result()
        for pid in pids:
            await until_ended(pid)
        assert await client.execute(bodies.add, a=1) == 2


async def test_a_connection_that_breaks_costs_nothing(client: lacewing.Client, address: str, tmp_path: Path) -> None:
    """Cut off in the middle of a body, the worker comes back in time, and the body is neither lost nor run again."""
    async with wire_to(address) as wire, working(f"127.0.0.1:{wire.port}") as worker:
        handle = await client.submit(bodies.wait, folder=str(tmp_path))
        pid = await until(partial(read_pid, tmp_path / "attempt-1"))
        wire.cut()
        await until(lambda: not worker._connected.is_set())
        await asyncio.wait_for(worker.connected(), 20)
        (tmp_path / "go").touch()
        assert await handle.result() == "went"
        execution = await handle.status()
        assert (execution.attempt_count, execution.loss_count, execution.failure_count) == (1, 0, 0)
        assert pid == read_pid(tmp_path / "attempt-1")


async def test_what_a_worker_gives_back_is_run_by_another(
    client: lacewing.Client, address: str, tmp_path: Path
) -> None:
    """A worker that is stopped gives its attempt back at once; that is a loss, and no failure of the task."""
    async with working(address, slots=1) as one:
        handle = await client.submit(bodies.wait, folder=str(tmp_path))
        await until(partial(read_pid, tmp_path / "attempt-1"))
        one.stop()
        async with working(address, slots=1):
            await until(partial(read_pid, tmp_path / "attempt-2"))
            (tmp_path / "go").touch()
            assert await handle.result() == "went"
    execution = await handle.status()
    assert (execution.attempt_count, execution.loss_count, execution.failure_count) == (2, 1, 0)
    first, _ = await attempts(client, execution)
    assert first.state == Attempt.STATE_LOST


async def test_a_worker_that_is_killed_loses_nothing(client: lacewing.Client, address: str, tmp_path: Path) -> None:
    """After SIGKILL its processes are gone, and another worker runs the attempt once the grace has passed."""
    arguments = [sys.executable, "-m", "lacewing.worker", bodies.__file__, "--address", address, "--slots", "1"]
    program = await asyncio.create_subprocess_exec(*arguments, stderr=asyncio.subprocess.DEVNULL)
    handle = await client.submit(bodies.wait, folder=str(tmp_path))
    pid = await until(partial(read_pid, tmp_path / "attempt-1"))
    program.kill()
    await program.wait()
    await until_ended(pid)
    async with working(address, slots=1):
        await until(partial(read_pid, tmp_path / "attempt-2"))
        (tmp_path / "go").touch()
        assert await handle.result() == "went"
    execution = await handle.status()
    assert (execution.loss_count, execution.failure_count) == (1, 0)


async def test_a_server_that_restarts_costs_nothing(tmp_path: Path) -> None:
    """The body goes on while there is no server, and its result is taken by the next one."""
    (tmp_path / "store").mkdir()
    valkey = await asyncio.to_thread(EmbeddedValkey, tmp_path / "store", persist=False)
    try:
        first = testing.server(redis=valkey.url, shutdown_grace=0.1)
        address = (await asyncio.to_thread(first.__enter__)).address
        port = int(address.rpartition(":")[2])
        async with lacewing.Client(address) as client, working(address):
            handle = await client.submit(bodies.wait, folder=str(tmp_path))
            await until(partial(read_pid, tmp_path / "attempt-1"))
            await asyncio.to_thread(first.__exit__, None, None, None)
            second = testing.server(redis=valkey.url, port=port)
            await asyncio.to_thread(second.__enter__)
            (tmp_path / "go").touch()
            assert await handle.result() == "went"
            execution = await handle.status()
            assert (execution.attempt_count, execution.loss_count) == (1, 0)
        await asyncio.to_thread(second.__exit__, None, None, None)
    finally:
        valkey.stop()
