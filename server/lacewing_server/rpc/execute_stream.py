"""``ExecuteStream``: the requests of one message are begun together, and each is answered when it has ended."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Coroutine, Sequence
from functools import partial
from typing import Any, Final

from lacewing._wire import part
from lacewing.v1 import errors_pb2
from lacewing.v1 import execution_service_pb2 as pb
from lacewing_server.domain import limits
from lacewing_server.domain.durations import milliseconds
from lacewing_server.domain.errors import DomainError
from lacewing_server.domain.record import ExecutionRecord
from lacewing_server.engine.admitted import Admitted
from lacewing_server.engine.creating import Creating
from lacewing_server.engine.endings import Ending
from lacewing_server.engine.executions import Executions
from lacewing_server.engine.shutdown import Shutdown
from lacewing_server.rpc.boundary import internal
from lacewing_server.rpc.render import packed_admitted
from lacewing_server.rpc.status import to_request_error

_Item = pb.ExecuteStreamRequest.Item
_Outcome = pb.ExecuteStreamResponse.Outcome
_OUTCOMES: Final = pb.ExecuteStreamResponse.OUTCOMES_FIELD_NUMBER


class ExecuteStream:
    """One call of ``ExecuteStream``. What queues while a message is under way goes out as the next one."""

    def __init__(self, executions: Executions, shutdown: Shutdown) -> None:
        self._executions = executions
        self._shutdown = shutdown
        self._outcomes: list[bytes] = []
        """What goes out with the next message: of each a serialized ``ExecuteStreamResponse``."""
        self._room = limits.BATCH_MAX_BYTES
        self._full: list[list[bytes]] = []
        self._changed = asyncio.Event()
        self._tags: set[int] = set()
        self._unanswered = 0
        self._followed: dict[int, tuple[_Item, Admitted, Ending]] = {}
        """By tag, whose end is waited for."""
        self._tasks: set[asyncio.Task[None]] = set()
        self._slow: set[asyncio.Task[None]] = set()
        """Those that end with the call: they wait for more than an answer that comes in any case."""
        self._has_ended = False
        """Whether the caller sends nothing more."""
        self._is_gone = False
        """Whether nobody takes answers any more."""
        self._failure: DomainError | None = None

    async def serve(self, requests: AsyncIterator[pb.ExecuteStreamRequest]) -> AsyncIterator[bytes]:
        """Serves the call to its end; each response is a serialized ``ExecuteStreamResponse``."""
        receiver = asyncio.create_task(self._receive(requests))
        try:
            with self._shutdown.waking(self._changed.set):
                while True:
                    await self._changed.wait()
                    self._changed.clear()
                    if self._failure is not None:
                        raise self._failure
                    while self._full:
                        yield b"".join(self._full.pop(0))
                    if self._outcomes:
                        ready, self._outcomes, self._room = self._outcomes, [], limits.BATCH_MAX_BYTES
                        yield b"".join(ready)
                    if self._changed.is_set() or self._unanswered or not (self._has_ended or self._shutdown.begun):
                        continue
                    if not self._has_ended:
                        self._shutdown.refuse()
                    return
        finally:
            receiver.cancel()
            self._leave()

    async def _receive(self, requests: AsyncIterator[pb.ExecuteStreamRequest]) -> None:
        try:
            async for message in requests:
                self._take(message)
        except DomainError as error:
            self._failure = error
        finally:
            self._has_ended = True
            self._changed.set()

    def _take(self, message: pb.ExecuteStreamRequest) -> None:
        items = message.items
        if len(items) > limits.STREAM_ITEMS_MAX:
            raise _violated(f"a message holds {len(items)} items, {limits.STREAM_ITEMS_MAX} are allowed")
        for item in items:
            if item.tag in self._tags:
                raise _violated(f"tag {item.tag} was used twice")
            self._tags.add(item.tag)
        self._unanswered += len(items)
        begun: list[tuple[_Item, Creating]] = []
        with self._executions.together(len(items)):
            for item in items:
                try:
                    begun.append((item, self._executions.begin(item.request, record_hit=item.request.record_hit)))
                except Exception as error:  # noqa: BLE001 - the boundary of an item
                    self._refuse(item, error)
        _spawn(self._admit(begun), self._tasks)

    async def _admit(self, begun: Sequence[tuple[_Item, Creating]]) -> None:
        """Takes the answers of the store, which come together; never cancelled, so that each is taken."""
        for item, creating in begun:
            try:
                admitted = await creating.first()
                if admitted is not None:
                    self._follow(item, admitted)
                elif not self._is_gone:
                    _spawn(self._go_on(item, creating), self._slow)
            except Exception as error:  # noqa: BLE001 - likewise
                self._refuse(item, error)

    async def _go_on(self, item: _Item, creating: Creating) -> None:
        try:
            self._follow(item, await creating.rest())
        except Exception as error:  # noqa: BLE001 - likewise
            self._refuse(item, error)

    def _follow(self, item: _Item, admitted: Admitted) -> None:
        if self._is_gone:
            _spawn(self._executions.forsake(item.request, admitted), self._tasks)
        elif admitted.has_ended:
            self._answer(item, admitted)
        else:
            seconds = wait_seconds(item.request)
            told = partial(self._told, item, admitted)
            self._followed[item.tag] = item, admitted, self._executions.endings.follow(admitted, seconds, told)

    def _told(self, item: _Item, admitted: Admitted, result: ExecutionRecord | Exception) -> None:
        del self._followed[item.tag]
        if isinstance(result, Exception):
            self._refuse(item, result)
        else:
            admitted.record = result
            self._answer(item, admitted)

    def _leave(self) -> None:
        """Waits for nothing any longer: the caller is gone, or has all answers."""
        self._is_gone = True
        for task in self._slow:
            task.cancel()
        for item, admitted, ending in self._followed.values():
            ending.close()
            _spawn(self._executions.forsake(item.request, admitted), self._tasks)
        self._followed.clear()

    # --- answers -----------------------------------------------------------------------------------------------------

    def _answer(self, item: _Item, admitted: Admitted) -> None:
        self._room -= admitted.size
        if self._room < 0 and self._outcomes:
            self._full.append(self._outcomes)
            self._outcomes, self._room = [], limits.BATCH_MAX_BYTES - admitted.size
        try:
            execution = packed_admitted(admitted, plain=item.request.plain)
        except Exception as error:  # noqa: BLE001 - the boundary of an item
            self._refuse(item, error)
        else:
            outcome = _Outcome(tag=item.tag).SerializeToString() + part(_Outcome.EXECUTION_FIELD_NUMBER, execution)
            self._answered(outcome)

    def _refuse(self, item: _Item, error: Exception) -> None:
        refusal = error if isinstance(error, DomainError) else internal(error)
        self._answered(_Outcome(tag=item.tag, error=to_request_error(refusal)).SerializeToString())

    def _answered(self, outcome: bytes) -> None:
        self._outcomes.append(part(_OUTCOMES, outcome))
        self._unanswered -= 1
        self._changed.set()


def wait_seconds(request: pb.ExecuteRequest | pb.WaitExecutionRequest) -> float | None:
    """How long the caller wants to wait, if it says so."""
    return milliseconds(request.wait_timeout) / 1000 if request.HasField("wait_timeout") else None


def _spawn(work: Coroutine[Any, Any, None], tasks: set[asyncio.Task[None]]) -> None:
    task = asyncio.create_task(work)
    tasks.add(task)
    task.add_done_callback(tasks.discard)


def _violated(message: str) -> DomainError:
    return DomainError(errors_pb2.ERROR_REASON_PROTOCOL_VIOLATED, message)
