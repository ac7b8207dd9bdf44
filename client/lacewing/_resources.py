"""The calls that read and manage what a server keeps: executions and graphs, tasks, the cache, workers, projects."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Mapping
from datetime import datetime
from functools import cached_property

from google.protobuf import timestamp_pb2

from lacewing._channel import CALL_TIMEOUT, rpc_errors
from lacewing._connection import paged
from lacewing._graphs import Graphs
from lacewing._target import TaskReference
from lacewing.v1 import (
    audit_pb2,
    cache_pb2,
    cache_service_pb2,
    cache_service_pb2_grpc,
    execution_pb2,
    execution_service_pb2,
    identifiers_pb2,
    project_pb2,
    project_service_pb2,
    project_service_pb2_grpc,
    task_pb2,
    task_service_pb2,
    task_service_pb2_grpc,
    worker_service_pb2,
    worker_service_pb2_grpc,
)


class Resources(Graphs):
    """One channel to a server, and the calls on what the server keeps.

    What has many items is an async iterator over all of them; pages are fetched as it goes on. Every method raises
    `RefusedError` with its subclasses, and `CallFailed` with its subclasses.
    """

    @cached_property
    def _tasks(self) -> task_service_pb2_grpc.TaskServiceStub:
        return task_service_pb2_grpc.TaskServiceStub(self.channel)

    @cached_property
    def _cache(self) -> cache_service_pb2_grpc.CacheServiceStub:
        return cache_service_pb2_grpc.CacheServiceStub(self.channel)

    @cached_property
    def _workers(self) -> worker_service_pb2_grpc.WorkerServiceStub:
        return worker_service_pb2_grpc.WorkerServiceStub(self.channel)

    @cached_property
    def _projects(self) -> project_service_pb2_grpc.ProjectServiceStub:
        return project_service_pb2_grpc.ProjectServiceStub(self.channel)

    async def get(
        self,
        execution: identifiers_pb2.ExecutionId | str,
        *,
        view: execution_pb2.ExecutionView.ValueType = execution_pb2.EXECUTION_VIEW_FULL,
    ) -> execution_pb2.Execution:
        """Return an execution.

        Args:
            execution: Its identity, its name, or `"project/domain/name"`.
            view: How much of it.
        """
        request = execution_service_pb2.GetExecutionRequest(id=self._execution_id(execution), view=view)
        with rpc_errors():
            return (await self.executions.GetExecution(request, timeout=CALL_TIMEOUT)).execution

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
    ) -> AsyncIterator[execution_pb2.Execution]:
        """Yield executions, last created first. Those of nodes of graphs only if `task` or `parent` is given.

        Args:
            task: Only executions of the task with this name.
            version: Only executions of this version; needs `task`.
            states: Only executions in one of these states. Default: in any.
            labels: Only executions with all of these labels.
            created_after: Only executions created at this time or later.
            created_before: Only executions created before this time.
            parent: Only executions of nodes of this execution's graph, whatever their project and domain.
            view: How much of each.
            limit: The most to yield. Default: all.
        """
        request = execution_service_pb2.ListExecutionsRequest(
            project=self.project,
            domain=self.domain,
            task_name=task,
            task_version=version,
            states=states,
            labels=labels or {},
            created_after=_timestamp(created_after),
            created_before=_timestamp(created_before),
            parent=None if parent is None else self._execution_id(parent),
            view=view,
        )
        return paged(self.executions.ListExecutions, request, lambda response: response.executions, limit)

    async def cancel(self, execution: identifiers_pb2.ExecutionId | str, reason: str = "") -> execution_pb2.Execution:
        """Cancel an execution, unless it has ended, and return it as it is then.

        Args:
            execution: Its identity, its name, or `"project/domain/name"`.
            reason: Why, for a person to read; at most 1,024 characters.
        """
        request = execution_service_pb2.CancelExecutionRequest(id=self._execution_id(execution), reason=reason)
        with rpc_errors():
            return (await self.executions.CancelExecution(request, timeout=CALL_TIMEOUT)).execution

    def attempts(self, execution: identifiers_pb2.ExecutionId | str) -> AsyncIterator[execution_pb2.Attempt]:
        """Yield the attempts of an execution, the first one first."""
        request = execution_service_pb2.ListAttemptsRequest(id=self._execution_id(execution))
        return paged(self.executions.ListAttempts, request, lambda response: response.attempts, None)

    async def register_task(
        self, task: identifiers_pb2.TaskId, spec: task_pb2.TaskSpec, *, validate_only: bool = False
    ) -> task_service_pb2.RegisterTaskResponse:
        """Register one version of a task of any language; for Python functions see `Client.register`.

        Args:
            task: Its identity. If the version is empty, the server derives one from the digest of the spec.
            spec: What is registered.
            validate_only: Whether to check only, and write nothing.
        """
        request = task_service_pb2.RegisterTaskRequest(id=self._task_id(task), spec=spec, validate_only=validate_only)
        with rpc_errors():
            return await self._tasks.RegisterTask(request, timeout=CALL_TIMEOUT)

    async def get_task(self, task: TaskReference) -> task_service_pb2.GetTaskResponse:
        """Return a task and one of its versions: the named one, or the one registered last."""
        request = task_service_pb2.GetTaskRequest(id=self._task_id(task))
        with rpc_errors():
            return await self._tasks.GetTask(request, timeout=CALL_TIMEOUT)

    def list_tasks(
        self, *, name_prefix: str = "", include_archived: bool = False, limit: int | None = None
    ) -> AsyncIterator[task_pb2.Task]:
        """Yield tasks by name.

        Args:
            name_prefix: Only tasks whose name begins with this.
            include_archived: Whether to yield archived ones too.
            limit: The most to yield. Default: all.
        """
        request = task_service_pb2.ListTasksRequest(
            project=self.project, domain=self.domain, name_prefix=name_prefix, include_archived=include_archived
        )
        return paged(self._tasks.ListTasks, request, lambda response: response.tasks, limit)

    def list_task_versions(
        self, task: TaskReference, *, limit: int | None = None
    ) -> AsyncIterator[task_pb2.TaskVersion]:
        """Yield the versions of a task, last registered first."""
        request = task_service_pb2.ListTaskVersionsRequest(id=self._task_id(task))
        return paged(self._tasks.ListTaskVersions, request, lambda response: response.task_versions, limit)

    async def archive_task(self, task: TaskReference) -> task_pb2.Task:
        """Archive a task: it takes no new executions. Nothing is deleted."""
        request = task_service_pb2.ArchiveTaskRequest(id=self._task_id(task))
        with rpc_errors():
            return (await self._tasks.ArchiveTask(request, timeout=CALL_TIMEOUT)).task

    async def restore_task(self, task: TaskReference) -> task_pb2.Task:
        """Restore an archived task."""
        request = task_service_pb2.RestoreTaskRequest(id=self._task_id(task))
        with rpc_errors():
            return (await self._tasks.RestoreTask(request, timeout=CALL_TIMEOUT)).task

    async def cache_stats(self, task: TaskReference | None = None, *, project: str = "") -> cache_pb2.CacheStats:
        """Return what the cache did for a task, or for all tasks of a project.

        Args:
            task: The task, whatever its version.
            project: The project, instead of a task.
        """
        request = cache_service_pb2.GetCacheStatsRequest(
            task=None if task is None else self._task_id(task), project=project
        )
        with rpc_errors():
            return (await self._cache.GetCacheStats(request, timeout=CALL_TIMEOUT)).stats

    def cache_entries(self, task: TaskReference, *, limit: int | None = None) -> AsyncIterator[cache_pb2.CacheEntry]:
        """Yield the cache entries of a task, last filled first, without their outputs."""
        request = cache_service_pb2.ListCacheEntriesRequest(task=self._task_id(task))
        return paged(self._cache.ListCacheEntries, request, lambda response: response.entries, limit)

    async def cache_entry(self, key: str) -> cache_pb2.CacheEntry:
        """Return the cache entry with this key, 32 hexadecimal digits."""
        request = cache_service_pb2.GetCacheEntryRequest(key=key)
        with rpc_errors():
            return (await self._cache.GetCacheEntry(request, timeout=CALL_TIMEOUT)).entry

    async def evict_cache(
        self, task: TaskReference | None = None, *, key: str = "", created_before: datetime | None = None
    ) -> int:
        """Evict cache entries and return how many they were.

        Args:
            task: The task whose entries to evict; with a version, only those that this version filled.
            key: The key of the one entry to evict, instead of a task.
            created_before: Only entries of the task filled before this time.
        """
        request = cache_service_pb2.EvictCacheEntriesRequest(
            key=key,
            task=None if task is None else self._task_id(task),
            created_before=_timestamp(created_before),
        )
        with rpc_errors():
            return (await self._cache.EvictCacheEntries(request, timeout=CALL_TIMEOUT)).evicted_count

    async def audit_entry(self, key: str) -> audit_pb2.AuditResult:
        """Run the task of a cache entry again with the same inputs, and return what comparing the outputs gives.

        A mismatch marks the entry and the version that filled it. The inputs are those of the execution that filled it,
        which must still be readable.

        Args:
            key: The key of the entry, 32 hexadecimal digits.
        """
        return await anext(self._audits(cache_service_pb2.AuditTaskRequest(key=key)))

    def audit_sample(self, task: TaskReference, count: int) -> AsyncIterator[audit_pb2.AuditResult]:
        """Audit cache entries of a task, chosen at random, and yield the results as they come.

        Args:
            task: The task; with a version, only entries that this version filled are taken.
            count: How many at most, 1 to 100.
        """
        return self._audits(cache_service_pb2.AuditTaskRequest(task=self._task_id(task), sample=count))

    async def _audits(self, request: cache_service_pb2.AuditTaskRequest) -> AsyncIterator[audit_pb2.AuditResult]:
        call = self._cache.AuditTask(request)
        try:
            with rpc_errors():
                async for response in call:
                    yield response.result
        finally:
            call.cancel()

    def workers(self) -> AsyncIterator[worker_service_pb2.Worker]:
        """Yield the workers that are connected to any server, by name."""
        request = worker_service_pb2.ListWorkersRequest()
        return paged(self._workers.ListWorkers, request, lambda response: response.workers, None)

    def projects(self, *, include_archived: bool = False) -> AsyncIterator[project_pb2.Project]:
        """Yield the projects by id."""
        request = project_service_pb2.ListProjectsRequest(include_archived=include_archived)
        return paged(self._projects.ListProjects, request, lambda response: response.projects, None)

    async def create_project(self, project: project_pb2.Project) -> project_pb2.Project:
        """Create a project."""
        request = project_service_pb2.CreateProjectRequest(project=project)
        with rpc_errors():
            return (await self._projects.CreateProject(request, timeout=CALL_TIMEOUT)).project

    async def get_project(self, project: str = "") -> project_pb2.Project:
        """Return a project. Default: that of the client, else the server's default."""
        request = project_service_pb2.GetProjectRequest(id=project or self.project)
        with rpc_errors():
            return (await self._projects.GetProject(request, timeout=CALL_TIMEOUT)).project

    async def update_project(self, project: project_pb2.Project) -> project_pb2.Project:
        """Replace the texts of a project, its state unless unspecified, its limits and defaults if they are set."""
        request = project_service_pb2.UpdateProjectRequest(project=project)
        with rpc_errors():
            return (await self._projects.UpdateProject(request, timeout=CALL_TIMEOUT)).project

    async def domains(self) -> Iterable[project_pb2.Domain]:
        """Return the domains of the server; the first is the default one."""
        with rpc_errors():
            response = await self._projects.ListDomains(project_service_pb2.ListDomainsRequest(), timeout=CALL_TIMEOUT)
        return response.domains


def _timestamp(time: datetime | None) -> timestamp_pb2.Timestamp | None:
    if time is None:
        return None
    result = timestamp_pb2.Timestamp()
    # A naive time is local time, as everywhere in Python; `FromDatetime` would take it for UTC.
    result.FromDatetime(time.astimezone())
    return result
