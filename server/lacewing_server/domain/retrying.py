"""What happens after an attempt that did not succeed: another one, when, or the end. Pure decisions."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from lacewing.v1 import execution_pb2, task_pb2
from lacewing_server.domain import lifecycle, task_errors
from lacewing_server.domain.durations import milliseconds
from lacewing_server.domain.record import ExecutionRecord
from lacewing_server.domain.task_version import ReadyTask

_INITIAL_MS: Final = 1_000
_MULTIPLIER: Final = 2.0
_MAX_MS: Final = 300_000

ATTEMPT_TIMEOUT: Final = "AttemptTimeout"
QUEUE_TIMEOUT: Final = "QueueTimeout"
DEADLINE_EXCEEDED: Final = "DeadlineExceeded"
LEASE_LOST: Final = "LeaseLost"
LOSSES_EXHAUSTED: Final = "LossesExhausted"
CANCELLED: Final = "Cancelled"
OUTPUTS_INVALID: Final = "OutputsInvalid"
GRAPH_INVALID: Final = "GraphInvalid"
NODE_FAILED: Final = "NodeFailed"
GATE_REJECTED: Final = "GateRejected"


@dataclass(frozen=True, slots=True)
class Retry:
    """Another attempt after ``delay`` milliseconds."""

    delay: int


@dataclass(frozen=True, slots=True)
class GiveUp:
    """No other attempt; the execution ends in ``state`` with ``error``."""

    state: int
    error: execution_pb2.TaskError


def after_failure(
    task: ReadyTask,
    record: ExecutionRecord,
    error: execution_pb2.TaskError,
    *,
    timed_out: bool,
    spread: Callable[[], float],
) -> Retry | GiveUp:
    """Decides after an attempt that failed by the task's doing: an error of the body, or its timeout.

    Args:
        task: What the author declared.
        record: The execution, with the failures before this one.
        error: What happened.
        timed_out: Whether it was the attempt timeout.
        spread: Gives a random number from 0 to 1, for jitter.
    """
    final_state = lifecycle.TIMED_OUT if timed_out else lifecycle.FAILED
    failures = record.failures + 1
    if not error.recoverable or error.code in task.non_retryable:
        return GiveUp(final_state, error)
    if timed_out and not task.idempotent:
        return GiveUp(final_state, _noted(error, "the task is not idempotent, so it is not run again"))
    if failures >= task.max_failures:
        if task.max_failures == 1:
            return GiveUp(final_state, error)
        return GiveUp(
            final_state, _noted(error, f"retries exhausted: {failures} of {task.max_failures} attempts failed")
        )
    if error.HasField("retry_delay"):
        return Retry(task_errors.retry_delay(error))
    return Retry(backoff(task.version.spec.policy.backoff, failures, spread))


def after_loss(task: ReadyTask, record: ExecutionRecord, error: execution_pb2.TaskError) -> Retry | GiveUp:
    """Decides after an attempt that infrastructure lost."""
    losses = record.losses + 1
    if not task.idempotent:
        why = "the task is not idempotent, so it is not run again after a loss"
    elif losses > task.max_losses:
        why = f"losses exhausted: {losses} attempts were lost, {task.max_losses} are allowed"
    else:
        return Retry(0)
    final = execution_pb2.TaskError()
    final.CopyFrom(error)
    final.code = LOSSES_EXHAUSTED
    return GiveUp(lifecycle.FAILED, _noted(final, why))


def backoff(policy: task_pb2.Backoff, failures: int, spread: Callable[[], float]) -> int:
    """The wait in milliseconds before the attempt that follows failure number ``failures``."""
    initial = milliseconds(policy.initial) if policy.HasField("initial") else _INITIAL_MS
    maximum = milliseconds(policy.max) if policy.HasField("max") else _MAX_MS
    multiplier = policy.multiplier or _MULTIPLIER
    wait = float(initial)
    for _ in range(failures - 1):
        # Step by step, since a power may be too large for a float; a product is then infinite, and the maximum rules.
        wait = min(wait * multiplier, maximum)
    wait = min(wait, maximum)
    return round(wait if policy.jitter == task_pb2.Backoff.JITTER_NONE else wait * spread())


def _noted(error: execution_pb2.TaskError, note: str) -> execution_pb2.TaskError:
    noted = execution_pb2.TaskError()
    noted.CopyFrom(error)
    noted.message = f"{error.message} ({note})" if error.message else note
    return noted
