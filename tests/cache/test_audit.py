"""Audits through the wire: what runs again, what is compared, and where a mismatch shows."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from google.protobuf import json_format

from engine.service import Execution, Service, Status, eventually, value
from lacewing.v1 import (
    audit_pb2,
    cache_pb2,
    cache_service_pb2,
    execution_pb2,
    execution_service_pb2,
    identifiers_pb2,
    task_pb2,
    task_service_pb2,
)
from server.contract import refusal_of

Result = audit_pb2.AuditResult


async def results_of(service: Service, **request: Any) -> list[Result]:
    """Asks for an audit, and waits for all results."""
    content = json_format.ParseDict(request, cache_service_pb2.AuditTaskRequest())
    return [response.result async for response in service.stubs.cache.AuditTask(content)]


@asynccontextmanager
async def auditing(service: Service, **request: Any) -> AsyncIterator[asyncio.Task[list[Result]]]:
    """An audit that is under way."""
    task = asyncio.create_task(results_of(service, **request))
    try:
        yield task
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def filled(service: Service, value: int = 5, **spec: Any) -> tuple[str, Execution]:
    """Registers a memoized task, and fills an entry."""
    task = await service.register_cached(**spec)
    first = await service.create(task)
    await service.run(task, value)
    return task, await service.get(first)


async def entry_of(service: Service, key: str) -> cache_pb2.CacheEntry:
    response: cache_service_pb2.GetCacheEntryResponse = await service.stubs.cache.GetCacheEntry(
        cache_service_pb2.GetCacheEntryRequest(key=key)
    )
    return response.entry


async def task_of(service: Service, name: str, version: str = "") -> tuple[task_pb2.Task, task_pb2.TaskVersion]:
    request = task_service_pb2.GetTaskRequest(id=identifiers_pb2.TaskId(name=name, version=version))
    response: task_service_pb2.GetTaskResponse = await service.stubs.tasks.GetTask(request)
    return response.task, response.task_version


async def audits_of(service: Service, task: str) -> list[Execution]:
    """The executions of a task that ran for audits, last one first."""
    request = execution_service_pb2.ListExecutionsRequest(task_name=task, view=execution_pb2.EXECUTION_VIEW_FULL)
    listed = await service.stubs.executions.ListExecutions(request)
    return [each for each in listed.executions if each.HasField("audit")]


# --- on demand


async def test_a_task_is_run_twice(service: Service) -> None:
    """Equal outputs match; both runs are marked executions that leave the cache alone."""
    task = await service.register_cached()
    async with auditing(service, task={"name": task}, inputs_json={"n": 7}) as audit:
        for _ in range(2):
            lease = await service.run(task, 5)
            assert lease.inputs.literals["n"].scalar.primitive.integer == 7
        (result,) = await audit
    assert (result.outcome, result.key, result.message) == (Result.OUTCOME_MATCH, "", "")
    assert not result.HasField("nondeterminism")
    second, first = await audits_of(service, task)
    assert result.execution == second.id
    assert second.audit.baseline == first.id
    assert len(second.audit.baseline_digest) == 64
    assert not first.audit.baseline.name
    assert {each.cache.status for each in (first, second)} == {Status.STATUS_DISABLED}
    assert (await service.create(task, inputs_json={"n": 7})).cache.status == Status.STATUS_MISS


async def test_a_mismatch_marks_the_version_until_there_is_another(service: Service) -> None:
    """The finding says where; GetTask, ListTasks and ListTaskVersions show it; a new version begins anew."""
    task = await service.register(version="a")
    async with auditing(service, task={"name": task}, inputs_json={"n": 1}) as audit:
        await service.run(task, 5)
        await service.run(task, 6)
        (result,) = await audit
    assert result.outcome == Result.OUTCOME_MISMATCH
    finding = result.nondeterminism
    assert [(each.path, each.before, each.after) for each in finding.differences] == [
        ("outputs.o0", "INTEGER 5", "INTEGER 6")
    ]
    assert finding.digest != finding.baseline_digest
    assert (finding.task.name, finding.task.version) == (task, "a")
    assert finding.execution == result.execution

    described, version = await task_of(service, task)
    assert described.nondeterminism == version.nondeterminism == finding
    tasks = await service.stubs.tasks.ListTasks(task_service_pb2.ListTasksRequest(name_prefix=task))
    assert [each.nondeterminism for each in tasks.tasks] == [finding]

    await service.register(version="b", description="another one", policy={"max_losses": 1})
    described, version = await task_of(service, task)
    assert not described.HasField("nondeterminism")
    assert not version.HasField("nondeterminism")
    listed = await service.stubs.tasks.ListTaskVersions(
        task_service_pb2.ListTaskVersionsRequest(id=identifiers_pb2.TaskId(name=task))
    )
    assert [each.HasField("nondeterminism") for each in listed.task_versions] == [False, True]
    lease_spec = await service.stubs.tasks.GetTask(
        task_service_pb2.GetTaskRequest(id=identifiers_pb2.TaskId(name=task, version="a"))
    )
    assert lease_spec.task_version.nondeterminism == finding


async def test_an_entry_is_run_again(service: Service) -> None:
    """With the inputs of the execution that filled it; a mismatch marks entry and task, and the entry is served on."""
    task, first = await filled(service)
    async with auditing(service, key=first.cache.key) as audit:
        lease = await service.run(task, 6)
        assert lease.inputs == first.inputs
        (result,) = await audit
    assert (result.outcome, result.key) == (Result.OUTCOME_MISMATCH, first.cache.key)
    assert result.nondeterminism.baseline == first.id
    entry = await entry_of(service, first.cache.key)
    assert entry.nondeterminism == result.nondeterminism
    assert entry.outputs == first.outputs
    assert (await task_of(service, task))[0].nondeterminism == result.nondeterminism
    assert value(await service.execute(task)) == 5

    async def counted() -> bool:
        stats = await service.stats(task)
        return (stats.audit_count, stats.mismatch_count) == (1, 1)

    await eventually(counted)
    # A second finding does not change the first.
    async with auditing(service, key=first.cache.key) as audit:
        await service.run(task, 7)
        (again,) = await audit
    assert (await entry_of(service, first.cache.key)).nondeterminism == result.nondeterminism
    assert (await task_of(service, task))[0].nondeterminism == again.nondeterminism
    # The mark goes with the entry.
    refresh = await service.create(task, cache_mode="CACHE_MODE_REFRESH")
    await service.run(task, 7)
    assert (await service.get(refresh)).cache.status == Status.STATUS_POPULATED
    assert not (await entry_of(service, first.cache.key)).HasField("nondeterminism")


async def test_a_sample_of_entries_is_run_again(service: Service) -> None:
    """Each at most once, with a result for each as it comes."""
    task = await service.register_cached()
    for n in range(1, 7):
        await service.create(task, inputs_json={"n": n})
        await service.run(task, n)
    async with auditing(service, task={"name": task}, sample=4) as audit:
        for _ in range(4):
            lease = await service.lease(task)
            await service.succeed(lease, lease.inputs.literals["n"].scalar.primitive.integer)
        results = await audit
    assert [each.outcome for each in results] == [Result.OUTCOME_MATCH] * 4
    assert len({each.key for each in results}) == 4
    assert not await results_of(service, task={"name": task, "version": "of-none"}, sample=4)


async def test_a_run_that_does_not_succeed_compares_nothing(service: Service) -> None:
    """The result says how it ended; nothing is marked or counted."""
    task, first = await filled(service)
    async with auditing(service, key=first.cache.key) as audit:
        await service.fail(await service.lease(task), "Oops", recoverable=False)
        (result,) = await audit
    assert (result.outcome, result.message) == (Result.OUTCOME_FAILED, "the run ended FAILED: Oops: Oops at attempt 1")
    assert (await service.get(Execution(id=result.execution))).state == Execution.STATE_FAILED
    assert not (await task_of(service, task))[0].HasField("nondeterminism")


async def test_an_entry_whose_inputs_are_gone_cannot_be_audited(service: Service) -> None:
    """They go with the execution that filled it."""
    task, first = await filled(service, policy={"retention": "60s"})
    service.advance(61)
    (result,) = await results_of(service, task={"name": task}, sample=1)
    assert (result.outcome, result.key) == (Result.OUTCOME_UNAVAILABLE, first.cache.key)
    assert "past its retention" in result.message
    assert not await audits_of(service, task)


@pytest.mark.parametrize(
    ("request_", "field"),
    [
        ({"sample": -1}, "sample"),
        ({"sample": 101}, "sample"),
        ({"sample": 1, "inputs_json": {"n": 1}}, "key"),
        ({"key": "0" * 32, "sample": 1}, "key"),
        ({"key": "0" * 32}, "task"),
        ({"inputs": {}, "inputs_json": {}}, "inputs_json"),
    ],
)
async def test_one_way_is_asked_for(service: Service, request_: dict[str, Any], field: str) -> None:
    """What is out of bounds or ambiguous is refused, and nothing runs."""
    task = await service.register_cached()
    refused = await refusal_of(results_of(service, task={"name": task}, **request_))
    assert (refused.reason, list(refused.violations)) == ("FIELD_INVALID", [field])
    assert not await audits_of(service, task)


async def test_what_cannot_be_audited_is_refused(service: Service) -> None:
    """A task that must not run twice, inputs that do not fit, an entry that is not there."""
    task = await service.register(policy={"idempotent": False})
    assert (await refusal_of(results_of(service, task={"name": task}, inputs_json={"n": 1}))).reason == "FIELD_INVALID"
    await service.no_lease(task)
    other = await service.register("other")
    assert (await refusal_of(results_of(service, task={"name": other}))).reason == "INPUTS_INVALID"
    assert (await refusal_of(results_of(service, key="0" * 32))).reason == "CACHE_ENTRY_NOT_FOUND"


# --- in the background


async def test_a_hit_is_audited_in_the_background(service: Service) -> None:
    """The hit is answered as ever; what its audit finds shows up at the entry and the task."""
    task, first = await filled(service, policy={"cache": {"audit_rate": 1}})
    hit = await service.execute(task)
    assert (hit.cache.status, value(hit)) == (Status.STATUS_HIT, 5)
    lease = await service.lease(task)
    assert lease.inputs == first.inputs
    (audit,) = await audits_of(service, task)
    assert audit.audit.key == first.cache.key
    assert audit.audit.baseline == first.id
    assert audit.priority == execution_pb2.PRIORITY_LOW
    await service.succeed(lease, 6)

    async def marked() -> bool:
        return (await entry_of(service, first.cache.key)).HasField("nondeterminism")

    await eventually(marked)
    assert (await task_of(service, task))[0].nondeterminism.key == first.cache.key
    listed = await service.stubs.cache.ListCacheEntries(
        cache_service_pb2.ListCacheEntriesRequest(task=identifiers_pb2.TaskId(name=task))
    )
    assert listed.entries[0].HasField("nondeterminism")
    ended = await service.get(audit)
    kept = ended.expire_time.ToMilliseconds() - ended.end_time.ToMilliseconds()
    assert kept == 3_600_000


async def test_without_a_rate_nothing_runs_again(service: Service) -> None:
    """Hits cost nothing then."""
    task, _ = await filled(service)
    for _ in range(3):
        await service.execute(task)
    await service.no_lease(task)
    assert not await audits_of(service, task)


async def test_audits_of_hits_are_one_at_a_time(service: Service) -> None:
    """Many hits at once give one audit, and no others while it runs."""
    task, _ = await filled(service, policy={"cache": {"audit_rate": 1}})
    await asyncio.gather(*(service.execute(task) for _ in range(20)))
    lease = await service.lease(task)
    await asyncio.gather(*(service.execute(task) for _ in range(20)))
    assert len(await audits_of(service, task)) == 1
    await service.succeed(lease, 5)
    await service.no_lease(task)


async def test_audits_of_hits_give_way_to_other_work(service: Service) -> None:
    """None is begun while executions of the task wait for a worker."""
    task, _ = await filled(service, policy={"cache": {"audit_rate": 1}})
    waiting = await service.create(task, inputs_json={"n": 2})
    for _ in range(5):
        assert (await service.execute(task)).cache.status == Status.STATUS_HIT
    await service.run(task, 2)
    assert (await service.get(waiting)).state == Execution.STATE_SUCCEEDED
    await service.no_lease(task)
    assert not await audits_of(service, task)


async def test_an_audit_of_a_hit_that_nobody_runs_ends(service: Service) -> None:
    """After a minute in the queue."""
    task, _ = await filled(service, policy={"cache": {"audit_rate": 1}})
    await service.execute(task)

    async def begun() -> bool:
        return bool(await audits_of(service, task))

    await eventually(begun)
    service.advance(61)
    (audit,) = await audits_of(service, task)
    assert (await service.until(audit, Execution.STATE_TIMED_OUT)).error.code == "QueueTimeout"


@pytest.mark.parametrize("rate", [-0.1, 1.1, "NaN"])
async def test_a_rate_is_a_share(service: Service, rate: float | str) -> None:
    """Registration refuses what is no number from 0 to 1."""
    refused = await refusal_of(service.register_cached(policy={"cache": {"audit_rate": rate}}))
    assert list(refused.violations) == ["spec.policy.cache.audit_rate"]
