"""The worker: leases attempts from a server and runs them until it is drained."""

from __future__ import annotations

import asyncio
import logging
import os
import secrets
import shutil
import socket
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import grpc

from lacewing._blobs import Blobs, BlobSession
from lacewing._channel import open_channel, reconnect_delays, resolve_address
from lacewing._statuses import from_rpc_error
from lacewing._values import Values
from lacewing.task import AnyTask, Isolation
from lacewing.v1 import execution_pb2, worker_service_pb2
from lacewing.worker._attempt import Attempt, Executor, Ledger, WorkerStartError
from lacewing.worker._attempts import Attempts
from lacewing.worker._body import Registered
from lacewing.worker._child import BlobSettings, ChildLimits
from lacewing.worker._outbox import Outbox
from lacewing.worker._processes import ProcessExecutor, ProcessSettings
from lacewing.worker._registration import register_tasks
from lacewing.worker._stream import CLOSE_SECONDS, WorkStream
from lacewing.worker._threads import ThreadExecutor

_MAX_NAME_LENGTH = 128
_THREAD_SLOTS = 32
_DEFAULT_QUEUE = "default"
_log = logging.getLogger("lacewing.worker")

# Statuses that say that connecting again will not help.
_FINAL = frozenset(
    {
        grpc.StatusCode.INVALID_ARGUMENT,
        grpc.StatusCode.NOT_FOUND,
        grpc.StatusCode.FAILED_PRECONDITION,
        grpc.StatusCode.PERMISSION_DENIED,
        grpc.StatusCode.UNAUTHENTICATED,
        grpc.StatusCode.UNIMPLEMENTED,
    }
)


class Worker:
    """Runs tasks: leases their attempts from a server over one stream, and answers with outputs or errors.

    When the connection breaks, bodies go on; the worker connects again and keeps its leases. It belongs to the event
    loop that `run` is called on.

    Args:
        address: Where the server is, `host:port`. Default: $LACEWING_ADDRESS, else `127.0.0.1:7400`.
        tasks: What it runs. With process isolation, each must be a global name of its module. Workflows among them are
            only registered: the server runs them.
        slots: How many bodies it runs at a time. Default: the number of CPUs if any task runs in a child process,
            else 32.
        name: Names it for people and in records, at most 128 characters. Default: host name and process id.
        project: The project of tasks that do not name their own. Default: the server's.
        domain: The domain of those. Default: the server's.
        queues: The queues it serves. Default: those that the tasks name.
        labels: Labels for people to find it by.
        register: Whether to register the tasks first.
        isolation: Where bodies run, whatever their tasks say.
        grace: How long a body that is stopped may take to end, in seconds; then its process group is killed.
        drain_timeout: How long running bodies may go on after `drain`, in seconds; then they are stopped and given
            back.
        max_calls: After how many bodies a child process is replaced by a fresh one.
        max_memory_bytes: The resident memory above which a child process is replaced after a body. Default: no limit.
        echo: Whether to show what bodies in child processes write, line by line, on standard error.
        credentials: For a server behind TLS. Default: plain text. They cannot be given to child processes, so large
            values and files are for bodies in threads then.

    Raises:
        GraphBuildError: A workflow among the tasks cannot be built.
        ValueError: There are no tasks, two of them have the same name, they are of several projects or domains, or a
            number is out of its bounds.
    """

    def __init__(
        self,
        address: str | None = None,
        tasks: Sequence[AnyTask] = (),
        *,
        slots: int | None = None,
        name: str | None = None,
        project: str = "",
        domain: str = "",
        queues: Sequence[str] = (),
        labels: Mapping[str, str] | None = None,
        register: bool = True,
        isolation: Isolation | None = None,
        grace: float = 5.0,
        drain_timeout: float = 30.0,
        max_calls: int = 1000,
        max_memory_bytes: int | None = None,
        echo: bool = False,
        credentials: grpc.ChannelCredentials | None = None,
    ) -> None:
        by_name = _by_name(tasks)
        runnable = list(by_name.values())
        in_processes = [task for task in runnable if (isolation or task.isolation) == "process"]
        registered: Registered = (
            frozenset((task.name, task.exact_version) for task in tasks) if register else frozenset()
        )
        if slots is None:
            slots = _cpu_count() if in_processes else _THREAD_SLOTS
        for what, number, least in (("slots", slots, 1), ("max_calls", max_calls, 1), ("grace", grace, 0)):
            if number < least:
                raise ValueError(f"{what} is at least {least}, not {number}")
        self.address = resolve_address(address)
        self.name = (name or f"{socket.gethostname()}-{os.getpid()}")[:_MAX_NAME_LENGTH]
        self.slots = slots
        self._tasks = sorted(tasks, key=lambda task: task.is_workflow)
        self._project = project
        self._domain = domain
        self._register = register
        self._grace = grace
        self._drain_timeout = drain_timeout
        self._credentials = credentials
        self._hello = worker_service_pb2.Hello(
            worker=self.name, offer=_offer(runnable, project, domain, queues), labels=labels, sdk=_sdk()
        )
        self._ledger = Ledger(slots)
        self._outbox = Outbox(self._ledger)
        self._files = str(Path(tempfile.gettempdir()) / f"lacewing-worker-{secrets.token_hex(8)}")
        self._values = Values(BlobSession(Blobs(self.address, credentials), self._files))
        self._executors: dict[Isolation, Executor] = {
            "thread": ThreadExecutor(
                ended=self._ended, progressed=self._progressed, values=self._values, registered=registered
            )
        }
        if in_processes:
            blobs = BlobSettings(address="" if credentials else self.address, folder=self._files)
            limits = ChildLimits(max_calls=max_calls, max_memory_bytes=max_memory_bytes)
            self._executors["process"] = ProcessExecutor(
                in_processes,
                ProcessSettings(warm=slots, limits=limits, echo=echo, blobs=blobs, registered=registered),
                ended=self._ended,
                progressed=self._progressed,
                failed=self._fail,
            )
        self._attempts = Attempts(
            by_name, self._executors, ledger=self._ledger, outbox=self._outbox, grace=grace, isolation=isolation
        )
        self._drain_reason: str | None = None
        self._failure: WorkerStartError | None = None
        self._timers: list[asyncio.TimerHandle] = []
        self._connected = asyncio.Event()
        self._over = asyncio.Event()

    async def run(self) -> None:
        """Run until the worker is drained and every result is acknowledged. May be called once.

        Raises:
            WorkerStartError: The tasks cannot be run in child processes.
            RefusedError: The server refuses the worker, or the registration of a task.
            CallFailed: What answers at the address is no Lacewing server, or lets this worker not in.
        """
        try:
            async with open_channel(self.address, self._credentials) as channel:
                for executor in self._executors.values():
                    await executor.start()
                await self._serve_until_over(channel)
        finally:
            for timer in self._timers:
                timer.cancel()
            for executor in self._executors.values():
                await executor.close()
            self._values.close()
            shutil.rmtree(self._files, ignore_errors=True)  # What was killed could not tidy up.
        if self._failure is not None:
            raise self._failure

    async def connected(self) -> None:
        """Wait until the server has welcomed the worker."""
        await self._connected.wait()

    def drain(self, reason: str = "the worker is being stopped") -> None:
        """Take no more leases and let `run` return when the running bodies have ended.

        What has not ended after `drain_timeout` is stopped and given back.

        Args:
            reason: Why, for a person to read.
        """
        if self._drain_reason is not None:
            return
        self._drain_reason = reason
        self._outbox.drain(reason)
        _log.info("Draining: %d running.", len(self._ledger.held))
        self._later(self._drain_timeout, self._abandon, self._grace)
        if self._is_idle and not self._connected.is_set():
            self._over.set()

    def stop(self, reason: str = "the worker is being stopped") -> None:
        """Kill what runs, give it back, and let `run` return.

        Args:
            reason: Why, for a person to read.
        """
        self.drain(reason)
        self._abandon(0)

    @property
    def _is_idle(self) -> bool:
        return not self._ledger.held and self._outbox.is_clear

    def _abandon(self, grace: float) -> None:
        if self._ledger.held:
            _log.warning("Giving back %d that have not ended.", len(self._ledger.held))
        self._attempts.abandon(self._drain_reason or "", grace=grace)
        self._later(grace + CLOSE_SECONDS, self._give_up)

    def _give_up(self) -> None:
        if not self._is_idle:
            count = len(self._ledger.held) + self._outbox.unacknowledged_count
            _log.error("%d results could not be delivered; the server will run those attempts again.", count)
        self._over.set()

    def _fail(self, failure: WorkerStartError) -> None:
        self._failure = failure
        self._over.set()

    async def _serve_until_over(self, channel: grpc.aio.Channel) -> None:
        serving = asyncio.create_task(self._serve(channel), name="lacewing worker")
        over = asyncio.create_task(self._over.wait())
        try:
            await asyncio.wait((serving, over), return_when=asyncio.FIRST_COMPLETED)
            if serving.done():
                serving.result()
        finally:
            serving.cancel()
            over.cancel()
            await asyncio.gather(serving, over, return_exceptions=True)

    async def _serve(self, channel: grpc.aio.Channel) -> None:
        if self._register:
            await register_tasks(channel, self._tasks, self._project, self._domain)
        delays = reconnect_delays()
        while True:
            stream = WorkStream(
                channel,
                self._hello,
                attempts=self._attempts,
                outbox=self._outbox,
                ledger=self._ledger,
                on_welcome=self._connected.set,
            )
            try:
                await stream.run()
            except grpc.aio.AioRpcError as error:
                if error.code() in _FINAL:
                    raise from_rpc_error(error) from error
                _log.warning("The stream to %s broke (%s); connecting again.", self.address, from_rpc_error(error))
            if self._drain_reason is not None and self._is_idle:
                return
            if self._connected.is_set():
                self._connected.clear()
                delays = reconnect_delays()
            await asyncio.sleep(next(delays))

    def _later(self, seconds: float, function: Callable[..., None], *arguments: object) -> None:
        self._timers.append(asyncio.get_running_loop().call_later(seconds, function, *arguments))

    def _ended(self, attempt: Attempt, completion: worker_service_pb2.Completion) -> None:
        self._attempts.ended(attempt, completion)

    def _progressed(self, attempt: Attempt, progress: execution_pb2.Progress) -> None:
        self._attempts.progressed(attempt, progress)


def _by_name(tasks: Sequence[AnyTask]) -> dict[str, AnyTask]:
    """Return the tasks that a worker runs, which workflows are not, by name."""
    by_name: dict[str, AnyTask] = {}
    for task in tasks:
        if task.is_reference:
            raise ValueError(f"{task.name!r} only stands for a task that is registered elsewhere")
        if by_name.setdefault(task.name, task) is not task:
            raise ValueError(f"two tasks are named {task.name!r}; give one of them a name of its own")
    runnable = {name: task for name, task in by_name.items() if not task.is_workflow}
    if not runnable:
        only = ": workflows are run by the server, and registered by `lacewing register`" if by_name else ""
        raise ValueError(f"a worker needs at least one task to run{only}")
    return runnable


def _offer(tasks: Sequence[AnyTask], project: str, domain: str, queues: Sequence[str]) -> worker_service_pb2.Offer:
    places = {(task.project or project, task.domain or domain) for task in tasks}
    if len(places) > 1:
        named = ", ".join("/".join(part or "(default)" for part in place) for place in sorted(places))
        raise ValueError(f"the tasks are of several projects or domains ({named}): run a worker for each")
    ((project, domain),) = places
    return worker_service_pb2.Offer(
        task_types=sorted({task.spec.template.type for task in tasks}),
        project=project,
        domain=domain,
        task_names=sorted(task.name for task in tasks),
        queues=queues or sorted({task.spec.policy.queue or _DEFAULT_QUEUE for task in tasks}),
    )


def _cpu_count() -> int:
    if sys.platform == "linux":
        return len(os.sched_getaffinity(0))  # What this process may use, which can be less than what there is.
    return os.cpu_count() or 1


def _sdk() -> str:
    try:
        return f"lacewing-python/{version('lacewing')}"
    except PackageNotFoundError:  # It runs from its sources.
        return "lacewing-python"
