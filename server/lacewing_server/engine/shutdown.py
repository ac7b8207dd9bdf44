"""The end of a server: calls that come or wait from then on are refused, those under way come to their end."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Final

from lacewing.v1 import errors_pb2
from lacewing_server.domain import names
from lacewing_server.domain.errors import DomainError
from lacewing_server.domain.record import ExecutionRecord

_RETRY_SECONDS: Final = 0.5


class Shutdown:
    """Whether this server shuts down, and which calls are still under way.

    Attributes:
        begun: Whether it shuts down.
        calls: Those that are under way.
    """

    def __init__(self) -> None:
        self.begun = False
        self.calls = Calls()
        self._wakers: set[Callable[[], None]] = set()

    def begin(self) -> None:
        """Begins it: no call is taken any more, and everything that waits is woken."""
        self.begun = True
        for wake in list(self._wakers):
            wake()

    def on_begin(self, wake: Callable[[], None]) -> None:
        """Calls ``wake`` when the shutdown begins."""
        self._wakers.add(wake)

    @contextmanager
    def waking(self, wake: Callable[[], None]) -> Iterator[None]:
        """Calls ``wake`` when the shutdown begins within the block."""
        self._wakers.add(wake)
        try:
            yield
        finally:
            self._wakers.discard(wake)

    def refuse(self, record: ExecutionRecord | None = None) -> None:
        """Refuses to begin something, or to wait any longer, if the server shuts down.

        Args:
            record: The execution that the caller waits for, which goes on.

        Raises:
            DomainError: ``SHUTTING_DOWN``.
        """
        if self.begun:
            raise _refusal(record)


class Calls:
    """The calls that are under way, each in a task."""

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[Any]] = set()
        self._is_over = False
        self._have_ended = asyncio.Event()

    def add(self, task: asyncio.Task[Any]) -> None:
        """Notes that one begins."""
        self._tasks.add(task)

    def remove(self, task: asyncio.Task[Any], kind: type[BaseException] | None) -> None:
        """Notes that one ends.

        Args:
            task: It.
            kind: Of the exception that ends it, if one does.

        Raises:
            DomainError: ``SHUTTING_DOWN``, if it did not end while there was time.
        """
        self._tasks.discard(task)
        if not self._tasks:
            self._have_ended.set()
        if kind is asyncio.CancelledError and self._is_over:
            raise _refusal(None) from None

    def end(self) -> None:
        """Ends those that are still under way: they wait for something that does not come, such as the store."""
        self._is_over = True
        for task in self._tasks:
            task.cancel()

    async def ended(self, seconds: float) -> bool:
        """Waits until none is under way, but not longer than so many seconds; says whether none is."""
        try:
            async with asyncio.timeout(seconds):
                while self._tasks:
                    self._have_ended.clear()
                    await self._have_ended.wait()
        except TimeoutError:
            return False
        return True


class UnderWay:
    """Notes the current task's call for the time of a ``with`` block. A generator would take ten times as long.

    Raises:
        DomainError: From the block, as `Calls.remove` does.
    """

    __slots__ = ("_calls", "_task")

    def __init__(self, calls: Calls) -> None:
        self._calls = calls
        task = asyncio.current_task()
        assert task is not None
        self._task = task

    def __enter__(self) -> None:
        """Notes that it begins."""
        self._calls.add(self._task)

    def __exit__(self, kind: type[BaseException] | None, _error: object, _traceback: object) -> None:
        """Notes that it ends, which may be in another task: that of who closes a generator."""
        self._calls.remove(self._task, kind)


def _refusal(record: ExecutionRecord | None) -> DomainError:
    return DomainError(
        errors_pb2.ERROR_REASON_SHUTTING_DOWN,
        "the server is shutting down; nothing is lost: try again, here or at another server",
        metadata={"execution": names.display_execution(record.execution.id)} if record is not None else {},
        retry_seconds=_RETRY_SECONDS,
    )
