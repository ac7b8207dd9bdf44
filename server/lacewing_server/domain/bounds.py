"""Bounds on what runs, starts and waits, of a task or of a project. Pure."""

from __future__ import annotations

from lacewing.v1 import project_pb2, task_pb2
from lacewing_server.domain import limits
from lacewing_server.domain.durations import milliseconds
from lacewing_server.domain.errors import Violations

_DEFAULT_PERIOD_MS = 1_000

Bounded = task_pb2.TaskPolicy | project_pb2.ProjectLimits
"""Both name their bounds alike."""


def check_bounds(bounded: Bounded, path: str, violations: Violations) -> None:
    """Checks `max_concurrency` and `rate_limit`."""
    if bounded.HasField("max_concurrency") and bounded.max_concurrency < 1:
        violations.add(f"{path}.max_concurrency", "must be at least 1; leave it out for no bound")
    if not bounded.HasField("rate_limit"):
        return
    rate = bounded.rate_limit
    if not 1 <= rate.count <= limits.RATE_COUNT_MAX:
        violations.add(f"{path}.rate_limit.count", f"must be 1 to {limits.RATE_COUNT_MAX:,}, got {rate.count}")
    if rate.HasField("period") and not 1 <= milliseconds(rate.period) <= limits.RATE_PERIOD_MAX_SECONDS * 1_000:
        violations.add(f"{path}.rate_limit.period", "must be 1 ms to one day")


def stored_bounds(bounded: Bounded) -> tuple[int | str, int | str, int | str]:
    """What scripts are told: the most that may run, how many may start, and in how many milliseconds; '' for none."""
    concurrency = bounded.max_concurrency if bounded.HasField("max_concurrency") else ""
    if not bounded.HasField("rate_limit"):
        return concurrency, "", ""
    rate = bounded.rate_limit
    return concurrency, rate.count, milliseconds(rate.period) if rate.HasField("period") else _DEFAULT_PERIOD_MS
