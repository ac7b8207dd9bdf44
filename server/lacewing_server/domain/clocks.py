"""Which clock of an execution has run out. Pure."""

from __future__ import annotations

import enum

from lacewing_server.domain import lifecycle
from lacewing_server.domain.record import GRAPH, ExecutionRecord


class Clock(enum.Enum):
    """A clock that can run out; in the order of their force."""

    DEADLINE = enum.auto()
    """The whole execution took too long."""
    ATTEMPT = enum.auto()
    """The attempt ran longer than its timeout."""
    LEASE = enum.auto()
    """A unary worker has not extended its lease."""
    QUEUE = enum.auto()
    """No worker took the execution in time."""


def expired(record: ExecutionRecord, now_ms: int) -> Clock | None:
    """The clock that has run out at ``now_ms``, or None."""
    if lifecycle.is_terminal(record.state):
        return None
    if record.deadline_ms and record.deadline_ms <= now_ms:
        return Clock.DEADLINE
    if record.state == lifecycle.RUNNING:
        if not record.flags & GRAPH and record.start_ms + record.attempt_timeout <= now_ms:
            return Clock.ATTEMPT
        if record.lease_expire_ms and record.lease_expire_ms <= now_ms:
            return Clock.LEASE
    elif (
        record.state == lifecycle.QUEUED
        and not record.not_before_ms
        and record.queue_timeout
        and not (record.flags & GRAPH and record.attempt)
        and record.queued_ms + record.queue_timeout <= now_ms
    ):
        return Clock.QUEUE
    return None
