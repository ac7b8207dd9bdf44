"""One `Work` stream, from hello to its end."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Any, TypeAlias

import grpc

from lacewing.v1 import worker_service_pb2
from lacewing.worker._attempt import Ledger
from lacewing.worker._attempts import Attempts
from lacewing.worker._outbox import Outbox

CLOSE_SECONDS = 5.0
"""How long the server may take to end a stream that the worker has half-closed."""

# A sign of life is due within the interval, so it is sent a little before.
_BEAT_EARLIER = 0.8
_log = logging.getLogger("lacewing.worker")
_METHOD = "/lacewing.v1.WorkerService/Work"
_Call: TypeAlias = "grpc.aio.StreamStreamCall[bytes, worker_service_pb2.WorkResponse]"


class WorkStream:
    """A `Work` stream.

    One task reads it and one task writes it: two writers at a time are a fault of gRPC.

    Args:
        channel: the channel to the server.
        hello: says who the worker is.
        attempts: takes the leases.
        outbox: gives what is to be sent.
        ledger: what the worker has taken on.
        on_welcome: is called once the server has answered.
    """

    def __init__(
        self,
        channel: grpc.aio.Channel,
        hello: worker_service_pb2.Hello,
        *,
        attempts: Attempts,
        outbox: Outbox,
        ledger: Ledger,
        on_welcome: Callable[[], None],
    ) -> None:
        # Not by the generated stub: what is sent is serialized already, result by result.
        self._open: grpc.aio.StreamStreamMultiCallable[bytes, worker_service_pb2.WorkResponse] = channel.stream_stream(
            _METHOD,
            request_serializer=None,
            response_deserializer=worker_service_pb2.WorkResponse.FromString,
        )
        self._hello = hello
        self._attempts = attempts
        self._outbox = outbox
        self._ledger = ledger
        self._beat_interval = 0.0
        self._beat_timer: asyncio.TimerHandle | None = None
        self._on_welcome = on_welcome

    async def run(self) -> None:
        """Work until the stream ends: because both sides are done, or because the server ends it.

        Raises:
            grpc.aio.AioRpcError: if it breaks.
        """
        call: _Call = self._open(wait_for_ready=True)
        writing = asyncio.create_task(self._write(call), name="lacewing work writer")
        reading = asyncio.create_task(self._read(call), name="lacewing work reader")
        try:
            await asyncio.wait((writing, reading), return_when=asyncio.FIRST_COMPLETED)
            if not reading.done():
                # The writer is done: it has half-closed the stream, or that broke, which the reader is about to see.
                await asyncio.wait((reading,), timeout=CLOSE_SECONDS)
            for task in (reading, writing):
                if task.done():
                    task.result()
        finally:
            if self._beat_timer is not None:
                self._beat_timer.cancel()
            call.cancel()
            for task in (reading, writing):
                task.cancel()
            await asyncio.gather(reading, writing, return_exceptions=True)

    async def _write(self, call: _Call) -> None:
        held = self._outbox.open_stream()
        first = worker_service_pb2.WorkRequest(hello=self._hello)
        first.hello.held_leases.extend(held)
        try:
            await call.write(first.SerializeToString() + (self._outbox.take() or b""))
            while True:
                await self._outbox.wake.wait()
                self._outbox.wake.clear()
                request = self._outbox.take()
                if request is not None:
                    await call.write(request)
                if self._is_over():
                    await call.done_writing()
                    return
        except (grpc.aio.AioRpcError, asyncio.InvalidStateError):
            _log.debug("The stream takes no more messages.", exc_info=True)  # The reader tells why.

    def _is_over(self) -> bool:
        return self._outbox.is_draining and self._outbox.is_clear and not self._ledger.held

    async def _read(self, call: _Call) -> None:
        while True:
            response: Any = await call.read()
            if response is grpc.aio.EOF:
                return
            self._take(response)

    def _take(self, response: worker_service_pb2.WorkResponse) -> None:
        if response.HasField("welcome"):
            self._welcome(response.welcome)
        if response.leases:
            self._outbox.spend(len(response.leases))
            for lease in response.leases:
                self._attempts.start(lease)
        for revocation in response.revocations:
            self._attempts.revoke(revocation)
        for result in response.results:
            self._outbox.acknowledge(result)
        if response.HasField("drain"):
            _log.info("The server goes away (%s): no more leases from it.", response.drain.reason)
            self._outbox.server_drains()

    def _welcome(self, welcome: worker_service_pb2.Welcome) -> None:
        _log.info("Connected to the server %s.", welcome.server)
        self._outbox.welcome(welcome)
        self._beat_interval = welcome.heartbeat_interval.ToTimedelta().total_seconds() * _BEAT_EARLIER
        if self._beat_interval > 0:
            self._beat_timer = asyncio.get_running_loop().call_later(self._beat_interval, self._beat)
        self._on_welcome()

    def _beat(self) -> None:
        self._outbox.beat()
        self._beat_timer = asyncio.get_running_loop().call_later(self._beat_interval, self._beat)
