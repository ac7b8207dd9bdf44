"""Many transitions in one call of their script: each is answered by itself."""

from __future__ import annotations

import asyncio

from lacewing_server.domain.errors import DomainError
from store.tasks import spec
from store.test_leases import create, read
from store.world import World


def test_scripts_that_redis_forgot_are_loaded_again(world: World) -> None:
    """As after a restart of Redis that the connection survived, or after SCRIPT FLUSH: no transition fails of it."""

    async def scenario() -> None:
        engine = world.engines[0]
        await engine.register("forgotten", spec())
        await engine.store.call("SCRIPT", "FLUSH")
        records = await asyncio.gather(*(create(engine, "forgotten", n) for n in range(200)))
        assert len({record.id for record in records}) == 200
        await engine.store.call("SCRIPT", "FLUSH")
        assert await engine.store.watch(records[0].id) == await read(engine, records[0])

    world.run(scenario())


def test_one_that_fails_leaves_the_others_of_its_call_alone(world: World) -> None:
    """Whatever is wrong with what it finds in Redis."""

    async def scenario() -> None:
        engine = world.engines[0]
        await engine.register("mixed", spec())
        first = await create(engine, "mixed")
        await engine.store.call("DEL", engine.store.keys.execution(first.id))
        await engine.store.call("HSET", engine.store.keys.execution(first.id), "no", "record")
        watched, *created = await asyncio.gather(
            engine.store.watch(first.id), *(create(engine, "mixed", n) for n in range(3)), return_exceptions=True
        )
        assert isinstance(watched, Exception)
        assert not any(isinstance(each, BaseException) for each in created)
        await engine.store.call("DEL", engine.store.keys.execution(first.id))

    world.run(scenario())


def test_a_caller_that_goes_away_takes_nobody_with_it(world: World) -> None:
    """Its transition happens; the answers of the others are their own."""

    async def scenario() -> None:
        engine = world.engines[0]
        await engine.register("gone", spec())
        calls = [asyncio.ensure_future(create(engine, "gone", n)) for n in range(10)]
        await asyncio.sleep(0)
        calls[3].cancel()
        results = await asyncio.gather(*calls, return_exceptions=True)
        assert sum(isinstance(each, asyncio.CancelledError) for each in results) == 1
        assert not any(isinstance(each, DomainError) for each in results)

    world.run(scenario())
