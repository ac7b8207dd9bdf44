"""Runs the body of one attempt, wherever that is: in a child process, in a thread, or on the event loop."""

from __future__ import annotations

import asyncio
import enum
from collections.abc import Callable
from typing import Any, TypeAlias

from lacewing._context import AttemptContext, attempt_context
from lacewing._tracing import tracing
from lacewing._values import Values
from lacewing.errors import BlobNotFound, BlobStoreUnavailable, CallFailed, RefusedError, ShuttingDown, ValueTooLarge
from lacewing.graph import Dynamic
from lacewing.graph._trace import Trace
from lacewing.task import AnyTask
from lacewing.types import ConversionError, Converter
from lacewing.v1 import execution_pb2, identifiers_pb2, literals_pb2, worker_service_pb2
from lacewing.worker._stopped import AttemptStopped
from lacewing.worker._task_error import stack_trace, task_error, user_error

ReportProgress = Callable[[execution_pb2.Progress], None]
IsStopped = Callable[[], bool]

Registered: TypeAlias = frozenset[tuple[str, str]]
"""The tasks that the worker has registered, by name and version: graphs refer to them, and bring others along."""

_OUTAGES = (CallFailed, BlobStoreUnavailable, ShuttingDown)


def run_body(
    task: AnyTask, lease: worker_service_pb2.Lease, report: ReportProgress, values: Values, registered: Registered
) -> worker_service_pb2.Completion:
    """Run a synchronous body to its end, whatever that is.

    A body that is left by `AttemptStopped` gives `timed_out` with the place where it was; why it was stopped is
    known to whoever stopped it.

    Args:
        task: What to run.
        lease: The attempt. Inputs that were offloaded are fetched into it.
        report: Takes the progress that the body reports.
        values: Converts inputs and outputs.
        registered: What the worker has registered.
    """
    completion = worker_service_pb2.Completion(token=lease.token)
    interface = task.interface
    own = values.attempt() if _has_files(task) else values
    phase = _Phase.INPUTS
    try:
        arguments = own.from_literals(
            interface.literals_to_inputs, lease.inputs, has_stored=interface.has_stored_inputs
        )
        phase = _Phase.BODY
        trace = _trace(task, lease, own, registered)
        with attempt_context(AttemptContext(lease, report)), tracing(trace):
            value = task.function(**arguments)
        phase = _Phase.OUTPUTS
        if not _is_graph(task, trace, value, completion):
            outputs = own.to_literals(
                interface.outputs_to_literals,
                value,
                interface.typed_interface.outputs,
                has_stored=interface.has_stored_outputs,
            )
            completion.outputs.CopyFrom(outputs)
    except AttemptStopped as stopped:
        completion.timed_out.stack_trace = stack_trace(stopped)
    except BaseException as error:  # noqa: BLE001 a body may raise anything, SystemExit too: it is its result
        _fail(completion, phase, error)
    finally:
        if own is not values:
            own.remove_files()
    return completion


async def run_async_body(
    task: AnyTask,
    lease: worker_service_pb2.Lease,
    report: ReportProgress,
    values: Values,
    registered: Registered,
    is_stopped: IsStopped,
) -> worker_service_pb2.Completion:
    """Run an asynchronous body to its end. Like `run_body`; it is stopped by cancelling the asyncio task around it."""
    completion = worker_service_pb2.Completion(token=lease.token)
    interface = task.interface
    own = values.attempt() if _has_files(task) else values
    phase = _Phase.INPUTS
    try:
        arguments = await own.from_literals_async(
            interface.literals_to_inputs, lease.inputs, has_stored=interface.has_stored_inputs
        )
        phase = _Phase.BODY
        trace = _trace(task, lease, own, registered)
        with attempt_context(AttemptContext(lease, report)), tracing(trace):
            value = await task.function(**arguments)
        phase = _Phase.OUTPUTS
        if not _is_graph(task, trace, value, completion):
            outputs = await own.to_literals_async(
                interface.outputs_to_literals,
                value,
                interface.typed_interface.outputs,
                has_stored=interface.has_stored_outputs,
            )
            completion.outputs.CopyFrom(outputs)
    except BaseException as error:  # noqa: BLE001 a body may raise anything, SystemExit too: it is its result
        if isinstance(error, asyncio.CancelledError) and is_stopped():
            completion.timed_out.stack_trace = stack_trace(error)
        else:
            _fail(completion, phase, error)
    finally:
        if own is not values:
            own.remove_files()
    return completion


class _Phase(enum.Enum):
    """How far an attempt is, which tells what an error means."""

    INPUTS = enum.auto()
    BODY = enum.auto()
    OUTPUTS = enum.auto()


def _has_files(task: AnyTask) -> bool:
    """Return whether converting the values of an attempt may leave files, those of the calls it notes included."""
    interface = task.interface
    return interface.has_stored_inputs or interface.has_stored_outputs or isinstance(task, Dynamic)


def _trace(task: AnyTask, lease: worker_service_pb2.Lease, values: Values, registered: Registered) -> Trace | None:
    """Return what takes note of the calls of a body; None if they run as they are, because it is not dynamic."""
    if not isinstance(task, Dynamic):
        return None

    def identity(called: AnyTask) -> identifiers_pb2.TaskId | None:
        if called is task:
            return lease.task
        if (called.name, called.exact_version) not in registered:
            return None
        own = called.id()
        own.version = called.exact_version
        return own

    def store(converter: Converter, value: Any) -> literals_pb2.Literal:
        try:
            return values.to_literal(converter, value)
        except _OUTAGES as error:
            raise _GivenBackError(_unreachable(error)) from error

    return task.trace(identity, store)


def _is_graph(task: AnyTask, trace: Trace | None, value: Any, completion: worker_service_pb2.Completion) -> bool:
    """Complete with the graph of the calls of a body, if it has made any; return whether it has."""
    if not isinstance(task, Dynamic) or trace is None or trace.is_empty:
        return False
    completion.graph.CopyFrom(task.finish(trace, value))
    return True


class _GivenBackError(Exception):
    """What keeps large values cannot be reached, which is not the fault of the task."""


def _fail(completion: worker_service_pb2.Completion, phase: _Phase, error: BaseException) -> None:
    """Complete with what an error means where it was raised."""
    if isinstance(error, _GivenBackError):
        completion.abandoned.reason = str(error)
    elif phase is not _Phase.BODY and isinstance(error, _OUTAGES):
        completion.abandoned.reason = _unreachable(error)
    else:
        completion.error.CopyFrom(_misfit(phase, error) or task_error(error))


def _unreachable(error: RefusedError | CallFailed) -> str:
    return f"its large values cannot be reached: {error.message}"


def _misfit(phase: _Phase, error: BaseException) -> execution_pb2.TaskError | None:
    """Return the error of inputs or outputs that do not fit the function, for which another attempt would not help."""
    match phase, error:
        case _Phase.INPUTS, ConversionError():
            message = f"The inputs do not fit the function that this worker has for the task: {error}"
            return user_error("InputsInvalid", message, recoverable=False)
        case _Phase.INPUTS, BlobNotFound():
            return user_error("BlobNotFound", f"An input is gone: {error.message}", recoverable=False)
        case _Phase.OUTPUTS, ConversionError():
            message = f"What the function returned does not fit its annotation: {error}"
            return user_error("OutputsInvalid", message, recoverable=False)
        case _Phase.OUTPUTS, ValueTooLarge():
            return user_error("ValueTooLarge", error.message, recoverable=False)
        case _:
            return None
