"""Indexes are trimmed without anybody looking at them, by one server at a time."""

from __future__ import annotations

import lacewing
from cluster.raw import unary, working
from cluster.world import World
from lacewing.testing import RunningServer
from lacewing.v1 import worker_service_pb2 as pb
from worker.leases import until


@lacewing.task(name="short", retention=1, cache=lacewing.Cache(ttl=0.5))
def short(a: int) -> int:
    """Is forgotten soon, and so is its result."""
    return a


@lacewing.task(name="long", cache=True)
def long(a: int) -> int:
    """Is kept."""
    return a


async def test_names_of_what_has_expired_are_taken_out(world: World) -> None:
    """Of executions and of cache entries; what has not expired stays."""
    (server,) = await world.servers(1)
    async with lacewing.Client(server.address) as client:
        await client.register(short, long)
        await _run(server.address, client, short, 5)
        await _run(server.address, client, long, 3)
        assert _counts(world) == {"ix": 16, "mx": 8}
        await until(lambda: _counts(world) == {"ix": 6, "mx": 3})
        assert len([each async for each in client.list()]) == 3


async def test_one_server_does_it_and_another_takes_over(world: World) -> None:
    """While the one lives, the other does not; when the one is gone and its right has run out, the other does."""
    first, second = await world.servers(2)
    async with lacewing.Client(second.address) as client:
        await client.register(short)
    servers = {await _identity(server): server for server in (first, second)}
    janitor = f"{world.prefix}janitor"
    holder = await until(lambda: world.redis.get(janitor))
    # It has renewed its right, so the other has had its turn and left it alone.
    world.redis.pexpire(janitor, 5_000)
    await until(lambda: world.redis.pttl(janitor) > 5_000)
    assert world.redis.get(janitor) == holder
    servers.pop(holder.hex()).kill()
    world.redis.pexpire(janitor, 1)
    ((other, _),) = servers.items()
    await until(lambda: world.redis.get(janitor) == bytes.fromhex(other))


async def _identity(server: RunningServer) -> str:
    async with working(server.address, credit=0) as stream:
        return (await stream.until_welcome()).server


async def _run(address: str, client: lacewing.Client, task: lacewing.Task[[int], int], count: int) -> None:
    handles = [await client.submit(task, number) for number in range(count)]
    async with unary(address) as stub:
        request = pb.AcquireLeasesRequest(worker="w", offer=pb.Offer(task_types=["python-task"]), max_leases=count)
        leases: list[pb.Lease] = []
        while len(leases) < count:
            leases += (await stub.AcquireLeases(request)).leases
        completions = [
            pb.Completion(token=lease.token, outputs=task.interface.outputs_to_literals(number))
            for number, lease in enumerate(leases)
        ]
        await stub.CompleteLeases(pb.CompleteLeasesRequest(completions=completions))
    for handle in handles:
        await handle.wait()


def _counts(world: World) -> dict[str, int]:
    """How many names the indexes hold, of executions (by task and by domain) and of cache entries."""
    return {kind: sum(world.redis.zcard(key) for key in world.keys(f"{kind}:")) for kind in ("ix", "mx")}
