"""The server that grpcio makes for asyncio, by its public API."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import grpc


class AioServer:
    """A :class:`lacewing_server.rpc.transport.Transport`."""

    def __init__(self, options: Sequence[tuple[str, Any]]) -> None:
        """Prepares a server; options are channel arguments of gRPC's core."""
        self._server = grpc.aio.server(options=options)

    def add_generic_rpc_handlers(self, handlers: Sequence[grpc.GenericRpcHandler]) -> None:
        """Ignores handlers: they are registered by name as well."""

    def add_registered_method_handlers(
        self, service: str, handlers: Mapping[str, grpc.RpcMethodHandler[Any, Any]]
    ) -> None:
        """Adds the handlers of a service."""
        # As generic ones, because grpc.aio looks through all that are registered by name at each call.
        self._server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(service, dict(handlers)),))

    def add_insecure_port(self, address: str) -> int:
        """Listens there from the start on; gives the port.

        Raises:
            RuntimeError: It cannot.
        """
        return self._server.add_insecure_port(address)

    async def start(self) -> None:
        """Takes calls from now on."""
        await self._server.start()

    async def stop(self, grace: float) -> None:
        """Takes no call any more, and cancels those that do not end within so many seconds."""
        await self._server.stop(grace)
