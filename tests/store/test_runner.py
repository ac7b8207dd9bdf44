"""Many transitions in one call of their script: each is answered by itself."""

from __future__ import annotations

import asyncio
from typing import cast

from lacewing.v1 import task_pb2
from lacewing_server.domain import lifecycle
from lacewing_server.domain.errors import DomainError
from lacewing_server.store.redis.link import LateCall, StoreUnavailableError
from lacewing_server.store.redis.pipeline import Pipeline
from lacewing_server.store.redis.runner import Runner
from lacewing_server.store.redis.transitions import Outcome, lease_guard
from store.tasks import spec
from store.test_leases import create, read, request_of
from store.world import World, records


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


def test_what_cannot_be_written_for_one_is_written_for_the_others(world: World) -> None:
    """What the transitions of a call have in common goes to Redis at its end; a key there may not be what it should."""

    async def scenario() -> None:
        engine = world.engines[0]
        broken, *sound = [await engine.register(name, spec()) for name in ("broken", "one", "other")]
        await engine.store.call("SET", engine.store.keys.task_index(broken.ref), "no index")
        names = ["one", "broken", "other", "one"]
        created = await asyncio.gather(*(create(engine, name) for name in names), return_exceptions=True)
        assert [isinstance(each, Exception) for each in created] == [False, True, False, False]
        for task, count in zip(sound, (2, 1), strict=True):
            assert await engine.store.call("ZCARD", engine.store.keys.task_index(task.ref)) == count
        assert len(await records(engine.store)) == len(sound) + 1
        await engine.store.call("DEL", engine.store.keys.task_index(broken.ref))

    world.run(scenario())


def test_the_same_asked_for_twice_at_once_is_done_once(world: World) -> None:
    """Within one call each transition sees what those before it have changed, although that is written at its end."""

    async def scenario() -> None:
        engine = world.engines[0]
        task = await engine.register("twice", spec(policy=task_pb2.TaskPolicy(max_queued=2)))
        request = request_of("twice")
        request.name = "the-one"
        once, again = await asyncio.gather(*(engine.executions.create(request, record_hit=True) for _ in range(2)))
        assert (once.record.id, once.replayed, again.replayed) == (again.record.id, False, True)
        others = await asyncio.gather(*(create(engine, "twice", n) for n in range(2)), return_exceptions=True)
        assert [isinstance(each, DomainError) for each in others] == [False, True]  # full
        leased = await engine.claim(task)
        assert leased is not None
        ends = [
            engine.store.finish(leased.id, lease_guard(leased.nonce), Outcome(lifecycle.SUCCEEDED, bytes([n])))
            for n in range(2)
        ]
        assert [applied.kind for applied in await asyncio.gather(*ends)] == ["done", "refused"]
        assert (await read(engine, leased)).outcome == b"\0"

    world.run(scenario())


class _Wire:
    """A pipeline whose answers the test decides."""

    def __init__(self) -> None:
        self.posted: list[LateCall] = []
        self._sent: list[LateCall] = []
        self.is_lost = False

    def post(self, call: LateCall) -> None:
        """Takes a call."""
        if self.is_lost:
            call.set_exception(StoreUnavailableError("lost"))
        else:
            self.posted.append(call)

    def flush(self) -> None:
        """Sends what was posted."""
        calls, self.posted = self.posted, []
        for call in calls:
            call.pack()
        self._sent += calls

    def end_tick(self) -> list[LateCall]:
        """What has gone out until the end of a tick."""
        self.flush()
        sent, self._sent = self._sent, []
        return sent


def test_what_comes_while_redis_has_not_answered_goes_out_together(world: World) -> None:
    """At once when it has answered all, whatever it said, or when it is as much as one call takes."""

    async def scenario() -> None:
        wire = _Wire()
        runner = Runner(cast("Pipeline", wire), b"p:", b"server")
        first = runner.each("watch", b"1"), runner.each("attach", b"1", b"nonce")
        out = wire.end_tick()
        assert len(out) == len(first)  # of one tick, two scripts
        later = [runner.each("watch", b"%d" % n) for n in range(65)]
        (full,) = wire.end_tick()
        out[0].set_result([b"a"])
        assert not wire.posted
        full.set_exception(StoreUnavailableError("gone"))
        out[1].set_result([[b"gone"]])
        (rest,) = wire.end_tick()
        rest.set_result([b"b"])
        assert (await first[0], await first[1], await later[64]) == (b"a", [b"gone"], b"b")
        assert all(isinstance(each.exception(), StoreUnavailableError) for each in later[:64])

    world.run(scenario())


def test_a_connection_that_is_lost_fails_what_waits_for_it_and_nothing_later(world: World) -> None:
    """What has gone out, what has not, and what is asked for while there is none."""

    async def scenario() -> None:
        wire = _Wire()
        runner = Runner(cast("Pipeline", wire), b"p:", b"server")
        lost = [runner.each("watch", b"1")]
        (out,) = wire.end_tick()
        lost += [runner.each("watch", b"2")]
        wire.is_lost = True
        out.set_exception(StoreUnavailableError("lost"))
        lost += [runner.each("watch", b"3"), runner.each("attach", b"3", b"nonce")]
        assert all(isinstance(each.exception(), StoreUnavailableError) for each in lost)
        wire.is_lost = False
        last = runner.each("watch", b"4")
        (call,) = wire.end_tick()
        call.set_result([b"c"])
        assert await last == b"c"

    world.run(scenario())
