"""Everything that Lacewing raises.

The tree::

    LacewingError
    ├── RefusedError              the server did not take the request; one subclass for each reason
    │   ├── FieldInvalid, InputsInvalid, OutputsInvalid, PageTokenInvalid, ProtocolViolated
    │   ├── ProjectNotFound, DomainNotFound, TaskNotFound, TaskVersionNotFound, ExecutionNotFound, CacheEntryNotFound
    │   ├── TaskVersionConflict, ExecutionConflict, ProjectAlreadyExists
    │   ├── GraphInvalid, GraphNotFound, SignalNotFound, SignalConflict
    │   ├── ExecutionNotFailed, ExecutionEnded
    │   ├── ProjectArchived, TaskArchived, LeaseLost
    │   ├── ValueTooLarge, QueueFull, StoreFull
    │   ├── BlobNotFound, BlobDigestMismatch
    │   ├── StoreUnavailable, BlobStoreUnavailable, ShuttingDown
    │   └── InternalFault
    ├── CallFailed                the call ended without an answer of the server
    │   ├── ServerUnavailable     it cannot be reached
    │   └── DeadlineExceeded      it did not answer in time (also a TimeoutError)
    ├── WaitTimedOut              the execution goes on, the waiting is over (also a TimeoutError)
    ├── TaskDidNotSucceed         the request was taken, and the task did not succeed
    │   ├── TaskFailed
    │   ├── TaskTimedOut
    │   └── TaskCancelled
    ├── RemoteError               what led to the error of a task; only as `__cause__`
    ├── TaskLoadError             a module with tasks cannot be loaded
    ├── RecoverableError          raised by a body: another attempt may help
    └── NonRecoverableError       raised by a body: another attempt does not help
        └── GraphBuildError       a body that makes a graph does what no graph can
            └── PromiseUsedAsValueError, PromiseAttributeError
"""

# ruff: noqa: N818 - errors are named after what happened, as their reasons in the protocol are
from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import timedelta
from typing import ClassVar, NamedTuple

import grpc

from lacewing.v1 import errors_pb2, execution_pb2, identifiers_pb2

REASON_PREFIX = "ERROR_REASON_"
"""What the names of `ErrorReason` begin with, and the reasons of errors do not."""


class LacewingError(Exception):
    """The base of everything that Lacewing raises."""


class Violation(NamedTuple):
    """One place of a request that is at fault."""

    field: str
    """The path, such as `inputs.config.items[3].rate`."""
    description: str
    """What is wrong and what is expected."""

    def __str__(self) -> str:
        return f"{self.field}: {self.description}"


class RefusedError(LacewingError):
    """The server did not take the request; nothing was stored.

    Raised itself only for reasons that this version of the SDK does not know.

    Attributes:
        message: What is wrong and what to do, for a person to read.
        code: The status code of the call.
        reason: The name of the reason, such as `TASK_NOT_FOUND`; for programs.
        metadata: What belongs to the reason, as `lacewing.v1.ErrorReason` says for each.
        violations: The places of the request that are at fault, at most 20.
        retry_delay: When trying again may help. None if it does not.
    """

    reason: str = ""

    _by_reason: ClassVar[dict[str, type[RefusedError]]] = {}

    def __init_subclass__(cls, reason: errors_pb2.ErrorReason.ValueType) -> None:
        cls.reason = errors_pb2.ErrorReason.Name(reason).removeprefix(REASON_PREFIX)
        RefusedError._by_reason[cls.reason] = cls

    def __init__(
        self,
        message: str,
        code: grpc.StatusCode = grpc.StatusCode.UNKNOWN,
        reason: str = "",
        metadata: Mapping[str, str] | None = None,
        violations: Iterable[Violation] = (),
        retry_delay: timedelta | None = None,
    ) -> None:
        self.message = message
        self.code = code
        if reason:
            self.reason = reason
        self.metadata: Mapping[str, str] = dict(metadata or {})
        self.violations = tuple(violations)
        self.retry_delay = retry_delay
        # All arguments, so that the error can be pickled.
        super().__init__(message, code, self.reason, self.metadata, self.violations, retry_delay)

    def __str__(self) -> str:
        return "\n  ".join([f"{self.reason or self.code.name}: {self.message}", *map(str, self.violations)])

    @staticmethod
    def of_reason(
        reason: str,
        message: str,
        code: grpc.StatusCode,
        *,
        metadata: Mapping[str, str] | None = None,
        violations: Iterable[Violation] = (),
        retry_delay: timedelta | None = None,
    ) -> RefusedError:
        """Return an error of the subclass that stands for the reason, or of this class if none does."""
        kind = RefusedError._by_reason.get(reason, RefusedError)
        return kind(message, code, reason, metadata, violations, retry_delay)


class FieldInvalid(RefusedError, reason=errors_pb2.ERROR_REASON_FIELD_INVALID):
    """A field of the request is malformed; `violations` names the fields."""


class InputsInvalid(RefusedError, reason=errors_pb2.ERROR_REASON_INPUTS_INVALID):
    """The inputs do not fit the interface of the task; `violations` names each place by its path.

    Raised by the server, and by the client for values that it cannot convert.
    """


class OutputsInvalid(RefusedError, reason=errors_pb2.ERROR_REASON_OUTPUTS_INVALID):
    """The outputs that a worker reported do not fit the interface of the task.

    Raised by the server, and by the client for outputs that do not fit the function it has for the task.
    """


class PageTokenInvalid(RefusedError, reason=errors_pb2.ERROR_REASON_PAGE_TOKEN_INVALID):
    """The page token is malformed, or belongs to a list with other parameters."""


class ProtocolViolated(RefusedError, reason=errors_pb2.ERROR_REASON_PROTOCOL_VIOLATED):
    """A stream was not used as specified."""


class ProjectNotFound(RefusedError, reason=errors_pb2.ERROR_REASON_PROJECT_NOT_FOUND):
    """There is no such project."""


class DomainNotFound(RefusedError, reason=errors_pb2.ERROR_REASON_DOMAIN_NOT_FOUND):
    """The server has no such domain configured."""


class TaskNotFound(RefusedError, reason=errors_pb2.ERROR_REASON_TASK_NOT_FOUND):
    """No version of such a task is registered."""


class TaskVersionNotFound(RefusedError, reason=errors_pb2.ERROR_REASON_TASK_VERSION_NOT_FOUND):
    """The task is registered, but not in this version."""


class ExecutionNotFound(RefusedError, reason=errors_pb2.ERROR_REASON_EXECUTION_NOT_FOUND):
    """There is no such execution: it never was, or its retention has passed."""


class CacheEntryNotFound(RefusedError, reason=errors_pb2.ERROR_REASON_CACHE_ENTRY_NOT_FOUND):
    """There is no such cache entry: never filled, expired, or evicted."""


class TaskVersionConflict(RefusedError, reason=errors_pb2.ERROR_REASON_TASK_VERSION_CONFLICT):
    """The version is registered with another spec; `violations` lists what differs. Register under a new version."""


class ExecutionConflict(RefusedError, reason=errors_pb2.ERROR_REASON_EXECUTION_CONFLICT):
    """The name or request id was used before for another task version or other inputs."""


class ProjectAlreadyExists(RefusedError, reason=errors_pb2.ERROR_REASON_PROJECT_ALREADY_EXISTS):
    """The project exists."""


class ProjectArchived(RefusedError, reason=errors_pb2.ERROR_REASON_PROJECT_ARCHIVED):
    """The project is archived: it takes no registrations and no executions."""


class TaskArchived(RefusedError, reason=errors_pb2.ERROR_REASON_TASK_ARCHIVED):
    """The task is archived: it takes no executions."""


class LeaseLost(RefusedError, reason=errors_pb2.ERROR_REASON_LEASE_LOST):
    """The lease token does not, or no longer, hold the attempt."""


class ValueTooLarge(RefusedError, reason=errors_pb2.ERROR_REASON_VALUE_TOO_LARGE):
    """A value is over a limit of size."""


class QueueFull(RefusedError, reason=errors_pb2.ERROR_REASON_QUEUE_FULL):
    """As many executions of the task are waiting as its queue may hold. Try again after `retry_delay`."""


class StoreFull(RefusedError, reason=errors_pb2.ERROR_REASON_STORE_FULL):
    """The store is at its memory limit and takes no new work. Try again after `retry_delay`."""


class StoreUnavailable(RefusedError, reason=errors_pb2.ERROR_REASON_STORE_UNAVAILABLE):
    """The server cannot reach its store. Whether the request took effect is unknown."""


class ShuttingDown(RefusedError, reason=errors_pb2.ERROR_REASON_SHUTTING_DOWN):
    """The server is shutting down. Nothing is lost: try again."""


class BlobNotFound(RefusedError, reason=errors_pb2.ERROR_REASON_BLOB_NOT_FOUND):
    """The server has no such blob: it was never stored, or was not used for too long."""


class BlobDigestMismatch(RefusedError, reason=errors_pb2.ERROR_REASON_BLOB_DIGEST_MISMATCH):
    """The bytes of an upload are not those that were announced: they change while they are read."""


class BlobStoreUnavailable(RefusedError, reason=errors_pb2.ERROR_REASON_BLOB_STORE_UNAVAILABLE):
    """What keeps the blobs of the server cannot be reached, or is full. Try again after `retry_delay`."""


class GraphInvalid(RefusedError, reason=errors_pb2.ERROR_REASON_GRAPH_INVALID):
    """A graph does not hold; `violations` names each problem by the path of its node and field."""


class GraphNotFound(RefusedError, reason=errors_pb2.ERROR_REASON_GRAPH_NOT_FOUND):
    """The execution runs no graph, or its body has not given one yet."""


class SignalNotFound(RefusedError, reason=errors_pb2.ERROR_REASON_SIGNAL_NOT_FOUND):
    """No gate of the graph has this name. `metadata["similar"]` is one that is close, if there is one."""


class SignalConflict(RefusedError, reason=errors_pb2.ERROR_REASON_SIGNAL_CONFLICT):
    """The gate was answered otherwise."""


class ExecutionNotFailed(RefusedError, reason=errors_pb2.ERROR_REASON_EXECUTION_NOT_FAILED):
    """Only an execution that has ended without success can be repeated, and this one has not."""


class ExecutionEnded(RefusedError, reason=errors_pb2.ERROR_REASON_EXECUTION_ENDED):
    """The execution has ended, so its gates take no answers."""


class InternalFault(RefusedError, reason=errors_pb2.ERROR_REASON_INTERNAL):
    """A fault of the server, logged there under `metadata["error_id"]`."""


class CallFailed(LacewingError):
    """A call ended without an answer of the server.

    Attributes:
        message: What happened, for a person to read.
        code: The status code of the call.
    """

    def __init__(self, message: str, code: grpc.StatusCode = grpc.StatusCode.UNKNOWN) -> None:
        super().__init__(message, code)
        self.message = message
        self.code = code

    def __str__(self) -> str:
        return f"{self.code.name}: {self.message}"


class ServerUnavailable(CallFailed):
    """The server cannot be reached, or the connection broke. Whether the request took effect is unknown."""

    def __init__(self, message: str, code: grpc.StatusCode = grpc.StatusCode.UNAVAILABLE) -> None:
        super().__init__(message, code)


class DeadlineExceeded(CallFailed, TimeoutError):
    """The server did not answer in time. Whether the request took effect is unknown."""

    def __init__(self, message: str, code: grpc.StatusCode = grpc.StatusCode.DEADLINE_EXCEEDED) -> None:
        super().__init__(message, code)


class WaitTimedOut(LacewingError, TimeoutError):
    """The execution had not ended when the waiting was over. It goes on."""


class RemoteError(LacewingError):
    """An error that led to the error of a task, as its worker told it. Only found as `__cause__`.

    Attributes:
        code: The type of the exception.
        message: Its message.
        stack_trace: Where it was raised, in the manner of the language of the body.
    """

    def __init__(self, code: str, message: str, stack_trace: str = "") -> None:
        super().__init__(code, message, stack_trace)
        self.code = code
        self.message = message
        self.stack_trace = stack_trace

    def __str__(self) -> str:
        return _with_stack_trace(f"{self.code}: {self.message}", self.stack_trace)


class TaskDidNotSucceed(LacewingError):
    """The request was taken, and the execution ended without outputs.

    What led to the error, if the worker told it, is the chain of `__cause__`.

    Attributes:
        execution: The execution as it ended.
        error: Why, complete.
    """

    def __init__(self, execution: execution_pb2.Execution) -> None:
        super().__init__(execution)
        self.execution = execution
        self.error: execution_pb2.TaskError = execution.error
        self.__cause__ = _causes(execution.error)

    @property
    def id(self) -> identifiers_pb2.ExecutionId:
        """Which execution."""
        return self.execution.id

    @property
    def code(self) -> str:
        """A short name that programs can act on: the type of the body's exception, or one of the system's codes."""
        return self.error.code

    @property
    def message(self) -> str:
        """What happened, for a person to read."""
        return self.error.message

    @property
    def stack_trace(self) -> str:
        """Where it happened, in the manner of the language of the body. May be empty."""
        return self.error.stack_trace

    def __str__(self) -> str:
        ended = execution_pb2.Execution.State.Name(self.execution.state).removeprefix("STATE_")
        attempts = self.execution.attempt_count
        text = f"{self.execution.task.name}: {ended} after {attempts} attempt{'' if attempts == 1 else 's'}"
        text += f" (execution {self.id.name}): {self.code}: {self.message}"
        return _with_stack_trace(text, self.stack_trace)


class TaskFailed(TaskDidNotSucceed):
    """The task failed and is not retried, or infrastructure lost it too often."""


class TaskTimedOut(TaskDidNotSucceed):
    """A clock ran out; `code` says which: `AttemptTimeout`, `QueueTimeout` or `DeadlineExceeded`."""


class TaskCancelled(TaskDidNotSucceed):
    """The execution was cancelled."""


class TaskLoadError(LacewingError):
    """A module with tasks cannot be loaded, or holds none. The message says why and what to do."""


class RecoverableError(LacewingError):
    """Raised by a body: it failed in a way that another attempt may not.

    Any exception of a body is recoverable; this one can also name its code and ask for a delay.

    Args:
        message: What happened, for a person to read.
        code: A short name that programs can act on, at most 128 characters. Default: the name of the class.
        retry_delay: How long to wait before another attempt, in seconds if a number. Default: the back-off decides.
    """

    def __init__(self, message: str, *, code: str | None = None, retry_delay: timedelta | float | None = None) -> None:
        super().__init__(message)
        self.code = code
        if isinstance(retry_delay, int | float):
            retry_delay = timedelta(seconds=retry_delay)
        self.retry_delay: timedelta | None = retry_delay


class NonRecoverableError(LacewingError):
    """Raised by a body: it failed and would fail again. The execution ends at once, whatever retries are left.

    Args:
        message: What happened, for a person to read.
        code: A short name that programs can act on, at most 128 characters. Default: the name of the class.
    """

    def __init__(self, message: str, *, code: str | None = None) -> None:
        super().__init__(message)
        self.code = code


def from_execution(execution: execution_pb2.Execution) -> TaskDidNotSucceed:
    """Return the error that an execution stands for which ended without outputs."""
    if execution.state == execution_pb2.Execution.STATE_TIMED_OUT:
        return TaskTimedOut(execution)
    if execution.state == execution_pb2.Execution.STATE_CANCELLED:
        return TaskCancelled(execution)
    return TaskFailed(execution)


def _causes(error: execution_pb2.TaskError) -> RemoteError | None:
    if not error.HasField("cause"):
        return None
    cause = error.cause
    result = RemoteError(cause.code, cause.message, cause.stack_trace)
    result.__cause__ = _causes(cause)
    return result


def _with_stack_trace(text: str, stack_trace: str) -> str:
    if not stack_trace:
        return text
    indented = "\n".join("  " + line for line in stack_trace.rstrip().splitlines())
    return f"{text}\n\nRemote stack trace:\n{indented}"
