"""Waiting for the end of executions: who waits is told when it has come."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from functools import partial
from typing import TypeAlias

from lacewing.v1 import errors_pb2
from lacewing_server.domain import lifecycle, names
from lacewing_server.domain.errors import DomainError
from lacewing_server.domain.record import ExecutionRecord
from lacewing_server.engine.admitted import Admitted
from lacewing_server.engine.shutdown import Shutdown
from lacewing_server.engine.wakeups import Wakeups
from lacewing_server.store.redis.store import Store

Tell: TypeAlias = Callable[[ExecutionRecord | Exception], None]
"""Takes how an execution has ended, or how it is when the time to wait is over; or why that cannot be said."""
_Read: TypeAlias = Callable[[bytes], Awaitable[ExecutionRecord | None]]


class Endings:
    """The ends that are waited for on this server."""

    def __init__(self, store: Store, wakeups: Wakeups, shutdown: Shutdown) -> None:
        self.store = store
        self.wakeups = wakeups
        self.shutdown = shutdown
        self.looking: set[asyncio.Task[None]] = set()

    def follow(self, admitted: Admitted, seconds: float | None, tell: Tell) -> Ending:
        """Waits for the end of what was accepted just now, and has not ended as far as is known.

        Raises:
            DomainError: ``SHUTTING_DOWN``.
        """
        record = admitted.record
        if admitted.replayed:
            return self.find(record.id, names.display_execution(record.execution.id), seconds, tell)
        self.shutdown.refuse(record)
        return Ending(self, record.id, record, seconds, tell)

    def find(self, execution_id: bytes, shown: str, seconds: float | None, tell: Tell) -> Ending:
        """Waits for the end of any execution, which may have come."""
        ending = Ending(self, execution_id, shown, seconds, tell)
        ending.look(self.store.watch)
        return ending


class Ending:
    """The end of one execution that somebody waits for; a listener for its changes."""

    __slots__ = ("_execution_id", "_of", "_of_whom", "_tell", "_timer", "has_progressed", "revision")

    def __init__(
        self, of: Endings, execution_id: bytes, of_whom: ExecutionRecord | str, seconds: float | None, tell: Tell
    ) -> None:
        """Begins to wait; ``of_whom`` is the execution as it was created, or else what it has to be shown as."""
        self._of = of
        self._execution_id = execution_id
        self._of_whom = of_whom
        self._tell: Tell | None = tell
        self._timer: asyncio.TimerHandle | None = None
        self.revision = 0 if isinstance(of_whom, str) else of_whom.revision
        self.has_progressed: bool | None = None
        of.wakeups.listen(execution_id, self)
        if seconds is not None:
            look = partial(self.look, of.store.get, is_last=True)
            self._timer = asyncio.get_running_loop().call_later(max(seconds, 0.0), look)

    def wake(self, record: ExecutionRecord | None) -> None:
        """Takes news of the execution."""
        if record is None:
            self.look(self._of.store.get)
        elif lifecycle.is_terminal(record.state):
            self._end(record)
        else:
            self.revision = record.revision

    def look(self, read: _Read, *, is_last: bool = False) -> None:
        """Reads the execution; if ``is_last``, that is what is told, whatever it is."""
        looking = asyncio.create_task(self._look(read, is_last=is_last))
        self._of.looking.add(looking)
        looking.add_done_callback(self._of.looking.discard)

    async def _look(self, read: _Read, *, is_last: bool) -> None:
        try:
            whom = self._of_whom
            shown = whom if isinstance(whom, str) else names.display_execution(whom.execution.id)
            record = found(await read(self._execution_id), shown)
            is_over = is_last or lifecycle.is_terminal(record.state)
            if not is_over:
                self._of.shutdown.refuse(record)
        except Exception as error:  # noqa: BLE001 - it is who waits that judges it
            self._end(error)
            return
        if is_over:
            self._end(record)
        else:
            self.revision = record.revision

    def _end(self, result: ExecutionRecord | Exception) -> None:
        tell = self._tell
        if tell is not None:  # else it was told meanwhile, or nobody waits any more
            self.close()
            tell(result)

    def close(self) -> None:
        """Waits no longer."""
        if self._tell is None:
            return
        self._tell = None
        self._of.wakeups.unlisten(self._execution_id, self)
        if self._timer is not None:
            self._timer.cancel()


def found(record: ExecutionRecord | None, shown: str) -> ExecutionRecord:
    """The execution that was read, if it is the one that is meant.

    Raises:
        DomainError: ``EXECUTION_NOT_FOUND``.
    """
    if record is None or names.display_execution(record.execution.id) != shown:
        raise DomainError(
            errors_pb2.ERROR_REASON_EXECUTION_NOT_FOUND,
            f"there is no execution {shown}: it never was, or its retention has passed",
            metadata={"execution": shown},
        )
    return record


async def result(follow: Callable[[Tell], Ending]) -> ExecutionRecord:
    """What is told of the end that ``follow`` waits for."""
    told: asyncio.Future[ExecutionRecord] = asyncio.get_running_loop().create_future()
    ending = follow(partial(_set, told))
    try:
        return await told
    finally:
        ending.close()


def _set(told: asyncio.Future[ExecutionRecord], result: ExecutionRecord | Exception) -> None:
    if told.done():
        return  # who waited was cancelled just now
    if isinstance(result, Exception):
        told.set_exception(result)
    else:
        told.set_result(result)
