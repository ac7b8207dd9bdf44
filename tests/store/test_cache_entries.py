"""Cache entries and reservations: who waits is always let go, and what the cache suffers is no fault of the task."""

from __future__ import annotations

import pytest

from lacewing.v1 import execution_pb2, execution_service_pb2, task_pb2, worker_service_pb2
from lacewing_server.domain import lifecycle
from lacewing_server.domain.record import ExecutionRecord
from lacewing_server.domain.task_version import ReadyTask
from store.tasks import inputs_of, outputs_of, spec, task_id
from store.world import Engine, World, token_of, value_of

Status = execution_pb2.CacheInfo
NO_FORMAT = b"\xfa\x02 of a newer server"


async def create_memoized(engine: Engine, mode: int = execution_pb2.CACHE_MODE_USE) -> ExecutionRecord:
    """Creates an execution of the memoized task, always with the same input."""
    request = execution_service_pb2.ExecuteRequest(task=task_id("memo"), inputs=inputs_of(1))
    request.cache_mode = mode  # type: ignore[assignment] # a plain int
    if mode == execution_pb2.CACHE_MODE_REFRESH:  # behind the others, even those of the same millisecond
        request.priority = execution_pb2.PRIORITY_LOW
    return (await engine.executions.create(request, record_hit=True)).record


async def run(engine: Engine, task: ReadyTask, value: int | None) -> ExecutionRecord:
    """Takes the next execution, and gives it outputs or a final error."""
    leased = await engine.claim(task)
    assert leased is not None
    completion = worker_service_pb2.Completion(token=token_of(leased))
    if value is None:
        completion.error.code = "Broken"
    else:
        completion.outputs.CopyFrom(outputs_of(value))
    await engine.attempts.complete(completion, leased)
    return await read(engine, leased)


async def read(engine: Engine, record: ExecutionRecord) -> ExecutionRecord:
    """The execution as it is now."""
    found = await engine.store.get(record.id)
    assert found is not None
    return found


async def register(engine: Engine) -> ReadyTask:
    """Registers the memoized task, of which one at a time computes an entry."""
    return await engine.register("memo", spec(cached=True, serialized=True, policy=task_pb2.TaskPolicy(max_losses=0)))


def test_who_waits_is_let_go_by_a_refresh(world: World) -> None:
    """An execution that refreshes the entry does not reserve it, but what it computes serves those who wait."""

    async def scenario() -> None:
        engine = world.engines[0]
        task = await register(engine)
        holder = await create_memoized(engine)
        waiter = await create_memoized(engine)
        refresh = await create_memoized(engine, execution_pb2.CACHE_MODE_REFRESH)
        held = await engine.claim(task)
        assert held is not None
        assert (held.id, waiter.state, refresh.state) == (holder.id, lifecycle.WAITING, lifecycle.QUEUED)
        await run(engine, task, 5)
        found = await read(engine, waiter)
        assert (found.state, value_of(found.outcome)) == (lifecycle.SUCCEEDED, 5)

    world.run(scenario())


def test_nobody_waits_for_ever_when_a_refreshed_entry_is_evicted(world: World) -> None:
    """The holder fails after its reservation was overwritten and the entry evicted: nothing is left to wait for."""

    async def scenario() -> None:
        engine = world.engines[0]
        task = await register(engine)
        await create_memoized(engine)
        held = await engine.claim(task)
        assert held is not None
        await create_memoized(engine, execution_pb2.CACHE_MODE_REFRESH)
        await run(engine, task, 5)
        assert await engine.cache.evict_task(task_id("memo"), None) == 1
        second = await create_memoized(engine)
        third = await create_memoized(engine)
        assert (second.state, third.state) == (lifecycle.QUEUED, lifecycle.WAITING)
        completion = worker_service_pb2.Completion(token=token_of(held))
        completion.error.code = "Broken"
        await engine.attempts.complete(completion, held)
        assert (await read(engine, third)).state == lifecycle.WAITING, "the second one still computes it"
        await run(engine, task, None)
        assert (await read(engine, third)).state == lifecycle.QUEUED, "the next one takes over"

    world.run(scenario())


def test_an_eviction_between_leaves_the_next_in_line(world: World) -> None:
    """A reservation that vanished does not strand those who wait for it."""

    async def scenario() -> None:
        engine = world.engines[0]
        task = await register(engine)
        holder = await create_memoized(engine)
        waiter = await create_memoized(engine)
        await engine.store.call("DEL", engine.store.keys.cache_entry(holder.cache_key))
        await run(engine, task, None)
        assert (await read(engine, waiter)).state == lifecycle.QUEUED

    world.run(scenario())


@pytest.mark.parametrize("broken", [NO_FORMAT, b""], ids=["newer", "empty"])
def test_an_entry_that_cannot_be_read_is_a_miss(world: World, broken: bytes) -> None:
    """The task runs, says why, and replaces what cannot be read."""

    async def scenario() -> None:
        engine = world.engines[0]
        task = await register(engine)
        key = (await run_once(engine, task)).cache_key
        await engine.store.call("SET", engine.store.keys.cache_entry(key), broken)
        assert await engine.cache.list_entries(task_id("memo"), 0, 10) == ([], 0)
        record = await create_memoized(engine)
        found = await read(engine, record)
        assert (found.state, found.cache_status) == (lifecycle.QUEUED, Status.STATUS_LOOKUP_FAILURE)
        found = await run(engine, task, 8)
        assert (found.state, found.cache_status) == (lifecycle.SUCCEEDED, Status.STATUS_POPULATED)
        assert (await create_memoized(engine)).cache_status == Status.STATUS_MISS  # the record of a hit is the store's

    world.run(scenario())


async def run_once(engine: Engine, task: ReadyTask) -> ExecutionRecord:
    """Fills the entry."""
    await create_memoized(engine)
    return await run(engine, task, 7)


def test_a_key_of_another_type_is_a_miss(world: World) -> None:
    """Even if somebody put something else where the entry belongs."""

    async def scenario() -> None:
        engine = world.engines[0]
        task = await register(engine)
        key = engine.store.keys.cache_entry((await run_once(engine, task)).cache_key)
        await engine.store.call("DEL", key)
        await engine.store.call("LPUSH", key, "what?")
        await create_memoized(engine)
        found = await run(engine, task, 8)
        assert (found.state, found.cache_status) == (lifecycle.SUCCEEDED, Status.STATUS_POPULATED)

    world.run(scenario())


def test_an_entry_that_cannot_be_stored_fails_no_task(world: World) -> None:
    """The execution succeeds and says ``PUT_FAILURE``; nothing is served, and the next in line computes it."""

    async def scenario() -> None:
        engine = world.engines[0]
        task = await register(engine)
        await engine.store.call("SET", engine.store.keys.cache_index(task.ref), "in the way")
        await create_memoized(engine)
        waiter = await create_memoized(engine)
        found = await run(engine, task, 8)
        assert (found.state, found.cache_status) == (lifecycle.SUCCEEDED, Status.STATUS_PUT_FAILURE)
        assert value_of(found.outcome) == 8
        assert await engine.store.call("EXISTS", engine.store.keys.cache_entry(found.cache_key)) == 1
        assert (await read(engine, waiter)).state == lifecycle.QUEUED
        found = await run(engine, task, 9)
        assert found.id == waiter.id
        assert await engine.store.call("EXISTS", engine.store.keys.cache_entry(found.cache_key)) == 0

    world.run(scenario())
