"""What a body can know of the attempt that runs it."""

from __future__ import annotations

from collections.abc import Callable
from contextvars import ContextVar
from datetime import UTC, datetime, timedelta

from lacewing._scoped import Scoped
from lacewing.v1 import execution_pb2, identifiers_pb2, worker_service_pb2

MAX_PROGRESS_MESSAGE_LENGTH = 256
"""What a message of progress may have in characters; longer ones are cut at the end."""


class AttemptContext:
    """The attempt that runs a body."""

    def __init__(
        self, lease: worker_service_pb2.Lease, report: Callable[[execution_pb2.Progress], None] | None = None
    ) -> None:
        """Make a context of a lease.

        Args:
            lease: The lease of the attempt.
            report: Takes what the body reports of itself. Default: nobody listens.
        """
        self._lease = lease
        self._report = report

    # Read from the lease when asked for: most bodies never ask.

    @property
    def execution(self) -> identifiers_pb2.ExecutionId:
        """The execution."""
        return self._lease.execution

    @property
    def idempotency_key(self) -> str:
        """A key that makes calls to other systems idempotent.

        32 hexadecimal digits, the same for all attempts of the execution, and never that of another one. `local`
        outside a worker.
        """
        return self._lease.idempotency_key

    @property
    def attempt(self) -> int:
        """The number of the attempt, from 1."""
        return self._lease.attempt

    @property
    def timeout(self) -> timedelta | None:
        """How long the body may run, counted from its start. None outside a worker."""
        return self._lease.attempt_timeout.ToTimedelta() if self._lease.HasField("attempt_timeout") else None

    @property
    def deadline(self) -> datetime | None:
        """When the execution must have ended, in UTC. None if it has no deadline."""
        return self._lease.deadline.ToDatetime(tzinfo=UTC) if self._lease.HasField("deadline") else None

    def report_progress(self, fraction: float, message: str = "") -> None:
        """Tell how far the body is.

        Cheap and never waits: what is reported more often than the worker sends a sign of life is skipped.

        Args:
            fraction: How much is done, from 0 to 1.
            message: What the body is doing, for a person to read; cut to 256 characters.

        Raises:
            ValueError: The fraction is not between 0 and 1.
        """
        if not 0 <= fraction <= 1:
            raise ValueError(f"a fraction of progress is between 0 and 1, not {fraction}")
        if self._report is not None:
            self._report(execution_pb2.Progress(fraction=fraction, message=message[:MAX_PROGRESS_MESSAGE_LENGTH]))


_LOCAL = AttemptContext(
    worker_service_pb2.Lease(execution=identifiers_pb2.ExecutionId(name="local"), attempt=1, idempotency_key="local"),
)
_current: ContextVar[AttemptContext] = ContextVar("lacewing_attempt", default=_LOCAL)


def current_attempt() -> AttemptContext:
    """Return the attempt that runs the calling body.

    Outside a worker, where a task is called like any function, it is a stand-in: the first attempt of an execution
    named `local`, without timeout and deadline, whose progress nobody sees.
    """
    return _current.get()


def attempt_context(context: AttemptContext) -> Scoped[AttemptContext]:
    """Make a context the current one, for the time of a body."""
    return Scoped(_current, context)
