"""Starts and stops bodies, and decides what is reported of each."""

from __future__ import annotations

import logging
from collections.abc import Mapping

from lacewing.task import AnyTask, Isolation
from lacewing.v1 import execution_pb2, worker_service_pb2
from lacewing.worker._attempt import Attempt, Executor, Ledger, Stop, has_succeeded
from lacewing.worker._outbox import Outbox
from lacewing.worker._timeouts import Timeouts

_log = logging.getLogger("lacewing.worker")
_NANOSECONDS = 1e9


class Attempts:
    """The attempts of a worker.

    Args:
        tasks: what can be run, by name.
        executors: what runs bodies, by isolation.
        ledger: where attempts are noted.
        outbox: takes the results.
        grace: how long a body that is stopped may take to end, in seconds.
        isolation: where bodies run, whatever their task says.
    """

    def __init__(
        self,
        tasks: Mapping[str, AnyTask],
        executors: Mapping[Isolation, Executor],
        *,
        ledger: Ledger,
        outbox: Outbox,
        grace: float,
        isolation: Isolation | None,
    ) -> None:
        self._tasks = tasks
        self._executors = executors
        self._ledger = ledger
        self._outbox = outbox
        self._grace = grace
        self._isolation = isolation
        self._timeouts = Timeouts(self._time_out)
        self._abandon_reason: str | None = None

    def start(self, lease: worker_service_pb2.Lease) -> None:
        """Run what a lease asks for."""
        if lease.token in self._ledger.held:
            return
        task = self._tasks.get(lease.task.name)
        if task is None:
            self._give_back(lease.token, f"this worker has no task named {lease.task.name!r}")
            return
        if self._abandon_reason is not None:
            self._give_back(lease.token, self._abandon_reason)
            return
        attempt = Attempt(lease, task)
        self._ledger.held[attempt.token] = attempt
        self._ledger.occupied += 1
        if lease.HasField("attempt_timeout"):
            timeout = lease.attempt_timeout
            self._timeouts.begin(attempt, timeout.seconds + timeout.nanos / _NANOSECONDS)
        self._executor(attempt).run(attempt)

    def revoke(self, revocation: worker_service_pb2.Revocation) -> None:
        """Stop the body of a lease that is no longer ours, and report nothing of it."""
        attempt = self._ledger.held.get(revocation.token)
        if attempt is None:
            return
        reason = worker_service_pb2.Revocation.Reason.Name(revocation.reason).removeprefix("REASON_").lower()
        _log.info("%s is stopped: %s.", attempt, reason.replace("_", " "))
        self._settle(attempt)
        self._stop(attempt, Stop.REVOKED, self._grace)

    def abandon(self, reason: str, *, grace: float | None = None) -> None:
        """Stop every body, give back what has not ended by then, and all that is leased from now on.

        Args:
            reason: why, for a person to read.
            grace: how long the bodies may take to end, in seconds. Default: that of the worker.
        """
        self._abandon_reason = reason
        for attempt in list(self._ledger.held.values()):
            if not self._stop(attempt, attempt.stop or Stop.ABANDONED, self._grace if grace is None else grace):
                self._report(attempt, worker_service_pb2.Completion(token=attempt.token))

    def ended(self, attempt: Attempt, completion: worker_service_pb2.Completion) -> None:
        """Take the result of a body that has ended."""
        self._ledger.occupied -= 1
        if attempt.reported:
            self._outbox.wake.set()  # Its slot is free.
        else:
            self._report(attempt, completion)

    def progressed(self, attempt: Attempt, progress: execution_pb2.Progress) -> None:
        """Take what a body reports of itself."""
        if not attempt.reported:
            self._outbox.report_progress(attempt.token, progress)

    def _time_out(self, attempt: Attempt) -> None:
        _log.warning("%s has run longer than its timeout and is stopped.", attempt)
        if not self._stop(attempt, Stop.TIMED_OUT, self._grace):
            _log.warning("%s runs in a thread, which cannot be stopped: it holds its slot until it ends.", attempt)
            self._report(attempt, worker_service_pb2.Completion(token=attempt.token))

    def _stop(self, attempt: Attempt, stop: Stop, grace: float) -> bool:
        attempt.stop = stop
        return self._executor(attempt).stop(attempt, grace=grace)

    def _report(self, attempt: Attempt, completion: worker_service_pb2.Completion) -> None:
        self._settle(attempt)
        if attempt.stop is Stop.TIMED_OUT and not completion.HasField("timed_out"):
            completion.timed_out.SetInParent()
        elif attempt.stop is Stop.ABANDONED and not has_succeeded(completion):
            completion.abandoned.reason = completion.abandoned.reason or self._abandon_reason or "it was stopped"
        self._outbox.complete(completion)

    def _settle(self, attempt: Attempt) -> None:
        attempt.reported = True
        self._ledger.held.pop(attempt.token, None)
        self._timeouts.end(attempt)

    def _give_back(self, token: bytes, reason: str) -> None:
        abandoned = worker_service_pb2.Completion.Abandoned(reason=reason)
        self._outbox.complete(worker_service_pb2.Completion(token=token, abandoned=abandoned))

    def _executor(self, attempt: Attempt) -> Executor:
        return self._executors[self._isolation or attempt.task.isolation]
