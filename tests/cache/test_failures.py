"""What the cache suffers is no fault of a task, and hits leave nothing behind."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from engine.service import Execution, Service, Status, value
from lacewing_server.domain import identity
from server.world import PREFIX

SUCCEEDED = Execution.STATE_SUCCEEDED
BOOKS = pytest.mark.parametrize("key", ["mz", "me", "mx:{ref}", "ml:default", "mp:default", "ms:{ref}", "mo"])


@contextmanager
def broken(service: Service, key: bytes) -> Iterator[None]:
    """A key of the cache is of another type for a while."""
    store = service.world.store
    kept = b"kept:" + key
    was_there = bool(store.exists(key))
    if was_there:
        store.rename(key, kept)
    store.set(key, "in the way")
    try:
        yield
    finally:
        store.delete(key)
        if was_there:
            store.rename(kept, key)


def key_of(pattern: str, task: str) -> bytes:
    """The name of a key of the books."""
    kind, found, _ = pattern.partition("{ref}")
    return PREFIX + kind.encode() + (identity.task_ref("default", "development", task) if found else b"")


@BOOKS
async def test_broken_books_fail_no_task(service: Service, key: str) -> None:
    """An execution succeeds with ``PUT_FAILURE`` or fills its entry; what is filled is hit; afterwards all is well."""
    task = await service.register_cached(policy={"cache": {"ttl": "1000s"}})
    await service.create(task)
    await service.run(task, 5)
    with broken(service, key_of(key, task)):
        assert value(await service.execute(task)) == 5
        created = await service.create(task, inputs_json={"n": 2})
        await service.run(task, 2)
        ended = await service.get(created)
        assert (ended.state, value(ended)) == (SUCCEEDED, 2)
        assert ended.cache.status in {Status.STATUS_PUT_FAILURE, Status.STATUS_POPULATED}
    again = await service.create(task, inputs_json={"n": 3})
    await service.run(task, 3)
    assert (await service.get(again)).cache.status == Status.STATUS_POPULATED
    assert value(await service.execute(task, inputs_json={"n": 3})) == 3


async def test_a_serialized_cache_that_cannot_be_filled_hands_over(service: Service) -> None:
    """Who waits for the entry computes by itself, one after the other."""
    task = await service.register_cached(metadata={"cache_serializable": True})
    with broken(service, key_of("ml:default", task)):
        first, second = await service.create(task), await service.create(task)
        assert second.state == Execution.STATE_WAITING
        await service.run(task, 5)
        assert (await service.get(first)).cache.status == Status.STATUS_PUT_FAILURE
        await service.run(task, 6)
        ended = await service.get(second)
        assert (ended.state, value(ended)) == (SUCCEEDED, 6)


async def test_hits_do_not_fill_the_store(service: Service) -> None:
    """After many hits the store holds what it held before."""
    task = await service.register_cached()
    await service.create(task)
    await service.run(task, 5)
    before = set(service.world.contents())
    hits = await asyncio.gather(*(service.execute(task) for _ in range(100)))
    assert {value(hit) for hit in hits} == {5}
    # Nothing new; what other tests left may go meanwhile.
    assert set(service.world.contents()) <= before


async def test_an_entry_in_use_stays(service: Service) -> None:
    """A use is noted once a minute, so that the least recently used entry goes first."""
    task = await service.register_cached()
    keys = []
    for n in range(3):
        created = await service.create(task, inputs_json={"n": n})
        await service.run(task, n)
        keys.append(bytes.fromhex(created.cache.key))
        service.advance(70)

    def order() -> list[bytes]:
        found = service.world.store.zrange(PREFIX + b"ml:default", 0, -1)
        return [key for key in found if key in keys]

    assert order() == keys
    await service.execute(task, inputs_json={"n": 0})
    assert order() == [keys[1], keys[2], keys[0]]
    service.advance(30)
    await service.execute(task, inputs_json={"n": 1})
    await service.execute(task, inputs_json={"n": 0})
    assert order() == [keys[2], keys[0], keys[1]]


@pytest.mark.parametrize("how", ["evicted", "expired", "refreshed"])
async def test_an_execution_tells_that_its_entry_is_gone(service: Service, how: str) -> None:
    """Evicted, expired, or filled anew by another execution, whose entry it then is."""
    task = await service.register_cached(policy={"cache": {"ttl": "60s"}})
    created = await service.create(task)
    await service.run(task, 5)
    assert (await service.get(created)).cache.status == Status.STATUS_POPULATED
    if how == "evicted":
        await service.evict(key=created.cache.key)
    elif how == "expired":
        service.advance(61)
    else:
        refresh = await service.create(task, cache_mode="CACHE_MODE_REFRESH")
        await service.run(task, 6)
        assert (await service.get(refresh)).cache.status == Status.STATUS_POPULATED
    assert (await service.get(created)).cache.status == Status.STATUS_EVICTED
    assert (await service.wait(created)).cache.status == Status.STATUS_POPULATED
