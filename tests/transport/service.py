"""A service of plain bytes over each transport, in the loop of the test."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any

import grpc

from lacewing_server.rpc.transport import Kind, Transport, open_transport

SERVICE = "lacewing.test"

unary: Callable[..., Any] = grpc.unary_unary_rpc_method_handler
giving: Callable[..., Any] = grpc.unary_stream_rpc_method_handler
taking: Callable[..., Any] = grpc.stream_unary_rpc_method_handler
both: Callable[..., Any] = grpc.stream_stream_rpc_method_handler


class Service:
    """A server that runs, and a channel to it."""

    def __init__(self, transport: Transport, channel: grpc.aio.Channel) -> None:
        self.transport = transport
        self.channel = channel

    def unary(self, name: str) -> Any:
        """A method of one request and one response."""
        return self.channel.unary_unary(f"/{SERVICE}/{name}")

    def giving(self, name: str) -> Any:
        """A method of one request and a stream of responses."""
        return self.channel.unary_stream(f"/{SERVICE}/{name}")

    def taking(self, name: str) -> Any:
        """A method of a stream of requests and one response."""
        return self.channel.stream_unary(f"/{SERVICE}/{name}")

    def both(self, name: str) -> Any:
        """A method of streams."""
        return self.channel.stream_stream(f"/{SERVICE}/{name}")


@asynccontextmanager
async def serving(kind: Kind, handlers: Mapping[str, Any], **options: int) -> AsyncIterator[Service]:
    """Serves handlers; options are channel arguments, without what they begin with."""
    transport = await open_transport(kind, [(f"grpc.{name}", value) for name, value in options.items()])
    transport.add_registered_method_handlers(SERVICE, handlers)
    port = transport.add_insecure_port("127.0.0.1:0")
    await transport.start()
    try:
        async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
            yield Service(transport, channel)
    finally:
        await transport.stop(0)


async def status_of(call: Awaitable[Any]) -> grpc.aio.AioRpcError:
    """Awaits a call that fails."""
    try:
        await call
    except grpc.aio.AioRpcError as error:
        return error
    raise AssertionError("the call succeeded")
