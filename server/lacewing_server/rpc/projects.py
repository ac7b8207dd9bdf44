"""``lacewing.v1.ProjectService``: administration of projects."""

# ruff: noqa: N802, ARG002
# Names and shapes of the handlers are those of the RPCs.

from __future__ import annotations

from lacewing.v1 import project_pb2, project_service_pb2, project_service_pb2_grpc
from lacewing_server.engine import paging
from lacewing_server.engine.projects import Projects
from lacewing_server.rpc.boundary import Context


class ProjectServicer(project_service_pb2_grpc.ProjectServiceServicer):
    """Answers the calls; what it raises becomes a status at the boundary."""

    def __init__(self, projects: Projects) -> None:
        self._projects = projects

    async def CreateProject(
        self, request: project_service_pb2.CreateProjectRequest, context: Context
    ) -> project_service_pb2.CreateProjectResponse:
        """Creates a project."""
        return project_service_pb2.CreateProjectResponse(project=await self._projects.create(request.project))

    async def GetProject(
        self, request: project_service_pb2.GetProjectRequest, context: Context
    ) -> project_service_pb2.GetProjectResponse:
        """Gets a project."""
        return project_service_pb2.GetProjectResponse(project=await self._projects.get(request.id))

    async def ListProjects(
        self, request: project_service_pb2.ListProjectsRequest, context: Context
    ) -> project_service_pb2.ListProjectsResponse:
        """Lists projects by id."""
        size, fingerprint = paging.page_size(request.page_size), paging.fingerprint(request)
        after = paging.text_position(request.page_token, fingerprint)
        projects = await self._projects.list(include_archived=request.include_archived)
        rest = [project for project in projects if project.id > after]
        token = paging.encode_token(fingerprint, rest[size - 1].id) if len(rest) > size else ""
        return project_service_pb2.ListProjectsResponse(projects=rest[:size], next_page_token=token)

    async def UpdateProject(
        self, request: project_service_pb2.UpdateProjectRequest, context: Context
    ) -> project_service_pb2.UpdateProjectResponse:
        """Updates a project."""
        return project_service_pb2.UpdateProjectResponse(project=await self._projects.update(request.project))

    async def ListDomains(
        self, request: project_service_pb2.ListDomainsRequest, context: Context
    ) -> project_service_pb2.ListDomainsResponse:
        """Lists the domains configured on this server."""
        domains = [project_pb2.Domain(id=domain) for domain in self._projects.domains]
        return project_service_pb2.ListDomainsResponse(domains=domains)
