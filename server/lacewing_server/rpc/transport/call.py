"""One call of the batched transport, from its arrival to its status."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing
from functools import partial
from typing import Any, Final, NoReturn

import grpc

from lacewing_server.rpc.transport import core
from lacewing_server.rpc.transport.method import Method

_log = logging.getLogger(__name__)

_NEVER: Final = 1e17
"""Deadlines beyond this, in seconds of the epoch, are how gRPC's core says that there is none."""


class AbortedError(Exception):
    """Ends a handler whose status was sent by `Call.abort`."""


class Call:
    """A call. To its handler it is the context: what servicers use of ``grpc.aio.ServicerContext``.

    It is born in the thread that polls, and so are the answers to its tags (``_on_…``); all else happens in the loop.
    """

    __slots__ = (
        "_core",
        "_deadline",
        "_forget",
        "_has_begun",
        "_has_ended",
        "_is_over",
        "_loop",
        "_method",
        "_received",
        "_task",
    )

    def __init__(
        self, event: core.Event, method: Method, loop: asyncio.AbstractEventLoop, forget: Callable[[Call], None]
    ) -> None:
        """Takes the call that an event brought.

        Args:
            event: It.
            method: Who serves it.
            loop: Where.
            forget: Called when gRPC is done with it.
        """
        self._core = event.call
        self._deadline: float = event.call_details.deadline
        self._method = method
        self._loop = loop
        self._forget = forget
        self._task: asyncio.Task[None] | None = None
        self._received: asyncio.Future[bytes | None]
        # Whether what precedes the first message was sent; whether the status was; whether gRPC is done with it.
        self._has_begun = self._has_ended = self._is_over = False

    def begin(self) -> core.Act | None:
        """Begins to receive it."""
        # First, so that a cancellation is seen whatever happens.
        self._start((core.receive_close(),), self._on_close)
        if self._method.takes_stream:
            return partial(self._serve, b"")
        self._start((core.receive_message(),), self._on_request)
        return None

    # --- what handlers use
    # -------------------------------------------------------------------------------------------------

    def time_remaining(self) -> float | None:
        """Seconds until the deadline, at least 0; None if there is none."""
        return None if self._deadline > _NEVER else max(self._deadline - time.time(), 0.0)

    async def write(self, message: Any) -> None:
        """Sends a response, and waits until flow control has let it pass."""
        sent: asyncio.Future[bool] = self._loop.create_future()
        operations = (*self._beginning(), core.send_message(self._method.serialize(message)))
        self._start(operations, lambda event: partial(_give, sent, event.success))
        if not await sent:
            raise asyncio.CancelledError  # the caller is gone, and the cancellation that says so is under way

    async def abort(
        self, code: grpc.StatusCode, details: str = "", trailing_metadata: core.Metadata = None
    ) -> NoReturn:
        """Ends the call with this status, and the handler with an exception."""
        self._end(core.send_status(code.value[0], details, trailing_metadata))
        raise AbortedError

    async def abort_with_status(self, status: grpc.Status) -> NoReturn:
        """Does as `abort`, with a status that has everything."""
        await self.abort(status.code, status.details, status.trailing_metadata)

    # --- serving
    # -----------------------------------------------------------------------------------------------------------

    def _serve(self, data: bytes) -> None:
        if not self._is_over:  # else the caller went away at once
            self._task = self._loop.create_task(self._handle(data))

    async def _handle(self, data: bytes) -> None:
        method = self._method
        try:
            request = self._requests() if method.takes_stream else method.parse(data)
            if not method.gives_stream:
                response = method.serialize(await method.behavior(request, self))
                self._end(core.send_message(response), core.send_status(core.OK, ""))
                return
            if method.is_generator:
                async with aclosing(method.behavior(request, self)) as responses:
                    async for each in responses:
                        await self.write(each)
            else:
                await method.behavior(request, self)
            self._end(core.send_status(core.OK, ""))
        except AbortedError:
            pass
        except asyncio.CancelledError:
            self._end(core.send_status(_CANCELLED, "the server ended the call"))  # unless it was the caller
            raise
        except Exception as error:  # noqa: BLE001 - the boundary of a call
            _log.exception("a handler of %s failed", method.name)
            self._end(core.send_status(_UNKNOWN, f"unexpected {type(error).__name__}"))

    async def _requests(self) -> AsyncIterator[Any]:
        while True:
            self._received = self._loop.create_future()
            self._start((core.receive_message(),), self._on_message)
            data = await self._received
            if data is None:
                return
            yield self._method.parse(data)

    def _end(self, *operations: core.Operation) -> None:
        if not self._has_ended and not self._is_over:
            self._has_ended = True
            self._start((*self._beginning(), *operations), _on_end)

    def _beginning(self) -> tuple[core.Operation, ...]:
        if self._has_begun:
            return ()
        self._has_begun = True
        return (core.send_initial_metadata(),)

    def _start(self, operations: tuple[core.Operation, ...], tag: core.Tag) -> None:
        if self._is_over:  # the queue that tells of the end of a batch may be gone by now
            raise asyncio.CancelledError
        if error := self._core.start_server_batch(operations, tag):
            raise RuntimeError(f"the core of gRPC refuses a batch of {self._method.name}: error {error}")

    def _cancel(self) -> None:
        if self._task is not None and not self._has_ended:
            self._task.cancel()

    # --- in the thread that polls
    # ------------------------------------------------------------------------------------------

    def _on_request(self, event: core.Event) -> core.Act | None:
        data = event.batch_operations[0].message()
        return None if data is None else partial(self._serve, data)

    def _on_message(self, event: core.Event) -> core.Act:
        return partial(_give, self._received, event.batch_operations[0].message())

    def _on_close(self, event: core.Event) -> core.Act | None:
        self._is_over = True
        self._forget(self)
        return self._cancel if event.batch_operations[0].cancelled() else None


_CANCELLED: Final[int] = grpc.StatusCode.CANCELLED.value[0]
_UNKNOWN: Final[int] = grpc.StatusCode.UNKNOWN.value[0]


def _on_end(_event: core.Event) -> None:
    """Nobody waits for the status to arrive: whether it has is the caller's business."""


def _give(future: asyncio.Future[Any], result: Any) -> None:
    if not future.done():  # else who waited went away
        future.set_result(result)
