"""Runs bodies in child processes, which can be killed."""

from __future__ import annotations

import asyncio
import itertools
import logging
import os
import signal
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from lacewing._channel import reconnect_delays
from lacewing.task import AnyTask
from lacewing.v1 import worker_service_pb2
from lacewing.worker._attempt import Attempt, Ended, Progressed, WorkerStartError, has_succeeded
from lacewing.worker._body import Registered
from lacewing.worker._child import BlobSettings, ChildLimits
from lacewing.worker._child_process import ChildProcess
from lacewing.worker._frames import FrameKind
from lacewing.worker._importing import module_sources
from lacewing.worker._task_error import user_error
from lacewing.worker._zygote import ZygoteSettings
from lacewing.worker._zygote_process import ZygoteProcess

_log = logging.getLogger("lacewing.worker")
_RETIRE_SECONDS = 5.0
_RESTARTS = 5
# Whoever sends SIGTERM to every process of a service, or of a machine, stops it: that is no failure of a task.
_ENDED_FROM_OUTSIDE = "its process was ended from outside by SIGTERM"


@dataclass(frozen=True, slots=True)
class ProcessSettings:
    """How child processes are kept."""

    warm: int
    """How many to keep ready."""
    limits: ChildLimits
    """When one is replaced by a fresh one."""
    echo: bool
    """Whether to show what bodies write on the worker's standard error."""
    blobs: BlobSettings
    """How they store and fetch large values."""
    registered: Registered
    """What graphs refer to, and do not bring along."""


class ProcessExecutor:
    """Keeps child processes ready and runs one body at a time in each.

    Args:
        tasks: the tasks that can be run; each a global name of a module.
        settings: how the processes are kept.
        ended: is told the result of each attempt.
        progressed: is told the progress of bodies.
        failed: is told if no processes can be had any more, after a start that went well.
    """

    def __init__(
        self,
        tasks: Sequence[AnyTask],
        settings: ProcessSettings,
        *,
        ended: Ended,
        progressed: Progressed,
        failed: Callable[[WorkerStartError], None],
    ) -> None:
        self._settings = settings
        self._zygote_settings = ZygoteSettings(
            modules=[*module_sources(tasks)],
            tasks=[task.name for task in tasks],
            max_calls=settings.limits.max_calls,
            max_memory_bytes=settings.limits.max_memory_bytes,
            blobs=settings.blobs,
            registered=sorted(settings.registered),
        )
        self._ended = ended
        self._progressed = progressed
        self._failed = failed
        self._zygote = ZygoteProcess(self._zygote_settings, self)
        self._is_ready = False
        self._restarting: asyncio.Task[None] | None = None
        self._children: dict[int, ChildProcess] = {}
        self._idle: list[ChildProcess] = []
        self._waiting: deque[Attempt] = deque()  # While there is no zygote.
        self._last_number = 0

    async def start(self) -> None:
        """Start the zygote and the children.

        Raises:
            WorkerStartError: if the tasks cannot be imported there.
        """
        await self._zygote.start()
        self._is_ready = True
        for _ in range(self._settings.warm):
            self._fork_idle()

    def run(self, attempt: Attempt) -> None:
        """Run a body in a child that is idle, or a fresh one."""
        if not self._is_ready:
            self._waiting.append(attempt)
            return
        child = self._idle.pop() if self._idle else self._fork()
        attempt.body = child
        child.run(attempt)

    def stop(self, attempt: Attempt, *, grace: float) -> bool:
        """End the process group of the body: by SIGTERM, and after `grace` seconds by SIGKILL."""
        child = attempt.body
        if not isinstance(child, ChildProcess):  # It waits for a zygote.
            self._waiting.remove(attempt)
            self._ended(attempt, _abandoned(attempt, "it had not begun"))
            return True
        if not child.leaving and self._is_ready:
            child.leaving = True
            self._zygote.signal(child.number, signal.SIGTERM)
            self._fork_idle()
        self._kill_after(child, grace)
        return True

    async def close(self) -> None:
        """Kill every child with all that it started."""
        self._is_ready = False
        if self._restarting is not None:
            self._restarting.cancel()
        for child in self._children.values():
            child.close()
        self._children.clear()
        self._idle.clear()
        await self._zygote.close()

    def child_forked(self, child: int, process: int) -> None:
        """Note the process id of a child."""
        if child in self._children:
            self._children[child].process = process

    def child_ended(self, child: int, code: int) -> None:
        """End the attempt that the child still had."""
        self._remove(child, lambda attempt: _crashed(attempt, code))

    def child_refused(self, child: int, why: str) -> None:
        """Give back the attempt that the child was meant for."""
        _log.error("A child process could not be started: %s", why)
        self._remove(child, lambda attempt: _abandoned(attempt, f"no process could be started for it: {why}"))

    def zygote_ended(self) -> None:
        """Give back all attempts and start another zygote."""
        _log.error("The process that child processes are forked from has ended; starting another.")
        self._is_ready = False
        for number, child in list(self._children.items()):
            if child.process is not None:
                # Linux has killed the child itself; this is for what it started, and for other systems.
                try:
                    os.killpg(child.process, signal.SIGKILL)
                except ProcessLookupError:
                    _log.debug("Process group %d has ended.", child.process)
            self._remove(number, lambda attempt: _abandoned(attempt, "its process was ended from outside"))
        self._restarting = asyncio.create_task(self._restart(), name="lacewing zygote restart")

    async def _restart(self) -> None:
        delays = itertools.islice(reconnect_delays(), _RESTARTS)
        while True:
            await self._zygote.close()
            self._zygote = ZygoteProcess(self._zygote_settings, self)
            try:
                await self.start()
                break
            except (WorkerStartError, OSError) as error:
                # What ended the one before, a lack of memory perhaps, may have ended this one while it started.
                delay = next(delays, None)
                if delay is None:
                    self._failed(error if isinstance(error, WorkerStartError) else WorkerStartError(str(error)))
                    return
                _log.error("It cannot be started (%s); trying again.", error)
                await asyncio.sleep(delay)
        while self._waiting:
            self.run(self._waiting.popleft())

    def _fork(self) -> ChildProcess:
        self._last_number += 1
        child = ChildProcess(
            self._last_number,
            asyncio.get_running_loop(),
            echo=self._settings.echo,
            on_frame=self._on_frame,
        )
        self._children[child.number] = child
        self._zygote.fork(child.number, child.far_connection, child.far_log)
        return child

    def _fork_idle(self) -> None:
        if len(self._idle) < self._settings.warm:
            self._idle.append(self._fork())

    def _kill_after(self, child: ChildProcess, seconds: float) -> None:
        if child.kill_timer is not None:
            child.kill_timer.cancel()
        child.kill_timer = asyncio.get_running_loop().call_later(
            seconds, self._zygote.signal, child.number, signal.SIGKILL
        )

    def _on_frame(self, child: ChildProcess, kind: FrameKind, payload: bytes) -> None:
        attempt = child.attempt
        if attempt is None:
            return  # The progress of a thread that outlived its body.
        if kind is FrameKind.PROGRESS:
            heartbeat = worker_service_pb2.Heartbeat.FromString(payload)
            if heartbeat.token == attempt.lease.token:
                self._progressed(attempt, heartbeat.progress)
            return
        completion = worker_service_pb2.Completion.FromString(payload)
        if kind is FrameKind.STOPPED:
            child.last_words = completion
            return
        completion.log_tail = child.log.take()
        child.attempt = None
        if kind is FrameKind.RETIRED and not child.leaving:
            child.leaving = True
            self._kill_after(child, _RETIRE_SECONDS)
            self._fork_idle()
        elif not child.leaving:
            self._idle.append(child)
        self._ended(attempt, completion)

    def _remove(self, number: int, result: Callable[[Attempt], worker_service_pb2.Completion]) -> None:
        child = self._children.get(number)
        if child is None:
            return
        child.drain()
        del self._children[number]
        if child in self._idle:
            self._idle.remove(child)
        attempt, child.attempt = child.attempt, None
        if attempt is not None:
            completion = child.last_words or result(attempt)
            if child.last_words is not None and attempt.stop is None and not has_succeeded(completion):
                completion = _abandoned(attempt, _ENDED_FROM_OUTSIDE)
            completion.log_tail = child.log.take()
            if not child.leaving and self._is_ready:
                self._fork_idle()
            self._ended(attempt, completion)
        child.close()


def _abandoned(attempt: Attempt, reason: str) -> worker_service_pb2.Completion:
    return worker_service_pb2.Completion(
        token=attempt.lease.token, abandoned=worker_service_pb2.Completion.Abandoned(reason=reason)
    )


def _crashed(attempt: Attempt, code: int) -> worker_service_pb2.Completion:
    if code == -signal.SIGTERM:
        return _abandoned(attempt, _ENDED_FROM_OUTSIDE)
    if code >= 0:
        message = f"The body ended its process with exit code {code}."
    else:
        number = -code
        name = signal.Signals(number).name if number in signal.valid_signals() else f"signal {number}"
        message = f"The process of the body was killed by {name} ({signal.strsignal(number)})."
        if number == signal.SIGKILL:
            message += " If nobody sent it, the system was out of memory."
    return worker_service_pb2.Completion(
        token=attempt.lease.token, error=user_error("WorkerCrashed", message, recoverable=True)
    )
