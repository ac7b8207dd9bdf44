"""Retries that do what they say."""

from __future__ import annotations

import time
from typing import Any

import pytest
from google.protobuf import json_format

from engine.service import Attempt, Execution, Service, StreamWorker, value
from lacewing.v1 import execution_pb2, worker_service_pb2

SUCCEEDED, FAILED, TIMED_OUT = Execution.STATE_SUCCEEDED, Execution.STATE_FAILED, Execution.STATE_TIMED_OUT
QUEUED = Execution.STATE_QUEUED
AT_ONCE = {"initial": "0s"}


async def register_retried(service: Service, retries: int, **policy: Any) -> str:
    """Registers a task that is retried so often."""
    return await service.register(metadata={"retries": {"retries": retries}}, policy={"backoff": AT_ONCE, **policy})


async def test_there_are_exactly_n_plus_one_attempts(service: Service) -> None:
    """Two retries are three attempts; each keeps its error, and the last message says which budget ran out."""
    task = await register_retried(service, 2)
    created = await service.create(task)
    for number in (1, 2, 3):
        lease = await service.lease(task)
        assert lease.attempt == number
        await service.fail(lease, f"Code{number}")
    await service.no_lease(task)
    found = await service.get(created)
    assert (found.state, found.failure_count, found.loss_count, found.attempt_count) == (FAILED, 3, 0, 3)
    assert found.error.code == "Code3"
    assert "retries exhausted: 3 of 3" in found.error.message
    attempts = await service.attempts(created)
    assert [(each.number, each.state, each.error.code) for each in attempts] == [
        (number, Attempt.STATE_FAILED, f"Code{number}") for number in (1, 2, 3)
    ]


async def test_without_retries_there_is_one_attempt(service: Service) -> None:
    """And its message is the body's own."""
    task = await service.register()
    created = await service.create(task)
    await service.fail(await service.lease(task))
    found = await service.get(created)
    assert (found.state, found.attempt_count) == (FAILED, 1)
    assert found.error.message == "Oops at attempt 1"


async def test_while_attempts_are_to_come_the_last_error_shows(service: Service) -> None:
    """A queued execution says why its last attempt failed, and a success clears it away."""
    task = await register_retried(service, 1)
    created = await service.create(task)
    await service.fail(await service.lease(task), "First")
    waiting = await service.get(created)
    assert (waiting.state, waiting.error.code, waiting.failure_count) == (QUEUED, "First", 1)
    await service.run(task, 5)
    found = await service.get(created)
    assert (found.state, value(found), found.failure_count) == (SUCCEEDED, 5, 1)
    assert not found.HasField("error")
    assert [each.state for each in await service.attempts(created)] == [
        Attempt.STATE_FAILED,
        Attempt.STATE_SUCCEEDED,
    ]


async def test_an_error_that_is_not_recoverable_ends_it_at_once(service: Service) -> None:
    """Whatever retries are left."""
    task = await register_retried(service, 5)
    created = await service.create(task)
    await service.fail(await service.lease(task), recoverable=False)
    found = await service.get(created)
    assert (found.state, found.attempt_count) == (FAILED, 1)


async def test_codes_that_are_not_retryable_are_compared_exactly(service: Service) -> None:
    """The listed code ends it, one that only looks like it does not."""
    task = await register_retried(service, 5, non_retryable_codes=["ValueError"])
    created = await service.create(task)
    await service.fail(await service.lease(task), "valueerror")
    assert (await service.get(created)).state == QUEUED
    await service.fail(await service.lease(task), "ValueError")
    found = await service.get(created)
    assert (found.state, found.error.code, found.attempt_count) == (FAILED, "ValueError", 2)


async def test_backoff_is_waited_out(service: Service) -> None:
    """The next attempt starts after 10 s, the one after that after 20 s, and not before."""
    task = await service.register(
        metadata={"retries": {"retries": 3}}, policy={"backoff": {"initial": "10s", "jitter": "JITTER_NONE"}}
    )
    created = await service.create(task)
    for wait in (10, 20):
        before = time.time()
        await service.fail(await service.lease(task))
        queued = await service.get(created)
        assert queued.state == QUEUED
        assert wait - 1 <= queued.retry_time.ToNanoseconds() / 1e9 - before <= wait + 1
        assert "back-off" in queued.state_reason
        service.advance(wait - 2)
        await service.no_lease(task)
        service.advance(2)
    await service.run(task, 5)


async def test_an_error_may_say_when_to_try_again(service: Service) -> None:
    """``retry_delay`` counts instead of the back-off."""
    task = await service.register(
        metadata={"retries": {"retries": 1}}, policy={"backoff": {"initial": "1s", "jitter": "JITTER_NONE"}}
    )
    await service.create(task)
    await service.fail(await service.lease(task), retry_delay="100s")
    service.advance(98)
    await service.no_lease(task)
    service.advance(2)
    assert (await service.lease(task)).attempt == 2


@pytest.mark.parametrize("seconds", [2**62, -(2**62)])
async def test_a_delay_without_reason_is_brought_into_bounds(service: Service, seconds: int) -> None:
    """A worker that asks for more than ten years gets ten years, for less than nothing nothing; nothing breaks."""
    task = await register_retried(service, 1)
    created = await service.create(task)
    completed = worker_service_pb2.Completion(token=(await service.lease(task)).token)
    completed.error.recoverable = True
    completed.error.retry_delay.seconds = seconds
    assert not (await service.report(completed)).HasField("error")
    found = await service.get(created)
    assert (found.state, found.failure_count) == (QUEUED, 1)
    if seconds < 0:
        await service.run(task, 5)
    else:
        years = (found.retry_time.seconds - found.create_time.seconds) / (366 * 86_400)
        assert 9.9 < years < 10.1
        assert (await service.cancel(created)).state == Execution.STATE_CANCELLED


async def test_losses_do_not_use_up_retries(service: Service) -> None:
    """Two losses and two failures are within one retry and two losses; one loss more is a failure of the system."""
    task = await register_retried(service, 2, max_losses=2)
    created = await service.create(task)
    await service.fail(await service.lease(task))
    for losses in (1, 2):
        await service.lease(task)
        service.advance(31)
        queued = await service.until(created, QUEUED)
        assert (queued.loss_count, queued.failure_count, queued.error.code) == (losses, 1, "LeaseLost")
    await service.fail(await service.lease(task))
    await service.lease(task)
    service.advance(31)
    found = await service.wait(created)
    assert (found.state, found.loss_count, found.failure_count, found.attempt_count) == (FAILED, 3, 2, 5)
    assert (found.error.code, found.error.kind) == ("LossesExhausted", execution_pb2.TaskError.KIND_SYSTEM)
    assert "3 attempts were lost, 2 are allowed" in found.error.message
    assert [each.state for each in await service.attempts(created)] == [
        Attempt.STATE_FAILED,
        Attempt.STATE_LOST,
        Attempt.STATE_LOST,
        Attempt.STATE_FAILED,
        Attempt.STATE_LOST,
    ]


async def test_with_no_losses_allowed_the_first_is_final(service: Service) -> None:
    """``max_losses`` of 0 is a declaration, not an absence."""
    task = await register_retried(service, 5, max_losses=0)
    created = await service.create(task)
    lease = await service.lease(task)
    completed = worker_service_pb2.Completion(token=lease.token)
    completed.abandoned.reason = "going home"
    result = await service.report(completed)
    assert not result.HasField("error")
    found = await service.get(created)
    assert (found.state, found.loss_count, found.error.code) == (FAILED, 1, "LossesExhausted")
    assert "going home" in found.error.message


async def test_what_is_not_idempotent_is_not_run_again_after_a_loss(service: Service) -> None:
    """Although losses and retries are left."""
    task = await register_retried(service, 5, idempotent=False)
    created = await service.create(task)
    await service.lease(task)
    service.advance(31)
    found = await service.wait(created)
    assert (found.state, found.attempt_count) == (FAILED, 1)
    assert "not idempotent" in found.error.message


async def test_outputs_that_do_not_fit_are_never_retried(service: Service) -> None:
    """They are a fault of the task's code, which another attempt does not mend."""
    task = await register_retried(service, 5)
    created = await service.create(task)
    lease = await service.lease(task)
    completed = worker_service_pb2.Completion(token=lease.token)
    completed.outputs.literals["o0"].scalar.primitive.string_value = "five"
    result = await service.report(completed)
    assert result.error.reason
    found = await service.get(created)
    assert (found.state, found.error.code, found.attempt_count) == (FAILED, "OutputsInvalid", 1)


async def test_the_error_of_every_attempt_is_kept_whole(service: Service) -> None:
    """Code, message, stack trace, chain of causes, worker and the end of the log."""
    task = await register_retried(service, 1)
    created = await service.create(task)
    error = {
        "code": "OSError",
        "message": "no route",
        "recoverable": True,
        "stack_trace": "line 1\nline 2",
        "cause": {"code": "TimeoutError", "message": "too slow", "cause": {"code": "Root"}},
    }
    lease = await service.lease(task, worker="w-1")
    completed = worker_service_pb2.Completion(
        token=lease.token, error=json_format.ParseDict(error, execution_pb2.TaskError()), log_tail="the last words"
    )
    await service.report(completed)
    await service.run(task, 5)
    first, second = await service.attempts(created)
    assert first.worker == first.error.worker == "w-1"
    assert (first.error.stack_trace, first.log_tail) == ("line 1\nline 2", "the last words")
    assert first.error.cause.cause.code == "Root"
    assert first.error.kind == execution_pb2.TaskError.KIND_USER
    assert first.error.HasField("time")
    assert first.start_time.ToNanoseconds() <= first.end_time.ToNanoseconds() <= second.end_time.ToNanoseconds()


async def test_a_stale_result_is_refused_and_changes_nothing(service: Service) -> None:
    """A worker back from the dead is told ``LEASE_LOST``, whatever it reports."""
    task = await register_retried(service, 1)
    created = await service.create(task)
    stale = await service.lease(task)
    service.advance(31)
    await service.until(created, QUEUED)
    current = await service.lease(task)
    assert (await service.succeed(stale, 666)).error.metadata["execution"].endswith(created.id.name)
    assert (await service.fail(stale)).HasField("error")
    await service.succeed(current, 5)
    assert (await service.succeed(stale, 666)).HasField("error")
    assert value(await service.get(created)) == 5


@pytest.mark.parametrize("outcome", ["outputs", "error"])
async def test_a_repeated_completion_is_acknowledged_again(service: Service, outcome: str) -> None:
    """The first answer may have been lost; the second changes nothing."""
    task = await register_retried(service, 1)
    created = await service.create(task)
    lease = await service.lease(task)
    for _ in range(3):
        result = await (service.fail(lease) if outcome == "error" else service.succeed(lease, 5))
        assert not result.HasField("error")
    found = await service.get(created)
    assert (found.failure_count, found.attempt_count) == (outcome == "error", 1)


async def test_a_stream_that_breaks_loses_its_attempts_after_the_grace(service: Service) -> None:
    """The attempt is LOST, not failed, and another worker gets it."""
    task = await register_retried(service, 0)
    created = await service.create(task)
    worker = await StreamWorker(service.stubs, task, name="short-lived").connect()
    await worker.lease()
    worker.close()
    lease = await service.lease(task)
    assert lease.attempt == 2
    (lost, _) = await service.attempts(created)
    assert (lost.state, lost.error.code, lost.worker) == (Attempt.STATE_LOST, "LeaseLost", "short-lived")
