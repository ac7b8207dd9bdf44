"""The outermost layer of every handler: refusals become statuses, faults become INTERNAL with an id and never a text.

Handlers are wrapped when servicers are added instead of by interceptors, which cost a coroutine per call.
"""

from __future__ import annotations

import logging
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from typing import Any

import grpc
from google.protobuf.message import DecodeError

from lacewing.v1 import errors_pb2
from lacewing_server.domain.errors import DomainError
from lacewing_server.engine.shutdown import Shutdown, UnderWay
from lacewing_server.rpc.status import to_grpc_status
from lacewing_server.rpc.transport import Transport

_log = logging.getLogger(__name__)

Context = Any
"""``grpc.aio.ServicerContext``; its type parameters differ with each method and say nothing here."""


class GuardedServer:
    """Where servicers are added by the generated functions: a server of gRPC, with every handler wrapped."""

    def __init__(self, server: Transport, shutdown: Shutdown) -> None:
        """Wraps a server; its handlers take no call any more once the shutdown has begun."""
        self._server = server
        self._shutdown = shutdown

    def add_generic_rpc_handlers(self, handlers: Sequence[grpc.GenericRpcHandler]) -> None:
        """Ignores handlers that are registered by name as well."""

    def add_registered_method_handlers(self, service: str, handlers: Mapping[str, Any]) -> None:
        """Adds the handlers of a service."""
        guarded = {name: _guarded(handler, self._shutdown) for name, handler in handlers.items()}
        self._server.add_registered_method_handlers(service, guarded)


def _guarded(handler: Any, shutdown: Shutdown) -> Any:
    parse, serialize = handler.request_deserializer, handler.response_serializer

    def parse_one(data: bytes) -> Any:
        request = _parsed(parse, data)
        if isinstance(request, DomainError):
            raise request  # to who reads the stream
        return request

    def serialize_unless(response: Any) -> bytes:
        return response if isinstance(response, bytes) else serialize(response)

    if handler.stream_stream is not None:
        behavior = _stream(handler.stream_stream, shutdown)
        return grpc.stream_stream_rpc_method_handler(behavior, parse_one, serialize_unless)

    if handler.stream_unary is not None:
        return grpc.stream_unary_rpc_method_handler(_unary(handler.stream_unary, shutdown), parse_one, serialize)

    def parse_only(data: bytes) -> Any:
        return _parsed(parse, data)

    if handler.unary_stream is not None:
        return grpc.unary_stream_rpc_method_handler(_stream(handler.unary_stream, shutdown), parse_only, serialize)
    return grpc.unary_unary_rpc_method_handler(_unary(handler.unary_unary, shutdown), parse_only, serialize)


def _parsed(parse: Callable[[bytes], Any], data: bytes) -> Any:
    """The message, or the refusal of bytes that are none: raised here, it would be taken for a fault of ours."""
    try:
        return parse(data)
    except DecodeError as error:
        return DomainError(
            errors_pb2.ERROR_REASON_FIELD_INVALID,
            f"the request cannot be read: {error}; it is no message of this type, is nested too deeply, or holds a "
            "text that is not UTF-8",
        )


def internal(error: Exception) -> DomainError:
    """Logs a fault of ours under an id, and gives the refusal that names the id only."""
    error_id = secrets.token_hex(8)
    _log.error("error %s", error_id, exc_info=error)
    return DomainError(
        errors_pb2.ERROR_REASON_INTERNAL,
        f"a fault of the server; report it as {error_id}",
        metadata={"error_id": error_id},
    )


def _unary(
    method: Callable[[Any, Context], Awaitable[Any]], shutdown: Shutdown
) -> Callable[[Any, Context], Awaitable[Any]]:
    async def call(request: Any, context: Context) -> Any:
        try:
            with UnderWay(shutdown.calls):
                shutdown.refuse()
                if isinstance(request, DomainError):
                    raise request  # noqa: TRY301 - what came instead of a message
                return await method(request, context)
        except DomainError as error:
            refusal = error
        except Exception as error:  # noqa: BLE001 - the boundary: logged with an id
            refusal = internal(error)
        return await context.abort_with_status(to_grpc_status(refusal))

    return call


def _stream(
    method: Callable[[Any, Context], AsyncIterator[Any]], shutdown: Shutdown
) -> Callable[[Any, Context], AsyncIterator[Any]]:
    async def call(request: Any, context: Context) -> AsyncIterator[Any]:
        try:
            with UnderWay(shutdown.calls):
                shutdown.refuse()
                if isinstance(request, DomainError):
                    raise request  # noqa: TRY301 - what came instead of a message
                async for response in method(request, context):
                    yield response
        except DomainError as error:
            await context.abort_with_status(to_grpc_status(error))
        except Exception as error:  # noqa: BLE001 - the boundary: logged with an id
            await context.abort_with_status(to_grpc_status(internal(error)))

    return call
