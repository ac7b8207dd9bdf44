"""The client: registers tasks, executes them, and reads what the server keeps."""

from __future__ import annotations

import asyncio
import copy
import os
from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Coroutine, Iterable, Mapping
from contextlib import aclosing
from dataclasses import dataclass, field, replace
from datetime import timedelta
from functools import cached_property
from types import TracebackType
from typing import Any, Literal, ParamSpec, Self, TypedDict, TypeVar, Unpack, overload

import grpc

from lacewing._blobs import Blobs, BlobSession
from lacewing._channel import CALL_TIMEOUT, resolve_address, rpc_errors
from lacewing._durations import duration, seconds
from lacewing._handle import Handle, check_succeeded
from lacewing._resources import Resources
from lacewing._stream import ExecuteStream
from lacewing._target import FunctionTarget, NamedTarget, Target, TaskReference, execution_id
from lacewing._values import Values
from lacewing._window import Inputs, Running, Window
from lacewing._wire import part
from lacewing.errors import InputsInvalid, LacewingError
from lacewing.task import AnyTask, Task
from lacewing.v1 import (
    audit_pb2,
    cache_service_pb2,
    execution_pb2,
    execution_service_pb2,
    identifiers_pb2,
    task_pb2,
)

_Request = execution_service_pb2.ExecuteRequest
_Parameters = ParamSpec("_Parameters")
_Result = TypeVar("_Result")

# A call that waits for an execution without bound: gRPC wants a deadline nevertheless. And what a call may take beyond
# its wait.
_LONGEST_WAIT = timedelta(days=30).total_seconds()
_SLACK = 5.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """How requests are executed; see `Client.with_options`."""

    cache_mode: execution_pb2.CacheMode.ValueType = execution_pb2.CACHE_MODE_UNSPECIFIED
    """How to use the cache. Default: answer from it if it has an entry, else run and fill it."""
    deadline: timedelta | float | None = None
    """The most an execution may take from creation to end, in seconds if a number. Default: that of the task."""
    timeout: timedelta | float | None = None
    """The most to wait for a result, in seconds if a number; the execution goes on after it. Default: without bound."""
    name: str = ""
    """The name of the execution, so that repeating the request gives the execution that exists. For one request."""
    request_id: str = ""
    """Makes a request safe to repeat, 1 to 128 printable characters. Default: each has its own. For one request."""
    priority: execution_pb2.Priority.ValueType = execution_pb2.PRIORITY_UNSPECIFIED
    """Which of the executions that wait for a worker in the same queue go first. Default: normal."""
    labels: Mapping[str, str] = field(default_factory=dict)
    """Labels to find executions by."""
    cancel_on_disconnect: bool = False
    """Whether an execution is cancelled when its caller is cancelled, or goes away. Each is then a call of its own."""
    max_parallelism: int = 0
    """The most nodes of its graph that may run at a time, if it runs one. 0: as the task says."""


class OptionFields(TypedDict, total=False):
    """The fields of `Options`, as keyword arguments."""

    cache_mode: execution_pb2.CacheMode.ValueType
    deadline: timedelta | float | None
    timeout: timedelta | float | None
    name: str
    request_id: str
    priority: execution_pb2.Priority.ValueType
    labels: Mapping[str, str]
    cancel_on_disconnect: bool
    max_parallelism: int


class Client(Resources):
    """A client of one server, or of one address behind which there are many.

    Use it as `async with Client() as client:`, on one event loop. It connects at first use, and again whenever the
    connection breaks. Concurrent requests share one stream: thousands at a time are well.

    Every method raises `RefusedError` (the server did not take the request) and `CallFailed` (it did not answer), with
    their subclasses; what waits for a result also `TaskDidNotSucceed`.

    Args:
        address: Where the server is, `host:port`, or many servers of one store, `ipv4:host:port,host:port` or
            `dns:///name:port`. Default: $LACEWING_ADDRESS, else `127.0.0.1:7400`.
        project: The project of tasks and executions that do not name their own. Default: the server's.
        domain: The domain of those. Default: the server's.
        credentials: For a server behind TLS. Default: plain text.
    """

    def __init__(
        self,
        address: str | None = None,
        *,
        project: str = "",
        domain: str = "",
        credentials: grpc.ChannelCredentials | None = None,
    ) -> None:
        super().__init__(resolve_address(address), credentials, project, domain)
        self._use(Options())
        self._targets: dict[tuple[str, str, str, str], NamedTarget] = {}

    @cached_property
    def _stream(self) -> ExecuteStream:
        return ExecuteStream(self.channel)

    @cached_property
    def _values(self) -> Values:
        return Values(BlobSession(Blobs(self.address, self._credentials)))

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Close the connection. Executions go on; what waits for a result fails with `CallFailed`."""
        self._values.close()
        await self._stream.close()
        await self.channel.close()

    def with_options(self, **options: Unpack[OptionFields]) -> Self:
        """Return a client that shares this connection, and makes its requests with these options.

        Closing either closes both.

        Args:
            **options: Fields of `Options`; what is not given stays as it is.
        """
        # Opened now if they are not, so that both clients have the same.
        _ = self.channel, self._stream, self._values
        derived = copy.copy(self)
        derived._use(replace(self._options, **options))  # noqa: SLF001 it is of this class
        return derived

    def _use(self, options: Options) -> None:
        self._options = options
        self._template = _template(options).SerializeToString()
        self._wait_timeout = None if options.timeout is None else seconds(options.timeout)

    async def register(self, *tasks: AnyTask) -> list[task_pb2.TaskVersion]:
        """Register tasks, and return the version of each. Registering again what has not changed is no error.

        Raises:
            TaskVersionConflict: The version of a task exists with another spec.
        """
        responses = await asyncio.gather(
            *(self.register_task(each.id(self.project, self.domain), each.spec) for each in tasks)
        )
        return [response.task_version for response in responses]

    @overload
    async def execute(
        self,
        task: Task[_Parameters, Coroutine[Any, Any, _Result]],
        /,
        *args: _Parameters.args,
        **inputs: _Parameters.kwargs,
    ) -> _Result: ...

    @overload
    async def execute(
        self, task: Task[_Parameters, _Result], /, *args: _Parameters.args, **inputs: _Parameters.kwargs
    ) -> _Result: ...

    @overload
    async def execute(self, task: str | identifiers_pb2.TaskId, /, **inputs: Any) -> Any: ...

    async def execute(self, task: TaskReference, /, *args: Any, **inputs: Any) -> Any:
        """Execute a task, wait for its end, and return its result.

        Cancelling the wait does not cancel the execution, unless the options say `cancel_on_disconnect`.

        Args:
            task: The task itself, `"name"`, `"name@version"`, or a TaskId. A task that is only named takes and gives
                plain values, as in JSON.
            *args: Its inputs, by position.
            **inputs: Its inputs, by name.

        Raises:
            InputsInvalid: The inputs do not fit the interface.
            TaskNotFound: The task is not registered.
            TaskDidNotSucceed: It failed, timed out or was cancelled.
            WaitTimedOut: It has not ended within the `timeout` of the options.
        """
        target = self._target(task)
        request = await self._request(target, _named(task, args, inputs))
        if self._options.cancel_on_disconnect:
            return await self._outcome(target, self._execute_alone(request))
        return await self._outcome(target, self._stream.submit(request, self._wait_timeout))

    @overload
    async def audit(
        self, task: Task[_Parameters, Any], /, *args: _Parameters.args, **inputs: _Parameters.kwargs
    ) -> audit_pb2.AuditResult: ...

    @overload
    async def audit(self, task: str | identifiers_pb2.TaskId, /, **inputs: Any) -> audit_pb2.AuditResult: ...

    async def audit(self, task: TaskReference, /, *args: Any, **inputs: Any) -> audit_pb2.AuditResult:
        """Run a task twice with the same inputs, and return what comparing the outputs gives.

        A mismatch marks the version of the task. The cache is neither read nor filled.

        Args:
            task: As of `execute`.
            *args: Its inputs, by position.
            **inputs: Its inputs, by name.

        Raises:
            InputsInvalid: The inputs do not fit the interface.
            TaskNotFound: The task is not registered.
            RefusedError: It must not run twice, because it is not idempotent.
        """
        target = self._target(task)
        values = await target.inputs(_named(task, args, inputs))
        try:
            return await anext(self._audits(cache_service_pb2.AuditTaskRequest(task=target.id, inputs=values)))
        except InputsInvalid:
            target.refused()
            raise

    @overload
    async def submit(
        self,
        task: Task[_Parameters, Coroutine[Any, Any, _Result]],
        /,
        *args: _Parameters.args,
        **inputs: _Parameters.kwargs,
    ) -> Handle[_Result]: ...

    @overload
    async def submit(
        self, task: Task[_Parameters, _Result], /, *args: _Parameters.args, **inputs: _Parameters.kwargs
    ) -> Handle[_Result]: ...

    @overload
    async def submit(self, task: str | identifiers_pb2.TaskId, /, **inputs: Any) -> Handle[Any]: ...

    async def submit(self, task: TaskReference, /, *args: Any, **inputs: Any) -> Handle[Any]:
        """Create an execution and return a handle on it at once. Arguments and errors as of `execute`."""
        target = self._target(task)
        request = await self._request(target, _named(task, args, inputs))
        create = execution_service_pb2.CreateExecutionRequest(request=_Request.FromString(request))
        with rpc_errors():
            response = await self.executions.CreateExecution(create, timeout=CALL_TIMEOUT)
        return Handle(self, response.execution.id, target.result)

    def handle(self, execution: identifiers_pb2.ExecutionId | str, task: TaskReference) -> Handle[Any]:
        """Return a handle on an execution that was submitted earlier, maybe elsewhere.

        Args:
            execution: Its identity, its name, or `"project/domain/name"`.
            task: Its task, by which the result is converted.
        """
        return Handle(self, execution_id(execution, self.project, self.domain), self._target(task).result)

    async def retry(
        self,
        execution: identifiers_pb2.ExecutionId | str,
        task: TaskReference | None = None,
        *,
        failed_only: bool = False,
        name: str = "",
        request_id: str = "",
    ) -> Handle[Any]:
        """Execute again what did not succeed: the same task version with the same inputs, as a new execution.

        Args:
            execution: What has ended without success: its identity, its name, or `"project/domain/name"`.
            task: Its task, by which the result is converted. Default: that of the execution, with a plain result.
            failed_only: Whether to keep its graph, if it ran one, and the nodes that have succeeded.
            name: The name of the new execution. Default: the server makes one.
            request_id: Makes the request safe to repeat, 1 to 128 printable characters. Default: one of its own.

        Raises:
            ExecutionNotFound: There is no such execution.
            ExecutionNotFailed: It has not ended, or it has succeeded.
        """
        if task is None:
            task = (await self.get(execution, view=execution_pb2.EXECUTION_VIEW_BASIC)).task
        return await self.handle(execution, task).retry(failed_only=failed_only, name=name, request_id=request_id)

    @overload
    def map(
        self,
        task: Task[..., Coroutine[Any, Any, _Result]],
        inputs: Iterable[Inputs] | AsyncIterable[Inputs],
        *,
        concurrency: int = 1000,
        ordered: bool = True,
        return_exceptions: Literal[False] = False,
    ) -> AsyncIterator[_Result]: ...

    @overload
    def map(
        self,
        task: Task[..., _Result],
        inputs: Iterable[Inputs] | AsyncIterable[Inputs],
        *,
        concurrency: int = 1000,
        ordered: bool = True,
        return_exceptions: Literal[False] = False,
    ) -> AsyncIterator[_Result]: ...

    @overload
    def map(
        self,
        task: TaskReference,
        inputs: Iterable[Inputs] | AsyncIterable[Inputs],
        *,
        concurrency: int = 1000,
        ordered: bool = True,
        return_exceptions: bool = False,
    ) -> AsyncIterator[Any]: ...

    async def map(
        self,
        task: TaskReference,
        inputs: Iterable[Inputs] | AsyncIterable[Inputs],
        *,
        concurrency: int = 1000,
        ordered: bool = True,
        return_exceptions: bool = False,
    ) -> AsyncIterator[Any]:
        """Execute a task once for each of the inputs, and yield the results.

        Inputs are taken from the iterable as results are, so that it may be endless. When the iteration ends early,
        what is under way goes on, and its results are dropped.

        Args:
            task: As of `execute`.
            inputs: The inputs of each execution, by name.
            concurrency: The most executions under way at a time, at least 1.
            ordered: Whether results come in the order of the inputs, or as they become known.
            return_exceptions: Whether the errors of single executions are yielded as their results, or the first one is
                raised and ends the iteration.

        Raises:
            ValueError: The concurrency is less than 1.
            LacewingError: As of `execute`, unless they are yielded.
        """
        if concurrency < 1:
            raise ValueError(f"the concurrency is at least 1, not {concurrency}")
        target = self._target(task)
        window = Window(lambda values: self._start(target, values), concurrency, ordered=ordered)
        async with aclosing(window.run(inputs)) as executions:
            async for execution in executions:
                try:
                    result = await self._outcome(target, execution)
                except LacewingError as error:
                    if not return_exceptions:
                        raise
                    result = error
                yield result

    async def _start(self, target: Target, values: Inputs) -> Running:
        """Submit one of many; what is wrong with its inputs is its outcome."""
        try:
            return self._stream.submit(await self._request(target, values), self._wait_timeout)
        except LacewingError as error:
            refused: Running = asyncio.get_running_loop().create_future()
            refused.set_exception(error)
            return refused

    async def _outcome(self, target: Target, execution: Awaitable[execution_pb2.Execution]) -> Any:
        try:
            ended = await execution
        except InputsInvalid:
            target.refused()
            raise
        check_succeeded(ended)
        return await target.result(ended)

    async def _execute_alone(self, request: bytes) -> execution_pb2.Execution:
        wait = _LONGEST_WAIT if self._wait_timeout is None else self._wait_timeout
        with rpc_errors():
            response = await self.executions.Execute(_Request.FromString(request), timeout=wait + _SLACK)
        return response.execution

    async def _request(self, target: Target, values: Mapping[str, Any]) -> bytes:
        """Return a serialized `ExecuteRequest`: what is the same in each is not serialized again."""
        inputs = part(_Request.INPUTS_FIELD_NUMBER, (await target.inputs(values)).SerializeToString())
        if self._options.request_id:
            return b"".join((target.request, inputs, self._template))
        # As random as a UUID, for a fifth of its time.
        request_id = part(_Request.REQUEST_ID_FIELD_NUMBER, os.urandom(16).hex().encode())
        return b"".join((target.request, inputs, request_id, self._template))

    def _target(self, task: TaskReference) -> Target:
        if isinstance(task, Task):
            return FunctionTarget(task, self.project, self.domain, self._values)
        identity = self._task_id(task)
        key = identity.project, identity.domain, identity.name, identity.version
        if key not in self._targets:
            self._targets[key] = NamedTarget(identity, self._fetch_version, self._values)
        return self._targets[key]

    async def _fetch_version(self, task: identifiers_pb2.TaskId) -> task_pb2.TaskVersion:
        return (await self.get_task(task)).task_version


def _template(options: Options) -> execution_service_pb2.ExecuteRequest:
    """Return what the options say of every request."""
    return execution_service_pb2.ExecuteRequest(
        cache_mode=options.cache_mode,
        priority=options.priority,
        name=options.name,
        request_id=options.request_id,
        deadline=None if options.deadline is None else duration(options.deadline),
        labels=options.labels,
        wait_timeout=None if options.timeout is None else duration(options.timeout),
        cancel_on_disconnect=options.cancel_on_disconnect,
        max_parallelism=options.max_parallelism,
    )


def _named(task: TaskReference, args: tuple[Any, ...], inputs: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return all inputs by name."""
    if not args:
        return inputs
    if not isinstance(task, Task):
        raise TypeError("the inputs of a task that is only named are given by name")
    return task.interface.bind(args, inputs)
