"""Serialized caches: of those who want an entry one computes it; whatever ends that one lets the others go on."""

from __future__ import annotations

import asyncio
from typing import Any

from engine.service import Attempt, Execution, Service, Status, StreamWorker, value

SUCCEEDED, FAILED, CANCELLED = Execution.STATE_SUCCEEDED, Execution.STATE_FAILED, Execution.STATE_CANCELLED
QUEUED, WAITING, RUNNING = Execution.STATE_QUEUED, Execution.STATE_WAITING, Execution.STATE_RUNNING


async def register_serialized(service: Service, **policy: Any) -> str:
    """Registers a task whose cache is serialized."""
    return await service.register_cached(metadata={"cache_serializable": True}, policy=policy)


async def three(service: Service, task: str) -> list[Execution]:
    """One that computes, and two that wait for it."""
    executions = [await service.create(task) for _ in range(3)]
    assert [each.state for each in executions] == [QUEUED, WAITING, WAITING]
    return executions


async def test_who_waits_says_for_whom_and_gets_the_outputs(service: Service) -> None:
    """One body runs for three callers; the moment it ends all have its outputs."""
    task = await register_serialized(service)
    holder, *waiters = await three(service, task)
    for each in waiters:
        assert holder.id.name in each.state_reason
        assert each.cache.producer == holder.id
    await service.run(task, 5)
    for each in [await service.wait(each) for each in waiters]:
        assert (each.state, each.cache.status, value(each)) == (SUCCEEDED, Status.STATUS_HIT, 5)
        assert each.cache.producer == holder.id
        assert each.attempt_count == 0
        assert each.HasField("expire_time")
    await service.no_lease(task)


async def test_callers_that_wait_are_woken_by_the_success_of_another(service: Service) -> None:
    """Calls of Execute that are under way return together."""
    task = await register_serialized(service)
    calls = [asyncio.create_task(service.execute(task)) for _ in range(4)]
    await service.run(task, 5)
    assert [value(each) for each in await asyncio.gather(*calls)] == [5, 5, 5, 5]


async def test_when_it_fails_the_next_in_line_takes_over_at_once(service: Service) -> None:
    """The error is the holder's alone; who waits for the second one is told so, and gets its outputs."""
    task = await register_serialized(service)
    first, second, third = await three(service, task)
    await service.fail(await service.lease(task), recoverable=False)
    assert (await service.get(first)).state == FAILED
    assert (await service.get(second)).state == QUEUED
    assert (await service.get(third)).state == WAITING
    lease = await service.run(task, 6)
    assert lease.execution == second.id
    found = await service.wait(third)
    assert (found.state, value(found), found.cache.producer) == (SUCCEEDED, 6, second.id)


async def test_a_failure_that_is_retried_keeps_the_reservation(service: Service) -> None:
    """The others go on waiting while the holder waits out its back-off, and get what its next attempt gives."""
    task = await service.register_cached(
        metadata={"cache_serializable": True, "retries": {"retries": 1}},
        policy={"backoff": {"initial": "30s", "jitter": "JITTER_NONE"}},
    )
    holder, *waiters = await three(service, task)
    await service.fail(await service.lease(task))
    assert [(await service.get(each)).state for each in waiters] == [WAITING, WAITING]
    service.advance(31)
    lease = await service.run(task, 7)
    assert lease.execution == holder.id
    assert [value(await service.wait(each)) for each in waiters] == [7, 7]


async def test_the_death_of_a_worker_keeps_the_reservation_until_the_last_loss(service: Service) -> None:
    """A loss sends the holder back to its queue; when its losses are exhausted the next one takes over."""
    task = await register_serialized(service, max_losses=1)
    first, second, _ = await three(service, task)
    await service.lease(task)
    service.advance(31)
    await service.until(first, QUEUED)
    assert (await service.get(second)).state == WAITING
    assert (await service.lease(task)).execution == first.id
    service.advance(31)
    await service.until(second, QUEUED)
    assert (await service.wait(first)).error.code == "LossesExhausted"
    assert (await service.run(task, 8)).execution == second.id


async def test_a_stream_that_breaks_hands_the_reservation_over(service: Service) -> None:
    """The same with a worker on a stream, whose task bears no loss."""
    task = await register_serialized(service, max_losses=0)
    first = await service.create(task)
    worker = await StreamWorker(service.stubs, task).connect()
    assert (await worker.lease()).execution == first.id
    second = await service.create(task)
    assert second.state == WAITING
    worker.close()
    await service.until(second, QUEUED)
    assert (await service.get(first)).state == FAILED


async def test_cancelling_the_holder_hands_over(service: Service) -> None:
    """Whether it runs or is still queued."""
    task = await register_serialized(service)
    first, second, third = await three(service, task)
    await service.lease(task)
    await service.cancel(first)
    assert (await service.get(second)).state == QUEUED
    await service.cancel(second)
    assert (await service.get(third)).state == QUEUED
    assert (await service.run(task, 9)).execution == third.id


async def test_cancelling_one_who_waits_concerns_nobody_else(service: Service) -> None:
    """It is CANCELLED at once, and passed over when its turn comes."""
    task = await register_serialized(service)
    _, second, third = await three(service, task)
    assert (await service.cancel(second, "no longer needed")).state == CANCELLED
    await service.fail(await service.lease(task), recoverable=False)
    assert (await service.run(task, 10)).execution == third.id
    assert (await service.get(second)).state == CANCELLED


async def test_the_deadline_runs_for_those_who_wait(service: Service) -> None:
    """An execution that only waits is TIMED_OUT by its deadline, and was no attempt."""
    task = await register_serialized(service)
    await service.create(task)
    waiter = await service.create(task, deadline="20s")
    assert waiter.state == WAITING
    service.advance(21)
    found = await service.wait(waiter)
    assert (found.state, found.error.code) == (Execution.STATE_TIMED_OUT, "DeadlineExceeded")
    assert not await service.attempts(found)


async def test_an_attempt_timeout_hands_over(service: Service) -> None:
    """A holder that outlives its attempt timeout without retries is replaced by the next in line."""
    task = await service.register_cached(metadata={"cache_serializable": True, "timeout": "20s"})
    first, second, _ = await three(service, task)
    await service.lease(task)
    service.advance(21)
    await service.until(second, QUEUED)
    found = await service.get(first)
    assert (found.state, found.error.code) == (Execution.STATE_TIMED_OUT, "AttemptTimeout")
    assert [each.state for each in await service.attempts(found)] == [Attempt.STATE_TIMED_OUT]
