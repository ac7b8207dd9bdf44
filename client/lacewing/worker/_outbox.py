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
from lacewing._wire import part
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

_COMPLETIONS = worker_service_pb2.WorkRequest.COMPLETIONS_FIELD_NUMBER
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
        # By token: a serialized request with the completion alone.
        self._unacknowledged: dict[bytes, bytes] = {}
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
        content = completion.SerializeToString()
        if len(content) > self.max_outputs_bytes:
            code, what = (
                ("GraphInvalid", "graph has") if completion.HasField("graph") else ("OutputsInvalid", "outputs have")
            )
            message = (
                f"The {what} {len(content):,} bytes, and the server takes {self.max_outputs_bytes:,}. "
                "Pass large values by reference."
            )
            completion.error.CopyFrom(user_error(code, message, recoverable=False))
            content = completion.SerializeToString()
        token = completion.token
        self._unacknowledged[token] = part(_COMPLETIONS, content)
        self._queue.append(token)
        self._progress.pop(token, None)
        self.wake.set()

    def acknowledge(self, result: worker_service_pb2.CompletionResult) -> None:
        """Take note of how a result was taken."""
        token = result.token
        if result.HasField("error") and token in self._unacknowledged and self._is_to_send_again(token, result.error):
            return
        self._unacknowledged.pop(token, None)
        if self.is_draining:
            self.wake.set()  # It may have been the last one.

    def _is_to_send_again(self, token: bytes, error: errors_pb2.RequestError) -> bool:
        """Return whether a result that was refused is sent once more, and see to that."""
        if error.reason == errors_pb2.ERROR_REASON_STORE_UNAVAILABLE:
            delay = error.retry_delay.ToTimedelta().total_seconds() or _DEFAULT_RETRY_DELAY
            asyncio.get_running_loop().call_later(delay, self._send_again, token)
            return True
        _log.warning("A result was refused. %s", from_request_error(error))
        if error.reason == errors_pb2.ERROR_REASON_FIELD_INVALID:
            (completion,) = worker_service_pb2.WorkRequest.FromString(self._unacknowledged[token]).completions
            if not completion.HasField("error"):
                message = f"The server does not take the result: {error.message}"
                completion.error.CopyFrom(user_error("OutputsInvalid", message, recoverable=False))
                self._unacknowledged[token] = part(_COMPLETIONS, completion.SerializeToString())
                self._send_again(token)
                return True
        return False

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

    def take(self) -> bytes | None:
        """Return the next message, a serialized `WorkRequest`, or None if there is nothing to send."""
        chunks = self._next_completions()
        request = worker_service_pb2.WorkRequest()
        is_needed = self._add_heartbeats(request) or bool(chunks)
        if not self.is_draining:
            ledger = self._ledger
            credit = min(MAX_CREDIT, max(0, ledger.slots - ledger.occupied - self._granted))
            request.credit = credit
            self._granted += credit
            is_needed |= credit > 0
        if self._drain is not None and not self._is_drain_sent:
            self._is_drain_sent = True
            request.drain.reason = self._drain
            request.drain.SetInParent()
            is_needed = True
        if self._queue:
            self.wake.set()  # There was more than one message takes.
        chunks.append(request.SerializeToString())
        return b"".join(chunks) if is_needed else None

    def _next_completions(self) -> list[bytes]:
        chunks: list[bytes] = []
        size = 0
        while self._queue and len(chunks) < MAX_BATCH_ITEMS:
            chunk = self._unacknowledged.get(self._queue[0])
            if chunk is not None:
                size += len(chunk)
                if chunks and size > MAX_BATCH_BYTES:
                    break
                chunks.append(chunk)
            self._queue.popleft()
        return chunks

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
