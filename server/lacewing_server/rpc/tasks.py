"""``lacewing.v1.TaskService``: registration and reading of tasks."""

# ruff: noqa: N802, ARG002
# Names and shapes of the handlers are those of the RPCs.

from __future__ import annotations

from lacewing.v1 import identifiers_pb2, task_pb2, task_service_pb2, task_service_pb2_grpc
from lacewing_server.engine import paging
from lacewing_server.engine.projects import Projects
from lacewing_server.engine.tasks import Tasks
from lacewing_server.rpc.boundary import Context


class TaskServicer(task_service_pb2_grpc.TaskServiceServicer):
    """Answers the calls; what it raises becomes a status at the boundary."""

    def __init__(self, tasks: Tasks, projects: Projects) -> None:
        self._tasks = tasks
        self._projects = projects

    async def RegisterTask(
        self, request: task_service_pb2.RegisterTaskRequest, context: Context
    ) -> task_service_pb2.RegisterTaskResponse:
        """Registers one version of a task."""
        version, created, warnings = await self._tasks.register(
            request.id, request.spec, validate_only=request.validate_only
        )
        return task_service_pb2.RegisterTaskResponse(task_version=version, created=created, warnings=warnings)

    async def GetTask(
        self, request: task_service_pb2.GetTaskRequest, context: Context
    ) -> task_service_pb2.GetTaskResponse:
        """Gets a task and one of its versions."""
        task, version = await self._tasks.get(request.id)
        return task_service_pb2.GetTaskResponse(task=task, task_version=version)

    async def ListTasks(
        self, request: task_service_pb2.ListTasksRequest, context: Context
    ) -> task_service_pb2.ListTasksResponse:
        """Lists the tasks of a project and domain by name."""
        size, fingerprint = paging.page_size(request.page_size), paging.fingerprint(request)
        after = paging.text_position(request.page_token, fingerprint)
        project, domain = await self._projects.complete(request.project, request.domain)
        found: list[task_pb2.Task] = []
        # Archived tasks are left out after reading, so a page may take more than one reading to fill.
        while True:
            names = await self._tasks.list_names(project, domain, request.name_prefix, after, size + 1)
            for position, name in enumerate(names):
                if len(found) == size:
                    token = paging.encode_token(fingerprint, names[position - 1] if position else after)
                    return task_service_pb2.ListTasksResponse(tasks=found, next_page_token=token)
                task = await self._tasks.describe(identifiers_pb2.TaskId(project=project, domain=domain, name=name))
                if request.include_archived or task.state == task_pb2.Task.STATE_ACTIVE:
                    found.append(task)
            if len(names) <= size:
                return task_service_pb2.ListTasksResponse(tasks=found)
            after = names[-1]

    async def ListTaskVersions(
        self, request: task_service_pb2.ListTaskVersionsRequest, context: Context
    ) -> task_service_pb2.ListTaskVersionsResponse:
        """Lists the versions of a task, last registered first."""
        size, fingerprint = paging.page_size(request.page_size), paging.fingerprint(request)
        after = paging.number_position(request.page_token, fingerprint)
        versions, following = await self._tasks.list_versions(request.id, after, size)
        token = paging.encode_token(fingerprint, following) if following else ""
        return task_service_pb2.ListTaskVersionsResponse(task_versions=versions, next_page_token=token)

    async def ArchiveTask(
        self, request: task_service_pb2.ArchiveTaskRequest, context: Context
    ) -> task_service_pb2.ArchiveTaskResponse:
        """Archives a task."""
        return task_service_pb2.ArchiveTaskResponse(task=await self._tasks.set_archived(request.id, archived=True))

    async def RestoreTask(
        self, request: task_service_pb2.RestoreTaskRequest, context: Context
    ) -> task_service_pb2.RestoreTaskResponse:
        """Restores an archived task."""
        return task_service_pb2.RestoreTaskResponse(task=await self._tasks.set_archived(request.id, archived=False))
