"""How calls come in and answers go out: one seam, for which servicers are written once, and two ways behind it.

``batched`` drives the core of gRPC in batches, and takes a third of the CPU for it. It needs grpcio's private API, so
each server tries it out before it takes calls by it. ``aio`` needs the public API only. Both pass one suite of tests.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Any, Literal, Protocol

import grpc

from lacewing_server.rpc.transport.aio import AioServer

_log = logging.getLogger(__name__)

Kind = Literal["auto", "batched", "aio"]


class Transport(Protocol):
    """A server of gRPC, to which generated functions add servicers."""

    def add_generic_rpc_handlers(self, handlers: Sequence[grpc.GenericRpcHandler]) -> None:
        """Ignores handlers: they are registered by name as well."""

    def add_registered_method_handlers(
        self, service: str, handlers: Mapping[str, grpc.RpcMethodHandler[Any, Any]]
    ) -> None:
        """Adds the handlers of a service."""

    def add_insecure_port(self, address: str) -> int:
        """Listens there from the start on; gives the port.

        Raises:
            RuntimeError: It cannot.
        """

    async def start(self) -> None:
        """Takes calls from now on."""

    async def stop(self, grace: float) -> None:
        """Takes no call any more, and cancels those that do not end within so many seconds."""


class TransportError(Exception):
    """The transport that is asked for does not work here; the text says why."""


async def open_transport(kind: Kind, options: Sequence[tuple[str, Any]]) -> Transport:
    """Makes a server of gRPC.

    Args:
        kind: Which; ``auto`` is ``batched`` where it works with the grpcio that is installed, else ``aio``.
        options: Channel arguments of gRPC's core.

    Raises:
        TransportError: It is to be ``batched``, which does not work.
    """
    if kind == "aio":
        return AioServer(options)
    try:
        from lacewing_server.rpc.transport import batched, selftest  # noqa: PLC0415 - grpcio's private API may be gone

        await selftest.run()
    except Exception as error:
        reason = f"the batched transport does not work with grpcio {grpc.__version__}: {error!r}"
        if kind == "batched":
            raise TransportError(f"{reason}; use --transport aio") from error
        _log.warning("%s; using that of grpc.aio", reason)
        return AioServer(options)
    return batched.BatchedServer(options)
