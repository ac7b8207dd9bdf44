"""The life of an execution, as one table.

Theory of operation. An execution is created QUEUED, or WAITING when another execution already computes the cache
entry it
wants, or at once RUNNING when a worker is idle, or at once SUCCEEDED when the cache has its outputs. RUNNING means that
exactly one lease token is current. An attempt that fails and may be retried, or that is lost, sends the execution
back to QUEUED; while QUEUED it may have to wait until ``not_before``. Four states are terminal and absorb everything.

The Lua scripts of ``store/redis/scripts`` state in their heads which states they accept and leave.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from lacewing.v1 import execution_pb2

QUEUED: Final = execution_pb2.Execution.STATE_QUEUED
RUNNING: Final = execution_pb2.Execution.STATE_RUNNING
WAITING: Final = execution_pb2.Execution.STATE_WAITING
SUCCEEDED: Final = execution_pb2.Execution.STATE_SUCCEEDED
FAILED: Final = execution_pb2.Execution.STATE_FAILED
TIMED_OUT: Final = execution_pb2.Execution.STATE_TIMED_OUT
CANCELLED: Final = execution_pb2.Execution.STATE_CANCELLED

TERMINAL: Final = frozenset({SUCCEEDED, FAILED, TIMED_OUT, CANCELLED})

INITIAL: Final = frozenset({QUEUED, RUNNING, WAITING, SUCCEEDED})
"""The states an execution can be created in."""

TRANSITIONS: Final[Mapping[int, frozenset[int]]] = {
    QUEUED: frozenset({QUEUED, RUNNING, TIMED_OUT, CANCELLED}),
    RUNNING: frozenset({QUEUED, RUNNING, SUCCEEDED, FAILED, TIMED_OUT, CANCELLED}),
    WAITING: frozenset({QUEUED, SUCCEEDED, TIMED_OUT, CANCELLED}),
    SUCCEEDED: frozenset(),
    FAILED: frozenset(),
    TIMED_OUT: frozenset(),
    CANCELLED: frozenset(),
}
"""Where each state may lead. QUEUED to QUEUED: a back-off is over. RUNNING to RUNNING: the lease moved to
another server."""


def is_terminal(state: int) -> bool:
    """Whether the state never changes again."""
    return state in TERMINAL
