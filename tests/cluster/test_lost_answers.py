"""Answers of the store that never arrive: what was done all the same is found out and put right."""

from __future__ import annotations

import asyncio

import grpc

import lacewing
from cluster import bodies
from cluster.deaf import wire_to
from cluster.raw import Stream, working
from cluster.world import World, calling
from lacewing._handle import Handle
from lacewing.v1 import execution_pb2, execution_service_pb2
from lacewing.v1 import worker_service_pb2 as pb
from lacewing.v1.execution_service_pb2_grpc import ExecutionServiceStub

Execution = execution_pb2.Execution
# More than the looks for work in all queues take while they are under way.
CREDIT = 5_000


async def test_a_lease_whose_grant_was_lost_on_the_way_is_taken_back(world: World) -> None:
    """The store has given an attempt to a server that never heard of it; it is run all the same, and soon."""
    async with wire_to(world.url) as wire:
        first = await asyncio.to_thread(world.start)
        second = await asyncio.to_thread(world.start, redis=wire.url)
        async with calling(first) as client, calling(second):
            handle = await client.submit(bodies.fragile, a=1)
            wire.is_mute = True
            async with working(second.address, credit=CREDIT) as stream:
                await _until_state(client, handle.id.name, Execution.STATE_RUNNING)
                assert stream.leases == []
                wire.is_mute = False
                wire.cut()
                lease = await _lease_of(stream, handle)
                assert not (await stream.complete(lease, 1)).HasField("error")
                assert await handle.result() == 1
                assert (await handle.status()).loss_count == 0
            await asyncio.to_thread(second.stop)  # while it has its wire


async def test_a_caller_who_goes_away_while_the_store_answers_leaves_no_attempt_behind(world: World) -> None:
    """A lease that was granted in an answer that nobody waited for is given to a worker all the same."""
    async with wire_to(world.url) as wire:
        first = await asyncio.to_thread(world.start)
        second = await asyncio.to_thread(world.start, redis=wire.url)
        async with (
            calling(first) as client,
            calling(second) as other,
            working(second.address, credit=CREDIT) as stream,
            grpc.aio.insecure_channel(second.address) as channel,
        ):
            # From now on the server knows all that it needs for a creation.
            await stream.complete(await _lease_of(stream, await other.submit(bodies.fragile, a=1)), 1)
            request = execution_service_pb2.ExecuteRequest(name="once")
            request.task.name = bodies.fragile.name
            request.inputs.CopyFrom(bodies.fragile.interface.inputs_to_literals({"a": 1}))
            call = ExecutionServiceStub(channel).Execute(request)
            wire.answers.clear()
            await _until_state(client, "once", Execution.STATE_RUNNING)
            call.cancel()
            await asyncio.sleep(0.05)  # it has no answer to its cancellation
            wire.answers.set()
            lease = await stream.lease()
            assert lease.execution.name == "once"
            assert not (await stream.complete(lease, 1)).HasField("error")
            execution = await client.get("once")
            assert (execution.state, execution.loss_count) == (Execution.STATE_SUCCEEDED, 0)
            await asyncio.to_thread(second.stop)


async def _lease_of(stream: Stream, handle: Handle[int]) -> pb.Lease:
    lease = await stream.lease()
    assert lease.execution == handle.id
    return lease


async def _until_state(client: lacewing.Client, name: str, state: int) -> None:
    async with asyncio.timeout(20):
        while True:
            try:
                if (await client.get(name)).state == state:
                    return
            except lacewing.errors.ExecutionNotFound:
                pass  # it is about to be created
            await asyncio.sleep(0.005)
