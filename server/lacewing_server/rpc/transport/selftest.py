"""Whether the batched transport works with the grpcio that is installed: a few calls to a server of its own say so."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any, Final

import grpc

from lacewing_server.rpc.transport.batched import BatchedServer

_SERVICE: Final = "lacewing.selftest"
_TIMEOUT_SECONDS: Final = 5.0
_GRACE_SECONDS: Final = 1.0
"""No call is under way at the end. To cut off what is none, gRPC might still tell of it in the log."""
_DETAILS: Final = ("details-bin", b"\x00\xff")
_LARGE: Final = b"large" * 40_000
"""More than flow control lets pass at once."""


class SelfTestError(Exception):
    """The transport does not work here; the text says what went wrong."""


async def run() -> None:
    """Calls a server of the batched transport in every way that there is.

    Raises:
        SelfTestError: Something is not as it has to be.
    """
    try:
        async with asyncio.timeout(_TIMEOUT_SECONDS):
            await _test()
    except SelfTestError:
        raise
    except Exception as error:
        raise SelfTestError(f"{type(error).__name__}: {error}") from error


async def _test() -> None:
    seen = _Seen()
    server = BatchedServer(())
    server.add_registered_method_handlers(
        _SERVICE,
        {
            "Echo": grpc.unary_unary_rpc_method_handler(_echo),
            "Refuse": grpc.unary_unary_rpc_method_handler(_refuse),
            "Wait": grpc.unary_unary_rpc_method_handler(seen.wait),
            "Repeat": grpc.stream_stream_rpc_method_handler(_repeat),
        },
    )
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        await asyncio.to_thread(_call, f"127.0.0.1:{port}", seen)
        await seen.cancelled.wait()
    finally:
        await server.stop(_GRACE_SECONDS)


class _Seen:
    """What the server has seen of a call that its caller gave up."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._begun = asyncio.Event()
        self.cancelled = asyncio.Event()

    async def wait(self, request: bytes, _context: Any) -> bytes:
        """Waits until its caller goes away."""
        self._begun.set()
        try:
            await asyncio.get_running_loop().create_future()
        except asyncio.CancelledError:
            self.cancelled.set()
            raise
        return request

    def await_begun(self) -> None:
        """Waits in another thread until the call has arrived."""
        asyncio.run_coroutine_threadsafe(self._begun.wait(), self._loop).result(_TIMEOUT_SECONDS)


async def _echo(request: bytes, context: Any) -> bytes:
    return request if context.time_remaining() is not None else b"no deadline"


async def _refuse(_request: bytes, context: Any) -> bytes:
    await context.abort(grpc.StatusCode.ABORTED, "refused", (_DETAILS,))
    return b""


async def _repeat(requests: AsyncIterator[bytes], _context: Any) -> AsyncIterator[bytes]:
    async for request in requests:
        yield request


def _call(address: str, seen: _Seen) -> None:
    with grpc.insecure_channel(address) as channel:

        def method(name: str) -> Any:
            return channel.unary_unary(f"/{_SERVICE}/{name}")

        _expect("an echo", method("Echo")(_LARGE, timeout=_TIMEOUT_SECONDS), _LARGE)
        _expect("an echo without a deadline", method("Echo")(b""), b"no deadline")
        refusal = _refusal(method("Refuse"))
        _expect("a refusal", (refusal.code(), refusal.details()), (grpc.StatusCode.ABORTED, "refused"))
        _expect("its details", _DETAILS in [tuple(each) for each in refusal.trailing_metadata()], True)
        _expect("an unknown method", _refusal(method("Unknown")).code(), grpc.StatusCode.UNIMPLEMENTED)
        repeat: Any = channel.stream_stream(f"/{_SERVICE}/Repeat")
        messages = [b"1", _LARGE, b"3"]
        _expect("a stream", list(repeat(iter(messages), timeout=_TIMEOUT_SECONDS)), messages)
        given_up = method("Wait").future(b"")
        seen.await_begun()
        given_up.cancel()


def _refusal(method: Callable[..., Any]) -> Any:
    try:
        method(b"", timeout=_TIMEOUT_SECONDS)
    except grpc.RpcError as error:
        return error
    raise SelfTestError("a call that had to fail succeeded")


def _expect(what: str, got: object, wanted: object) -> None:
    if got != wanted:
        raise SelfTestError(f"{what} came to {got!r:.100}")
