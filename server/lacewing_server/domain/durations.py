"""Durations of requests: their bounds, and how they are counted."""

from __future__ import annotations

from google.protobuf import duration_pb2

from lacewing_server.domain import limits
from lacewing_server.domain.errors import Violations


def milliseconds(duration: duration_pb2.Duration) -> int:
    """A duration in whole milliseconds, rounded up; 0 if unset."""
    return duration.seconds * 1_000 + -(-duration.nanos // 1_000_000)


def check_duration(
    duration: duration_pb2.Duration, path: str, violations: Violations, *, positive: bool = False
) -> None:
    """Checks that a duration is not negative, at most ten years, and, if so asked, more than 0."""
    seconds = duration.seconds + duration.nanos / 1e9
    if seconds < 0 or seconds > limits.DURATION_MAX_SECONDS or (positive and seconds == 0):
        lowest = "more than 0" if positive else "at least 0"
        violations.add(path, f"must be {lowest} and at most ten years, got {seconds:g} s")
