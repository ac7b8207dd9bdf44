"""Many executions over one `ExecuteStream`.

A unary call costs both sides far more than the work in it, and a message on a stream costs nearly the same with one
request as with a thousand. So there is one message in flight, and what queues meanwhile goes out as the next one:
single requests are sent at once, many are sent together, and nothing waits for a timer.

What was sent and not answered is kept. When the stream breaks it is sent again on the next one, under the same request
ids, so that nothing runs twice.
"""

from __future__ import annotations

import asyncio
from collections import deque
from contextlib import suppress

import grpc

from lacewing._channel import MAX_MESSAGE_BYTES, reconnect_delays
from lacewing._statuses import from_request_error, from_rpc_error
from lacewing._wire import part
from lacewing.errors import (
    CallFailed,
    DeadlineExceeded,
    LacewingError,
    RefusedError,
    ServerUnavailable,
    ShuttingDown,
    StoreUnavailable,
    ValueTooLarge,
)
from lacewing.v1 import execution_pb2, execution_service_pb2

MAX_ITEMS = 1000
"""The most requests in one message."""

MAX_BATCH_BYTES = 4 * 1024 * 1024
"""A message takes no further request beyond this size."""

GRACE = 5.0
"""How much longer than its `wait_timeout` an answer may take, in seconds."""

FIRST_PATIENCE = 5.0
"""How long to look for a server that never answered, in seconds: the address is likely wrong."""

PATIENCE = 60.0
"""How long to look for a server that had answered before, in seconds: it is likely restarted."""

# How often one request is tried that is refused because something is unavailable, and how long to wait if the refusal
# does not say.
_MAX_REFUSALS = 4
_REFUSAL_DELAY = 0.5
# How long the server may take to end a stream that has nothing left to be answered.
_CLOSE_SECONDS = 0.5
_Message = execution_service_pb2.ExecuteStreamRequest
_ITEMS = _Message.ITEMS_FIELD_NUMBER
_REQUEST = _Message.Item.REQUEST_FIELD_NUMBER
_METHOD = "/lacewing.v1.ExecutionService/ExecuteStream"
# Of the framing of a message around one request.
_FRAME_BYTES = 64
# Codes of a stream that broke, rather than one that was refused.
_BROKEN = frozenset(
    {
        grpc.StatusCode.UNAVAILABLE,
        grpc.StatusCode.CANCELLED,
        grpc.StatusCode.INTERNAL,
        grpc.StatusCode.UNKNOWN,
    }
)


class _Item:
    """One request that is not answered."""

    __slots__ = ("future", "is_delayed", "refusals", "request", "tag")

    def __init__(self, tag: int, request: bytes, future: asyncio.Future[execution_pb2.Execution]) -> None:
        self.tag = tag
        self.request = request
        self.future = future
        self.refusals = 0
        self.is_delayed = False

    def chunk(self) -> bytes:
        """Return a serialized message with nothing but this request."""
        return part(_ITEMS, _Message.Item(tag=self.tag).SerializeToString() + part(_REQUEST, self.request))


class ExecuteStream:
    """Sends requests over one stream, opened when there is something to send and reopened when it breaks.

    Belongs to the event loop it is first used on.
    """

    def __init__(self, channel: grpc.aio.Channel) -> None:
        # Not by the generated stub: what is sent is serialized already, item by item.
        self._open: grpc.aio.StreamStreamMultiCallable[bytes, execution_service_pb2.ExecuteStreamResponse]
        self._open = channel.stream_stream(
            _METHOD,
            request_serializer=None,
            response_deserializer=execution_service_pb2.ExecuteStreamResponse.FromString,
        )
        # Asking for it costs a call of the system each time (before Python 3.12).
        self._loop: asyncio.AbstractEventLoop | None = None
        self._unanswered: dict[int, _Item] = {}
        self._queue: deque[_Item] = deque()
        self._wake = asyncio.Event()
        self._pump: asyncio.Task[None] | None = None
        self._last_tag = 0
        self._answers = 0
        self._is_closed = False

    def submit(self, request: bytes, wait_timeout: float | None = None) -> asyncio.Future[execution_pb2.Execution]:
        """Queue a request.

        Args:
            request: A serialized `ExecuteRequest`, which must have a request id.
            wait_timeout: Its `wait_timeout` in seconds, if it has one.

        Returns:
            The execution, ended, or as it was when the `wait_timeout` of the request had passed. Raises `RefusedError`,
            or `CallFailed` if the server was lost for longer than our patience, or does not answer in time. Cancelling
            it does not cancel the execution.

        Raises:
            ValueTooLarge: The request does not fit into a message.
            CallFailed: The stream is closed.
        """
        if self._is_closed:
            raise _closed()
        if len(request) > MAX_MESSAGE_BYTES - _FRAME_BYTES:
            raise ValueTooLarge(
                f"the request has {len(request)} bytes, a message has at most {MAX_MESSAGE_BYTES}",
                grpc.StatusCode.RESOURCE_EXHAUSTED,
            )
        loop = self._loop = self._loop or asyncio.get_running_loop()
        item = _Item(self._next_tag(), request, loop.create_future())
        if wait_timeout is not None:
            _bound(item.future, wait_timeout + GRACE)
        self._enqueue(item)
        return item.future

    async def close(self) -> None:
        """Close the stream. What is not answered fails with `CallFailed`; the executions go on."""
        self._is_closed = True
        if self._pump is not None and not self._unanswered:
            # Ended in order, gRPC has nothing left to deliver to a loop that may be closed next.
            self._wake.set()
            await asyncio.wait([self._pump], timeout=_CLOSE_SECONDS)
        if self._pump is not None:
            self._pump.cancel()
            await asyncio.wait([self._pump])
        self._fail_all(_closed())

    def _next_tag(self) -> int:
        self._last_tag += 1
        return self._last_tag

    def _enqueue(self, item: _Item) -> None:
        self._unanswered[item.tag] = item
        self._queue.append(item)
        self._wake.set()
        if self._pump is None:
            self._pump = asyncio.get_running_loop().create_task(self._run())

    async def _run(self) -> None:
        """Serve one stream after the other, until nothing is left to be answered or the server is given up."""
        clock = asyncio.get_running_loop().time
        delays = reconnect_delays()
        failing_since: float | None = None
        try:
            while True:
                opened, answers = clock(), self._answers
                error = await self._serve()
                if not self._unanswered:
                    return
                if self._answers > answers or clock() - opened > FIRST_PATIENCE:
                    delays, failing_since = reconnect_delays(), None
                failing_since = failing_since or clock()
                patience = PATIENCE if self._answers else FIRST_PATIENCE
                if not _is_broken(error) or clock() - failing_since > patience:
                    self._fail_all(error)
                    return
                await asyncio.sleep(next(delays))
                self._queue = deque(item for item in self._unanswered.values() if not item.is_delayed)
        except Exception as fault:
            # A fault of ours: whoever waits is told, and asyncio logs it.
            self._fail_all(fault)
            raise
        finally:
            # No await since the last look at `_unanswered`: whoever comes now starts anew.
            self._pump = None

    async def _serve(self) -> LacewingError:
        """Open a stream and serve it to its end; return why it ended."""
        call = self._open()
        writer = asyncio.get_running_loop().create_task(self._write(call))
        try:
            async for response in call:
                self._answers += len(response.outcomes)
                for outcome in response.outcomes:
                    self._settle(outcome)
        except grpc.aio.AioRpcError as error:
            return from_rpc_error(error)
        else:
            return ServerUnavailable("the server ended the stream")
        finally:
            call.cancel()
            writer.cancel()
            await asyncio.wait([writer])

    async def _write(self, call: grpc.aio.StreamStreamCall[bytes, execution_service_pb2.ExecuteStreamResponse]) -> None:
        """Send what is queued, one message after the other: the only writer of the stream."""
        # When the call is over its reader tells why; what the writer sees of it says less.
        with suppress(grpc.aio.AioRpcError, asyncio.InvalidStateError):
            while True:
                message = self._next_message()
                if message:
                    await call.write(message)
                elif self._is_closed:
                    await call.done_writing()
                    return
                else:
                    self._wake.clear()
                    await self._wake.wait()

    def _next_message(self) -> bytes:
        chunks: list[bytes] = []
        size = 0
        while self._queue and len(chunks) < MAX_ITEMS:
            item = self._queue[0]
            if item.future.done():
                # Its caller is gone before it was sent, or sent again: nobody misses it.
                self._unanswered.pop(item.tag, None)
            elif chunks and size + len(item.request) > MAX_BATCH_BYTES:
                break
            else:
                chunks.append(item.chunk())
                size += len(item.request)
            self._queue.popleft()
        return b"".join(chunks)

    def _settle(self, outcome: execution_service_pb2.ExecuteStreamResponse.Outcome) -> None:
        item = self._unanswered.pop(outcome.tag, None)
        if item is None or item.future.done():
            return
        if outcome.HasField("execution"):
            item.future.set_result(outcome.execution)
            return
        error = from_request_error(outcome.error)
        item.refusals += 1
        if error.code is grpc.StatusCode.UNAVAILABLE and item.refusals < _MAX_REFUSALS:
            delay = error.retry_delay.total_seconds() if error.retry_delay is not None else _REFUSAL_DELAY
            # A tag is used once in a stream.
            item.tag = self._next_tag()
            item.is_delayed = True
            # Counts as unanswered meanwhile, so that the stream stays and `close` finds it.
            self._unanswered[item.tag] = item
            asyncio.get_running_loop().call_later(delay, self._send_again, item)
        else:
            item.future.set_exception(error)

    def _send_again(self, item: _Item) -> None:
        item.is_delayed = False
        if item.tag in self._unanswered:
            self._enqueue(item)

    def _fail_all(self, error: Exception) -> None:
        items = list(self._unanswered.values())
        self._unanswered.clear()
        self._queue.clear()
        for item in items:
            if not item.future.done():
                item.future.set_exception(error)


def _is_broken(error: LacewingError) -> bool:
    if isinstance(error, RefusedError):
        return isinstance(error, ShuttingDown | StoreUnavailable)
    return isinstance(error, CallFailed) and error.code in _BROKEN


def _bound(future: asyncio.Future[execution_pb2.Execution], seconds: float) -> None:
    """Fail a future that nobody else has settled in time: a server that hangs must not hold its callers."""
    timer = asyncio.get_running_loop().call_later(seconds, _expire, future)
    future.add_done_callback(lambda _: timer.cancel())


def _expire(future: asyncio.Future[execution_pb2.Execution]) -> None:
    if not future.done():
        future.set_exception(DeadlineExceeded("the server did not answer in time"))


def _closed() -> CallFailed:
    return CallFailed("the client is closed", grpc.StatusCode.CANCELLED)
