"""What becomes of running attempts when the server that holds them dies, goes away, or is suspected wrongly."""

from __future__ import annotations

import asyncio
import time
from functools import partial
from pathlib import Path

import grpc
import pytest

import lacewing
from cluster import bodies
from cluster.raw import completion, unary, working
from cluster.world import QUICK, World, calling, program, suspended
from lacewing.v1 import errors_pb2, execution_pb2
from lacewing.v1 import worker_service_pb2 as pb
from lacewing.v1.worker_service_pb2_grpc import WorkerServiceStub
from worker.leases import read_pid, until

Attempt = execution_pb2.Attempt
Execution = execution_pb2.Execution


async def test_a_worker_that_comes_to_another_server_in_time_keeps_its_attempt(world: World) -> None:
    """It shows its token, goes on, and completes there; nothing ran twice and nothing counts as lost."""
    first, second = await world.servers(2)
    async with calling(second) as client:
        async with working(first.address) as stream:
            handle = await client.submit(bodies.add, a=1)
            lease = await stream.lease()
            first.kill()
            assert await stream.end() == grpc.StatusCode.UNAVAILABLE
        async with working(second.address, held=[lease]) as stream:
            # Longer than a dead server's attempts are left alone.
            await until(lambda: world.server_count() == 1)
            assert not (await stream.complete(lease, 2)).HasField("error")
        assert await handle.result() == 2
        execution = await handle.status()
        assert (execution.attempt_count, execution.loss_count, execution.failure_count) == (1, 0, 0)
        assert stream.revocations == []


async def test_the_worker_of_the_sdk_survives_its_server(world: World, tmp_path: Path) -> None:
    """The body goes on while its server dies, and its result is taken by another one."""
    first, second = await world.servers(2)
    async with calling(second) as client, program(first, second):
        handle = await client.submit(bodies.wait, folder=str(tmp_path))
        await until(partial(read_pid, tmp_path / "attempt-1"))
        first.kill()
        (tmp_path / "go").touch()
        assert await handle.result() == 1
        assert (await handle.status()).loss_count == 0


async def test_attempts_of_a_dead_server_that_nobody_claims_are_lost_and_run_again(world: World) -> None:
    """After the grace they go back to the queue, as a loss and no failure; the old token is worth nothing then."""
    first, second = await world.servers(2)
    async with calling(second) as client:
        async with working(first.address) as stream:
            handle = await client.submit(bodies.add, a=1)
            old = await stream.lease()
            first.kill()
        async with working(second.address) as stream:
            new = await stream.lease()
            assert (new.execution, new.attempt) == (old.execution, 2)
            late = await stream.complete(old, 99)
            assert late.error.reason == errors_pb2.ERROR_REASON_LEASE_LOST
            assert not (await stream.complete(new, 2)).HasField("error")
        assert await handle.result() == 2
        execution = await handle.status()
        assert (execution.attempt_count, execution.loss_count, execution.failure_count) == (2, 1, 0)
        lost, done = [attempt async for attempt in handle.attempts()]
        assert (lost.state, done.state) == (Attempt.STATE_LOST, Attempt.STATE_SUCCEEDED)
        assert "the server that held its lease died" in lost.error.message


async def test_losses_are_bounded(world: World) -> None:
    """A task that must not be lost once ends when its server dies, and says why."""
    first, second = await world.servers(2)
    async with calling(second) as client:
        async with working(first.address) as stream:
            handle = await client.submit(bodies.fragile, a=1)
            await stream.lease()
            first.kill()
        with pytest.raises(lacewing.TaskFailed, match="losses exhausted: 1 attempts were lost, 0 are allowed"):
            await handle.result()


async def test_who_comes_back_too_late_is_told_so(world: World) -> None:
    """A token of an attempt that was given up is revoked on the new stream."""
    first, second = await world.servers(2)
    async with calling(second) as client:
        async with working(first.address) as stream:
            handle = await client.submit(bodies.add, a=1)
            lease = await stream.lease()
            first.kill()
        await until(lambda: world.server_count() == 1)
        assert (await handle.status()).state == Execution.STATE_QUEUED
        async with working(second.address, held=[lease], credit=0) as stream:
            revocation = await stream.revocation()
            assert (revocation.token, revocation.reason) == (lease.token, pb.Revocation.REASON_LOST)


async def test_each_start_is_another_server(world: World) -> None:
    """What a dead server held is never taken for what its successor holds, whatever they have in common."""
    first = world.start()
    identities = set()
    for _ in range(2):
        async with working(first.address) as stream:
            assert stream.welcome is not None
            identities.add(stream.welcome.server)
        first.kill()
        first = world.start(port=int(first.address.rpartition(":")[2]))
    async with working(first.address) as stream:
        assert stream.welcome is not None
        identities.add(stream.welcome.server)
    assert len(identities) == 3


async def test_who_waits_for_a_cache_entry_takes_over_when_the_holder_is_lost(world: World) -> None:
    """The holder's worker and server die together, the holder fails by it, and the next in line computes the entry."""
    first, second = await world.servers(2)
    async with calling(second) as client:
        async with working(first.address) as stream:
            holder = await client.submit(bodies.cached, a=7)
            await stream.lease()
            waiter = await client.submit(bodies.cached, a=7)
            status = await waiter.status()
            assert (status.state, status.cache.producer) == (Execution.STATE_WAITING, holder.id)
            first.kill()
        async with working(second.address) as stream:
            lease = await stream.lease()
            assert lease.execution == waiter.id
            await stream.complete(lease, 7)
        assert await waiter.result() == 7
        with pytest.raises(lacewing.TaskFailed, match="losses exhausted"):
            await holder.result()
        assert (await waiter.status()).cache.status == execution_pb2.CacheInfo.STATUS_POPULATED


async def test_a_unary_worker_needs_no_particular_server(world: World) -> None:
    """A lease that was got from a server that died is extended and completed at another one."""
    first, second = await world.servers(2)
    async with calling(second) as client, unary(second.address) as other:
        handle = await client.submit(bodies.add, a=1)
        async with unary(first.address) as stub:
            lease = await _acquire(stub, seconds=30)
        first.kill()
        extended = await other.ExtendLeases(pb.ExtendLeasesRequest(heartbeats=[pb.Heartbeat(token=lease.token)]))
        assert extended.extensions[0].expire_time.ToMilliseconds() > lease.expire_time.ToMilliseconds() - 1000
        request = pb.CompleteLeasesRequest(completions=[completion(lease, 2)])
        for _ in range(2):  # a repetition is no error
            taken = await other.CompleteLeases(request)
            assert not taken.results[0].HasField("error")
        assert await handle.result() == 2
        assert (await handle.status()).loss_count == 0


async def test_a_unary_lease_that_is_not_extended_ends_though_its_server_died(world: World) -> None:
    """Any server sees that it has run out: the attempt is lost and runs again, and the late result is refused."""
    first, second = await world.servers(2)
    async with calling(second) as client, unary(second.address) as other:
        handle = await client.submit(bodies.add, a=1)
        async with unary(first.address) as stub:
            old = await _acquire(stub, seconds=1)
        first.kill()
        new = await _acquire(other, seconds=30)
        assert (new.execution, new.attempt) == (old.execution, 2)
        extended = await other.ExtendLeases(pb.ExtendLeasesRequest(heartbeats=[pb.Heartbeat(token=old.token)]))
        assert extended.extensions[0].error.reason == errors_pb2.ERROR_REASON_LEASE_LOST
        both = [completion(old, 99), completion(new, 2)]
        taken = await other.CompleteLeases(pb.CompleteLeasesRequest(completions=both))
        assert taken.results[0].error.reason == errors_pb2.ERROR_REASON_LEASE_LOST
        assert not taken.results[1].HasField("error")
        assert await handle.result() == 2
        assert (await handle.status()).loss_count == 1


async def _acquire(stub: WorkerServiceStub, seconds: int) -> pb.Lease:
    request = pb.AcquireLeasesRequest(worker="unary", offer=pb.Offer(task_types=["python-task"]))
    request.wait_timeout.FromSeconds(20)
    request.lease_duration.FromSeconds(seconds)
    response = await stub.AcquireLeases(request)
    return response.leases[0]


async def test_a_server_that_stood_still_does_not_take_its_workers_for_silent(world: World) -> None:
    """It was the one who could not hear; its worker goes on and nothing is lost."""
    (server,) = await world.servers(1)
    async with calling(server) as client, working(server.address) as stream:
        handle = await client.submit(bodies.add, a=1)
        lease = await stream.lease()
        with suspended(server):
            await _pass(2 * QUICK["lease_duration"])
        assert not (await stream.complete(lease, 2)).HasField("error")
        assert await handle.result() == 2
        assert (await handle.status()).loss_count == 0
        assert stream.ended is None


async def test_a_server_that_was_taken_for_dead_tells_its_worker(world: World) -> None:
    """Its attempts are another one's when it goes on: it revokes them, records nothing of them, and is of use again."""
    first, second = await world.servers(2)
    async with calling(second) as client, working(first.address) as old_stream:
        handle = await client.submit(bodies.add, a=1)
        old = await old_stream.lease()
        with suspended(first):
            async with working(second.address) as stream:
                new = await stream.lease()
                assert (new.execution, new.attempt) == (old.execution, 2)
                await stream.complete(new, 2)
            assert await handle.result() == 2
        revocation = await old_stream.revocation()
        assert (revocation.token, revocation.reason) == (old.token, pb.Revocation.REASON_LOST)
        assert (await old_stream.complete(old, 99)).error.reason == errors_pb2.ERROR_REASON_LEASE_LOST
        assert await handle.result() == 2
        await old_stream.send(credit=1)
        again = await client.submit(bodies.add, a=2)
        await old_stream.complete(await old_stream.lease(), 3)
        assert await again.result() == 3
        assert world.server_count() == 2


async def _pass(seconds: float) -> None:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        await asyncio.sleep(0.05)
