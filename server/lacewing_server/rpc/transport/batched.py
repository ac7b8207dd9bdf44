"""A gRPC server whose events come to the event loop in batches.

``grpc.aio`` wakes the loop for every event of every call, and keeps one accept outstanding; that is most of what a
short call costs. Here one thread waits for events. It does by itself what needs no servicer: it accepts calls, asks for
their messages, and takes note of their ends. What is for a servicer goes into a queue that the loop empties at once, so
that a busy loop is woken once for many. Servicers are the same coroutines and asynchronous generators as under
``grpc.aio``.
"""

from __future__ import annotations

import asyncio
import logging
import os
import threading
from collections import deque
from collections.abc import Mapping, Sequence
from typing import Any, Final

import grpc

from lacewing_server.rpc.transport import core
from lacewing_server.rpc.transport.call import Call
from lacewing_server.rpc.transport.method import Method

_log = logging.getLogger(__name__)

_ACCEPTS: Final = 32
"""Calls that gRPC may take while the thread that polls is busy."""


class BatchedServer:
    """A :class:`lacewing_server.rpc.transport.Transport`."""

    def __init__(self, options: Sequence[tuple[str, Any]]) -> None:
        """Prepares a server; options are channel arguments of gRPC's core."""
        self._loop = asyncio.get_running_loop()
        self._methods: dict[bytes, Method] = {}
        self._queue = core.CompletionQueue()
        self._server = core.new_server(options, self._queue)
        self._acts: deque[core.Act] = deque()
        # A byte is in the pipe while the loop has yet to wake. A pipe of our own takes it a third less CPU than
        # call_soon_threadsafe, which goes through a pair of sockets.
        self._is_woken = False
        self._wake_end, self._waker_end = os.pipe()
        self._calls: set[Call] = set()
        self._is_stopping = self._is_shut_down = False
        self._is_over = asyncio.Event()
        self._poller = threading.Thread(target=self._poll, name="grpc-poller", daemon=True)

    def add_generic_rpc_handlers(self, handlers: Sequence[grpc.GenericRpcHandler]) -> None:
        """Ignores handlers: they are registered by name as well."""

    def add_registered_method_handlers(
        self, service: str, handlers: Mapping[str, grpc.RpcMethodHandler[Any, Any]]
    ) -> None:
        """Adds the handlers of a service."""
        for name, handler in handlers.items():
            path = f"/{service}/{name}"
            self._methods[path.encode()] = Method(path, handler)

    def add_insecure_port(self, address: str) -> int:
        """Listens there from the start on; gives the port.

        Raises:
            RuntimeError: It cannot.
        """
        port: int = self._server.add_http2_port(address.encode())
        if not port:
            raise RuntimeError(f"the address {address} cannot be bound")
        return port

    async def start(self) -> None:
        """Takes calls from now on."""
        self._server.start()
        for _ in range(_ACCEPTS):
            self._accept()
        self._loop.add_reader(self._wake_end, self._deliver)
        self._poller.start()

    async def stop(self, grace: float) -> None:
        """Takes no call any more, and cancels those that do not end within so many seconds."""
        if self._is_stopping:
            return
        self._is_stopping = True
        if self._poller.is_alive():
            await self._end_calls(grace)
        for end in (self._wake_end, self._waker_end):
            os.close(end)

    async def _end_calls(self, grace: float) -> None:
        self._server.shutdown(self._queue, self._on_shutdown)
        try:
            async with asyncio.timeout(grace):
                await self._is_over.wait()
        except TimeoutError:
            self._server.cancel_all_calls()
            await self._is_over.wait()
        self._queue.shutdown()
        await asyncio.to_thread(self._poller.join)
        self._loop.remove_reader(self._wake_end)
        self._server.destroy()

    def _deliver(self) -> None:
        os.read(self._wake_end, 1)
        # Before looking at what there is: what comes later wakes again.
        self._is_woken = False
        acts = self._acts
        for _ in range(len(acts)):
            acts.popleft()()

    # --- in the thread that polls
    # ------------------------------------------------------------------------------------------

    def _poll(self) -> None:
        queue, acts = self._queue, self._acts
        while not core.is_last(event := queue.poll()):
            try:
                act = event.tag(event)
            except Exception:  # noqa: BLE001 - other calls go on
                _log.exception("an event of gRPC was lost")
                act = None
            if act is not None:
                acts.append(act)
                if not self._is_woken:
                    self._is_woken = True
                    os.write(self._waker_end, b"!")
            # They hold a call, which is to end when all is done with it, not when the next event comes.
            del event, act

    def _accept(self) -> None:
        self._server.request_call(self._queue, self._queue, self._on_call)

    def _on_call(self, event: core.Event) -> core.Act | None:
        if self._is_stopping:
            return None  # this is how gRPC takes back what it was asked for, or it refuses the call by itself
        self._accept()
        call = Call(event, self._methods.get(event.call_details.method, _UNIMPLEMENTED), self._loop, self._forget)
        self._calls.add(call)
        return call.begin()

    def _forget(self, call: Call) -> None:
        self._calls.discard(call)
        self._check_over()

    def _on_shutdown(self, _event: core.Event) -> None:
        self._is_shut_down = True
        self._check_over()

    def _check_over(self) -> None:
        if self._is_shut_down and not self._calls:
            self._loop.call_soon_threadsafe(self._is_over.set)


async def _refuse(_requests: Any, context: Call) -> None:
    await context.abort(grpc.StatusCode.UNIMPLEMENTED, "Method not found!")


# As if of a stream: such a handler is called before there is a message.
_UNIMPLEMENTED: Final = Method("any other", grpc.stream_unary_rpc_method_handler(_refuse))
