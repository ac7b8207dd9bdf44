"""The life of an execution, as one table.

Theory of operation. An execution is created QUEUED, or WAITING when another execution already computes the cache entry
it wants, or at once RUNNING when a worker is idle, or at once SUCCEEDED when the cache has its outputs. RUNNING means
that exactly one lease token is current. An attempt that fails and may be retried, or that is lost, sends the execution
back to QUEUED; while QUEUED it may have to wait until ``not_before``. Four states are terminal and absorb everything.

The Lua scripts of ``store/redis/scripts`` state in their heads which states they accept and leave, and get this table
with their prelude: a script that would leave it fails before it has written anything.

``python -m lacewing_server.domain.lifecycle`` prints the table as the diagram of ``server/README.md``.
"""

from __future__ import annotations

import sys
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

INITIAL: Final[Mapping[int, str]] = {
    QUEUED: "created",
    RUNNING: "created while a worker is idle",
    WAITING: "created while another one computes the same cache entry",
    SUCCEEDED: "created, and answered from the cache",
}
"""The states an execution can be created in, and when."""

TRANSITIONS: Final[Mapping[int, Mapping[int, str]]] = {
    QUEUED: {
        QUEUED: "its back-off is over",
        RUNNING: "a worker takes it",
        TIMED_OUT: "queue timeout or deadline",
        CANCELLED: "cancelled",
    },
    RUNNING: {
        QUEUED: "attempt failed and is retried, was lost, was given back, or gave a graph",
        RUNNING: "the lease is extended, or moves to another server",
        SUCCEEDED: "attempt gave outputs",
        FAILED: "retries or losses exhausted, or not recoverable",
        TIMED_OUT: "attempt timeout without retries left, or deadline",
        CANCELLED: "cancelled",
    },
    WAITING: {
        QUEUED: "the other one ended without outputs, and this one is next in line",
        SUCCEEDED: "the other one filled the cache entry",
        TIMED_OUT: "deadline",
        CANCELLED: "cancelled",
    },
    SUCCEEDED: {},
    FAILED: {},
    TIMED_OUT: {},
    CANCELLED: {},
}
"""Where each state may lead, and when."""


def is_terminal(state: int) -> bool:
    """Whether the state never changes again."""
    return state in TERMINAL


def diagram() -> str:
    """The table as a state diagram in Mermaid's language."""

    def name(state: int) -> str:
        return execution_pb2.Execution.State.Name(state).removeprefix("STATE_")  # type: ignore[arg-type] # a plain int

    lines = ["stateDiagram-v2"]
    lines += [f"    [*] --> {name(state)}: {when}" for state, when in INITIAL.items()]
    lines += [
        f"    {name(state)} --> {name(following)}: {when}"
        for state, leads in TRANSITIONS.items()
        for following, when in leads.items()
    ]
    lines += [f"    {name(state)} --> [*]" for state, leads in TRANSITIONS.items() if not leads]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    sys.stdout.write(diagram())
