"""The channel to a server: its address, its options, and how calls are repeated."""

from __future__ import annotations

import json
import os
import random
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import chain, repeat

import grpc
from google.protobuf import descriptor_pb2

from lacewing._statuses import from_rpc_error
from lacewing.errors import CallFailed
from lacewing.v1 import (
    blob_service_pb2,
    cache_service_pb2,
    execution_service_pb2,
    project_service_pb2,
    task_service_pb2,
    worker_service_pb2,
)

DEFAULT_ADDRESS = "127.0.0.1:7400"
"""Where a server is looked for if nothing else is said."""

ADDRESS_VARIABLE = "LACEWING_ADDRESS"
"""The environment variable that says where the server is."""

MAX_MESSAGE_BYTES = 32 * 1024 * 1024
"""The largest message that is sent or received."""

CALL_TIMEOUT = 10.0
"""How long a call that does not wait for an execution may take, in seconds."""

_SERVICES = [
    module.DESCRIPTOR.services_by_name[name]
    for module, name in (
        (blob_service_pb2, "BlobService"),
        (cache_service_pb2, "CacheService"),
        (execution_service_pb2, "ExecutionService"),
        (project_service_pb2, "ProjectService"),
        (task_service_pb2, "TaskService"),
        (worker_service_pb2, "WorkerService"),
    )
]
# Not idempotent by nature, but safe to repeat because every request of this SDK carries a request id.
_REPEATABLE_BY_REQUEST_ID = frozenset({"Execute", "CreateExecution", "RetryExecution"})
_FIRST_RECONNECT_DELAY = 0.05
_LAST_RECONNECT_DELAY = 2.0


def service_config() -> str:
    """Return the service config: calls that are safe to repeat are, when the server is unavailable.

    Which ones are is read from the protocol itself (`idempotency_level`), so that the table cannot go stale. Streams
    are left to who feeds or reads them, and knows where to go on: gRPC repeats one only until its first answer, keeps
    what was sent of it meanwhile, and has aborted the whole process when the connection was cut during an upload.
    """
    repeatable = [
        {"service": service.full_name, "method": method.name}
        for service in _SERVICES
        for method in service.methods
        if not (method.client_streaming or method.server_streaming)
        and (
            method.GetOptions().idempotency_level != descriptor_pb2.MethodOptions.IDEMPOTENCY_UNKNOWN
            or method.name in _REPEATABLE_BY_REQUEST_ID
        )
    ]
    retry_policy = {
        "maxAttempts": 4,
        "initialBackoff": "0.1s",
        "maxBackoff": "2s",
        "backoffMultiplier": 2,
        "retryableStatusCodes": ["UNAVAILABLE"],
    }
    # No `timeout` here: deadlines in a service config are not seen by the server. Each call has its own.
    return json.dumps({"methodConfig": [{"name": repeatable, "retryPolicy": retry_policy}]})


def resolve_address(address: str | None) -> str:
    """Return the address, or what $LACEWING_ADDRESS says, or the default one."""
    return address or os.environ.get(ADDRESS_VARIABLE) or DEFAULT_ADDRESS


def open_channel(address: str, credentials: grpc.ChannelCredentials | None = None) -> grpc.aio.Channel:
    """Open a channel. It connects by itself when it is first used, and again whenever the connection breaks.

    Args:
        address: The address of the server, `host:port` or any other gRPC target.
        credentials: For a server behind TLS. Default: plain text.
    """
    if credentials is not None:
        return grpc.aio.secure_channel(address, credentials, options=_options())
    return grpc.aio.insecure_channel(address, options=_options())


def open_blocking_channel(address: str, credentials: grpc.ChannelCredentials | None = None) -> grpc.Channel:
    """Open a channel like `open_channel`, for threads that block instead of an event loop."""
    if credentials is not None:
        return grpc.secure_channel(address, credentials, options=_options())
    return grpc.insecure_channel(address, options=_options())


def _options() -> list[tuple[str, int | str]]:
    return [
        ("grpc.max_send_message_length", MAX_MESSAGE_BYTES),
        ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
        ("grpc.keepalive_time_ms", 30_000),
        ("grpc.keepalive_timeout_ms", 10_000),
        ("grpc.keepalive_permit_without_calls", 1),
        # The defaults of gRPC, 1 s to 2 min, keep a client away from a server long after that has come back.
        ("grpc.initial_reconnect_backoff_ms", 100),
        ("grpc.min_reconnect_backoff_ms", 1_000),
        ("grpc.max_reconnect_backoff_ms", 2_000),
        ("grpc.service_config", service_config()),
    ]


def reconnect_delays() -> Iterator[float]:
    """Yield without end how long to wait before each new try, in seconds: 50 ms, doubled up to 2 s, with jitter."""
    growing = []
    delay = _FIRST_RECONNECT_DELAY
    while delay < _LAST_RECONNECT_DELAY:
        growing.append(delay)
        delay *= 2
    for bound in chain(growing, repeat(_LAST_RECONNECT_DELAY)):
        yield bound * random.uniform(0.5, 1.0)  # noqa: S311 spreads clients, keeps no secret


@contextmanager
def rpc_errors() -> Iterator[None]:
    """Raise what the status of a failed call stands for, instead of gRPC's error, which becomes its cause."""
    try:
        yield
    except grpc.aio.AioRpcError as error:
        raise from_rpc_error(error) from error
    except grpc.aio.UsageError as error:
        raise CallFailed("the client is closed", grpc.StatusCode.CANCELLED) from error
