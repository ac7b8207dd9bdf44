"""From a :class:`DomainError` to a gRPC status with ``google.rpc`` details, or to a ``RequestError`` in a batch."""

from __future__ import annotations

from typing import Any, Final

from google.protobuf import any_pb2, duration_pb2
from google.rpc import error_details_pb2, status_pb2
from grpc_status import rpc_status

from lacewing.v1 import errors_pb2
from lacewing_server.domain import limits
from lacewing_server.domain.errors import DomainError

DOMAIN: Final = "lacewing.v1"
_MESSAGE_MAX: Final = 1_024
_DETAILS_MAX_BYTES: Final = 4 << 10
_TEXT_MAX: Final = 300


def to_grpc_status(error: DomainError) -> Any:
    """The status that a call ends with."""
    status = status_pb2.Status(code=error.code, message=error.message[:_MESSAGE_MAX])
    info = error_details_pb2.ErrorInfo(
        reason=error.reason_name,
        domain=DOMAIN,
        metadata={key: value[:_TEXT_MAX] for key, value in error.metadata.items()},
    )
    details: list[Any] = [info]
    if error.retry_seconds is not None:
        details.append(error_details_pb2.RetryInfo(retry_delay=_duration(error.retry_seconds)))
    if error.violations:
        bad = error_details_pb2.BadRequest()
        size = sum(detail.ByteSize() for detail in details)
        for violation in error.violations[: limits.VIOLATIONS_MAX]:
            one = error_details_pb2.BadRequest.FieldViolation(
                field=violation.field[:_TEXT_MAX], description=violation.description[:_TEXT_MAX]
            )
            size += one.ByteSize() + 8
            if size > _DETAILS_MAX_BYTES - 512:
                info.metadata["omitted"] = str(len(error.violations) - len(bad.field_violations))
                break
            bad.field_violations.append(one)
        details.append(bad)
    for detail in details:
        packed = any_pb2.Any()
        packed.Pack(detail)
        status.details.append(packed)
    return rpc_status.to_status(status)


def to_request_error(error: DomainError) -> errors_pb2.RequestError:
    """The same, as a message of a batch."""
    message = errors_pb2.RequestError(
        code=error.code,
        reason=error.reason,
        message=error.message[:_MESSAGE_MAX],
        metadata={key: value[:_TEXT_MAX] for key, value in error.metadata.items()},
        violations=[
            errors_pb2.FieldViolation(field=each.field[:_TEXT_MAX], description=each.description[:_TEXT_MAX])
            for each in error.violations[: limits.VIOLATIONS_MAX]
        ],
    )
    if error.retry_seconds is not None:
        message.retry_delay.CopyFrom(_duration(error.retry_seconds))
    return message


def _duration(seconds: float) -> duration_pb2.Duration:
    duration = duration_pb2.Duration()
    duration.FromMilliseconds(round(seconds * 1000))
    return duration
