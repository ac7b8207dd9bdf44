"""What `errors.proto` promises of each reason, read from its own text, and the check that a refusal keeps it."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.rpc import error_details_pb2
from grpc_status import rpc_status

from lacewing import errors
from lacewing._statuses import from_request_error, from_rpc_error
from lacewing.v1 import errors_pb2

DETAILS_MAX_BYTES = 4 << 10
TRAILERS_MAX_BYTES = 8 << 10
"""The least that any client library allows for headers by default."""

_PROTO = Path(__file__).parents[2] / "protos/lacewing/v1/errors.proto"
_VALUE = re.compile(r"((?: *//[^\n]*\n)+) *ERROR_REASON_(\w+) = \d+;")


@dataclass(frozen=True)
class Promise:
    """What the comment of one reason says."""

    code: grpc.StatusCode
    has_retry: bool
    always: frozenset[str]
    """Metadata that is always there."""
    sometimes: frozenset[str]
    """Metadata that is there under a condition."""


@cache
def promises() -> Mapping[str, Promise]:
    """The promises by reason."""
    found = {}
    for comment, name in _VALUE.findall(_PROTO.read_text()):
        text = " ".join(line.strip().removeprefix("//").strip() for line in comment.splitlines())
        code = re.match(r"`([A-Z_]+)`", text)
        if code is not None:
            metadata = re.search(r"Metadata: (.*?)\.(?: |$)", text)
            listed = metadata.group(1) if metadata else ""
            keys = frozenset(re.findall(r"`([a-z_]+)`", listed))
            conditional = frozenset(keys if " or " in listed else re.findall(r"`([a-z_]+)`, if", listed))
            found[name] = Promise(
                grpc.StatusCode[code.group(1)], "with `RetryInfo`" in text, keys - conditional, conditional
            )
    return found


@dataclass(frozen=True)
class Refusal:
    """A refusal as a client that knows `google.rpc` sees it."""

    code: grpc.StatusCode
    reason: str
    message: str
    metadata: Mapping[str, str]
    violations: Mapping[str, str]
    """Descriptions by path."""
    retry: float | None


async def refusal_of(call: Awaitable[Any]) -> Refusal:
    """Awaits a call that has to be refused; checks what holds for every refusal, and gives it."""
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        await call
    return read_status(raised.value)


async def refusal_of_stream(call: Any, *requests: Any, is_ended: bool = False) -> Refusal:
    """Writes requests to a call that takes a stream and has to be refused at the last of them.

    Not by an iterator: gRPC's client in Python loses the status of a call that ends while it still writes.

    Args:
        call: The call, to which nothing was written yet.
        *requests: What to write; it is answered by messages at most until the last one.
        is_ended: Whether the client ends its side.
    """
    for request in requests:
        await call.write(request)
    if is_ended:
        await call.done_writing()

    async def to_end() -> None:
        while await call.read() is not grpc.aio.EOF:
            pass

    return await refusal_of(to_end() if isinstance(call, grpc.aio.StreamStreamCall) else call)


def read_status(error: grpc.aio.AioRpcError) -> Refusal:
    """Reads the status of a refused call, and checks that it is as `errors.proto` says of its reason."""
    refusal = details_of(error)
    check(refusal)
    typed = from_rpc_error(error)
    assert isinstance(typed, errors.RefusedError)
    _check_sdk(refusal, typed)
    return refusal


def details_of(error: grpc.aio.AioRpcError) -> Refusal:
    """Reads the status of a refused call, and checks what holds for every reason."""
    status = rpc_status.from_call(error)  # type: ignore[arg-type] # the stub forgets that AioRpcError has what it reads
    assert status is not None, f"no details: {error.code()}: {error.details()}"
    assert sum(len(detail.SerializeToString()) for detail in status.details) <= DETAILS_MAX_BYTES
    escaped = "".join(
        chr(byte) if 0x20 <= byte <= 0x7E and byte != 0x25 else f"%{byte:02X}"
        for byte in (error.details() or "").encode()
    )
    assert len(status.SerializeToString()) * 4 / 3 + len(escaped) + 256 <= TRAILERS_MAX_BYTES
    infos, violations, retry = [], {}, None
    for detail in status.details:
        if detail.Is(error_details_pb2.ErrorInfo.DESCRIPTOR):
            infos.append(error_details_pb2.ErrorInfo.FromString(detail.value))
        elif detail.Is(error_details_pb2.BadRequest.DESCRIPTOR):
            fields = error_details_pb2.BadRequest.FromString(detail.value).field_violations
            violations = {each.field: each.description for each in fields}
        else:
            assert detail.Is(error_details_pb2.RetryInfo.DESCRIPTOR), detail.type_url
            delay = error_details_pb2.RetryInfo.FromString(detail.value).retry_delay
            retry = delay.ToTimedelta().total_seconds()
    assert len(infos) == 1
    assert infos[0].domain == "lacewing.v1"
    return Refusal(error.code(), infos[0].reason, error.details() or "", dict(infos[0].metadata), violations, retry)


def read_request_error(error: errors_pb2.RequestError) -> Refusal:
    """Reads the refusal of one request of a batch, and checks that it is as `errors.proto` says."""
    codes = {code.value[0]: code for code in grpc.StatusCode}
    refusal = Refusal(
        codes[error.code],
        errors_pb2.ErrorReason.Name(error.reason).removeprefix("ERROR_REASON_"),
        error.message,
        dict(error.metadata),
        {each.field: each.description for each in error.violations},
        error.retry_delay.ToTimedelta().total_seconds() if error.HasField("retry_delay") else None,
    )
    check(refusal)
    _check_sdk(refusal, from_request_error(error))
    return refusal


def check(refusal: Refusal) -> None:
    """Checks a refusal against the promise of its reason."""
    promise = promises()[refusal.reason]
    assert refusal.code is promise.code
    assert (refusal.retry is not None) == promise.has_retry
    assert refusal.retry is None or 0 < refusal.retry <= 60
    assert refusal.metadata.keys() >= promise.always
    assert refusal.metadata.keys() <= promise.always | promise.sometimes | (
        {"omitted"} if refusal.violations else set()
    )
    assert all(refusal.metadata.values())
    assert 0 < len(refusal.message) <= 1_024
    assert len(refusal.violations) <= 20
    assert "Traceback" not in refusal.message
    assert ".py" not in refusal.message


def _check_sdk(refusal: Refusal, typed: errors.RefusedError) -> None:
    assert type(typed).__name__.lower() in {
        refusal.reason.replace("_", "").lower(),
        refusal.reason.replace("_", "").lower() + "fault",
    }
    assert (typed.code, typed.reason, typed.message) == (refusal.code, refusal.reason, refusal.message)
    assert typed.metadata == refusal.metadata
    assert {each.field: each.description for each in typed.violations} == refusal.violations
    assert (typed.retry_delay.total_seconds() if typed.retry_delay is not None else None) == refusal.retry
