"""Faults of the store's content: one record that cannot be read does not keep the others from running."""

from __future__ import annotations

from cluster import bodies
from cluster.raw import working
from cluster.world import World, calling


async def test_a_record_that_cannot_be_read_does_not_stop_its_queue(world: World) -> None:
    """The claim that meets it fails, which is logged; what it had leased before, and what comes after, runs."""
    server = world.start(has_faults=True)
    async with calling(server) as client:
        handles = [await client.submit(bodies.fragile, a=number) for number in range(2)]
        (queue,) = world.keys("q:")
        world.redis.set(f"{world.prefix}x:unreadable--", b"\x7f")
        world.redis.execute_command("LINSERT", queue, "AFTER", world.redis.lindex(queue, 0), "unreadable--")
        assert world.redis.llen(queue) == 3
        async with working(server.address, credit=10) as stream:
            for _ in handles:
                lease = await stream.lease()
                number = handles.index(next(each for each in handles if each.id == lease.execution))
                assert not (await stream.complete(lease, number)).HasField("error")
        assert [await handle.result() for handle in handles] == [0, 1]
        assert [(await handle.status()).loss_count for handle in handles] == [0, 0]
    assert "could not claim work of queue" in server.log
    assert "name='fragile'" in server.log
