"""The outermost layer of every handler: refusals become statuses, faults become INTERNAL with an id and never a text.

Servicers are wrapped when they are built instead of by interceptors, which cost a coroutine per call and have to
rebuild handlers of four kinds.
"""

from __future__ import annotations

import functools
import inspect
import logging
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, TypeVar

from lacewing.v1 import errors_pb2
from lacewing_server.domain.errors import DomainError
from lacewing_server.engine.shutdown import Shutdown
from lacewing_server.rpc.status import to_grpc_status

_log = logging.getLogger(__name__)

Context = Any
"""``grpc.aio.ServicerContext``; its type parameters differ with each method and say nothing here."""

_Servicer = TypeVar("_Servicer")


def guarded(servicer: _Servicer, shutdown: Shutdown) -> _Servicer:
    """Wraps every RPC of a servicer, in place; no call is taken any more once the shutdown has begun."""
    for name, method in inspect.getmembers(servicer, callable):
        if name[0].isupper():
            wrap: Callable[[Any, Shutdown], Any] = _stream if inspect.isasyncgenfunction(method) else _unary
            setattr(servicer, name, wrap(method, shutdown))
    return servicer


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
    @functools.wraps(method)
    async def call(request: Any, context: Context) -> Any:
        with shutdown.call():
            try:
                shutdown.refuse()
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
    @functools.wraps(method)
    async def call(request: Any, context: Context) -> AsyncIterator[Any]:
        with shutdown.call():
            try:
                shutdown.refuse()
                async for response in method(request, context):
                    yield response
            except DomainError as error:
                await context.abort_with_status(to_grpc_status(error))
            except Exception as error:  # noqa: BLE001 - the boundary: logged with an id
                await context.abort_with_status(to_grpc_status(internal(error)))

    return call
