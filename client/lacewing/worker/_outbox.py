"""What is to be sent to the server, in as few messages as it takes.

One message is in flight at a time, and what queues meanwhile goes out as the next one: a single result is sent at once,
many are sent together, and nothing waits for a timer.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque

from lacewing._channel import MAX_MESSAGE_BYTES
from lacewing._statuses import from_request_error
from lacewing.v1 import errors_pb2, execution_pb2, worker_service_pb2
from lacewing.worker._attempt import Ledger
from lacewing.worker._task_error import user_error

MAX_BATCH_BYTES = 4 * 1024 * 1024
"""A message takes no further completion beyond this size."""

MAX_BATCH_ITEMS = 1000
"""The most completions in a message."""

MAX_CREDIT = 10_000
"""The most credit in a message."""

PROGRESS_INTERVAL = 1.0
"""How often progress is sent at most, in seconds."""

_MESSAGE_OVERHEAD = 64 * 1024
_DEFAULT_RETRY_DELAY = 0.5
_log = logging.getLogger("lacewing.worker")


class Outbox:
    """Collects completions, signs of life and credit; keeps completions until they are acknowledged.

    Args:
        ledger: what the worker has taken on.
    """

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._queue: deque[bytes] = deque()
        self._unacknowledged: dict[bytes, worker_service_pb2.Completion] = {}
        self._progress: dict[bytes, execution_pb2.Progress] = {}
        self._next_progress = 0.0
        self._progress_timer: asyncio.TimerHandle | None = None
        self._is_heartbeat_due = False
        self._granted = 0
        self._has_server_drained = False
        self._drain: str | None = None
        self._is_drain_sent = False
        self.max_outputs_bytes = MAX_MESSAGE_BYTES - _MESSAGE_OVERHEAD
        """The most that the outputs of an attempt may have."""
        self.wake = asyncio.Event()
        """Set when there may be something to take."""

    @property
    def is_clear(self) -> bool:
        """Whether every completion is acknowledged."""
        return not self._unacknowledged

    @property
    def is_draining(self) -> bool:
        """Whether either side has said that there are no more leases."""
        return self._has_server_drained or self._drain is not None

    @property
    def unacknowledged_count(self) -> int:
        """How many completions are not acknowledged."""
        return len(self._unacknowledged)

    def open_stream(self) -> list[bytes]:
        """Begin a stream: everything that the last one left open is sent again.

        Returns:
            The tokens that the worker still holds.
        """
        self._queue = deque(self._unacknowledged)
        self._granted = 0
        self._has_server_drained = False
        self._is_drain_sent = False
        self.wake.set()
        return [*self._ledger.held, *self._unacknowledged]

    def welcome(self, welcome: worker_service_pb2.Welcome) -> None:
        """Take note of the limits of the server."""
        if welcome.max_outputs_bytes:
            self.max_outputs_bytes = min(welcome.max_outputs_bytes, MAX_MESSAGE_BYTES - _MESSAGE_OVERHEAD)

    def complete(self, completion: worker_service_pb2.Completion) -> None:
        """Queue a result."""
        size = completion.ByteSize()
        if size > self.max_outputs_bytes:
            code, what = (
                ("GraphInvalid", "graph has") if completion.HasField("graph") else ("OutputsInvalid", "outputs have")
            )
            message = (
                f"The {what} {size:,} bytes, and the server takes {self.max_outputs_bytes:,}. "
                "Pass large values by reference."
            )
            completion.error.CopyFrom(user_error(code, message, recoverable=False))
        self._unacknowledged[completion.token] = completion
        self._queue.append(completion.token)
        self._progress.pop(completion.token, None)
        self.wake.set()

    def acknowledge(self, result: worker_service_pb2.CompletionResult) -> None:
        """Take note of how a result was taken."""
        completion = self._unacknowledged.get(result.token)
        if completion is None:
            return
        reason = result.error.reason
        if result.HasField("error") and reason == errors_pb2.ERROR_REASON_STORE_UNAVAILABLE:
            delay = result.error.retry_delay.ToTimedelta().total_seconds() or _DEFAULT_RETRY_DELAY
            asyncio.get_running_loop().call_later(delay, self._send_again, result.token)
            return
        if result.HasField("error"):
            _log.warning("A result was refused. %s", from_request_error(result.error))
        if reason == errors_pb2.ERROR_REASON_FIELD_INVALID and not completion.HasField("error"):
            message = f"The server does not take the result: {result.error.message}"
            completion.error.CopyFrom(user_error("OutputsInvalid", message, recoverable=False))
            self._send_again(result.token)
            return
        del self._unacknowledged[result.token]
        self.wake.set()

    def report_progress(self, token: bytes, progress: execution_pb2.Progress) -> None:
        """Queue what a body reports of itself; the newest of each counts."""
        self._progress[token] = progress
        if self._progress_timer is None:
            loop = asyncio.get_running_loop()
            self._progress_timer = loop.call_at(max(self._next_progress, loop.time()), self._progress_falls_due)

    def beat(self) -> None:
        """Queue a sign of life."""
        self._is_heartbeat_due = True
        self.wake.set()

    def drain(self, reason: str) -> None:
        """Queue that the worker takes no more leases."""
        self._drain = reason
        self.wake.set()

    def server_drains(self) -> None:
        """Take note that the server grants no more leases on this stream."""
        self._has_server_drained = True
        self.wake.set()

    def spend(self, leases: int) -> None:
        """Take note of leases that were granted on credit."""
        self._granted = max(0, self._granted - leases)

    def take(self) -> worker_service_pb2.WorkRequest | None:
        """Return the next message, or None if there is nothing to send."""
        request = worker_service_pb2.WorkRequest()
        is_needed = self._add_completions(request)
        is_needed |= self._add_heartbeats(request)
        if not self.is_draining:
            ledger = self._ledger
            request.credit = min(MAX_CREDIT, max(0, ledger.slots - ledger.occupied - self._granted))
            self._granted += request.credit
            is_needed |= request.credit > 0
        if self._drain is not None and not self._is_drain_sent:
            self._is_drain_sent = True
            request.drain.reason = self._drain
            request.drain.SetInParent()
            is_needed = True
        if self._queue:
            self.wake.set()  # There was more than one message takes.
        return request if is_needed else None

    def _add_completions(self, request: worker_service_pb2.WorkRequest) -> bool:
        size = 0
        while self._queue and len(request.completions) < MAX_BATCH_ITEMS:
            completion = self._unacknowledged.get(self._queue[0])
            if completion is not None:
                size += completion.ByteSize()
                if request.completions and size > MAX_BATCH_BYTES:
                    break
                request.completions.append(completion)
            self._queue.popleft()
        return len(request.completions) > 0

    def _add_heartbeats(self, request: worker_service_pb2.WorkRequest) -> bool:
        if self._is_heartbeat_due:
            self._is_heartbeat_due = False
            for token in self._ledger.held:
                request.heartbeats.add(token=token, progress=self._progress.get(token))
        elif self._is_progress_due():
            for token, progress in self._progress.items():
                request.heartbeats.add(token=token, progress=progress)
        else:
            return False
        if self._progress:
            self._progress.clear()
            self._next_progress = asyncio.get_running_loop().time() + PROGRESS_INTERVAL
        if self._progress_timer is not None:
            self._progress_timer.cancel()
            self._progress_timer = None
        return True

    def _progress_falls_due(self) -> None:
        # The attempt may have ended meanwhile and left nothing to send: the next report needs a timer of its own.
        self._progress_timer = None
        self._next_progress = 0.0
        self.wake.set()

    def _is_progress_due(self) -> bool:
        return bool(self._progress) and asyncio.get_running_loop().time() >= self._next_progress

    def _send_again(self, token: bytes) -> None:
        self._queue.append(token)
        self.wake.set()
