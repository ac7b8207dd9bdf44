"""What an execution says of why it stands where it stands, whichever server is asked."""

from __future__ import annotations

import asyncio
import time

import lacewing
from cluster import bodies
from cluster.raw import working
from cluster.world import World, calling
from lacewing._handle import Handle
from lacewing.v1 import execution_pb2
from lacewing.v1 import worker_service_pb2 as pb
from worker.leases import until

Execution = execution_pb2.Execution
NOBODY = "no worker is connected that offers task default/development"


@lacewing.task(name="special", queue="gpu")
def special(a: int) -> int:
    """Needs a worker of a queue of its own."""
    return a


async def test_a_queued_execution_says_why_no_worker_has_taken_it(world: World) -> None:
    """Nobody offers the task; the one who does is busy; so are all; and it is said by a server without any worker."""
    first, second = await world.servers(2)
    async with calling(second) as client:
        await client.register(special)
        lonely = await client.submit(special, a=1)
        offers = pb.Offer(task_types=["python-task"], task_names=["a*"])
        async with working(first.address, offer=offers, credit=1) as one:
            await client.submit(bodies.add, a=1)
            await one.lease()
            queued = await client.submit(bodies.add, a=2)
            await _until_reason(queued, "the worker that offers the task is busy")
            async with working(second.address, credit=0):
                await _until_reason(queued, "all 2 workers are busy")
            await _until_reason(lonely, f"{NOBODY}/special, the task type python-task and the queue gpu")
            async for execution in queued.watch():
                assert "busy" in execution.state_reason
                break
        unwanted = await client.submit(bodies.fragile, a=1)
        await _until_reason(unwanted, f"{NOBODY}/fragile, the task type python-task")


async def test_a_back_off_says_until_when_and_a_wait_for_whom(world: World) -> None:
    """Neither needs a look at the workers."""
    (server,) = await world.servers(1)
    async with calling(server) as client, working(server.address, credit=2) as stream:
        failing = await client.submit(bodies.failing, a=1)
        lease = await stream.lease()
        error = execution_pb2.TaskError(code="ValueError", recoverable=True)
        await stream.send(completions=[pb.Completion(token=lease.token, error=error)])
        await until(lambda: stream.results)
        execution = await failing.status()
        assert execution.state == Execution.STATE_QUEUED
        when = execution.retry_time.ToJsonString()
        assert execution.state_reason == f"waits out the back-off after a failed attempt, until {when}"
        holder = await client.submit(bodies.cached, a=1)
        waiting = await (await client.submit(bodies.cached, a=1)).status()
        assert waiting.state_reason == f"waits for {holder.id.name}, which computes the same cache entry"


async def _until_reason(handle: Handle[int], reason: str) -> None:
    said = ""
    end = time.monotonic() + 20
    while said != reason:
        assert time.monotonic() < end, f"it says {said!r}, not {reason!r}"
        await asyncio.sleep(0.02)
        said = (await handle.status()).state_reason
