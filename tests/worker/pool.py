"""Child processes without a server: leases in, completions out."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from lacewing.task import AnyTask
from lacewing.v1 import execution_pb2, worker_service_pb2
from lacewing.worker._attempt import Attempt, Stop, WorkerStartError
from lacewing.worker._child import BlobSettings, ChildLimits
from lacewing.worker._processes import ProcessExecutor, ProcessSettings
from worker import process_bodies as bodies

DEADLINE = 20.0
_tokens = itertools.count()


def lease(task: AnyTask, **inputs: Any) -> worker_service_pb2.Lease:
    """Makes a lease of an attempt of a task."""
    token = f"token-{next(_tokens)}"
    result = worker_service_pb2.Lease(token=token.encode(), attempt=1, task=task.id("default", "development"))
    result.execution.name = "x" + token
    result.inputs.CopyFrom(task.interface.inputs_to_literals(inputs))
    return result


async def until(condition: Callable[[], bool]) -> None:
    """Waits until a condition holds."""
    end = time.monotonic() + DEADLINE
    while not condition():
        assert time.monotonic() < end, "it took too long"
        await asyncio.sleep(0.005)


async def written(path: Path) -> str:
    """Waits until a body has written something to a file, and returns that."""
    await until(lambda: path.exists() and path.read_text() != "")
    return path.read_text()


def is_running(process: int) -> bool:
    """Returns whether a process exists and is no zombie."""
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


class Pool:
    """An executor with processes, and what it told."""

    def __init__(self, **settings: Any) -> None:
        self.progress: list[execution_pb2.Progress] = []
        self.failures: list[WorkerStartError] = []
        self._results: dict[bytes, asyncio.Future[worker_service_pb2.Completion]] = {}
        limits = ChildLimits(
            max_calls=settings.get("max_calls", 1000), max_memory_bytes=settings.get("max_memory_bytes")
        )
        self.executor = ProcessExecutor(
            settings.get("tasks", bodies.ALL),
            ProcessSettings(
                warm=settings.get("warm", 1),
                limits=limits,
                echo=settings.get("echo", False),
                blobs=BlobSettings(address="127.0.0.1:1", folder="/nowhere"),
                registered=frozenset(settings.get("registered", ())),
            ),
            ended=self._ended,
            progressed=lambda _attempt, progress: self.progress.append(progress),
            failed=self.failures.append,
        )

    def _ended(self, attempt: Attempt, completion: worker_service_pb2.Completion) -> None:
        self._results[attempt.lease.token].set_result(completion)

    def start(self, task: AnyTask, **inputs: Any) -> Attempt:
        """Begins an attempt."""
        attempt = Attempt(lease(task, **inputs), task)
        self._begin(attempt)
        return attempt

    def _begin(self, attempt: Attempt) -> None:
        self._results[attempt.lease.token] = asyncio.get_running_loop().create_future()
        self.executor.run(attempt)

    def stop(self, attempt: Attempt, *, grace: float, why: Stop = Stop.TIMED_OUT) -> None:
        """Stops a running attempt."""
        attempt.stop = why
        assert self.executor.stop(attempt, grace=grace)

    async def result(self, attempt: Attempt) -> worker_service_pb2.Completion:
        """Waits for the end of an attempt."""
        async with asyncio.timeout(DEADLINE):
            return await self._results[attempt.lease.token]

    async def finish(self, attempt: Attempt) -> worker_service_pb2.Completion:
        """Runs an attempt that was made elsewhere to its end."""
        self._begin(attempt)
        return await self.result(attempt)

    async def run(self, task: AnyTask, **inputs: Any) -> worker_service_pb2.Completion:
        """Runs an attempt to its end."""
        return await self.result(self.start(task, **inputs))

    async def value(self, task: AnyTask, **inputs: Any) -> Any:
        """Runs an attempt that succeeds, and returns what its function returned."""
        completion = await self.run(task, **inputs)
        assert completion.WhichOneof("result") == "outputs", completion
        return task.interface.literals_to_outputs(completion.outputs)


@asynccontextmanager
async def running(**settings: Any) -> AsyncIterator[Pool]:
    """Runs a pool, and sees to it that it leaves no process behind."""
    pool = Pool(**settings)
    try:
        await pool.executor.start()
        yield pool
    finally:
        await pool.executor.close()
