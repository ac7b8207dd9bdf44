"""Faults that are nobody's refusal: they are logged with what failed, and the work is done when they are gone."""

from __future__ import annotations

from cluster import bodies
from cluster.raw import working
from cluster.world import World, calling
from worker.leases import until


async def test_a_claim_that_fails_is_logged_and_repeated(world: World) -> None:
    """While a queue holds what is no queue, claims of it fail, once with each tick; then its work is done."""
    server = world.start(has_faults=True)
    async with calling(server) as client:
        handle = await client.submit(bodies.fragile, a=1)
        (queue,) = world.keys("q:")
        world.redis.rename(queue, f"{world.prefix}kept")
        world.redis.set(queue, "no queue")
        async with working(server.address, credit=10) as stream:
            await until(lambda: server.log.count("could not claim work of queue") >= 2)
            assert stream.leases == []
            world.redis.rename(f"{world.prefix}kept", queue)
            lease = await stream.lease()
            assert lease.execution == handle.id
            assert not (await stream.complete(lease, 1)).HasField("error")
        assert await handle.result() == 1
        execution = await handle.status()
        assert (execution.attempt_count, execution.loss_count) == (1, 0)
    assert "name='fragile'" in server.log
    assert server.log.count("could not claim work of queue") < 10
