"""The errors that the statuses of calls, and the refusals of single requests of a batch, stand for."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta

import grpc
from google.rpc import error_details_pb2
from grpc_status import rpc_status

from lacewing.errors import (
    REASON_PREFIX,
    CallFailed,
    DeadlineExceeded,
    LacewingError,
    RefusedError,
    ServerUnavailable,
    Violation,
)
from lacewing.v1 import errors_pb2

_DOMAIN = "lacewing.v1"
_STATUS_CODES: Mapping[int, grpc.StatusCode] = {code.value[0]: code for code in grpc.StatusCode}


def from_rpc_error(error: grpc.aio.AioRpcError) -> LacewingError:
    """Return the error that the status of a call stands for; to be raised from the given one."""
    info, violations, retry_delay = _details(error)
    if info is not None and info.domain == _DOMAIN:
        return RefusedError.of_reason(
            info.reason,
            error.details() or "",
            error.code(),
            metadata=info.metadata,
            violations=violations,
            retry_delay=retry_delay,
        )
    message = error.details() or "no details"
    if error.code() is grpc.StatusCode.UNAVAILABLE:
        return ServerUnavailable(message)
    if error.code() is grpc.StatusCode.DEADLINE_EXCEEDED:
        return DeadlineExceeded(message)
    return CallFailed(message, error.code())


def _details(
    error: grpc.aio.AioRpcError,
) -> tuple[error_details_pb2.ErrorInfo | None, list[Violation], timedelta | None]:
    info: error_details_pb2.ErrorInfo | None = None
    violations: list[Violation] = []
    retry_delay: timedelta | None = None
    try:
        status = rpc_status.from_call(error)  # type: ignore[arg-type] # the stub forgets that AioRpcError has what it reads
    except ValueError:
        # The details contradict the status they come with: somebody between us and the server changed one of them.
        status = None
    for detail in status.details if status is not None else ():
        if detail.Is(error_details_pb2.ErrorInfo.DESCRIPTOR):
            info = error_details_pb2.ErrorInfo.FromString(detail.value)
        elif detail.Is(error_details_pb2.BadRequest.DESCRIPTOR):
            fields = error_details_pb2.BadRequest.FromString(detail.value).field_violations
            violations = [Violation(each.field, each.description) for each in fields]
        elif detail.Is(error_details_pb2.RetryInfo.DESCRIPTOR):
            retry_delay = error_details_pb2.RetryInfo.FromString(detail.value).retry_delay.ToTimedelta()
    return info, violations, retry_delay


def from_request_error(error: errors_pb2.RequestError) -> RefusedError:
    """Return the error that the refusal of one request of a batch stands for."""
    known = error.reason in errors_pb2.ErrorReason.values()
    return RefusedError.of_reason(
        errors_pb2.ErrorReason.Name(error.reason).removeprefix(REASON_PREFIX) if known else str(error.reason),
        error.message,
        _STATUS_CODES.get(error.code, grpc.StatusCode.UNKNOWN),
        metadata=error.metadata,
        violations=[Violation(each.field, each.description) for each in error.violations],
        retry_delay=error.retry_delay.ToTimedelta() if error.HasField("retry_delay") else None,
    )
