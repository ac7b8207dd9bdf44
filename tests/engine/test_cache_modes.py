"""Memoization as callers see it: what is looked up, what is filled, and under which key."""

from __future__ import annotations

import asyncio

import pytest

from engine.service import Execution, Service, Status, eventually, value
from lacewing.v1 import cache_service_pb2, execution_pb2, execution_service_pb2, identifiers_pb2
from lacewing_server.domain import identity
from server.contract import refusal_of
from server.world import execution, interface

SUCCEEDED = Execution.STATE_SUCCEEDED


async def test_a_miss_fills_the_entry_and_the_next_call_hits_it(service: Service) -> None:
    """The hit has the outputs and the execution that computed them, but is no execution of its own."""
    task = await service.register_cached()
    first = await service.create(task)
    assert first.cache.status == Status.STATUS_MISS
    await service.run(task, 5)
    first = await service.get(first)
    assert (first.state, first.cache.status) == (SUCCEEDED, Status.STATUS_POPULATED)
    hit = await service.execute(task)
    assert (hit.state, hit.cache.status, value(hit)) == (SUCCEEDED, Status.STATUS_HIT, 5)
    assert hit.cache.producer == first.id
    assert hit.cache.key == first.cache.key
    assert not hit.HasField("id")
    listed = await service.stubs.executions.ListExecutions(execution_service_pb2.ListExecutionsRequest(task_name=task))
    assert [each.id for each in listed.executions] == [first.id]


async def test_all_hits_look_alike(service: Service) -> None:
    """However the server finds the entry: the answer says the same, and has what the request says of itself."""
    task = await service.register_cached()
    await service.create(task)
    await service.run(task, 5)
    request = {"labels": {"team": "blue"}, "priority": "PRIORITY_HIGH"}
    first, second = [await service.execute(task, **request) for _ in range(2)]
    assert first == second
    assert (dict(first.labels), first.priority) == ({"team": "blue"}, execution_pb2.PRIORITY_HIGH)
    assert (first.task.name, first.revision, set(first.inputs.literals)) == (task, 1, {"n"})
    plain = await service.execute(task, plain=True)
    assert (plain.outputs_json["o0"], plain.cache) == (5, first.cache)


async def test_hits_and_misses_are_counted_though_not_stored(service: Service) -> None:
    """One miss and three hits; a repeated request is neither."""
    task = await service.register_cached()
    await service.create(task, request_id="the-one")
    await service.create(task, request_id="the-one")
    await service.run(task, 5)
    for _ in range(3):
        await service.execute(task)

    async def counted() -> bool:
        stats = await service.stats(task)
        return stats.hit_count == 3

    await eventually(counted)
    stats = await service.stats(task)
    assert (stats.miss_count, stats.entry_count) == (1, 1)


async def test_a_hit_is_recorded_on_request_and_by_name(service: Service) -> None:
    """``record_hit``, a name, and CreateExecution make an execution that can be read."""
    task = await service.register_cached()
    await service.create(task)
    await service.run(task, 5)
    hits = [
        await service.execute(task, record_hit=True),
        await service.execute(task, name="a-name"),
        await service.create(task),
    ]
    assert len({each.id.name for each in hits}) == 3
    for hit in hits:
        found = await service.get(hit)
        assert (found.state, found.cache.status, value(found)) == (SUCCEEDED, Status.STATUS_HIT, 5)
        assert found.cache.producer == hit.cache.producer
        assert not await service.attempts(found)
        assert found.HasField("expire_time")


async def test_refresh_runs_and_overwrites(service: Service) -> None:
    """The look-up is left out; the new value is what the next caller gets."""
    task = await service.register_cached()
    await service.create(task)
    await service.run(task, 5)
    refresh = await service.create(task, cache_mode="CACHE_MODE_REFRESH")
    assert refresh.cache.status == Status.STATUS_SKIPPED
    await service.run(task, 6)
    assert (await service.get(refresh)).cache.status == Status.STATUS_POPULATED
    assert value(await service.execute(task)) == 6


async def test_bypass_neither_reads_nor_writes(service: Service) -> None:
    """It runs although there is an entry, and leaves the entry alone."""
    task = await service.register_cached()
    await service.create(task)
    await service.run(task, 5)
    bypass = await service.create(task, cache_mode="CACHE_MODE_BYPASS")
    await service.run(task, 6)
    found = await service.get(bypass)
    assert (found.cache.status, found.cache.key, value(found)) == (Status.STATUS_DISABLED, "", 6)
    assert value(await service.execute(task)) == 5


async def test_only_never_runs(service: Service) -> None:
    """Without an entry it is refused and nothing is stored; with one it is answered."""
    task = await service.register_cached()
    before = service.world.contents()
    refused = await refusal_of(service.execute(task, cache_mode="CACHE_MODE_ONLY"))
    assert refused.reason == "CACHE_ENTRY_NOT_FOUND"
    assert service.world.contents() == before
    await service.create(task)
    await service.run(task, 5)
    assert value(await service.execute(task, cache_mode="CACHE_MODE_ONLY")) == 5


async def test_only_is_refused_for_a_task_without_a_cache(service: Service) -> None:
    """There can be no entry."""
    task = await service.register()
    refused = await refusal_of(service.execute(task, cache_mode="CACHE_MODE_ONLY"))
    assert refused.reason == "CACHE_ENTRY_NOT_FOUND"
    await service.no_lease(task)


async def test_an_entry_lives_as_long_as_declared(service: Service) -> None:
    """After its time to live it is a miss; before, a hit."""
    task = await service.register_cached(policy={"cache": {"ttl": "60s"}})
    await service.create(task)
    await service.run(task, 5)
    service.advance(50)
    assert value(await service.execute(task)) == 5
    service.advance(11)
    again = await service.create(task)
    assert again.cache.status == Status.STATUS_MISS


async def test_ignored_inputs_are_not_in_the_key(service: Service) -> None:
    """They reach the body, but do not distinguish entries; other inputs do."""
    task = await service.register_cached(
        metadata={"cache_ignore_input_vars": ["seed"]},
        template={"interface": interface({"n": "INTEGER", "seed": "INTEGER"}, {"o0": "INTEGER"})},
    )
    first = await service.create(task, inputs_json={"n": 1, "seed": 1})
    lease = await service.run(task, 5)
    assert lease.inputs.literals["seed"].scalar.primitive.integer == 1
    assert (await service.create(task, inputs_json={"n": 1, "seed": 2})).cache.key == first.cache.key
    other = await service.create(task, inputs_json={"n": 2, "seed": 1})
    assert other.cache.status == Status.STATUS_MISS


async def test_versions_share_entries_until_the_cache_version_changes(service: Service) -> None:
    """The version of the task is not in the key, the version of its cache is."""
    task = await service.register_cached(version="a")
    await service.create(task)
    await service.run(task, 5)
    await service.register_cached(version="b", description="another one", policy={"max_losses": 1})
    assert (await service.execute(task)).cache.status == Status.STATUS_HIT
    await service.register_cached(version="c", metadata={"discovery_version": "2"})
    assert (await service.create(task)).cache.status == Status.STATUS_MISS


@pytest.mark.parametrize(
    ("scope", "status"), [("SCOPE_DOMAIN", Status.STATUS_MISS), ("SCOPE_PROJECT", Status.STATUS_HIT)]
)
async def test_scope_says_who_shares_an_entry(service: Service, scope: str, status: int) -> None:
    """Domains have caches of their own, unless the task shares it in its project."""
    task = await service.register_cached(policy={"cache": {"scope": scope}})
    await service.create(task)
    await service.run(task, 5)
    await service.register_cached(policy={"cache": {"scope": scope}}, domain="production")
    request = execution(task)
    request.task.domain = "production"
    response = await service.stubs.executions.CreateExecution(
        execution_service_pb2.CreateExecutionRequest(request=request)
    )
    assert response.execution.cache.status == status


async def test_an_attempt_that_did_not_succeed_fills_nothing(service: Service) -> None:
    """Neither an error, nor outputs that do not fit, nor an attempt under way can be hit."""
    task = await service.register_cached(metadata={"retries": {"retries": 1}}, policy={"backoff": {"initial": "0s"}})
    await service.create(task)
    lease = await service.lease(task)
    assert (await service.create(task)).cache.status == Status.STATUS_MISS
    await service.fail(lease)
    refused = await refusal_of(service.execute(task, cache_mode="CACHE_MODE_ONLY"))
    assert refused.reason == "CACHE_ENTRY_NOT_FOUND"
    assert (await service.stats(task)).entry_count == 0


async def test_a_broken_entry_is_a_miss_and_never_an_error(service: Service) -> None:
    """What cannot be read is computed again, and replaced."""
    task = await service.register_cached()
    first = await service.create(task)
    await service.run(task, 5)
    key = b"lw:{0}:m:" + bytes.fromhex(first.cache.key)
    service.world.store.set(key, b"\xff\x02 from the future")
    again = await service.create(task)
    assert again.cache.status == Status.STATUS_LOOKUP_FAILURE
    await service.run(task, 6)
    assert (await service.get(again)).cache.status == Status.STATUS_POPULATED
    assert value(await service.execute(task)) == 6


async def test_what_cannot_be_stored_fails_no_task(service: Service) -> None:
    """The execution succeeds, and both who waits for it and who reads it learn of the ``PUT_FAILURE``."""
    task = await service.register_cached()
    index = b"lw:{0}:mx:" + identity.task_ref("default", "development", task)
    service.world.store.set(index, "in the way")
    waiting = asyncio.create_task(service.execute(task))
    await service.run(task, 5)
    executed = await waiting
    assert (executed.state, executed.cache.status) == (SUCCEEDED, Status.STATUS_PUT_FAILURE)
    assert (await service.get(executed)).cache.status == Status.STATUS_PUT_FAILURE
    service.world.store.delete(index)
    assert (await service.create(task)).cache.status == Status.STATUS_MISS


# --- eviction


async def test_an_entry_is_evicted_by_its_key(service: Service) -> None:
    """It is gone, and evicting it again is refused."""
    task = await service.register_cached()
    first = await service.create(task)
    await service.run(task, 5)
    assert await service.evict(key=first.cache.key) == 1
    assert (await service.create(task)).cache.status == Status.STATUS_MISS
    assert (await refusal_of(service.evict(key=first.cache.key))).reason == "CACHE_ENTRY_NOT_FOUND"


async def test_entries_are_evicted_by_task_and_by_version(service: Service) -> None:
    """Those that a version filled, or all of a task; other tasks keep theirs."""
    task = await service.register_cached(version="a")
    other = await service.register_cached("other")
    for name, number in ((task, 1), (task, 2), (other, 1)):
        await service.create(name, inputs_json={"n": number})
        await service.run(name, number)
    await service.register_cached(version="b", description="another one", policy={"max_losses": 1})
    await service.create(task, inputs_json={"n": 3})
    await service.run(task, 3)
    assert await service.evict(task={"name": task, "version": "b"}) == 1
    assert (await service.execute(task, inputs_json={"n": 1})).cache.status == Status.STATUS_HIT
    assert await service.evict(task={"name": task}) == 2
    assert await service.evict(task={"name": task}) == 0
    assert (await service.execute(other)).cache.status == Status.STATUS_HIT


async def test_entries_are_evicted_by_age(service: Service) -> None:
    """Only those that were filled before the given time."""
    task = await service.register_cached()
    await service.create(task)
    await service.run(task, 1)
    service.advance(60)
    await service.create(task, inputs_json={"n": 2})
    await service.run(task, 2)
    page = await service.stubs.cache.ListCacheEntries(
        cache_service_pb2.ListCacheEntriesRequest(task=identifiers_pb2.TaskId(name=task))
    )
    newest = page.entries[0].create_time
    assert await service.evict(task={"name": task}, created_before=newest.ToJsonString()) == 1
    assert (await service.execute(task, inputs_json={"n": 2})).cache.status == Status.STATUS_HIT
