"""Messages of the protocol, as programs and people read them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from google.protobuf import duration_pb2, timestamp_pb2

from lacewing.v1 import identifiers_pb2

_MINUTE = 60
_HOUR = 60 * _MINUTE
_DAY = 24 * _HOUR


def task_text(task: identifiers_pb2.TaskId) -> str:
    """Return `project/domain/name@version`."""
    return f"{task.project}/{task.domain}/{task.name}{'@' + task.version if task.version else ''}"


def execution_text(execution: identifiers_pb2.ExecutionId) -> str:
    """Return `project/domain/name`, as commands take it."""
    return f"{execution.project}/{execution.domain}/{execution.name}"


def time_text(time: timestamp_pb2.Timestamp) -> str:
    """Return a time on the clock of this machine."""
    return _datetime(time).astimezone().isoformat(sep=" ", timespec="milliseconds")


def age_text(time: timestamp_pb2.Timestamp) -> str:
    """Return how long ago a time is."""
    return f"{span_text(max(datetime.now(UTC) - _datetime(time), timedelta(0)), coarse=True)} ago"


def until_text(time: timestamp_pb2.Timestamp) -> str:
    """Return how far ahead a time is."""
    return f"in {span_text(max(_datetime(time) - datetime.now(UTC), timedelta(0)), coarse=True)}"


def between_text(start: timestamp_pb2.Timestamp, end: timestamp_pb2.Timestamp | None = None) -> str:
    """Return the time from one moment to another, or to now."""
    ended = datetime.now(UTC) if end is None else _datetime(end)
    return span_text(max(ended - _datetime(start), timedelta(0)))


def span_text(span: timedelta | duration_pb2.Duration, *, coarse: bool = False) -> str:
    """Return a span of time: `0.012 s`, `4.2 s`, `3 min 5 s`, `2 h 7 min`, `9 d`; if coarse, in one unit."""
    seconds = (span.ToTimedelta() if isinstance(span, duration_pb2.Duration) else span).total_seconds()
    if seconds < _MINUTE:
        return f"{seconds:.0f} s" if coarse else f"{seconds:.3g} s"
    for unit, name, smaller, smaller_name in (
        (_DAY, "d", _HOUR, "h"),
        (_HOUR, "h", _MINUTE, "min"),
        (_MINUTE, "min", 1, "s"),
    ):
        if seconds >= unit:
            whole, rest = divmod(int(seconds), unit)
            return f"{whole} {name}" if coarse or rest < smaller else f"{whole} {name} {rest // smaller} {smaller_name}"
    raise AssertionError("the last unit is a minute")


def _datetime(time: timestamp_pb2.Timestamp) -> datetime:
    return time.ToDatetime(tzinfo=UTC)
