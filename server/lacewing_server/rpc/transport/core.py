"""The core of gRPC as grpcio's own blocking server uses it: all that this package takes of grpcio's private API.

That API has been the same since grpcio 1.60, and promises nothing. So no other module imports it, and a server takes
calls by it only after :mod:`lacewing_server.rpc.transport.selftest` has seen it work.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final, TypeAlias

from grpc._cython import cygrpc  # type: ignore[attr-defined] # noqa: TID251 - private: it has no stubs, see above

Operation: TypeAlias = Any
"""A part of a batch; used once."""
Event: TypeAlias = Any
"""What a queue gives: the end of a batch, a new call, the end of a server."""
Act: TypeAlias = Callable[[], None]
"""What is left to do in the event loop."""
Tag: TypeAlias = Callable[[Event], Act | None]
"""Who is told of an event: by the thread that polls, which hands on to the loop what is left to do."""
Metadata: TypeAlias = tuple[tuple[str, str | bytes], ...] | None

OK: Final = 0
_NO_FLAGS: Final = 0
_QUEUE_SHUTDOWN: Final = cygrpc.CompletionType.queue_shutdown

CompletionQueue: Final = cygrpc.CompletionQueue


def new_server(options: Sequence[tuple[str, Any]], queue: Any) -> Any:
    """Makes a server whose events arrive at this queue."""
    server = cygrpc.Server(tuple(options), False)
    server.register_completion_queue(queue)
    return server


def is_last(event: Event) -> bool:
    """Whether a queue that was shut down has nothing more to give."""
    return bool(event.completion_type == _QUEUE_SHUTDOWN)


def receive_close() -> Operation:
    """Ends when the call has; ``cancelled()`` then says whether its caller did not wait for the status."""
    return cygrpc.ReceiveCloseOnServerOperation(_NO_FLAGS)


def receive_message() -> Operation:
    """Receives one message; ``message()`` then gives it, or None if no more follows."""
    return cygrpc.ReceiveMessageOperation(_NO_FLAGS)


def send_initial_metadata() -> Operation:
    """Sends what precedes the first message."""
    return cygrpc.SendInitialMetadataOperation(None, _NO_FLAGS)


def send_message(data: bytes) -> Operation:
    """Sends one message; ends when flow control has let it pass."""
    return cygrpc.SendMessageOperation(data, _NO_FLAGS)


def send_status(code: int, details: str, trailing_metadata: Metadata = None) -> Operation:
    """Sends the status, which ends the call."""
    return cygrpc.SendStatusFromServerOperation(trailing_metadata, code, details, _NO_FLAGS)
