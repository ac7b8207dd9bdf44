"""Leases that are not, or no longer, the worker's, and streams that are not used as specified."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator, Sequence
from typing import Any

import pytest

from lacewing.v1 import execution_pb2, execution_service_pb2, worker_service_pb2
from server.contract import Refusal, read_request_error, refusal_of, refusal_of_stream
from server.world import PREFIX, Stubs, World, acquisition, completion, connect, execution, run_world

WorkRequest = worker_service_pb2.WorkRequest
Revocation = worker_service_pb2.Revocation
Item = execution_service_pb2.ExecuteStreamRequest.Item

GARBAGE = [b"", b"\x00", b"x" * 19, b"x" * 20, b"\xff" * 64, b"x" * 100_000]


@pytest.fixture(scope="module")
def world() -> Iterator[World]:
    with run_world(reconnect_grace=0.2) as world:
        yield world


@pytest.fixture
async def stubs(world: World) -> AsyncIterator[Stubs]:
    async with connect(world.server.address) as stubs:
        await stubs.register("leased")
        yield stubs


async def _complete(stubs: Stubs, *completions: worker_service_pb2.Completion) -> list[Refusal | None]:
    """Completes leases as a unary worker; gives the refusal of each, None for one that was taken."""
    request = worker_service_pb2.CompleteLeasesRequest(completions=completions)
    results = (await stubs.workers.CompleteLeases(request, timeout=20)).results
    assert [result.token for result in results] == [each.token for each in completions]
    return [read_request_error(result.error) if result.HasField("error") else None for result in results]


async def _extend(stubs: Stubs, token: bytes) -> Refusal | None:
    request = worker_service_pb2.ExtendLeasesRequest(heartbeats=[worker_service_pb2.Heartbeat(token=token)])
    extension = (await stubs.workers.ExtendLeases(request, timeout=20)).extensions[0]
    assert extension.token == token
    assert extension.HasField("error") != extension.HasField("expire_time")
    return read_request_error(extension.error) if extension.HasField("error") else None


def _hello(**hello: Any) -> WorkRequest:
    offer = worker_service_pb2.Offer(task_types=["raw"], task_names=["leased"])
    return WorkRequest(hello=worker_service_pb2.Hello(worker="w", offer=offer, **hello))


async def test_a_result_counts_once_and_may_be_repeated(stubs: Stubs, world: World) -> None:
    """A completion that was recorded is taken again without effect, with whatever result."""
    created = await stubs.create("leased")
    token = (await stubs.lease("leased")).token
    assert await _complete(stubs, completion(token, 1)) == [None]
    before = world.contents()
    assert await _complete(stubs, completion(token, 1), completion(token, 2)) == [None, None]
    assert world.contents() == before
    read = execution_service_pb2.GetExecutionRequest(id=created.id)
    outputs = (await stubs.executions.GetExecution(read)).execution.outputs
    assert outputs.literals["o0"].scalar.primitive.integer == 1


@pytest.mark.parametrize("how", ["cancelled", "given back", "expired", "forged"])
async def test_a_stale_token_is_refused_each_time(stubs: Stubs, world: World, how: str) -> None:
    """A lease that ended otherwise cannot be completed or extended, however often it is tried; nothing changes."""
    created = await stubs.create("leased")
    lease = (await stubs.workers.AcquireLeases(acquisition("leased", lease_duration="1s"))).leases[0]
    token = lease.token
    if how == "cancelled":
        await stubs.executions.CancelExecution(execution_service_pb2.CancelExecutionRequest(id=created.id))
    elif how == "given back":
        given_back = worker_service_pb2.Completion(token=token)
        given_back.abandoned.SetInParent()
        assert await _complete(stubs, given_back) == [None]
        second = await stubs.lease("leased")
    elif how == "expired":
        second = await stubs.lease("leased")  # waits until the first one has run out
    else:
        token = token[:12] + bytes(8)
    before = world.contents()
    for refusal in [
        *await _complete(stubs, completion(token), completion(token, "wrong")),
        await _extend(stubs, token),
        *await _complete(stubs, completion(token)),
    ]:
        assert refusal is not None
        assert refusal.reason == "LEASE_LOST"
        assert refusal.metadata == {"execution": f"default/development/{created.id.name}"}
    assert world.contents() == before
    if how in {"given back", "expired"}:
        assert second.attempt == 2
        assert await _complete(stubs, completion(second.token)) == [None]
    await stubs.executions.CancelExecution(execution_service_pb2.CancelExecutionRequest(id=created.id))


@pytest.mark.parametrize("token", GARBAGE, ids=len)
async def test_garbage_is_no_lease(stubs: Stubs, world: World, token: bytes) -> None:
    """What never was a token is refused as a lost lease, without a name of an execution; nothing is stored."""
    before = world.contents()
    for refusal in (*await _complete(stubs, completion(token)), await _extend(stubs, token)):
        assert refusal is not None
        assert refusal.reason == "LEASE_LOST"
        assert refusal.metadata == {}
    assert world.contents() == before


async def test_a_completion_without_a_result_is_refused_and_the_lease_goes_on(stubs: Stubs, world: World) -> None:
    """Neither outputs nor an error: the field is named, and a valid completion can follow."""
    await stubs.create("leased")
    token = (await stubs.lease("leased")).token
    before = world.contents()
    (refusal,) = await _complete(stubs, worker_service_pb2.Completion(token=token))
    assert refusal is not None
    assert refusal.reason == "FIELD_INVALID"
    assert refusal.violations.keys() == {"completions.result"}
    assert world.contents() == before
    assert await _complete(stubs, completion(token)) == [None]


async def test_a_stream_revokes_what_is_not_its_own(stubs: Stubs) -> None:
    """Held leases, heartbeats and completions with a token that is not current are answered one by one."""
    work = stubs.workers.Work(timeout=20)
    await work.write(_hello(held_leases=[b"x" * 20, b"short"]))
    revoked: list[Any] = []
    while len(revoked) < 2:
        revoked.extend((await work.read()).revocations)
    assert {(each.token, each.reason) for each in revoked} == {
        (b"x" * 20, Revocation.REASON_LOST),
        (b"short", Revocation.REASON_LOST),
    }
    heartbeat = worker_service_pb2.Heartbeat(token=b"y")
    await work.write(WorkRequest(heartbeats=[heartbeat], completions=[completion(b"z" * 20)]))
    answer = await work.read()
    while not (answer.results and answer.revocations):
        answer.MergeFrom(await work.read())
    assert read_request_error(answer.results[0].error).reason == "LEASE_LOST"
    assert (answer.revocations[0].token, answer.revocations[0].reason) == (b"y", Revocation.REASON_LOST)
    work.cancel()


async def test_a_cancelled_body_is_revoked_on_its_stream(stubs: Stubs) -> None:
    """The worker is told, and its late result is refused with the name of the execution."""
    work = stubs.workers.Work(timeout=20)
    hello = _hello()
    hello.credit = 1
    await work.write(hello)
    created = await stubs.create("leased")
    while not (message := await work.read()).leases:
        pass
    token = message.leases[0].token
    await stubs.executions.CancelExecution(execution_service_pb2.CancelExecutionRequest(id=created.id))
    (revocation,) = (await work.read()).revocations
    assert (revocation.token, revocation.reason) == (token, Revocation.REASON_CANCELLED)
    await work.write(WorkRequest(completions=[completion(token)]))
    (result,) = (await work.read()).results
    refusal = read_request_error(result.error)
    assert refusal.reason == "LEASE_LOST"
    assert refusal.metadata == {"execution": f"default/development/{created.id.name}"}
    work.cancel()


@pytest.mark.parametrize(
    ("requests", "reason", "text"),
    [
        ([], "PROTOCOL_VIOLATED", "begin with hello"),
        ([WorkRequest(credit=1)], "PROTOCOL_VIOLATED", "begin with hello"),
        ([WorkRequest()], "PROTOCOL_VIOLATED", "begin with hello"),
        ([_hello(), _hello()], "PROTOCOL_VIOLATED", "only once"),
        ([_hello(), WorkRequest(credit=10_001)], "PROTOCOL_VIOLATED", "10000"),
        ([WorkRequest(hello=worker_service_pb2.Hello())], "FIELD_INVALID", "hello.worker"),
        ([_hello(labels={f"k{index}": "" for index in range(33)})], "FIELD_INVALID", "hello.labels"),
    ],
)
async def test_a_work_stream_has_to_keep_the_protocol(
    stubs: Stubs, world: World, requests: Sequence[WorkRequest], reason: str, text: str
) -> None:
    """The stream ends with the reason, and leaves nothing behind."""
    before = world.contents()
    refusal = await refusal_of_stream(stubs.workers.Work(timeout=20), *requests, is_ended=not requests)
    assert refusal.reason == reason
    assert text in refusal.message
    assert world.contents() == before


@pytest.mark.parametrize(
    ("items", "text"),
    [
        ([Item(tag=7), Item(tag=7)], "tag 7 was used twice"),
        ([Item(tag=tag) for tag in range(1_001)], "1001 items"),
    ],
    ids=["a tag twice", "too many"],
)
async def test_an_execute_stream_has_to_keep_the_protocol(stubs: Stubs, items: list[Any], text: str) -> None:
    """The stream fails as a whole: what its outcomes would mean cannot be told."""
    message = execution_service_pb2.ExecuteStreamRequest(items=items)
    refusal = await refusal_of_stream(stubs.executions.ExecuteStream(timeout=20), message)
    assert refusal.reason == "PROTOCOL_VIOLATED"
    assert text in refusal.message


async def test_a_violation_ends_the_stream_and_not_the_executions(stubs: Stubs, world: World) -> None:
    """What a stream had created before it was misused goes on."""
    stream = stubs.executions.ExecuteStream(timeout=20)
    request = execution("leased", name="survivor")
    message = execution_service_pb2.ExecuteStreamRequest(items=[Item(tag=1, request=request)])
    await stream.write(message)
    read = execution_service_pb2.GetExecutionRequest(id={"name": "survivor"})  # type: ignore[arg-type] # as JSON
    async with asyncio.timeout(20):
        while not any(key.startswith(PREFIX + b"x:\xff") for key in world.contents()):
            await asyncio.sleep(0.01)
    await stream.write(message)
    refusal = await refusal_of(stream.read())
    assert refusal.reason == "PROTOCOL_VIOLATED"
    found = (await stubs.executions.GetExecution(read)).execution
    assert found.state == execution_pb2.Execution.STATE_QUEUED
    await stubs.executions.CancelExecution(execution_service_pb2.CancelExecutionRequest(id=found.id))
