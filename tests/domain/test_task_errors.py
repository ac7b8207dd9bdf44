"""What is kept of an error that a worker reports."""

from __future__ import annotations

from google.protobuf import json_format
from hypothesis import given
from hypothesis import strategies as st

from lacewing.v1 import execution_pb2
from lacewing_server.domain import limits, task_errors

NOW_MS = 1_800_000_000_000
int32, int64 = st.integers(-(2**31), 2**31 - 1), st.integers(-(2**63), 2**63 - 1)


@st.composite
def links(draw: st.DrawFn) -> execution_pb2.TaskError:
    """An error without a cause, with anything in it that the wire can carry."""
    error = execution_pb2.TaskError(
        code=draw(st.text(max_size=5)) * draw(st.sampled_from([1, 100])),
        message=draw(st.text(max_size=5)) * draw(st.sampled_from([1, 10_000])),
        stack_trace=draw(st.text(max_size=5)) * draw(st.sampled_from([1, 10_000])),
        recoverable=draw(st.booleans()),
        kind=draw(st.integers(0, 9)),  # type: ignore[arg-type] # also numbers that are no kind
    )
    if draw(st.booleans()):
        error.retry_delay.seconds, error.retry_delay.nanos = draw(int64), draw(int32)
    if draw(st.booleans()):
        error.time.seconds, error.time.nanos = draw(int64), draw(int32)
    return error


@st.composite
def errors(draw: st.DrawFn) -> execution_pb2.TaskError:
    """An error with a chain of causes, perhaps a longer one than is kept."""
    error = draw(links())
    for _ in range(draw(st.integers(0, limits.CAUSES_MAX + 2))):
        outer = draw(links())
        outer.cause.CopyFrom(error)
        error = outer
    return error


def chain(error: execution_pb2.TaskError) -> list[execution_pb2.TaskError]:
    """An error and its causes."""
    return [error, *(chain(error.cause) if error.HasField("cause") else [])]


@given(errors())
def test_every_error_is_kept_within_its_bounds(error: execution_pb2.TaskError) -> None:
    """Cut where it is too long, with a known kind, a time and its worker, and not deeper than is allowed."""
    before = error.SerializeToString(deterministic=True)
    kept = task_errors.normalized(error, worker="w", now_ms=NOW_MS)
    assert error.SerializeToString(deterministic=True) == before, "what was given is not changed"
    assert kept.worker == "w"
    assert kept.HasField("time")
    assert kept.kind in {execution_pb2.TaskError.KIND_USER, execution_pb2.TaskError.KIND_SYSTEM}
    assert len(chain(kept)) == min(len(chain(error)), limits.CAUSES_MAX)
    for link, given_link in zip(chain(kept), chain(error), strict=False):
        assert link.code == given_link.code[: limits.ERROR_CODE_MAX]
        assert link.message == given_link.message[: limits.ERROR_MESSAGE_MAX]
        assert given_link.stack_trace.endswith(link.stack_trace)
        assert len(link.stack_trace) == min(len(given_link.stack_trace), limits.STACK_TRACE_MAX)
        assert link.recoverable == given_link.recoverable


@given(errors())
def test_every_error_that_is_kept_can_be_shown_as_json(error: execution_pb2.TaskError) -> None:
    """No worker can report what breaks the clients that read it."""
    kept = task_errors.normalized(error, worker="w", now_ms=NOW_MS)
    assert json_format.Parse(json_format.MessageToJson(kept), execution_pb2.TaskError()) == kept


@given(errors())
def test_what_is_kept_is_kept_as_it_is(error: execution_pb2.TaskError) -> None:
    """Doing it twice is doing it once."""
    once = task_errors.normalized(error, worker="w", now_ms=NOW_MS)
    assert task_errors.normalized(once, worker="w", now_ms=NOW_MS + 1) == once


@given(st.integers(0, limits.DURATION_MAX_SECONDS * 1_000), st.integers(0, 253_402_300_799))
def test_what_is_reasonable_stays(delay_ms: int, second: int) -> None:
    """A delay and a time within bounds are kept exactly."""
    error = execution_pb2.TaskError(code="Oops")
    error.retry_delay.FromMilliseconds(delay_ms)
    error.time.seconds = second
    kept = task_errors.normalized(error, worker="w", now_ms=NOW_MS)
    assert (kept.retry_delay, kept.time) == (error.retry_delay, error.time)
