"""How calls and servers end before they are done, whatever the transport."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from typing import Any

import grpc
import pytest

from lacewing_server.rpc.transport import Kind, open_transport
from transport.service import both, giving, serving, status_of, unary

SECONDS = 10.0


class Waiting:
    """A handler that waits, and what became of it."""

    def __init__(self) -> None:
        self.begun = asyncio.Event()
        self.release = asyncio.Event()
        self.cancelled = asyncio.Event()

    async def wait(self, request: bytes, _context: Any) -> bytes:
        """Waits for the release."""
        self.begun.set()
        try:
            await self.release.wait()
        except asyncio.CancelledError:
            self.cancelled.set()
            raise
        return request


async def within(event: asyncio.Event) -> None:
    """Waits for something that has to happen."""
    async with asyncio.timeout(SECONDS):
        await event.wait()


async def test_a_caller_who_gives_up_cancels_the_handler(kind: Kind) -> None:
    waiting = Waiting()
    async with serving(kind, {"Wait": unary(waiting.wait)}) as service:
        call = service.unary("Wait")(b"")
        await within(waiting.begun)
        call.cancel()
        await within(waiting.cancelled)


async def test_a_deadline_that_passes_cancels_the_handler(kind: Kind) -> None:
    waiting = Waiting()
    async with serving(kind, {"Wait": unary(waiting.wait)}) as service:
        error = await status_of(service.unary("Wait")(b"", timeout=0.05))
        assert error.code() == grpc.StatusCode.DEADLINE_EXCEEDED
        await within(waiting.cancelled)


async def test_a_channel_that_closes_cancels_its_handlers(kind: Kind) -> None:
    waiting = Waiting()
    async with serving(kind, {"Wait": unary(waiting.wait)}) as service:
        call = asyncio.ensure_future(service.unary("Wait")(b""))
        await within(waiting.begun)
        await service.channel.close()
        await within(waiting.cancelled)
        with pytest.raises((asyncio.CancelledError, grpc.aio.AioRpcError)):
            await call


async def test_who_reads_a_stream_is_cancelled_and_may_clean_up(kind: Kind) -> None:
    begun, ended = asyncio.Event(), asyncio.Event()

    async def read(requests: AsyncIterator[bytes], _context: Any) -> AsyncIterator[bytes]:
        try:
            async for request in requests:
                begun.set()
                yield request
        finally:
            ended.set()

    async with serving(kind, {"Read": both(read)}) as service:
        call = service.both("Read")()
        await call.write(b"x")
        await within(begun)
        call.cancel()
        await within(ended)


async def test_who_writes_waits_for_a_slow_reader_and_is_cancelled(kind: Kind) -> None:
    written, ended = 0, asyncio.Event()

    async def flood(_request: bytes, _context: Any) -> AsyncIterator[bytes]:
        nonlocal written
        try:
            while True:
                yield b"x" * 100_000
                written += 1
        finally:
            ended.set()

    async with serving(kind, {"Flood": giving(flood), "Echo": unary(_echo)}) as service:
        call = service.giving("Flood")(b"")
        assert await call.read()
        seen = -1
        while seen != written:
            seen = written
            for _ in range(20):
                await service.unary("Echo")(b"")
        assert written < 1_000
        assert await call.read()
        call.cancel()
        await within(ended)


async def _echo(request: bytes, _context: Any) -> bytes:
    return request


async def test_a_server_that_stops_lets_calls_end_and_takes_none(kind: Kind) -> None:
    waiting = Waiting()
    async with serving(kind, {"Wait": unary(waiting.wait), "Echo": unary(_echo)}) as service:
        call = asyncio.ensure_future(service.unary("Wait")(b"x"))
        await within(waiting.begun)
        stopping = asyncio.create_task(service.transport.stop(SECONDS))
        await asyncio.sleep(0.01)
        assert not stopping.done()
        assert (await status_of(service.unary("Echo")(b"", timeout=1))).code() in {
            grpc.StatusCode.UNAVAILABLE,
            grpc.StatusCode.DEADLINE_EXCEEDED,
        }
        waiting.release.set()
        assert await call == b"x"
        async with asyncio.timeout(SECONDS):
            await stopping


async def test_a_server_that_stops_cancels_what_does_not_end(kind: Kind) -> None:
    waiting = Waiting()
    async with serving(kind, {"Wait": unary(waiting.wait)}) as service:
        call = asyncio.ensure_future(service.unary("Wait")(b"x"))
        await within(waiting.begun)
        start = time.monotonic()
        await service.transport.stop(0.02)
        assert time.monotonic() - start < SECONDS
        await within(waiting.cancelled)
        assert (await status_of(call)).code() in {grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED}


async def test_a_handler_that_outlives_the_server_does_no_harm(kind: Kind) -> None:
    begun, ended = asyncio.Event(), asyncio.Event()

    async def stubborn(_request: bytes, context: Any) -> AsyncIterator[bytes]:
        try:
            yield b"1"
            begun.set()
            await asyncio.Event().wait()
        finally:
            try:
                await asyncio.sleep(0.03)
                await context.write(b"2")
            finally:
                ended.set()

    async with serving(kind, {"Stubborn": giving(stubborn)}) as service:
        call = service.giving("Stubborn")(b"")
        assert await call.read() == b"1"
        await within(begun)
        await service.transport.stop(0)
    await within(ended)


async def test_a_server_that_was_not_started_stops_at_once(kind: Kind) -> None:
    transport = await open_transport(kind, ())
    transport.add_insecure_port("127.0.0.1:0")
    await transport.stop(0)


async def test_a_port_that_is_taken_is_told(kind: Kind) -> None:
    options = (("grpc.so_reuseport", 0),)
    first, second = await open_transport(kind, options), await open_transport(kind, options)
    port = first.add_insecure_port("127.0.0.1:0")
    await first.start()
    try:
        with pytest.raises(RuntimeError, match=str(port)):
            second.add_insecure_port(f"127.0.0.1:{port}")
    finally:
        await first.stop(0)
        await second.stop(0)
