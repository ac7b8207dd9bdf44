"""Faults of the server: told by an id only, logged under it, and without harm to anything else."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest

from lacewing.v1 import execution_pb2, execution_service_pb2, identifiers_pb2, worker_service_pb2
from lacewing_server.domain import identity
from server.contract import Refusal, read_request_error, refusal_of
from server.world import PREFIX, Stubs, World, completion, connect, execution, run_world

ExecutionId = identifiers_pb2.ExecutionId
# A format that this server does not know, with what looks like a secret.
_BROKEN = b"\xeesecret" + bytes(400)


@pytest.fixture
def world() -> Iterator[World]:
    with run_world() as world:
        yield world


@pytest.fixture
async def stubs(world: World) -> AsyncIterator[Stubs]:
    async with connect(world.server.address) as stubs:
        await stubs.register("fine")
        yield stubs


def _key(name: str) -> bytes:
    return PREFIX + b"x:" + identity.execution_id_of("default", "development", name)


def _check(refusal: Refusal, world: World) -> None:
    assert refusal.reason == "INTERNAL"
    assert f"error {refusal.metadata['error_id']}" in world.server.log
    assert "secret" not in str(refusal)
    assert "Error" not in refusal.message


async def test_a_broken_record_is_told_by_an_id_in_calls_and_batches(stubs: Stubs, world: World) -> None:
    """Every way to the record fails with an id that is in the log; the other items of a batch are not concerned."""
    await stubs.create("fine", name="broken")
    lease = await stubs.lease("fine")
    world.store.set(_key("broken"), _BROKEN)
    broken = ExecutionId(name="broken")
    for call in (
        stubs.executions.GetExecution(execution_service_pb2.GetExecutionRequest(id=broken)),
        stubs.executions.WaitExecution(execution_service_pb2.WaitExecutionRequest(id=broken)),
        stubs.executions.CancelExecution(execution_service_pb2.CancelExecutionRequest(id=broken)),
        stubs.executions.ListAttempts(execution_service_pb2.ListAttemptsRequest(id=broken)),
        stubs.executions.Execute(execution("fine", name="broken")),
        stubs.executions.WatchExecution(execution_service_pb2.WatchExecutionRequest(id=broken)).read(),
    ):
        _check(await refusal_of(asyncio.wait_for(call, 20)), world)
    message = execution_service_pb2.ExecuteStreamRequest()
    message.items.add(tag=1, request=execution("fine", name="broken"))
    message.items.add(tag=2, request=execution("fine", wait_timeout="0s"))
    outcomes = {}
    async for response in stubs.executions.ExecuteStream(iter([message]), timeout=20):
        outcomes.update({outcome.tag: outcome for outcome in response.outcomes})
    _check(read_request_error(outcomes[1].error), world)
    assert outcomes[2].execution.state == execution_pb2.Execution.STATE_QUEUED
    other = (await stubs.lease("fine")).token
    request = worker_service_pb2.CompleteLeasesRequest(completions=[completion(lease.token), completion(other)])
    results = (await stubs.workers.CompleteLeases(request, timeout=20)).results
    _check(read_request_error(results[0].error), world)
    assert not results[1].HasField("error")


@pytest.mark.parametrize("broken", [_BROKEN, b"", b"\x01\x01"], ids=["of another format", "empty", "cut off"])
async def test_a_broken_record_does_not_hide_the_others(stubs: Stubs, world: World, broken: bytes) -> None:
    """Lists leave it out, queues pass it by, and the clocks of all others go on."""
    await stubs.register("timed", policy={"queue_timeout": "0.3s"})
    await stubs.create("timed", name="broken")
    good = await stubs.create("timed")
    world.store.set(_key("broken"), broken)
    wait = execution_service_pb2.WaitExecutionRequest(id=good.id)
    ended = (await stubs.executions.WaitExecution(wait, timeout=20)).execution
    assert ended.state == execution_pb2.Execution.STATE_TIMED_OUT
    listed = await stubs.executions.ListExecutions(execution_service_pb2.ListExecutionsRequest(task_name="timed"))
    assert [each.id.name for each in listed.executions] == [good.id.name]

    await stubs.create("fine", name="first")
    second = await stubs.create("fine")
    world.store.set(_key("first"), broken)
    assert (await stubs.lease("fine")).execution == second.id


@pytest.mark.parametrize("broken", [_BROKEN, b""], ids=["of another format", "empty"])
async def test_a_broken_record_does_not_hold_up_those_who_wait_with_it(
    stubs: Stubs, world: World, broken: bytes
) -> None:
    """Of those who wait for one cache entry, one that cannot be read is passed by."""
    metadata = {"discoverable": True, "discoveryVersion": "1", "cacheSerializable": True}
    await stubs.register("shared", template={"metadata": metadata})
    holder = await stubs.create("shared")
    await stubs.create("shared", name="broken")
    last = await stubs.create("shared")
    assert last.state == execution_pb2.Execution.STATE_WAITING
    world.store.set(_key("broken"), broken)
    request = worker_service_pb2.CompleteLeasesRequest(completions=[completion((await stubs.lease("shared")).token)])
    assert not (await stubs.workers.CompleteLeases(request, timeout=20)).results[0].HasField("error")
    for each in (holder, last):
        wait = execution_service_pb2.WaitExecutionRequest(id=each.id)
        ended = (await stubs.executions.WaitExecution(wait, timeout=20)).execution
        assert ended.state == execution_pb2.Execution.STATE_SUCCEEDED


async def test_no_fault_shows_where_the_server_lives(stubs: Stubs, world: World) -> None:
    """Another type of value in the store than expected: the text of the store stays in the log."""
    await stubs.create("fine", name="typed")
    world.store.delete(_key("typed"))
    world.store.rpush(_key("typed"), os.urandom(8))
    read = execution_service_pb2.GetExecutionRequest(id=ExecutionId(name="typed"))
    refusal = await refusal_of(stubs.executions.GetExecution(read))
    _check(refusal, world)
    assert "WRONGTYPE" in world.server.log
    assert "WRONGTYPE" not in refusal.message


async def test_a_worker_is_not_lost_to_a_broken_record(stubs: Stubs, world: World) -> None:
    """The stream of a worker goes on when a record in its queue cannot be read."""
    work = stubs.workers.Work(timeout=20)
    hello = worker_service_pb2.Hello(worker="w")
    hello.offer.task_types.append("raw")
    await work.write(worker_service_pb2.WorkRequest(hello=hello))
    await work.read()
    await stubs.create("fine", name="first")
    second: Any = await stubs.create("fine")
    world.store.set(_key("first"), _BROKEN)
    await work.write(worker_service_pb2.WorkRequest(credit=1))
    while not (response := await work.read()).leases:
        pass
    assert response.leases[0].execution == second.id
    work.cancel()
