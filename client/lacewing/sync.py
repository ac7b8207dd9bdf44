"""The client for code without an event loop: a thin blocking facade over `lacewing.client`.

Each client has an event loop of its own in a thread of its own; its methods are those of the async client, and may be
called from any number of threads::

    with lacewing.sync.Client() as client:
        client.register(add)
        assert client.execute(add, a=2, b=40) == 42
"""

from __future__ import annotations

import copy
from collections.abc import Coroutine, Iterable, Iterator, Mapping
from datetime import datetime, timedelta
from types import TracebackType
from typing import Any, Generic, Literal, ParamSpec, Self, TypeVar, Unpack, overload

import grpc

from lacewing import _handle
from lacewing import client as _client
from lacewing._loop_thread import LoopThread
from lacewing._target import TaskReference
from lacewing.client import OptionFields
from lacewing.task import AnyTask, Task
from lacewing.v1 import (
    audit_pb2,
    cache_pb2,
    execution_pb2,
    execution_service_pb2,
    identifiers_pb2,
    project_pb2,
    task_pb2,
    task_service_pb2,
    worker_service_pb2,
)

_Parameters = ParamSpec("_Parameters")
_Result = TypeVar("_Result")


class Handle(Generic[_Result]):
    """An execution that was submitted; see `lacewing.Handle`."""

    def __init__(self, handle: _handle.Handle[_Result], thread: LoopThread) -> None:
        """Make a handle; `Client.submit` and `Client.handle` do."""
        self._handle = handle
        self._thread = thread

    def __repr__(self) -> str:
        return repr(self._handle)

    @property
    def id(self) -> identifiers_pb2.ExecutionId:
        """Its identity."""
        return self._handle.id

    def result(self, timeout: timedelta | float | None = None) -> _Result:
        """Wait for the end and return the result; see `lacewing.Handle.result`."""
        return self._thread.run(lambda: self._handle.result(timeout))

    def wait(self, timeout: timedelta | float | None = None) -> execution_pb2.Execution:
        """Wait for the end and return the execution; see `lacewing.Handle.wait`."""
        return self._thread.run(lambda: self._handle.wait(timeout))

    def status(self) -> execution_pb2.Execution:
        """Return the execution as it is now, without inputs and outputs."""
        return self._thread.run(self._handle.status)

    @overload
    def watch(self, *, nodes: Literal[False] = False) -> Iterator[execution_pb2.Execution]: ...

    @overload
    def watch(self, *, nodes: Literal[True]) -> Iterator[execution_service_pb2.WatchExecutionResponse]: ...

    def watch(self, *, nodes: bool = False) -> Iterator[Any]:
        """Yield the execution as it is, then after each change; see `lacewing.Handle.watch`."""
        if nodes:
            return self._thread.iterate(lambda: self._handle.watch(nodes=True))
        return self._thread.iterate(self._handle.watch)

    def graph(self) -> execution_service_pb2.GetGraphResponse:
        """Return the graph that it runs or ran, and where each of its nodes stands."""
        return self._thread.run(self._handle.graph)

    def signal(self, signal_id: str, value: Any) -> None:
        """Answer a gate of its graph; see `lacewing.Client.signal`."""
        self._thread.run(lambda: self._handle.signal(signal_id, value))

    def approve(self, signal_id: str) -> None:
        """Agree where a node of its graph waits for approval."""
        self._thread.run(lambda: self._handle.approve(signal_id))

    def reject(self, signal_id: str) -> None:
        """Refuse where a node of its graph waits for approval."""
        self._thread.run(lambda: self._handle.reject(signal_id))

    def retry(self, *, failed_only: bool = False, name: str = "", request_id: str = "") -> Handle[_Result]:
        """Execute again what did not succeed; see `lacewing.Client.retry`."""
        retried = self._thread.run(
            lambda: self._handle.retry(failed_only=failed_only, name=name, request_id=request_id)
        )
        return Handle(retried, self._thread)

    def cancel(self, reason: str = "") -> execution_pb2.Execution:
        """Cancel it, unless it has ended, and return it as it is then."""
        return self._thread.run(lambda: self._handle.cancel(reason))

    def attempts(self) -> Iterator[execution_pb2.Attempt]:
        """Yield its attempts, the first one first."""
        return self._thread.iterate(self._handle.attempts)


class Client:
    """A blocking client; see `lacewing.Client`, whose methods it has."""

    def __init__(
        self,
        address: str | None = None,
        *,
        project: str = "",
        domain: str = "",
        credentials: grpc.ChannelCredentials | None = None,
    ) -> None:
        """Make a client; arguments as of `lacewing.Client`."""
        self._client = _client.Client(address, project=project, domain=domain, credentials=credentials)
        self._thread = LoopThread()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the connection and end the thread. Executions go on. Closing again does nothing."""
        if not self._thread.is_over:
            self._thread.run(self._client.close)
            self._thread.stop()

    def with_options(self, **options: Unpack[OptionFields]) -> Self:
        """Return a client that shares this connection and thread; see `lacewing.Client.with_options`."""

        async def derive() -> _client.Client:
            return self._client.with_options(**options)

        derived = copy.copy(self)
        derived._client = self._thread.run(derive)  # noqa: SLF001 it is of this class
        return derived

    def register(self, *tasks: AnyTask) -> list[task_pb2.TaskVersion]:
        """Register tasks; see `lacewing.Client.register`."""
        return self._thread.run(lambda: self._client.register(*tasks))

    @overload
    def execute(
        self,
        task: Task[_Parameters, Coroutine[Any, Any, _Result]],
        /,
        *args: _Parameters.args,
        **inputs: _Parameters.kwargs,
    ) -> _Result: ...

    @overload
    def execute(
        self, task: Task[_Parameters, _Result], /, *args: _Parameters.args, **inputs: _Parameters.kwargs
    ) -> _Result: ...

    @overload
    def execute(self, task: str | identifiers_pb2.TaskId, /, **inputs: Any) -> Any: ...

    def execute(self, task: Any, /, *args: Any, **inputs: Any) -> Any:
        """Execute a task, wait for its end, and return its result; see `lacewing.Client.execute`."""
        return self._thread.run(lambda: self._client.execute(task, *args, **inputs))

    @overload
    def submit(
        self,
        task: Task[_Parameters, Coroutine[Any, Any, _Result]],
        /,
        *args: _Parameters.args,
        **inputs: _Parameters.kwargs,
    ) -> Handle[_Result]: ...

    @overload
    def submit(
        self, task: Task[_Parameters, _Result], /, *args: _Parameters.args, **inputs: _Parameters.kwargs
    ) -> Handle[_Result]: ...

    @overload
    def submit(self, task: str | identifiers_pb2.TaskId, /, **inputs: Any) -> Handle[Any]: ...

    def submit(self, task: Any, /, *args: Any, **inputs: Any) -> Handle[Any]:
        """Create an execution and return a handle on it at once; see `lacewing.Client.submit`."""
        handle: _handle.Handle[Any] = self._thread.run(lambda: self._client.submit(task, *args, **inputs))
        return Handle(handle, self._thread)

    def handle(self, execution: identifiers_pb2.ExecutionId | str, task: TaskReference) -> Handle[Any]:
        """Return a handle on an execution that was submitted earlier; see `lacewing.Client.handle`."""
        return Handle(self._client.handle(execution, task), self._thread)

    def retry(
        self,
        execution: identifiers_pb2.ExecutionId | str,
        task: TaskReference | None = None,
        *,
        failed_only: bool = False,
        name: str = "",
        request_id: str = "",
    ) -> Handle[Any]:
        """Execute again what did not succeed; see `lacewing.Client.retry`."""
        retried = self._thread.run(
            lambda: self._client.retry(execution, task, failed_only=failed_only, name=name, request_id=request_id)
        )
        return Handle(retried, self._thread)

    def get_graph(self, execution: identifiers_pb2.ExecutionId | str) -> execution_service_pb2.GetGraphResponse:
        """Return the graph of an execution, and where each of its nodes stands; see `lacewing.Client.get_graph`."""
        return self._thread.run(lambda: self._client.get_graph(execution))

    def signal(self, execution: identifiers_pb2.ExecutionId | str, signal_id: str, value: Any) -> None:
        """Answer a gate of a graph; see `lacewing.Client.signal`."""
        self._thread.run(lambda: self._client.signal(execution, signal_id, value))

    def approve(self, execution: identifiers_pb2.ExecutionId | str, signal_id: str) -> None:
        """Agree where a node waits for approval; see `lacewing.Client.approve`."""
        self._thread.run(lambda: self._client.approve(execution, signal_id))

    def reject(self, execution: identifiers_pb2.ExecutionId | str, signal_id: str) -> None:
        """Refuse where a node waits for approval; see `lacewing.Client.reject`."""
        self._thread.run(lambda: self._client.reject(execution, signal_id))

    @overload
    def map(
        self,
        task: Task[..., Coroutine[Any, Any, _Result]],
        inputs: Iterable[Mapping[str, Any]],
        *,
        concurrency: int = 1000,
        ordered: bool = True,
        return_exceptions: Literal[False] = False,
    ) -> Iterator[_Result]: ...

    @overload
    def map(
        self,
        task: Task[..., _Result],
        inputs: Iterable[Mapping[str, Any]],
        *,
        concurrency: int = 1000,
        ordered: bool = True,
        return_exceptions: Literal[False] = False,
    ) -> Iterator[_Result]: ...

    @overload
    def map(
        self,
        task: TaskReference,
        inputs: Iterable[Mapping[str, Any]],
        *,
        concurrency: int = 1000,
        ordered: bool = True,
        return_exceptions: bool = False,
    ) -> Iterator[Any]: ...

    def map(self, task: Any, inputs: Iterable[Mapping[str, Any]], **arguments: Any) -> Iterator[Any]:
        """Execute a task once for each of the inputs, and yield the results; see `lacewing.Client.map`.

        The inputs are taken from the iterable in the thread of the client.
        """
        return self._thread.iterate(lambda: self._client.map(task, inputs, **arguments))

    def get(
        self,
        execution: identifiers_pb2.ExecutionId | str,
        *,
        view: execution_pb2.ExecutionView.ValueType = execution_pb2.EXECUTION_VIEW_FULL,
    ) -> execution_pb2.Execution:
        """Return an execution; see `lacewing.Client.get`."""
        return self._thread.run(lambda: self._client.get(execution, view=view))

    def list(
        self,
        *,
        task: str = "",
        version: str = "",
        states: Iterable[execution_pb2.Execution.State.ValueType] = (),
        labels: Mapping[str, str] | None = None,
        created_after: datetime | None = None,
        created_before: datetime | None = None,
        parent: identifiers_pb2.ExecutionId | str | None = None,
        view: execution_pb2.ExecutionView.ValueType = execution_pb2.EXECUTION_VIEW_BASIC,
        limit: int | None = None,
    ) -> Iterator[execution_pb2.Execution]:
        """Yield executions, last created first; see `lacewing.Client.list`."""
        return self._thread.iterate(
            lambda: self._client.list(
                task=task,
                version=version,
                states=states,
                labels=labels,
                created_after=created_after,
                created_before=created_before,
                parent=parent,
                view=view,
                limit=limit,
            )
        )

    def cancel(self, execution: identifiers_pb2.ExecutionId | str, reason: str = "") -> execution_pb2.Execution:
        """Cancel an execution, unless it has ended, and return it as it is then."""
        return self._thread.run(lambda: self._client.cancel(execution, reason))

    def attempts(self, execution: identifiers_pb2.ExecutionId | str) -> Iterator[execution_pb2.Attempt]:
        """Yield the attempts of an execution, the first one first."""
        return self._thread.iterate(lambda: self._client.attempts(execution))

    def register_task(
        self, task: identifiers_pb2.TaskId, spec: task_pb2.TaskSpec, *, validate_only: bool = False
    ) -> task_service_pb2.RegisterTaskResponse:
        """Register one version of a task of any language; see `lacewing.Client.register_task`."""
        return self._thread.run(lambda: self._client.register_task(task, spec, validate_only=validate_only))

    def get_task(self, task: TaskReference) -> task_service_pb2.GetTaskResponse:
        """Return a task and one of its versions."""
        return self._thread.run(lambda: self._client.get_task(task))

    def list_tasks(
        self, *, name_prefix: str = "", include_archived: bool = False, limit: int | None = None
    ) -> Iterator[task_pb2.Task]:
        """Yield tasks by name; see `lacewing.Client.list_tasks`."""
        return self._thread.iterate(
            lambda: self._client.list_tasks(name_prefix=name_prefix, include_archived=include_archived, limit=limit)
        )

    def list_task_versions(self, task: TaskReference, *, limit: int | None = None) -> Iterator[task_pb2.TaskVersion]:
        """Yield the versions of a task, last registered first."""
        return self._thread.iterate(lambda: self._client.list_task_versions(task, limit=limit))

    def archive_task(self, task: TaskReference) -> task_pb2.Task:
        """Archive a task: it takes no new executions. Nothing is deleted."""
        return self._thread.run(lambda: self._client.archive_task(task))

    def restore_task(self, task: TaskReference) -> task_pb2.Task:
        """Restore an archived task."""
        return self._thread.run(lambda: self._client.restore_task(task))

    def cache_stats(self, task: TaskReference | None = None, *, project: str = "") -> cache_pb2.CacheStats:
        """Return what the cache did for a task, or for all tasks of a project."""
        return self._thread.run(lambda: self._client.cache_stats(task, project=project))

    def cache_entries(self, task: TaskReference, *, limit: int | None = None) -> Iterator[cache_pb2.CacheEntry]:
        """Yield the cache entries of a task, last filled first, without their outputs."""
        return self._thread.iterate(lambda: self._client.cache_entries(task, limit=limit))

    def cache_entry(self, key: str) -> cache_pb2.CacheEntry:
        """Return the cache entry with this key."""
        return self._thread.run(lambda: self._client.cache_entry(key))

    def evict_cache(
        self, task: TaskReference | None = None, *, key: str = "", created_before: datetime | None = None
    ) -> int:
        """Evict cache entries and return how many they were; see `lacewing.Client.evict_cache`."""
        return self._thread.run(lambda: self._client.evict_cache(task, key=key, created_before=created_before))

    @overload
    def audit(
        self, task: Task[_Parameters, Any], /, *args: _Parameters.args, **inputs: _Parameters.kwargs
    ) -> audit_pb2.AuditResult: ...

    @overload
    def audit(self, task: str | identifiers_pb2.TaskId, /, **inputs: Any) -> audit_pb2.AuditResult: ...

    def audit(self, task: Any, /, *args: Any, **inputs: Any) -> audit_pb2.AuditResult:
        """Run a task twice, and return what comparing the outputs gives; see `lacewing.Client.audit`."""
        return self._thread.run(lambda: self._client.audit(task, *args, **inputs))

    def audit_entry(self, key: str) -> audit_pb2.AuditResult:
        """Run a cache entry again, and return what comparing gives; see `lacewing.Client.audit_entry`."""
        return self._thread.run(lambda: self._client.audit_entry(key))

    def audit_sample(self, task: TaskReference, count: int) -> Iterator[audit_pb2.AuditResult]:
        """Audit cache entries chosen at random, and yield the results; see `lacewing.Client.audit_sample`."""
        return self._thread.iterate(lambda: self._client.audit_sample(task, count))

    def workers(self) -> Iterator[worker_service_pb2.Worker]:
        """Yield the workers that are connected to any server, by name."""
        return self._thread.iterate(self._client.workers)

    def projects(self, *, include_archived: bool = False) -> Iterator[project_pb2.Project]:
        """Yield the projects by id."""
        return self._thread.iterate(lambda: self._client.projects(include_archived=include_archived))

    def create_project(self, project: project_pb2.Project) -> project_pb2.Project:
        """Create a project."""
        return self._thread.run(lambda: self._client.create_project(project))

    def get_project(self, project: str = "") -> project_pb2.Project:
        """Return a project. Default: that of the client, else the server's default."""
        return self._thread.run(lambda: self._client.get_project(project))

    def update_project(self, project: project_pb2.Project) -> project_pb2.Project:
        """Replace the texts of a project, its state unless unspecified, its limits and defaults if they are set."""
        return self._thread.run(lambda: self._client.update_project(project))

    def domains(self) -> Iterable[project_pb2.Domain]:
        """Return the domains of the server; the first is the default one."""
        return self._thread.run(self._client.domains)
