"""The process that child processes are forked from.

It imports the user's modules once and then forks a child in about a millisecond whenever the worker asks. It has one
thread and opens no channel of gRPC, so forking it is safe, which forking the worker would not be. It is also the guard
of what it forked: when the worker ends, however that happens, the zygote sees its connection close and kills every
child with all that it started. Whoever turns up as its child without having been forked by it was left behind by a
child that ended, and is killed too. Only if the zygote itself is killed do daemons that have left the process group of
their body live on.

The worker and the zygote exchange lines of JSON. The worker sends the `ZygoteSettings` first; then `{"fork": ID}`, with
the connection and the log pipe of the child as descriptors, and `{"signal": ID, "number": N}`. The zygote sends
`{"ready": true}` or `{"failed": TEXT}` first, then `{"forked": ID, "process": PID}`, or `{"refused": ID, "why": TEXT}`
for a fork that was not possible, and `{"ended": ID, "code": N}` for each child that ended, with a negative number for
the signal that ended it.
"""

from __future__ import annotations

import gc
import json
import os
import selectors
import signal
import socket
import sys
import threading
import time
import traceback
from collections import deque
from collections.abc import Mapping
from typing import Any, NoReturn, TypedDict

from lacewing.task import AnyTask
from lacewing.worker import _linux
from lacewing.worker._attempt import WorkerStartError
from lacewing.worker._body import Registered
from lacewing.worker._child import BlobSettings, ChildLimits, live
from lacewing.worker._importing import ModuleSource, find_tasks

_MAX_DESCRIPTORS = 64
_RECEIVE_BYTES = 64 * 1024
_LAST_KILLS_SECONDS = 5.0


class ZygoteSettings(TypedDict):
    """What the zygote is told at its start."""

    modules: list[tuple[str, str | None, bool]]
    tasks: list[str]
    max_calls: int
    max_memory_bytes: int | None
    blobs: BlobSettings
    registered: list[tuple[str, str]]


def main(descriptor: int) -> None:
    """Be the zygote, with the descriptor of its connection to the worker."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)  # They reach the whole terminal or service; the worker decides.
    control = socket.socket(fileno=descriptor)
    with control.makefile("rb", buffering=0) as lines:
        line = lines.readline()
    if not line:
        return
    settings: ZygoteSettings = json.loads(line)
    try:
        tasks = find_tasks([ModuleSource(*module) for module in settings["modules"]], settings["tasks"])
    except BaseException as error:  # noqa: BLE001 a module may raise anything, SystemExit too; the worker shows it
        known = isinstance(error, WorkerStartError)
        _send(control, {"failed": str(error) if known else traceback.format_exc()})
        return
    if threading.active_count() > 1:
        names = ", ".join(sorted(thread.name for thread in threading.enumerate()))
        sys.stderr.write(
            f"lacewing: importing the tasks started threads ({names}); child processes do not have them, and may hang "
            "on a lock that one of them held. Start threads in the bodies of tasks, not on import.\n"
        )
    gc.collect()
    gc.freeze()  # The collector then leaves these pages alone, and children go on sharing them.
    _linux.adopt_orphans()
    if not _send(control, {"ready": True}):
        return
    limits = ChildLimits(max_calls=settings["max_calls"], max_memory_bytes=settings["max_memory_bytes"])
    registered = frozenset((name, version) for name, version in settings["registered"])
    Zygote(control, tasks, limits, settings["blobs"], registered).run()


def _send(control: socket.socket, message: Mapping[str, Any]) -> bool:
    """Send the worker a message; return False if it is gone."""
    try:
        control.sendall(json.dumps(message).encode() + b"\n")
    except (BrokenPipeError, ConnectionResetError):
        return False
    return True


class Zygote:
    """Forks children, signals them, and tells of their end."""

    def __init__(
        self,
        control: socket.socket,
        tasks: Mapping[str, AnyTask],
        limits: ChildLimits,
        blobs: BlobSettings,
        registered: Registered,
    ) -> None:
        self._blobs = blobs
        self._registered = registered
        self._control = control
        self._tasks = tasks
        self._limits = limits
        self._children: dict[int, int] = {}  # The worker's id of each, by its process id.
        self._others = _linux.children()  # What the user's modules started when they were imported.
        self._received = bytearray()
        self._descriptors: deque[int] = deque()
        self._wakeup, wakeup = socket.socketpair()
        self._wakeup.setblocking(False)
        wakeup.setblocking(False)
        self._wakeup_writer = wakeup

    def run(self) -> None:
        """Work until the worker is gone; then kill what is left."""
        signal.set_wakeup_fd(self._wakeup_writer.fileno())
        signal.signal(signal.SIGCHLD, lambda _number, _frame: None)  # What it writes to the wake-up socket counts.
        with selectors.DefaultSelector() as selector:
            selector.register(self._control, selectors.EVENT_READ)
            selector.register(self._wakeup, selectors.EVENT_READ)
            while True:
                ready = {key.fileobj for key, _ in selector.select()}
                if self._wakeup in ready:
                    self._wakeup.recv(_RECEIVE_BYTES)
                    self._reap()
                if self._control in ready and not self._obey():
                    break
            self._kill_all(selector)

    def _obey(self) -> bool:
        try:
            data, descriptors, _, _ = socket.recv_fds(self._control, _RECEIVE_BYTES, _MAX_DESCRIPTORS)
        except ConnectionResetError:
            return False
        self._descriptors.extend(descriptors)
        self._received += data
        *lines, rest = self._received.split(b"\n")
        self._received = bytearray(rest)
        for line in lines:
            order = json.loads(line)
            if "fork" in order:
                self._fork(order["fork"], self._descriptors.popleft(), self._descriptors.popleft())
            else:
                self._signal(order["signal"], order["number"])
        return bool(data)

    def _fork(self, child: int, connection: int, log: int) -> None:
        sys.stdout.flush()
        sys.stderr.flush()
        zygote = os.getpid()
        try:
            process = os.fork()
        except OSError as error:
            self._tell({"refused": child, "why": f"fork: {error}"})
        else:
            if process == 0:
                self._become_child(connection, log, zygote)
            self._children[process] = child
            self._tell({"forked": child, "process": process})
        os.close(connection)
        os.close(log)

    def _become_child(self, connection: int, log: int, zygote: int) -> NoReturn:
        code = 1
        try:
            signal.set_wakeup_fd(-1)
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            signal.signal(signal.SIGINT, signal.default_int_handler)
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
            for own in (self._control, self._wakeup, self._wakeup_writer):
                own.close()
            for descriptor in self._descriptors:
                os.close(descriptor)
            own = socket.socket(fileno=connection)
            live(own, log, self._tasks, self._limits, self._blobs, self._registered, zygote)
        except BaseException:  # noqa: BLE001 nothing may get out into the stack of the zygote
            traceback.print_exc()
            sys.stderr.flush()
        finally:
            os._exit(code)

    def _signal(self, child: int, number: int) -> None:
        for process, own in self._children.items():
            if own == child:
                _kill_group(process, number)

    def _reap(self) -> None:
        while True:
            try:
                process, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if process == 0:
                break
            child = self._children.pop(process, None)
            if child is not None:
                _kill_group(process, signal.SIGKILL)  # What it started and did not wait for.
                self._tell({"ended": child, "code": os.waitstatus_to_exitcode(status)})
        for left_behind in _linux.children() - self._children.keys() - self._others:
            _kill_group(left_behind, signal.SIGKILL)

    def _kill_all(self, selector: selectors.BaseSelector) -> None:
        for process in self._children:
            _kill_group(process, signal.SIGKILL)
        selector.unregister(self._control)
        end = time.monotonic() + _LAST_KILLS_SECONDS
        while (self._children or _linux.children()) and time.monotonic() < end:
            if selector.select(end - time.monotonic()):
                self._wakeup.recv(_RECEIVE_BYTES)
            self._reap()

    def _tell(self, message: Mapping[str, Any]) -> None:
        _send(self._control, message)  # If the worker is gone, the main loop is about to notice.


def _kill_group(process: int, number: int) -> None:
    try:
        os.killpg(process, number)
    except ProcessLookupError:
        # It has no group of its own: it was forked a moment ago, or it is not one of ours.
        try:
            os.kill(process, number)
        except ProcessLookupError:
            return
    except PermissionError:
        return  # macOS says so of a group in which only zombies are left.
