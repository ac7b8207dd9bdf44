"""A look into the cache alone: which requests begin with it, and that it answers as creating an execution does."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from lacewing.v1 import cache_pb2, errors_pb2, execution_pb2, execution_service_pb2, worker_service_pb2
from lacewing_server.domain import lifecycle, limits
from lacewing_server.domain.errors import DomainError
from lacewing_server.domain.task_version import ReadyTask
from lacewing_server.engine.admitted import Admitted
from store.tasks import inputs_of, outputs_of, spec, task_id
from store.world import Engine, World, dump, token_of, value_of

Status = execution_pb2.CacheInfo
NAME = "looked-up"


async def ask(engine: Engine, version: str = "", **request: Any) -> Admitted:
    """Executes the memoized task, always with the same input, without waiting for the end."""
    content = execution_service_pb2.ExecuteRequest(task=task_id(NAME, version), inputs=inputs_of(1), **request)
    return await engine.executions.create(content, record_hit=content.record_hit)


async def run(engine: Engine, task: ReadyTask, value: int) -> None:
    """Computes the entry."""
    leased = await engine.claim(task)
    assert leased is not None
    completion = worker_service_pb2.Completion(token=token_of(leased), outputs=outputs_of(value))
    await engine.attempts.complete(completion, leased)


async def hot(engine: Engine) -> ReadyTask:
    """Registers the task, and has its entry computed and hit once."""
    engine.executions.creator.hitting.clear()
    task = await engine.register(NAME, spec(cached=True))
    await ask(engine)
    await run(engine, task, 5)
    await ask(engine)
    return task


@contextmanager
def calls_of(engine: Engine) -> Iterator[list[str]]:
    """Which calls of the store requests come to."""
    seen: list[str] = []

    def noting(name: str, call: Callable[..., Awaitable[Any]]) -> Callable[..., Awaitable[Any]]:
        def noted(*args: Any) -> Awaitable[Any]:
            seen.append(name)
            return call(*args)

        return noted

    with pytest.MonkeyPatch.context() as patch:
        for name in ("create", "look_up"):
            patch.setattr(engine.store, name, noting(name, getattr(engine.store, name)))
        yield seen


def test_a_task_that_was_hit_is_looked_up_first(world: World) -> None:
    """The first hit is found by creating an execution, the next ones by a look-up, with the same answer."""

    async def scenario() -> None:
        engine = world.engines[0]
        task = await engine.register(NAME, spec(cached=True))
        with calls_of(engine) as calls:
            await ask(engine)
            await run(engine, task, 5)
            first = await ask(engine)
            before = await dump(engine.store)
            second = await ask(engine)
            assert await dump(engine.store) == before
        assert calls == ["create", "create", "look_up"]
        assert first.hit is not None
        assert second.hit == first.hit
        assert value_of(second.hit.outputs) == 5
        assert second.record.cache_key == first.record.cache_key
        assert not second.recorded

    world.run(scenario())


@pytest.mark.parametrize(
    "request_",
    [
        {"name": "a-name"},
        {"record_hit": True},
        {"cache_mode": execution_pb2.CACHE_MODE_REFRESH},
        {"cache_mode": execution_pb2.CACHE_MODE_BYPASS},
        {"cache_mode": execution_pb2.CACHE_MODE_ONLY},
    ],
    ids=str,
)
def test_what_needs_more_than_the_entry_creates_at_once(world: World, request_: dict[str, Any]) -> None:
    """What is to be stored, or does not just use the entry."""

    async def scenario() -> None:
        engine = world.engines[0]
        await hot(engine)
        with calls_of(engine) as calls:
            await ask(engine, **request_)
        assert calls == ["create"]

    world.run(scenario())


async def counts(engine: Engine) -> cache_pb2.CacheStats:
    """What the cache has done for the task until now."""
    await engine.counters.flush()
    return await engine.cache.stats(task_id(NAME))


async def evict(engine: Engine, key: bytes) -> None:
    """Evicts the entry, as an operator does."""
    assert await engine.cache.evict_task(task_id(NAME), None) == 1
    assert not await engine.store.call("EXISTS", key)


async def expire(engine: Engine, key: bytes) -> None:
    """Ends its time to live."""
    await engine.store.call("DEL", key)


async def spoil(engine: Engine, key: bytes) -> None:
    """Puts something of another type there."""
    await engine.store.call("DEL", key)
    await engine.store.call("LPUSH", key, "what?")


async def renew(engine: Engine, key: bytes) -> None:
    """Puts an entry of a newer server's format there."""
    await engine.store.call("SET", key, b"\xfa\x02 of a newer server")


@pytest.mark.parametrize(
    ("lose", "status"),
    [
        (evict, Status.STATUS_MISS),
        (expire, Status.STATUS_MISS),
        (spoil, Status.STATUS_LOOKUP_FAILURE),
        (renew, Status.STATUS_LOOKUP_FAILURE),
    ],
    ids=lambda each: getattr(each, "__name__", ""),
)
def test_a_look_up_that_finds_nothing_is_followed_by_an_execution(
    world: World, lose: Callable[[Engine, bytes], Awaitable[None]], status: int
) -> None:
    """It runs, is one miss, and the next request is no longer looked up first."""

    async def scenario() -> None:
        engine = world.engines[0]
        task = await hot(engine)
        before = await counts(engine)
        key = engine.store.keys.cache_entry((await ask(engine)).record.cache_key)
        await lose(engine, key)
        with calls_of(engine) as calls:
            missed = await ask(engine)
            other = await ask(engine)
        assert calls == ["look_up", "create", "create"]
        assert (missed.hit, missed.record.state) == (None, lifecycle.QUEUED)
        assert missed.record.cache_status == status
        assert other.record.state == lifecycle.QUEUED
        after = await counts(engine)
        assert (after.hit_count - before.hit_count, after.miss_count - before.miss_count) == (1, 2)
        assert await engine.claim(task) is not None

    world.run(scenario())


def test_who_computes_the_entry_is_waited_for(world: World) -> None:
    """A reservation is no answer for a look-up either."""

    async def scenario() -> None:
        engine = world.engines[0]
        engine.executions.creator.hitting.clear()
        task = await engine.register(NAME, spec(cached=True, serialized=True))
        await ask(engine)
        await run(engine, task, 5)
        await ask(engine)
        await engine.cache.evict_task(task_id(NAME), None)
        holder, waiter = await ask(engine), await ask(engine)
        engine.executions.creator.hitting.add(task.ref)
        with calls_of(engine) as calls:
            last = await ask(engine)
        assert calls == ["look_up", "create"]
        states = [each.record.state for each in (holder, waiter, last)]
        assert states == [lifecycle.QUEUED, lifecycle.WAITING, lifecycle.WAITING]

    world.run(scenario())


def test_a_repeated_request_finds_its_execution(world: World) -> None:
    """What a request created before is what it is answered with, though there is an entry by now."""

    async def scenario() -> None:
        engine = world.engines[0]
        engine.executions.creator.hitting.clear()
        task = await engine.register(NAME, spec(cached=True))
        first = await ask(engine, request_id="the-one")
        await run(engine, task, 5)
        with calls_of(engine) as calls:
            hits = [await ask(engine, request_id=each) for each in ("another", "yet-another")]
            again = await ask(engine, request_id="the-one")
            last = await ask(engine, request_id="the-last")
        assert calls == ["create", "look_up", "look_up", "create", "look_up"]
        assert [each.hit and value_of(each.hit.outputs) for each in (*hits, last)] == [5, 5, 5]
        assert (again.replayed, again.hit, again.record.id) == (True, None, first.record.id)
        assert again.record.state == lifecycle.SUCCEEDED

    world.run(scenario())


def test_a_version_that_another_server_registered_is_found(world: World) -> None:
    """The latest version is the one that the store has, whatever this server believes."""

    async def scenario() -> None:
        engine, other = world.engines
        task = await hot(engine)
        newer = spec(cached=True, retries=3)
        version, created, _ = await other.tasks.register(task_id(NAME, "newer"), newer, validate_only=False)
        assert created
        record = (await ask(engine, version=task.id.version)).record
        believed = await engine.store.look_up(record, "default", task.id.version)
        assert (believed.kind, believed.hit) == ("task", None)
        found = await ask(engine)
        assert found.task.id == version.id != task.id
        assert found.hit is not None, "both versions share the entry"

    world.run(scenario())


def test_a_task_that_another_server_archived_is_refused(world: World) -> None:
    """A hit is an answer of the task, which takes no requests any more."""

    async def scenario() -> None:
        engine, other = world.engines
        await hot(engine)
        await other.tasks.set_archived(task_id(NAME), archived=True)
        with calls_of(engine) as calls, pytest.raises(DomainError) as refused:
            await ask(engine)
        assert calls == ["look_up"]
        assert refused.value.reason == errors_pb2.ERROR_REASON_TASK_ARCHIVED

    world.run(scenario())


def test_a_look_up_marks_the_entry_as_used(world: World) -> None:
    """Once a minute, so that what is in use is evicted last."""

    async def scenario() -> None:
        engine = world.engines[0]
        await hot(engine)
        key = (await ask(engine)).record.cache_key
        used = engine.store.keys.prefix + b"ml:default"
        now = int(await engine.store.call("ZSCORE", used, key))
        for ago, is_marked in ((limits.CACHE_TOUCH_SECONDS - 30, False), (limits.CACHE_TOUCH_SECONDS + 1, True)):
            before = now - ago * 1000
            await engine.store.call("ZADD", used, before, key)
            await ask(engine)
            assert (int(await engine.store.call("ZSCORE", used, key)) > before) == is_marked

    world.run(scenario())
