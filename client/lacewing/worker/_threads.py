"""Runs bodies in the worker's own process: asynchronous ones on its event loop, others in threads.

Far cheaper than a child process, and for trusted short tasks only: a thread cannot be killed, and its crash is that of
the worker.
"""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import threading
from collections import deque
from collections.abc import Callable
from queue import SimpleQueue

from lacewing._values import Values
from lacewing.v1 import execution_pb2, worker_service_pb2
from lacewing.worker._attempt import Attempt, Ended, Progressed
from lacewing.worker._body import Registered, run_async_body, run_body


class ThreadExecutor:
    """Runs bodies on the event loop and in threads, as many threads as there are bodies at a time.

    Not by `concurrent.futures`: handing a body over and its result back would cost more than a short body itself.
    Results that come while the event loop is busy go to it together.

    Args:
        ended: is told the result of each attempt.
        progressed: is told the progress of bodies.
        values: converts inputs and outputs.
        registered: what graphs refer to.
    """

    def __init__(self, *, ended: Ended, progressed: Progressed, values: Values, registered: Registered) -> None:
        self._values = values
        self._registered = registered
        self._ended = ended
        self._progressed = progressed
        self._loop: asyncio.AbstractEventLoop | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._queue: SimpleQueue[Attempt | None] = SimpleQueue()
        self._threads = 0
        self._busy = 0
        self._results: deque[tuple[Attempt, worker_service_pb2.Completion]] = deque()
        self._is_collection_due = False

    async def start(self) -> None:
        """Note the event loop."""
        self._loop = asyncio.get_running_loop()

    def run(self, attempt: Attempt) -> None:
        """Run a body on the event loop if it is asynchronous, else in a thread."""
        if attempt.task.is_async:
            # Asking for the loop costs a call of the system each time (before Python 3.12).
            loop = self._loop or asyncio.get_running_loop()
            attempt.body = loop.create_task(self._run_async(attempt), name=attempt.task.name)
            self._tasks.add(attempt.body)
            return
        self._busy += 1
        if self._busy > self._threads:
            self._threads += 1
            # A daemon: a body that never ends does not keep the worker from ending.
            threading.Thread(target=self._work, name=f"lacewing body {self._threads}", daemon=True).start()
        self._queue.put(attempt)

    def stop(self, attempt: Attempt, *, grace: float) -> bool:  # noqa: ARG002 nothing here can be ended by force
        """Cancel an asynchronous body. A body in a thread cannot be stopped."""
        if not isinstance(attempt.body, asyncio.Task):
            return False
        # Not at once: a task that is cancelled before its first step never runs, and would never tell of its end.
        asyncio.get_running_loop().call_soon(attempt.body.cancel)
        return True

    async def close(self) -> None:
        """Cancel asynchronous bodies and let idle threads end. Threads with a body go on until that ends by itself."""
        self._loop = None
        for _ in range(self._threads):
            self._queue.put(None)
        for task in self._tasks:
            task.cancel()
        await asyncio.sleep(0)

    async def _run_async(self, attempt: Attempt) -> None:
        def report(progress: execution_pb2.Progress) -> None:
            self._progressed(attempt, progress)

        completion = await run_async_body(
            attempt.task, attempt.lease, report, self._values, self._registered, lambda: attempt.stop is not None
        )
        self._tasks.discard(attempt.body)
        if self._loop is not None:
            self._ended(attempt, completion)

    def _work(self) -> None:
        while (attempt := self._queue.get()) is not None:
            # In a context of its own, so that a body finds none of the variables of the one before it.
            completion = contextvars.Context().run(self._run_here, attempt)
            self._results.append((attempt, completion))
            if not self._is_collection_due:
                self._is_collection_due = True
                self._call_on_loop(self._collect)

    def _run_here(self, attempt: Attempt) -> worker_service_pb2.Completion:
        def report(progress: execution_pb2.Progress) -> None:
            self._call_on_loop(self._progressed, attempt, progress)

        return run_body(attempt.task, attempt.lease, report, self._values, self._registered)

    def _collect(self) -> None:
        # First, so that a result that is appended from here on is collected now or announced again.
        self._is_collection_due = False
        while self._results:
            attempt, completion = self._results.popleft()
            self._busy -= 1
            self._ended(attempt, completion)

    def _call_on_loop(self, function: Callable[..., None], *arguments: object) -> None:
        loop = self._loop
        if loop is None:
            return
        # A closed loop means that the worker has ended since, and nobody asks for the result.
        with contextlib.suppress(RuntimeError):
            loop.call_soon_threadsafe(function, *arguments)
