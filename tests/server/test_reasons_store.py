"""A store that is full, gone, stopped or not what it should be: refusals that say so, and a server that comes back."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
import pytest
import redis

from lacewing.v1 import errors_pb2, execution_pb2, execution_service_pb2, identifiers_pb2, worker_service_pb2
from lacewing_server.testing import start_server
from lacewing_server.valkey import EmbeddedValkey
from server.contract import refusal_of
from server.world import PREFIX, Stubs, World, completion, connect, execution, registration, run_world

ExecutionId = identifiers_pb2.ExecutionId
WorkRequest = worker_service_pb2.WorkRequest


@pytest.fixture
def world() -> Iterator[World]:
    with run_world() as world:
        yield world


@asynccontextmanager
async def _working(stubs: Stubs) -> AsyncIterator[Any]:
    """A worker's stream that offers to run everything."""
    work = stubs.workers.Work(timeout=40)
    offer = worker_service_pb2.Offer(task_types=["raw"])
    await work.write(WorkRequest(hello=worker_service_pb2.Hello(worker="w", offer=offer)))
    assert (await work.read()).HasField("welcome")
    yield work
    work.cancel()


async def _next(work: Any, part: str) -> Any:
    while not getattr(response := await work.read(), part):
        pass
    return getattr(response, part)


async def test_a_full_store_takes_no_new_work_and_finishes_what_runs(world: World) -> None:
    """At the memory limit new work is refused, and what was accepted is leased, retried, finished, awaited and read."""
    async with connect(world.server.address) as stubs, _working(stubs) as work:
        await stubs.register(
            "full", template={"metadata": {"retries": {"retries": 1}}}, policy={"backoff": {"max": "0s"}}
        )
        created = [await stubs.create("full") for _ in range(3)]
        world.store.config_set("maxmemory", 1)
        before = world.contents()
        for call in (
            stubs.tasks.RegisterTask(registration("new")),
            stubs.executions.Execute(execution("full")),
            stubs.executions.CreateExecution(execution_service_pb2.CreateExecutionRequest(request=execution("full"))),
        ):
            refusal = await refusal_of(call)
            assert refusal.reason == "STORE_FULL"
        assert world.contents() == before

        waiting = stubs.executions.WaitExecution(
            execution_service_pb2.WaitExecutionRequest(id=created[0].id), timeout=30
        )
        await work.write(WorkRequest(credit=3))
        leases: list[Any] = []
        while len(leases) < 3:
            leases.extend(await _next(work, "leases"))
        failure = worker_service_pb2.Completion(token=leases[0].token)
        failure.error.code, failure.error.recoverable = "Busy", True
        cancel = execution_service_pb2.CancelExecutionRequest(id=leases[2].execution)
        await work.write(WorkRequest(completions=[failure, completion(leases[1].token)], credit=1))
        again = (await _next(work, "leases"))[0]
        assert again.attempt == 2
        await work.write(WorkRequest(completions=[completion(again.token)]))
        await stubs.executions.CancelExecution(cancel)
        assert (await waiting).execution.state == execution_pb2.Execution.STATE_SUCCEEDED
        states = [await _state(stubs, each.id) for each in created]
        assert states == ["SUCCEEDED", "SUCCEEDED", "CANCELLED"]

        world.store.config_set("maxmemory", 0)
        assert (await stubs.create("full")).id.name


async def test_a_full_store_does_not_let_servers_take_each_other_for_dead(world: World) -> None:
    """Servers keep their own leases alive at the memory limit, so that nothing that runs is taken from them."""
    with start_server(redis=world.valkey.url, reconnect_grace=0.1) as second:
        async with connect(world.server.address) as stubs, _working(stubs) as work, connect(second.address) as others:
            await stubs.register("long")
            created = await stubs.create("long")
            await work.write(WorkRequest(credit=1))
            (lease,) = await _next(work, "leases")
            world.store.config_set("maxmemory", 1)
            keys = [key for key in world.store.scan_iter() if key.startswith(PREFIX + b"server:")]
            assert len(keys) == 2
            for key in keys:
                lives: list[Any] = [world.store.pttl(key)]
                async with asyncio.timeout(20):
                    while lives[-1] <= min(lives):  # until it has been renewed
                        assert lives[-1] > 0, "the lease has run out"
                        await asyncio.sleep(0.005)
                        lives.append(world.store.pttl(key))
            await work.write(WorkRequest(completions=[completion(lease.token)]))
            (result,) = await _next(work, "results")
            assert not result.HasField("error")
            assert await _state(others, created.id) == "SUCCEEDED"
        assert world.server.log + second.log == ""


async def test_a_server_starts_on_a_full_store(world: World) -> None:
    """A restart at the memory limit can finish what was accepted before."""
    async with connect(world.server.address) as stubs:
        await stubs.register("left")
        created = await stubs.create("left")
    world.store.config_set("maxmemory", 1)
    world.server.stop()
    with start_server(redis=world.valkey.url) as second:
        async with connect(second.address) as stubs:
            lease = await stubs.lease("left")
            request = worker_service_pb2.CompleteLeasesRequest(completions=[completion(lease.token)])
            assert not (await stubs.workers.CompleteLeases(request)).results[0].HasField("error")
            assert await _state(stubs, created.id) == "SUCCEEDED"


@pytest.mark.parametrize("how", ["killed", "stopped"])
async def test_calls_without_a_store_are_refused_and_work_again_when_it_is_back(tmp_path: Path, how: str) -> None:
    """A store that dies or hangs: calls say so within seconds, a waiting one holds on, and everything goes on after."""
    valkey = EmbeddedValkey(tmp_path / "v", persist=True, fsync="always")
    try:
        with start_server(redis=valkey.url) as server:
            async with connect(server.address) as stubs, _working(stubs) as work:
                await stubs.register("through")
                await work.write(WorkRequest(credit=2))
                waiting = asyncio.ensure_future(stubs.executions.Execute(execution("through"), timeout=40))
                (lease,) = await _next(work, "leases")
                os.kill(valkey.pid, signal.SIGKILL if how == "killed" else signal.SIGSTOP)
                for call in (
                    stubs.executions.Execute(execution("through"), timeout=30),
                    stubs.tasks.RegisterTask(registration("new"), timeout=30),
                    stubs.executions.GetExecution(
                        execution_service_pb2.GetExecutionRequest(id=ExecutionId(name="any")), timeout=30
                    ),
                ):
                    assert (await refusal_of(call)).reason == "STORE_UNAVAILABLE"
                await work.write(WorkRequest(completions=[completion(lease.token)]))
                (result,) = await _next(work, "results")
                assert result.error.reason == errors_pb2.ERROR_REASON_STORE_UNAVAILABLE
                assert not waiting.done()
                if how == "killed":
                    valkey.stop()
                    valkey = EmbeddedValkey(tmp_path / "v", persist=True)
                else:
                    os.kill(valkey.pid, signal.SIGCONT)
                await _until(lambda: stubs.tasks.RegisterTask(registration("new")))
                await work.write(WorkRequest(completions=[completion(lease.token)]))
                assert (await waiting).execution.state == execution_pb2.Execution.STATE_SUCCEEDED
                later = asyncio.ensure_future(stubs.executions.Execute(execution("through"), timeout=30))
                token = (await _next(work, "leases"))[0].token
                await work.write(WorkRequest(completions=[completion(token)]))
                assert (await later).execution.state == execution_pb2.Execution.STATE_SUCCEEDED
            assert "Traceback" not in server.log
    finally:
        os.kill(valkey.pid, signal.SIGCONT)
        valkey.stop()


@pytest.mark.parametrize(
    ("address", "text"),
    [
        ("redis://127.0.0.1:{port}", "cannot connect to Redis"),
        ("unix:///nowhere/valkey.sock", "cannot connect to Redis"),
        ("localhost:6379", "not that of a Redis"),
        ("redis://localhost:port", "not that of a Redis"),
        ("http://localhost", "not that of a Redis"),
    ],
)
def test_a_server_without_a_store_ends_with_one_clear_line(address: str, text: str) -> None:
    """At the start nothing is waited for: the line says what is wrong and which flag to look at, without a password."""
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        url = address.format(port=unused.getsockname()[1]).replace("://", "://user:s3cret@", 1)
        done = _serve("--redis", url)
    assert done.returncode == 1
    assert text in done.stderr
    assert "--redis" in done.stderr
    assert done.stderr.count("\n") == 1
    assert "s3cret" not in done.stderr


def test_a_store_that_refuses_its_service_ends_the_start_with_one_clear_line(tmp_path: Path) -> None:
    """A wrong password is told as such."""
    valkey = EmbeddedValkey(tmp_path / "v", persist=False)
    try:
        with redis.Redis.from_url(valkey.url) as store:
            store.config_set("requirepass", "right")
        done = _serve("--redis", valkey.url)
        assert done.returncode == 1
        assert "Authentication" in done.stderr
        assert done.stderr.count("\n") == 1
    finally:
        valkey.stop()


def _serve(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [str(Path(sys.executable).with_name("lacewing")), "serve", "--port", "0", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=30)


async def _state(stubs: Stubs, execution_id: ExecutionId) -> str:
    read = execution_service_pb2.GetExecutionRequest(id=execution_id)
    found = (await stubs.executions.GetExecution(read)).execution
    return execution_pb2.Execution.State.Name(found.state).removeprefix("STATE_")


async def _until(call: Callable[[], Awaitable[Any]]) -> None:
    """Repeats a call until it is taken."""
    async with asyncio.timeout(20):
        while True:
            try:
                await call()
            except grpc.aio.AioRpcError:
                await asyncio.sleep(0.02)
            else:
                return
