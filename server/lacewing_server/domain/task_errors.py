"""What is kept of an error that a worker reports: within its bounds, and such that every client can show it. Pure."""

from __future__ import annotations

from typing import Final

from lacewing.v1 import execution_pb2
from lacewing_server.domain import limits
from lacewing_server.domain.durations import milliseconds

# The years 1 to 9999: what a Timestamp may hold. Others cannot be written as JSON.
_FIRST_SECOND: Final = -62_135_596_800
_LAST_SECOND: Final = 253_402_300_799
_NANOS: Final = 1_000_000_000


def normalized(given: execution_pb2.TaskError, *, worker: str, now_ms: int) -> execution_pb2.TaskError:
    """The error as it is kept.

    Args:
        given: What was reported; it stays as it is.
        worker: Who reported it.
        now_ms: The time that is noted if the error has none, in milliseconds since the epoch.
    """
    error = execution_pb2.TaskError()
    error.CopyFrom(given)
    if error.kind not in execution_pb2.TaskError.Kind.values() or not error.kind:
        error.kind = execution_pb2.TaskError.KIND_USER
    error.worker = worker
    link = error
    for depth in range(1, limits.CAUSES_MAX + 1):
        _bound(link)
        if not link.HasField("cause"):
            break
        if depth == limits.CAUSES_MAX:
            link.ClearField("cause")
            break
        link = link.cause
    if not error.HasField("time"):
        error.time.FromMilliseconds(now_ms)
    return error


def retry_delay(error: execution_pb2.TaskError) -> int:
    """How long the error asks to wait, in milliseconds: from 0 to ten years, whatever it says."""
    return min(max(milliseconds(error.retry_delay), 0), limits.DURATION_MAX_SECONDS * 1_000)


def _bound(link: execution_pb2.TaskError) -> None:
    link.code = link.code[: limits.ERROR_CODE_MAX]
    link.message = link.message[: limits.ERROR_MESSAGE_MAX]
    link.stack_trace = link.stack_trace[-limits.STACK_TRACE_MAX :]
    if link.HasField("retry_delay"):
        link.retry_delay.FromMilliseconds(retry_delay(link))
    if not (_FIRST_SECOND <= link.time.seconds <= _LAST_SECOND and 0 <= link.time.nanos < _NANOS):
        link.ClearField("time")
