"""Errors: one class for each reason, read from statuses and from refusals of single requests."""

from __future__ import annotations

import inspect
import pickle
from datetime import timedelta

import grpc
import pytest
from google.protobuf import any_pb2, duration_pb2
from google.protobuf.message import Message
from google.rpc import error_details_pb2, status_pb2
from grpc.aio import AioRpcError, Metadata

from lacewing import errors
from lacewing._statuses import from_request_error, from_rpc_error
from lacewing.v1 import errors_pb2, execution_pb2

REASONS = [
    name.removeprefix("ERROR_REASON_")
    for name, number in errors_pb2.ErrorReason.items()
    if number  # 0 is never sent
]


def rpc_error(code: grpc.StatusCode, message: str, *details: Message) -> AioRpcError:
    packed = []
    for detail in details:
        packed.append(any_pb2.Any())
        packed[-1].Pack(detail)
    status = status_pb2.Status(code=code.value[0], message=message, details=packed)
    trailers = Metadata(("grpc-status-details-bin", status.SerializeToString())) if details else Metadata()
    return AioRpcError(code, Metadata(), trailers, details=message)


@pytest.mark.parametrize("reason", REASONS)
def test_every_reason_has_a_class_of_its_own(reason: str) -> None:
    """A reason of the protocol gives an error of one subclass, whose reason it is, and not of the base class."""
    error = errors.RefusedError.of_reason(reason, "no", grpc.StatusCode.INTERNAL)
    assert type(error) is not errors.RefusedError
    assert error.reason == reason
    assert type(error).__doc__
    assert [kind for kind in errors.RefusedError.__subclasses__() if kind.reason == reason] == [type(error)]


def test_the_tree_in_the_docstring_is_the_tree() -> None:
    """Each class of the module is named in the drawing of the tree."""
    classes = [name for name, kind in vars(errors).items() if inspect.isclass(kind) and issubclass(kind, Exception)]
    assert errors.__doc__ is not None
    assert [name for name in classes if name not in errors.__doc__] == []


def test_a_status_with_details_gives_the_refusal_with_all_of_them() -> None:
    """Reason, metadata, violations and retry delay of a status are those of the error."""
    given = rpc_error(
        grpc.StatusCode.INVALID_ARGUMENT,
        "does not fit",
        error_details_pb2.ErrorInfo(reason="INPUTS_INVALID", domain="lacewing.v1", metadata={"task": "add"}),
        error_details_pb2.BadRequest(
            field_violations=[
                error_details_pb2.BadRequest.FieldViolation(field="inputs.a", description="is no INTEGER")
            ]
        ),
        error_details_pb2.RetryInfo(retry_delay=duration_pb2.Duration(seconds=2)),
    )
    error = from_rpc_error(given)
    assert isinstance(error, errors.InputsInvalid)
    assert error.code is grpc.StatusCode.INVALID_ARGUMENT
    assert error.message == "does not fit"
    assert error.metadata == {"task": "add"}
    assert error.violations == (errors.Violation("inputs.a", "is no INTEGER"),)
    assert error.retry_delay == timedelta(seconds=2)
    assert str(error) == "INPUTS_INVALID: does not fit\n  inputs.a: is no INTEGER"


def test_a_reason_that_is_not_known_goes_by_the_base_class() -> None:
    """A newer server may have reasons that this SDK does not know: the refusal keeps its name."""
    info = error_details_pb2.ErrorInfo(reason="MOON_FULL", domain="lacewing.v1")
    error = from_rpc_error(rpc_error(grpc.StatusCode.FAILED_PRECONDITION, "wait", info))
    assert type(error) is errors.RefusedError
    assert error.reason == "MOON_FULL"


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        (grpc.StatusCode.UNAVAILABLE, errors.ServerUnavailable),
        (grpc.StatusCode.DEADLINE_EXCEEDED, errors.DeadlineExceeded),
        (grpc.StatusCode.UNIMPLEMENTED, errors.CallFailed),
    ],
)
def test_a_status_without_details_is_of_the_transport(code: grpc.StatusCode, kind: type[errors.CallFailed]) -> None:
    """What no Lacewing server said is a failed call, by its code."""
    error = from_rpc_error(rpc_error(code, "gone"))
    assert type(error) is kind
    assert error.code is code


def test_details_of_somebody_else_are_not_taken_for_ours() -> None:
    """An ErrorInfo of another domain, such as a proxy's, makes no refusal."""
    info = error_details_pb2.ErrorInfo(reason="TASK_NOT_FOUND", domain="example.com")
    error = from_rpc_error(rpc_error(grpc.StatusCode.NOT_FOUND, "no route", info))
    assert type(error) is errors.CallFailed


def test_the_refusal_of_one_request_of_a_batch_is_the_same_error() -> None:
    """A RequestError gives what a status with the same content gives."""
    error = from_request_error(
        errors_pb2.RequestError(
            code=8,
            reason=errors_pb2.ERROR_REASON_QUEUE_FULL,
            message="full",
            metadata={"task": "add", "limit": "3"},
            retry_delay=duration_pb2.Duration(seconds=1),
        )
    )
    assert isinstance(error, errors.QueueFull)
    assert error.code is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert error.metadata["limit"] == "3"
    assert error.retry_delay == timedelta(seconds=1)


def test_a_request_error_of_an_unknown_reason_is_still_a_refusal() -> None:
    """Numbers of a newer protocol are kept as they are."""
    error = from_request_error(errors_pb2.RequestError(code=9, reason=9999, message="new"))  # type: ignore[arg-type] # on purpose
    assert type(error) is errors.RefusedError
    assert error.reason == "9999"


@pytest.mark.parametrize(
    ("state", "kind"),
    [
        (execution_pb2.Execution.STATE_FAILED, errors.TaskFailed),
        (execution_pb2.Execution.STATE_TIMED_OUT, errors.TaskTimedOut),
        (execution_pb2.Execution.STATE_CANCELLED, errors.TaskCancelled),
    ],
)
def test_an_execution_that_did_not_succeed_is_an_error_with_its_causes(
    state: execution_pb2.Execution.State.ValueType, kind: type[errors.TaskDidNotSucceed]
) -> None:
    """The class says how it ended; message and remote stack trace are shown, what led to it is the cause."""
    execution = execution_pb2.Execution(state=state, attempt_count=2)
    execution.id.name = "x1"
    execution.task.name = "shop.price"
    execution.error.code = "ValueError"
    execution.error.message = "no price"
    execution.error.stack_trace = 'File "shop.py", line 3, in price\n'
    execution.error.cause.code = "KeyError"
    execution.error.cause.message = "'apple'"
    error = errors.from_execution(execution)
    assert type(error) is kind
    assert (error.code, error.message, error.id.name) == ("ValueError", "no price", "x1")
    assert "after 2 attempts (execution x1): ValueError: no price" in str(error)
    assert '\n  File "shop.py", line 3, in price' in str(error)
    cause = error.__cause__
    assert isinstance(cause, errors.RemoteError)
    assert cause.code == "KeyError"
    assert cause.__cause__ is None


@pytest.mark.parametrize(
    "error",
    [
        errors.RefusedError.of_reason("TASK_NOT_FOUND", "no", grpc.StatusCode.NOT_FOUND, metadata={"task": "add"}),
        errors.ServerUnavailable("gone"),
        errors.TaskFailed(execution_pb2.Execution(attempt_count=1)),
        errors.RemoteError("KeyError", "'a'", "trace"),
        errors.RecoverableError("again", code="Busy", retry_delay=1.5),
        errors.NonRecoverableError("never", code="Broken"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_errors_cross_processes(error: errors.LacewingError) -> None:
    """An error that is pickled comes back as the same class with the same attributes."""
    copy = pickle.loads(pickle.dumps(error))
    assert type(copy) is type(error)
    assert str(copy) == str(error)
    assert vars(copy) == vars(error)


def test_a_delay_may_be_given_in_seconds() -> None:
    """A number is seconds."""
    assert errors.RecoverableError("again", retry_delay=1.5).retry_delay == timedelta(seconds=1.5)
    assert errors.RecoverableError("again").retry_delay is None
