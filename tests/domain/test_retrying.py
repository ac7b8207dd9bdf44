"""What follows an attempt that did not succeed."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from lacewing.v1 import execution_pb2, identifiers_pb2, task_pb2
from lacewing_server.domain import lifecycle, limits, retrying
from lacewing_server.domain.record import ExecutionRecord
from lacewing_server.domain.task_version import Defaults, ReadyTask
from store.tasks import seconds, spec

DEFAULTS = Defaults(attempt_timeout=3_600_000, retention=604_800_000, max_queued=100_000)


def ready(retries: int = 0, **policy: object) -> ReadyTask:
    """A task with so many retries and this policy."""
    version = task_pb2.TaskVersion(
        id=identifiers_pb2.TaskId(project="default", domain="development", name="task", version="1"),
        spec=spec(retries=retries, policy=task_pb2.TaskPolicy(**policy)),  # type: ignore[arg-type] # fields by name
    )
    return ReadyTask(version, DEFAULTS)


def record(failures: int = 0, losses: int = 0) -> ExecutionRecord:
    """A running execution with a past."""
    return ExecutionRecord(
        bytes(12), lifecycle.RUNNING, b"", failures=failures, losses=losses, attempt=failures + losses + 1
    )


def error(code: str = "Oops", *, recoverable: bool = True) -> execution_pb2.TaskError:
    """An error of a body."""
    return execution_pb2.TaskError(code=code, message="it broke", recoverable=recoverable)


@given(retries=st.integers(0, 50), timed_out=st.booleans())
def test_there_are_exactly_n_plus_one_attempts_that_fail(*, retries: int, timed_out: bool) -> None:
    """Failures 1 to n are followed by another attempt, number n + 1 is the end, and says which budget ran out."""
    task = ready(retries)
    for failures in range(retries):
        decision = retrying.after_failure(task, record(failures), error(), timed_out=timed_out, spread=lambda: 1.0)
        assert isinstance(decision, retrying.Retry)
    last = retrying.after_failure(task, record(retries), error(), timed_out=timed_out, spread=lambda: 1.0)
    assert isinstance(last, retrying.GiveUp)
    assert last.state == (lifecycle.TIMED_OUT if timed_out else lifecycle.FAILED)
    assert last.error.message.startswith("it broke")
    assert ("retries exhausted" in last.error.message) == (retries > 0)


@given(max_losses=st.integers(0, 50), failures=st.integers(0, 10))
def test_losses_have_a_budget_of_their_own(max_losses: int, failures: int) -> None:
    """So many losses are allowed, whatever failed before; the next one is a failure of the system."""
    task = ready(10, max_losses=max_losses)
    for losses in range(max_losses):
        assert isinstance(retrying.after_loss(task, record(failures, losses), error()), retrying.Retry)
    last = retrying.after_loss(task, record(failures, max_losses), error())
    assert isinstance(last, retrying.GiveUp)
    assert (last.state, last.error.code) == (lifecycle.FAILED, retrying.LOSSES_EXHAUSTED)
    assert f"{max_losses + 1} attempts were lost, {max_losses} are allowed" in last.error.message


def test_three_losses_are_allowed_unless_declared() -> None:
    """The default of ``max_losses`` is three."""
    assert isinstance(retrying.after_loss(ready(), record(losses=2), error()), retrying.Retry)
    assert isinstance(retrying.after_loss(ready(), record(losses=3), error()), retrying.GiveUp)


@given(failures=st.integers(0, 5), timed_out=st.booleans())
def test_an_error_that_is_not_recoverable_is_final(*, failures: int, timed_out: bool) -> None:
    """Whether the error says so itself or the task lists its code, exactly."""
    task = ready(10, non_retryable_codes=["Fatal"])
    for given_error in (error(recoverable=False), error("Fatal")):
        decision = retrying.after_failure(task, record(failures), given_error, timed_out=timed_out, spread=lambda: 1.0)
        assert isinstance(decision, retrying.GiveUp)
        assert decision.error == given_error
    near = retrying.after_failure(task, record(failures), error("fatal"), timed_out=timed_out, spread=lambda: 1.0)
    assert isinstance(near, retrying.Retry)


def test_what_is_not_idempotent_is_not_run_again_after_an_interruption() -> None:
    """A loss or a timeout is final; an error that the body reported itself is retried."""
    task = ready(3, idempotent=False)
    assert isinstance(retrying.after_loss(task, record(), error()), retrying.GiveUp)
    timeout = retrying.after_failure(task, record(), error(), timed_out=True, spread=lambda: 1.0)
    assert isinstance(timeout, retrying.GiveUp)
    assert timeout.state == lifecycle.TIMED_OUT
    reported = retrying.after_failure(task, record(), error(), timed_out=False, spread=lambda: 1.0)
    assert isinstance(reported, retrying.Retry)


@given(delay=st.integers(-(2**50), 2**50))
def test_an_error_may_ask_for_its_own_delay(delay: int) -> None:
    """``retry_delay`` counts instead of the back-off; a negative one is none, and ten years are the most."""
    asking = error()
    asking.retry_delay.FromMilliseconds(delay)
    decision = retrying.after_failure(ready(1), record(), asking, timed_out=False, spread=lambda: 0.5)
    assert decision == retrying.Retry(min(max(delay, 0), limits.DURATION_MAX_SECONDS * 1000))


milliseconds = st.integers(0, 1_000_000)


@given(
    initial=milliseconds,
    maximum=milliseconds,
    multiplier=st.floats(1, 1e300),
    failures=st.integers(1, limits.RETRIES_MAX + 1),
    spread=st.floats(0, 1),
)
def test_backoff_grows_to_its_maximum(
    initial: int, maximum: int, multiplier: float, failures: int, spread: float
) -> None:
    """Each wait is at most the maximum, never shorter than the one before, and spread between nothing and itself."""
    policy = task_pb2.Backoff(
        initial=seconds(initial / 1000),
        max=seconds(maximum / 1000),
        multiplier=multiplier,
        jitter=task_pb2.Backoff.JITTER_NONE,
    )
    wait = retrying.backoff(policy, failures, lambda: spread)
    assert 0 <= wait <= maximum
    assert wait <= retrying.backoff(policy, failures + 1, lambda: spread)
    policy.jitter = task_pb2.Backoff.JITTER_FULL
    assert retrying.backoff(policy, failures, lambda: spread) == round(wait * spread)


def test_default_backoff_is_one_second_doubled_up_to_five_minutes() -> None:
    """What the proto promises where nothing is declared."""
    waits = [retrying.backoff(task_pb2.Backoff(), failures, lambda: 1.0) for failures in range(1, 12)]
    assert waits == [1000, 2000, 4000, 8000, 16000, 32000, 64000, 128000, 256000, 300000, 300000]
