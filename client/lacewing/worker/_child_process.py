"""A child process as the worker sees it: a connection and a log pipe, read on the event loop."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Callable

from lacewing.v1 import worker_service_pb2
from lacewing.worker._attempt import Attempt
from lacewing.worker._frames import FrameDecoder, FrameKind, encode_frame
from lacewing.worker._log_tail import LogTail

_RECEIVE_BYTES = 256 * 1024


class ChildProcess:
    """The near end of one child process.

    It can be given a lease before the process even exists: the frame waits in the connection.

    Args:
        number: what the worker and the zygote call it.
        loop: the event loop.
        echo: whether to show what bodies write.
        on_frame: takes the frames of the child.
    """

    def __init__(
        self,
        number: int,
        loop: asyncio.AbstractEventLoop,
        *,
        echo: bool,
        on_frame: Callable[[ChildProcess, FrameKind, bytes], None],
    ) -> None:
        self.number = number
        self.process: int | None = None
        """Its process id, once it is known."""
        self.attempt: Attempt | None = None
        """What it runs."""
        self.leaving = False
        """Whether it was told to end, or said that it does: it gets no more leases."""
        self.last_words: worker_service_pb2.Completion | None = None
        """The result of a body that was stopped, until the process has ended."""
        self.kill_timer: asyncio.TimerHandle | None = None
        """Fires when it should have ended by itself."""
        self._loop = loop
        self._on_frame = on_frame
        self._connection, self.far_connection = socket.socketpair()
        self._connection.setblocking(False)
        log, self.far_log = os.pipe()
        os.set_blocking(log, False)
        self.log = LogTail(log, echo=echo)
        self._decoder = FrameDecoder()
        self._unsent = memoryview(b"")
        loop.add_reader(self._connection, self._read)
        loop.add_reader(log, self._read_log)

    def run(self, attempt: Attempt) -> None:
        """Hand it a lease."""
        self.attempt = attempt
        self.log.label = str(attempt)
        self._unsent = memoryview(encode_frame(FrameKind.LEASE, attempt.lease.SerializeToString()))
        self._write()

    def drain(self) -> None:
        """Take in everything that the process has sent, frames and log. For a process that has ended."""
        while self._read():
            pass
        self._read_log()

    def close(self) -> None:
        """Close both ends that are here. A child that waits for a lease exits by that."""
        if self.kill_timer is not None:
            self.kill_timer.cancel()
        self._loop.remove_reader(self._connection)
        self._loop.remove_writer(self._connection)
        self._loop.remove_reader(self.log.descriptor)
        self._connection.close()
        self.log.close()

    def _write(self) -> None:
        try:
            sent = self._connection.send(self._unsent)
        except BlockingIOError:
            sent = 0
        except (BrokenPipeError, ConnectionResetError):
            sent = len(self._unsent)  # It ended; the zygote tells how.
        self._unsent = self._unsent[sent:]
        if self._unsent:
            self._loop.add_writer(self._connection, self._write)
        else:
            self._loop.remove_writer(self._connection)

    def _read(self) -> bool:
        """Take in what is there. Returns False if there is nothing, now or for ever.

        Once per event, so that a body that never stops reporting does not keep the event loop.
        """
        try:
            data = self._connection.recv(_RECEIVE_BYTES)
        except BlockingIOError:
            return False
        except ConnectionResetError:
            data = b""
        if not data:
            self._loop.remove_reader(self._connection)
            return False
        for kind, payload in self._decoder.feed(data):
            # What the body wrote was written before its frame was, so it is all there.
            self._read_log()
            self._on_frame(self, kind, payload)
        return True

    def _read_log(self) -> None:
        if not self.log.read():
            self._loop.remove_reader(self.log.descriptor)
