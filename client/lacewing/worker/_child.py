"""The life of a child process: one body after the other, until the worker closes the connection.

It is forked from the zygote (see `_zygote.py`), where the user's modules are imported already.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import os
import resource
import signal
import socket
import sys
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import NoReturn, TypedDict

from lacewing._blobs import Blobs, BlobSession
from lacewing._values import Values
from lacewing.task import AnyTask
from lacewing.v1 import execution_pb2, worker_service_pb2
from lacewing.worker import _linux
from lacewing.worker._body import Registered, ReportProgress, run_async_body, run_body
from lacewing.worker._frames import FrameKind, encode_frame, receive_frame
from lacewing.worker._stopped import AttemptStopped


@dataclass(frozen=True, slots=True)
class ChildLimits:
    """When a child process is replaced by a fresh one, after the body that it runs."""

    max_calls: int
    """After so many bodies."""
    max_memory_bytes: int | None
    """When its resident memory is above this. None: never for that reason."""


class BlobSettings(TypedDict):
    """How child processes store and fetch large values."""

    address: str
    """Where the server is."""
    folder: str
    """Where files go. It is removed by the worker, whatever becomes of its children."""


def live(
    connection: socket.socket,
    log: int,
    tasks: Mapping[str, AnyTask],
    limits: ChildLimits,
    blobs: BlobSettings,
    registered: Registered,
    zygote: int,
) -> NoReturn:
    """Be a child process from its fork to its end.

    Args:
        connection: where leases come from and completions go.
        log: a pipe, for what bodies write to standard output and error.
        tasks: what can be run, by name.
        limits: when to retire.
        blobs: how large values are stored and fetched.
        registered: what graphs refer to.
        zygote: the id of the process that forked this one.
    """
    os.setsid()  # A group of its own, so that it can be killed with all that it starts.
    _linux.die_with_parent(zygote)
    _linux.adopt_orphans()  # What loses its parent stays below this process, and ends with it at the latest.
    os.set_inheritable(connection.fileno(), False)
    connection.setblocking(True)
    _redirect(log)
    numpy_random = sys.modules.get("numpy.random")
    if numpy_random is not None:  # The standard library's generator seeds itself anew after a fork; numpy's does not.
        numpy_random.seed()
    values = Values(BlobSession(Blobs(blobs["address"], None), blobs["folder"]))
    Child(connection, tasks, limits, values, registered).run()
    os._exit(0)


def _redirect(log: int) -> None:
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)
    os.dup2(log, 1)
    os.dup2(log, 2)
    os.close(log)
    # Line by line, so that what a body says before it crashes is not lost in a buffer.
    sys.stdout = os.fdopen(1, "w", buffering=1, encoding="utf-8", errors="replace", closefd=False)
    sys.stderr = os.fdopen(2, "w", buffering=1, encoding="utf-8", errors="replace", closefd=False)
    sys.stdin = os.fdopen(0, closefd=False)


class Child:
    """Runs bodies in this process, one at a time."""

    def __init__(
        self,
        connection: socket.socket,
        tasks: Mapping[str, AnyTask],
        limits: ChildLimits,
        values: Values,
        registered: Registered,
    ) -> None:
        self._values = values
        self._registered = registered
        self._connection = connection
        self._tasks = tasks
        self._limits = limits
        self._sending = threading.Lock()  # A body may report progress from any of its threads.
        self._in_body = False
        self._stopped = False
        self._async_body: tuple[asyncio.AbstractEventLoop, asyncio.Task[object]] | None = None
        self._libc = ctypes.CDLL(None)

    def run(self) -> None:
        """Serve until the worker closes the connection, or until it is time to retire."""
        signal.signal(signal.SIGTERM, self._on_sigterm)
        try:
            self._serve()
        except AttemptStopped:  # It came in the moment before or after a body: there is no place to tell of.
            _end_by(signal.SIGTERM)

    def _serve(self) -> None:
        calls = 0
        while (frame := receive_frame(self._connection)) is not None:
            completion = self._run_body(worker_service_pb2.Lease.FromString(frame[1]))
            calls += 1
            self._flush()
            payload = completion.SerializeToString()
            if self._stopped:
                self._send(FrameKind.STOPPED, payload)
                _end_by(signal.SIGTERM)
            if calls >= self._limits.max_calls or self._is_bloated():
                self._send(FrameKind.RETIRED, payload)
                return
            self._send(FrameKind.DONE, payload)

    def _run_body(self, lease: worker_service_pb2.Lease) -> worker_service_pb2.Completion:
        task = self._tasks[lease.task.name]

        def report(progress: execution_pb2.Progress) -> None:
            heartbeat = worker_service_pb2.Heartbeat(token=lease.token, progress=progress)
            self._send(FrameKind.PROGRESS, heartbeat.SerializeToString())

        self._in_body = True
        try:
            if task.is_async:
                return asyncio.run(self._run_async_body(task, lease, report))
            return run_body(task, lease, report, self._values, self._registered)
        finally:
            self._in_body = False

    async def _run_async_body(
        self, task: AnyTask, lease: worker_service_pb2.Lease, report: ReportProgress
    ) -> worker_service_pb2.Completion:
        around = asyncio.current_task()
        if around is None:
            raise AssertionError("asyncio.run runs a task")
        self._async_body = (asyncio.get_running_loop(), around)
        try:
            return await run_async_body(task, lease, report, self._values, self._registered, lambda: self._stopped)
        finally:
            self._async_body = None

    def _on_sigterm(self, number: int, _frame: FrameType | None) -> None:
        if self._stopped:
            return
        if not self._in_body:
            _end_by(number)
        self._stopped = True
        if self._async_body is None:
            raise AttemptStopped
        loop, around = self._async_body
        loop.call_soon_threadsafe(around.cancel)

    def _send(self, kind: FrameKind, payload: bytes) -> None:
        # SIGTERM waits until the frame is out: its exception would leave half of it.
        before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
        try:
            with self._sending:
                self._connection.sendall(encode_frame(kind, payload))
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)

    def _flush(self) -> None:
        for stream in (sys.stdout, sys.stderr):
            with contextlib.suppress(ValueError, OSError):  # The body closed it: then there is nothing to flush.
                stream.flush()
        self._libc.fflush(None)  # What extension modules print.

    def _is_bloated(self) -> bool:
        limit = self._limits.max_memory_bytes
        return limit is not None and _resident_bytes() > limit


def _resident_bytes() -> int:
    if sys.platform == "linux":
        return int(Path("/proc/self/statm").read_bytes().split()[1]) * resource.getpagesize()
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss  # On macOS in bytes, and the most there ever was.


def _end_by(number: int) -> NoReturn:
    """End this process by a signal, as if it had no handler, so that the worker sees by what it ended."""
    signal.signal(number, signal.SIG_DFL)
    os.kill(os.getpid(), number)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {number})
    os._exit(128 + number)
