"""A server that shuts down says so to everybody who waits or comes, and loses nothing."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

import lacewing
from lacewing.v1 import (
    execution_pb2,
    execution_service_pb2,
    identifiers_pb2,
    worker_service_pb2,
)
from lacewing_server.testing import start_server
from server.contract import Refusal, read_request_error, refusal_of
from server.world import Stubs, World, acquisition, completion, connect, execution, registration, run_world

ExecutionId = identifiers_pb2.ExecutionId
WorkRequest = worker_service_pb2.WorkRequest


@dataclass
class Drain:
    """A server that is about to shut down, and a worker that holds a lease and thereby delays its end."""

    world: World
    stubs: Stubs
    work: Any
    token: bytes

    async def begin(self) -> None:
        """Tells the server to shut down, and waits until it tells its worker."""
        os.kill(self.world.server.pid, signal.SIGTERM)
        while not (await self.work.read()).HasField("drain"):
            pass

    async def end(self) -> None:
        """Completes the lease and closes the stream of the worker, which lets the server end."""
        await self.work.write(WorkRequest(completions=[completion(self.token)]))
        response = await self.work.read()
        assert [result.HasField("error") for result in response.results] == [False]
        await self.work.done_writing()
        assert await self.work.read() is grpc.aio.EOF


@asynccontextmanager
async def _drain(world: World) -> AsyncIterator[Drain]:
    async with connect(world.server.address) as stubs:
        await stubs.register("held")
        await stubs.register("waiting")
        await stubs.create("held", name="held-1")
        work = stubs.workers.Work(timeout=30)
        offer = worker_service_pb2.Offer(task_types=["raw"])
        hello = worker_service_pb2.Hello(worker="w", offer=offer)
        await work.write(WorkRequest(hello=hello, credit=1))
        while not (response := await work.read()).leases:
            pass
        yield Drain(world, stubs, work, response.leases[0].token)
        work.cancel()


@pytest.fixture
def world() -> Iterator[World]:
    with run_world(shutdown_grace=20) as world:
        yield world


async def test_everybody_who_waits_is_told(world: World) -> None:
    """Waiting calls and streams end with SHUTTING_DOWN; each caller learns which execution goes on."""
    async with _drain(world) as drain:
        stubs = drain.stubs
        execute = stubs.executions.Execute(execution("waiting", name="one", cancel_on_disconnect=True), timeout=30)
        stream = stubs.executions.ExecuteStream(timeout=30)
        item = execution_service_pb2.ExecuteStreamRequest.Item(tag=1, request=execution("waiting", name="two"))
        await stream.write(execution_service_pb2.ExecuteStreamRequest(items=[item]))
        watch = stubs.executions.WatchExecution(
            execution_service_pb2.WatchExecutionRequest(id=ExecutionId(name="held-1")), timeout=30
        )
        assert (await watch.read()).execution.state == execution_pb2.Execution.STATE_RUNNING
        wait = stubs.executions.WaitExecution(
            execution_service_pb2.WaitExecutionRequest(id=ExecutionId(name="held-1")), timeout=30
        )
        acquire = stubs.workers.AcquireLeases(acquisition("nothing", wait_timeout="30s"))
        await _until_created(stubs, "one", "two")
        await drain.begin()

        expected = {"execution": "default/development/one"}
        assert (await _told(execute)).metadata == expected
        assert (await _told(wait)).metadata == {"execution": "default/development/held-1"}
        assert (await _told(watch.read())).metadata == {"execution": "default/development/held-1"}
        assert (await _told(acquire)).metadata == {}
        outcome = (await stream.read()).outcomes[0]
        assert outcome.tag == 1
        refusal = read_request_error(outcome.error)
        assert refusal.reason == "SHUTTING_DOWN"
        assert refusal.metadata == {"execution": "default/development/two"}
        await _told(stream.read())
        await drain.end()
    with start_server(redis=world.valkey.url) as second:
        async with connect(second.address) as stubs:
            for name, state in (("one", "QUEUED"), ("two", "QUEUED"), ("held-1", "SUCCEEDED")):
                read = execution_service_pb2.GetExecutionRequest(id=ExecutionId(name=name))
                found = (await stubs.executions.GetExecution(read)).execution
                assert found.state == execution_pb2.Execution.State.Value(f"STATE_{state}")


async def test_whoever_comes_is_refused_and_nothing_is_stored(world: World) -> None:
    """New calls of every kind are refused during the drain, no lease is granted, and health says NOT_SERVING."""
    async with _drain(world) as drain:
        stubs = drain.stubs
        await stubs.create("waiting")
        await drain.begin()
        before = world.contents()
        for call in (
            stubs.tasks.RegisterTask(registration("new")),
            stubs.executions.Execute(execution("waiting")),
            stubs.executions.ListExecutions(execution_service_pb2.ListExecutionsRequest()),
            stubs.executions.ExecuteStream().read(),
            stubs.workers.AcquireLeases(acquisition("waiting")),
            stubs.workers.Work().read(),
        ):
            await _told(call)
        await drain.work.write(WorkRequest(credit=10))
        health: Any = health_pb2_grpc.HealthStub(stubs.channel)
        status = (await health.Check(health_pb2.HealthCheckRequest())).status
        assert status == health_pb2.HealthCheckResponse.NOT_SERVING
        assert world.contents() == before
        await drain.end()  # the only message is the answer to the completion: no lease came


async def test_what_is_held_when_the_grace_is_over_goes_to_another_server() -> None:
    """The stream of a worker that is not done ends with SHUTTING_DOWN, and its lease is kept by the next server."""
    with run_world(shutdown_grace=0.1, reconnect_grace=10) as world:
        async with _drain(world) as drain:
            await drain.begin()
            await _told(drain.work.read())
            with start_server(redis=world.valkey.url) as second:
                async with connect(second.address) as stubs:
                    hello = worker_service_pb2.Hello(worker="w", held_leases=[drain.token])
                    hello.offer.task_types.append("raw")
                    work = stubs.workers.Work(timeout=20)
                    await work.write(WorkRequest(hello=hello))
                    await work.write(WorkRequest(completions=[completion(drain.token)]))
                    while not (response := await work.read()).results:
                        assert not response.revocations
                    assert not response.results[0].HasField("error")
                    read = execution_service_pb2.GetExecutionRequest(id=ExecutionId(name="held-1"))
                    found = (await stubs.executions.GetExecution(read)).execution
                    assert found.state == execution_pb2.Execution.STATE_SUCCEEDED
                    assert (found.attempt_count, found.loss_count) == (1, 0)
                    work.cancel()


async def test_a_caller_of_the_sdk_does_not_notice_a_restart() -> None:
    """`execute` waits at the next server for the same execution: it runs once."""
    with run_world(shutdown_grace=5) as world:
        port = int(world.server.address.rpartition(":")[2])
        async with lacewing.Client(world.server.address) as client, connect(world.server.address) as stubs:
            await stubs.register("waiting")
            result = asyncio.create_task(client.execute("waiting", n=1))
            await asyncio.wait_for(_until_created(stubs), 20)
            await asyncio.to_thread(world.server.stop)
            with start_server(redis=world.valkey.url, port=port):
                async with connect(f"127.0.0.1:{port}") as later:
                    lease = await later.lease("waiting")
                    request = worker_service_pb2.CompleteLeasesRequest(completions=[completion(lease.token, 42)])
                    await later.workers.CompleteLeases(request)
                    assert await asyncio.wait_for(result, 20) == 42
                    listed = await later.executions.ListExecutions(execution_service_pb2.ListExecutionsRequest())
                    assert len(listed.executions) == 1


async def test_a_shutdown_without_work_does_not_take_the_grace(world: World) -> None:
    """Idle connections and streams do not delay the end, however long the grace is."""
    async with connect(world.server.address) as stubs:
        stream = stubs.executions.ExecuteStream(timeout=30)
        await stream.write(execution_service_pb2.ExecuteStreamRequest())
        health: Any = health_pb2_grpc.HealthStub(stubs.channel)
        watching = health.Watch(health_pb2.HealthCheckRequest())
        assert (await watching.read()).status == health_pb2.HealthCheckResponse.SERVING
        started = asyncio.get_running_loop().time()
        await asyncio.to_thread(world.server.stop)
        assert asyncio.get_running_loop().time() - started < 10
        await _told(stream.read())
        watching.cancel()


async def _told(call: Any) -> Refusal:
    refusal = await refusal_of(asyncio.wait_for(call, 20))
    assert refusal.reason == "SHUTTING_DOWN"
    return refusal


async def _until_created(stubs: Stubs, *names: str) -> None:
    """Waits until these executions are stored, or any if none is named."""
    wanted = set(names)
    while True:
        listed = await stubs.executions.ListExecutions(execution_service_pb2.ListExecutionsRequest())
        found = {each.id.name for each in listed.executions}
        if found and wanted <= found:
            return
        await asyncio.sleep(0.01)
