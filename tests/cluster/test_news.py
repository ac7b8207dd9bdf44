"""Callers and workers on different servers hear of each other: at once by what is published, else by the tick."""

from __future__ import annotations

import asyncio
import time

import lacewing
from cluster import bodies
from cluster.deaf import wire_to
from cluster.raw import Stream, working
from cluster.world import World, calling
from lacewing._handle import Handle
from lacewing.v1 import execution_pb2
from lacewing.v1 import worker_service_pb2 as pb
from worker.leases import until

Execution = execution_pb2.Execution
ROUNDS = 20
# The tick that makes up for lost news comes once a second: so many rounds would take half as many seconds and more.
SOON = 6.0


async def test_work_and_its_end_are_heard_of_at_once_on_other_servers(world: World) -> None:
    """The caller is on the first server, the worker on the second, and somebody else waits on the third."""
    first, second, third = await world.servers(3)
    async with calling(first) as client, lacewing.Client(third.address) as other, working(second.address) as stream:
        began = time.monotonic()
        for number in range(ROUNDS):
            handle = await client.submit(bodies.add, a=number)
            waiting = asyncio.create_task(other.handle(handle.id, bodies.add).result())
            await _serve(stream, number + 1)
            assert await handle.result() == await waiting == number + 1
        assert time.monotonic() - began < SOON


async def test_a_watcher_on_a_third_server_sees_each_change(world: World) -> None:
    """Created at one server, run at another, watched at a third: queued, running, succeeded."""
    first, second, third = await world.servers(3)
    async with calling(first) as client, lacewing.Client(third.address) as other, working(second.address) as stream:
        began = time.monotonic()
        for number in range(ROUNDS):
            handle = await client.submit(bodies.fragile, a=number)
            watched = await _watch_one_run(other.handle(handle.id, bodies.fragile), stream, number)
            assert watched[-2:] == [Execution.STATE_RUNNING, Execution.STATE_SUCCEEDED]
        assert time.monotonic() - began < SOON


async def test_lost_news_cost_a_second_and_no_hang(world: World) -> None:
    """A server that hears nothing of what is published still finds work, ends, and changes on the way."""
    async with wire_to(world.url) as wire:
        first = await asyncio.to_thread(world.start)
        deaf = await asyncio.to_thread(world.start, redis=wire.url)
        async with calling(first) as client, lacewing.Client(deaf.address) as other:
            wire.is_deaf = True
            # Work that was queued elsewhere is found for a worker of the deaf server.
            async with working(deaf.address) as stream:
                handle = await client.submit(bodies.add, a=1)
                await _serve(stream, 2)
                assert await handle.result() == 2
            # The end of what runs elsewhere is found for those who wait at the deaf server, and so is the way there.
            handle = await other.submit(bodies.add, a=2)
            waiting = asyncio.create_task(handle.result())
            async with asyncio.timeout(20):
                changes = handle.watch()
                assert (await anext(changes)).state == Execution.STATE_QUEUED
                async with working(first.address) as stream:
                    lease = await stream.lease()
                    assert (await anext(changes)).state == Execution.STATE_RUNNING
                    await stream.complete(lease, 3)
                    assert (await anext(changes)).state == Execution.STATE_SUCCEEDED
            assert await waiting == 3
            assert wire.dropped > 0
            await asyncio.to_thread(deaf.stop)  # while it has its wire


async def test_a_revocation_that_nobody_heard_is_made_up_for(world: World) -> None:
    """What is cancelled while the server of its worker is not connected to the store is stopped once it is."""
    async with wire_to(world.url) as wire:
        first = await asyncio.to_thread(world.start)
        deaf = await asyncio.to_thread(world.start, redis=wire.url)
        async with calling(first) as client, working(deaf.address, credit=2) as stream:
            handle, other = await client.submit(bodies.add, a=1), await client.submit(bodies.add, a=2)
            leases = {lease.execution.name: lease for lease in (await stream.lease(), await stream.lease())}
            wire.is_deaf = True
            await handle.cancel()
            await until(lambda: wire.dropped)
            wire.is_deaf = False
            wire.cut()
            revocation = await stream.revocation()
            expected = leases[handle.id.name].token, pb.Revocation.REASON_CANCELLED
            assert (revocation.token, revocation.reason) == expected
            # What was not cancelled meanwhile goes on.
            await stream.complete(leases[other.id.name], 3)
            assert await other.result() == 3
            assert not stream.revocations
            await asyncio.to_thread(deaf.stop)  # while it has its wire


async def _serve(stream: Stream, output: int) -> None:
    lease = await stream.lease()
    assert not (await stream.complete(lease, output)).HasField("error")
    await stream.send(credit=1)


async def _watch_one_run(handle: Handle[int], stream: Stream, number: int) -> list[int]:
    seen: list[int] = []
    serving = None
    async for execution in handle.watch():
        seen.append(execution.state)
        if execution.state == Execution.STATE_RUNNING and serving is None:
            serving = asyncio.create_task(_serve(stream, number))
    assert serving is not None
    await serving
    return seen
