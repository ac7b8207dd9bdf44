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
    """

    def __init__(self) -> None:
        self.begun = False
        self._is_over = False
        self._calls: set[asyncio.Task[Any]] = set()
        self._ended = asyncio.Event()
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

    @contextmanager
    def call(self) -> Iterator[None]:
        """A call that is under way within the block.

        Raises:
            DomainError: ``SHUTTING_DOWN``, if it did not end while there was time.
        """
        task = asyncio.current_task()
        assert task is not None
        self._calls.add(task)
        try:
            yield
        except asyncio.CancelledError:
            if self._is_over:
                raise _refusal(None) from None
            raise
        finally:
            self._calls.discard(task)
            if self.begun:
                self._ended.set()

    def end(self) -> None:
        """Ends the calls that are still under way: they wait for something that does not come, such as the store."""
        self._is_over = True
        for task in self._calls:
            task.cancel()

    async def calls_ended(self, seconds: float) -> bool:
        """Waits until no call is under way, but not longer than so many seconds; says whether none is."""
        try:
            async with asyncio.timeout(seconds):
                while self._calls:
                    self._ended.clear()
                    await self._ended.wait()
        except TimeoutError:
            return False
        return True


def _refusal(record: ExecutionRecord | None) -> DomainError:
    return DomainError(
        errors_pb2.ERROR_REASON_SHUTTING_DOWN,
        "the server is shutting down; nothing is lost: try again, here or at another server",
        metadata={"execution": names.display_execution(record.execution.id)} if record is not None else {},
        retry_seconds=_RETRY_SECONDS,
    )
