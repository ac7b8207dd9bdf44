"""Runs the body of one attempt, wherever that is: in a child process, in a thread, or on the event loop."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from lacewing._context import AttemptContext, attempt_context
from lacewing.task import AnyTask
from lacewing.types import ConversionError
from lacewing.v1 import execution_pb2, worker_service_pb2
from lacewing.worker._stopped import AttemptStopped
from lacewing.worker._task_error import stack_trace, task_error, user_error

ReportProgress = Callable[[execution_pb2.Progress], None]
IsStopped = Callable[[], bool]


def run_body(task: AnyTask, lease: worker_service_pb2.Lease, report: ReportProgress) -> worker_service_pb2.Completion:
    """Run a synchronous body to its end, whatever that is.

    A body that is left by `AttemptStopped` gives `timed_out` with the place where it was; why it was stopped is
    known to whoever stopped it.
    """
    completion = worker_service_pb2.Completion(token=lease.token)
    try:
        arguments = _arguments(task, lease)
        with attempt_context(_context(lease, report)):
            value = task.function(**arguments)
        completion.outputs.CopyFrom(_outputs(task, value))
    except AttemptStopped as stopped:
        completion.timed_out.stack_trace = stack_trace(stopped)
    except _RefusedError as refused:
        completion.error.CopyFrom(refused.error)
    except BaseException as error:  # noqa: BLE001 a body may raise anything, SystemExit too: it is its result
        completion.error.CopyFrom(task_error(error))
    return completion


async def run_async_body(
    task: AnyTask, lease: worker_service_pb2.Lease, report: ReportProgress, is_stopped: IsStopped
) -> worker_service_pb2.Completion:
    """Run an asynchronous body to its end. Like `run_body`; it is stopped by cancelling the asyncio task around it."""
    completion = worker_service_pb2.Completion(token=lease.token)
    try:
        arguments = _arguments(task, lease)
        with attempt_context(_context(lease, report)):
            value = await task.function(**arguments)
        completion.outputs.CopyFrom(_outputs(task, value))
    except _RefusedError as refused:
        completion.error.CopyFrom(refused.error)
    except BaseException as error:  # noqa: BLE001 a body may raise anything, SystemExit too: it is its result
        if isinstance(error, asyncio.CancelledError) and is_stopped():
            completion.timed_out.stack_trace = stack_trace(error)
        else:
            completion.error.CopyFrom(task_error(error))
    return completion


class _RefusedError(Exception):
    """The inputs or outputs do not fit the function: another attempt would not help."""

    def __init__(self, error: execution_pb2.TaskError) -> None:
        super().__init__(error.message)
        self.error = error


def _arguments(task: AnyTask, lease: worker_service_pb2.Lease) -> dict[str, Any]:
    try:
        return task.interface.literals_to_inputs(lease.inputs)
    except ConversionError as error:
        message = f"The inputs do not fit the function that this worker has for the task: {error}"
        raise _RefusedError(user_error("InputsInvalid", message, recoverable=False)) from error


def _outputs(task: AnyTask, value: Any) -> Any:
    try:
        return task.interface.outputs_to_literals(value)
    except ConversionError as error:
        message = f"What the function returned does not fit its annotation: {error}"
        raise _RefusedError(user_error("OutputsInvalid", message, recoverable=False)) from error


def _context(lease: worker_service_pb2.Lease, report: ReportProgress) -> AttemptContext:
    return AttemptContext(lease, report)
