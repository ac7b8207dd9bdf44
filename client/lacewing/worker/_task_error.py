"""From a Python exception to the error of an attempt."""

from __future__ import annotations

import os
import traceback
from pathlib import Path
from types import TracebackType

import lacewing
from lacewing.errors import NonRecoverableError, RecoverableError
from lacewing.v1 import execution_pb2

_MAX_CODE_LENGTH = 128
_MAX_MESSAGE_BYTES = 8 * 1024
_MAX_STACK_TRACE_BYTES = 32 * 1024
_MAX_CAUSES = 8
_OUR_FOLDER = f"{Path(lacewing.__file__).parent}{os.sep}"


def task_error(error: BaseException) -> execution_pb2.TaskError:
    """Describe what a body raised, with where and with what led to it (at most 8 deep)."""
    result = execution_pb2.TaskError()
    place = result
    seen: set[int] = set()
    current: BaseException | None = error
    while current is not None and len(seen) <= _MAX_CAUSES and id(current) not in seen:
        if seen:
            place = place.cause
        seen.add(id(current))
        _describe(current, place)
        current = current.__cause__ or (None if current.__suppress_context__ else current.__context__)
    return result


def _describe(error: BaseException, result: execution_pb2.TaskError) -> None:
    result.kind = execution_pb2.TaskError.KIND_USER
    result.code = type(error).__name__[:_MAX_CODE_LENGTH]
    result.message = head(str(error), _MAX_MESSAGE_BYTES)
    result.stack_trace = stack_trace(error)
    result.recoverable = True
    if isinstance(error, RecoverableError | NonRecoverableError):
        result.recoverable = isinstance(error, RecoverableError)
        if error.code:
            result.code = error.code[:_MAX_CODE_LENGTH]
    if isinstance(error, RecoverableError) and error.retry_delay is not None:
        result.retry_delay.FromTimedelta(error.retry_delay)


def user_error(code: str, message: str, *, recoverable: bool) -> execution_pb2.TaskError:
    """Make an error of the task that no exception stands for."""
    return execution_pb2.TaskError(
        kind=execution_pb2.TaskError.KIND_USER,
        code=code,
        message=head(message, _MAX_MESSAGE_BYTES),
        recoverable=recoverable,
    )


def stack_trace(error: BaseException) -> str:
    """Format one exception without its causes, and without the frames of the worker around the body."""
    trace = _from_body(error.__traceback__)
    text = "".join(traceback.format_exception(type(error), error, trace, chain=False))
    return tail(text, _MAX_STACK_TRACE_BYTES)


def _from_body(trace: TracebackType | None) -> TracebackType | None:
    while trace is not None and trace.tb_frame.f_code.co_filename.startswith(_OUR_FOLDER):
        trace = trace.tb_next
    return trace


def head(text: str, limit: int) -> str:
    """Cut a text to so many bytes of UTF-8, at its end."""
    return text.encode(errors="replace")[:limit].decode(errors="ignore")


def tail(text: str, limit: int) -> str:
    """Cut a text to so many bytes of UTF-8, at its front."""
    return text.encode(errors="replace")[-limit:].decode(errors="ignore")
