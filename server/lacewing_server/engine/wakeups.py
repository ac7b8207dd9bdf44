"""Who waits for what: one place that callers wait at, and that every change is told to."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

from lacewing_server.domain.record import ExecutionRecord


class Waiter:
    """One caller that waits for changes of one execution."""

    def __init__(self) -> None:
        self._changed = asyncio.Event()
        self.revision = 0
        """Of the execution as the caller has seen it last."""
        self.has_progressed: bool | None = None
        """Whether its body has reported progress since the caller looked; None: the caller does not care."""

    def wake(self, record: ExecutionRecord | None) -> None:  # noqa: ARG002 - a listener's shape
        """Tells of a change."""
        self._changed.set()

    async def changed(self) -> None:
        """Waits for a change."""
        await self._changed.wait()
        self._changed.clear()


class Listener(Protocol):
    """Somebody who is told of changes of one execution, as a :class:`Waiter` is."""

    revision: int
    has_progressed: bool | None

    def wake(self, record: ExecutionRecord | None) -> None:
        """Tells of a change; ``record`` is the execution after it, None: read it."""


class Wakeups:
    """All who wait on this server."""

    def __init__(self) -> None:
        # Tuples, because who is told of a change may cease to listen.
        self._waiters: dict[bytes, tuple[Listener, ...]] = {}

    @contextmanager
    def waiting(self, execution_id: bytes) -> Iterator[Waiter]:
        """Waits for changes of an execution; enter before reading it, so that no change is missed."""
        waiter = Waiter()
        self.listen(execution_id, waiter)
        try:
            yield waiter
        finally:
            self.unlisten(execution_id, waiter)

    def listen(self, execution_id: bytes, listener: Listener) -> None:
        """Tells a listener of changes of an execution from now on."""
        self._waiters[execution_id] = (*self._waiters.get(execution_id, ()), listener)

    def unlisten(self, execution_id: bytes, listener: Listener) -> None:
        """Tells a listener no longer."""
        waiters = self._waiters.pop(execution_id)
        if len(waiters) > 1:
            self._waiters[execution_id] = tuple(each for each in waiters if each is not listener)

    def notify(self, execution_id: bytes, record: ExecutionRecord | None = None) -> None:
        """Wakes all who wait for an execution; ``record`` spares them the reading."""
        for waiter in self._waiters.get(execution_id, ()):
            waiter.wake(record)

    def progressed(self, execution_id: bytes) -> None:
        """Wakes those who care for the progress of an execution."""
        for waiter in self._waiters.get(execution_id, ()):
            if waiter.has_progressed is not None:
                waiter.has_progressed = True
                waiter.wake(None)

    def wake_all(self) -> None:
        """Wakes all who wait for anything: they have to look again whether they may."""
        for waiters in list(self._waiters.values()):
            for waiter in waiters:
                waiter.wake(None)

    def catch_up(self, execution_id: bytes, revision: int) -> None:
        """Wakes those who have not seen this revision of an execution: the news of it was lost. 0: it is gone."""
        for waiter in self._waiters.get(execution_id, ()):
            if waiter.revision != revision:
                waiter.wake(None)

    def waited_for(self) -> list[bytes]:
        """The executions that somebody waits for."""
        return list(self._waiters)
