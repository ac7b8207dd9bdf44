"""One attempt as the worker sees it, and what runs its body."""

from __future__ import annotations

import enum
from collections.abc import Callable
from typing import Any, Protocol

from lacewing.errors import LacewingError
from lacewing.task import AnyTask
from lacewing.v1 import execution_pb2, worker_service_pb2


class Stop(enum.Enum):
    """Why a body is stopped before its own end."""

    TIMED_OUT = "timed out"
    """Its attempt timeout has passed: reported as timed out."""
    ABANDONED = "abandoned"
    """The worker goes away: given back, unless the body still gives outputs while it is stopped."""
    REVOKED = "revoked"
    """The server took the lease away: nothing is reported."""


class Attempt:
    """One attempt that is leased to this worker."""

    __slots__ = ("body", "lease", "reported", "stop", "task", "timeout", "token")

    def __init__(self, lease: worker_service_pb2.Lease, task: AnyTask) -> None:
        self.lease = lease
        self.token = lease.token
        """The token of its lease."""
        self.task = task
        self.stop: Stop | None = None
        """Why the body was told to stop, if it was."""
        self.reported = False
        """Whether its result was handed over, or it will have none."""
        self.timeout: float | None = None
        """How long it may run, in seconds, while its time is counted."""
        self.body: Any = None
        """What runs the body; belongs to the executor."""

    def __str__(self) -> str:
        return f"{self.lease.task.name} {self.lease.execution.name}#{self.lease.attempt}"


class Ledger:
    """What the worker has taken on.

    Args:
        slots: how many bodies it runs at a time.
    """

    def __init__(self, slots: int) -> None:
        self.slots = slots
        self.occupied = 0
        """How many bodies run, those included whose result is out already."""
        self.held: dict[bytes, Attempt] = {}
        """The attempts that have no result yet, by the token of their lease."""


Ended = Callable[[Attempt, worker_service_pb2.Completion], None]
"""Called by an executor on the event loop, exactly once for an attempt, when its body no longer runs."""

Progressed = Callable[[Attempt, execution_pb2.Progress], None]
"""Called by an executor on the event loop when a body reports its progress."""


class Executor(Protocol):
    """Runs bodies."""

    async def start(self) -> None:
        """Make ready to run bodies.

        Raises:
            WorkerStartError: if it cannot.
        """

    def run(self, attempt: Attempt) -> None:
        """Run the body of an attempt."""

    def stop(self, attempt: Attempt, *, grace: float) -> bool:
        """Stop a running body: ask it to end, and after `grace` seconds end it by force.

        Returns:
            False if the body cannot be stopped and goes on by itself.
        """

    async def close(self) -> None:
        """End every body at once and release everything."""


def has_succeeded(completion: worker_service_pb2.Completion) -> bool:
    """Return whether a body has come to its end without an error."""
    return completion.WhichOneof("result") in ("outputs", "graph")


class WorkerStartError(LacewingError):
    """The worker cannot start: what it was given to run cannot be run. The message says why and what to do."""
