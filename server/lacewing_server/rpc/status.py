"""From a :class:`DomainError` to a ``RequestError`` of a batch, or to a gRPC status with ``google.rpc`` details.

Both hold the same: what does not fit into the trailers of a call is cut here, once for both.
"""

from __future__ import annotations

import math
from typing import Any, Final
from urllib.parse import quote

from google.rpc import error_details_pb2, status_pb2
from grpc_status import rpc_status

from lacewing.v1 import errors_pb2
from lacewing_server.domain import limits
from lacewing_server.domain.errors import DomainError

DOMAIN: Final = "lacewing.v1"
_FRAME_BYTES: Final = 384
"""What wraps the texts of all details: their types, the domain, the reason, the delay."""
_ENTRY_BYTES: Final = 12
"""What wraps the texts of one entry of the metadata, or of one violation."""
_VIOLATION_TEXT_BYTES: Final = 300
_ELLIPSIS: Final = "…"
_PLAIN: Final = bytes(range(0x20, 0x7F)).replace(b"%", b"").decode()
"""What the status message of gRPC holds as it is; every other byte is escaped by three."""


def to_request_error(error: DomainError) -> errors_pb2.RequestError:
    """The refusal as a message of a batch."""
    message = errors_pb2.RequestError(code=error.code, reason=error.reason, message=_cut_message(error.message))
    room = limits.REFUSAL_DETAILS_MAX_BYTES - _FRAME_BYTES
    for key, value in error.metadata.items():
        text = _cut(value, room - len(key))
        message.metadata[key] = text
        room -= len(key) + len(text.encode()) + _ENTRY_BYTES
    for violation in error.violations[: limits.VIOLATIONS_MAX]:
        field = _cut(violation.field, _VIOLATION_TEXT_BYTES)
        description = _cut(violation.description, _VIOLATION_TEXT_BYTES)
        room -= len(field.encode()) + len(description.encode()) + _ENTRY_BYTES
        if room < 0:
            break
        message.violations.add(field=field, description=description)
    omitted = len(error.violations) - len(message.violations)
    if omitted:
        message.metadata["omitted"] = str(omitted)
    if error.retry_seconds is not None:
        message.retry_delay.FromMilliseconds(math.ceil(error.retry_seconds * 1000))
    return message


def to_grpc_status(error: DomainError) -> Any:
    """The refusal as the status that a call ends with."""
    message = to_request_error(error)
    info = error_details_pb2.ErrorInfo(reason=error.reason_name, domain=DOMAIN, metadata=message.metadata)
    details: list[Any] = [info]
    if message.HasField("retry_delay"):
        details.append(error_details_pb2.RetryInfo(retry_delay=message.retry_delay))
    if message.violations:
        violations = [
            error_details_pb2.BadRequest.FieldViolation(field=each.field, description=each.description)
            for each in message.violations
        ]
        details.append(error_details_pb2.BadRequest(field_violations=violations))
    status = status_pb2.Status(code=message.code, message=message.message)
    for detail in details:
        status.details.add().Pack(detail)
    return rpc_status.to_status(status)


def _cut_message(text: str) -> str:
    """Cuts a message so that it has its place in a header, where most characters but those of ASCII take many bytes."""
    text = _cut(text, limits.REFUSAL_MESSAGE_MAX)
    while len(quote(text, safe=_PLAIN)) > limits.REFUSAL_MESSAGE_MAX:
        text = text[: len(text) * 3 // 4] + _ELLIPSIS
    return text


def _cut(text: str, most: int) -> str:
    """Cuts a text to so many bytes of UTF-8."""
    encoded = text.encode()
    if len(encoded) <= most:
        return text
    return encoded[: max(most - len(_ELLIPSIS.encode()), 0)].decode(errors="ignore") + _ELLIPSIS
