"""Spans of time as callers give them: a `timedelta`, or a number of seconds."""

from __future__ import annotations

from datetime import timedelta

from google.protobuf import duration_pb2


def seconds(value: timedelta | float) -> float:
    """Return how many seconds a span has."""
    return value.total_seconds() if isinstance(value, timedelta) else value


def duration(value: timedelta | float) -> duration_pb2.Duration:
    """Return a span as a message."""
    result = duration_pb2.Duration()
    result.FromTimedelta(value if isinstance(value, timedelta) else timedelta(seconds=value))
    return result


def positive_duration(name: str, value: timedelta | float, *, may_be_zero: bool = False) -> duration_pb2.Duration:
    """Return a span as a message.

    Raises:
        ValueError: It is negative; or zero, unless that is allowed.
    """
    span = seconds(value)
    if span < 0 or (span == 0 and not may_be_zero):
        raise ValueError(f"{name} is positive, not {value}")
    return duration(value)
