"""Projects and domains."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from google.protobuf import timestamp_pb2

from lacewing.v1 import errors_pb2, project_pb2
from lacewing_server.domain import identity, names
from lacewing_server.domain.bounds import check_bounds, stored_bounds
from lacewing_server.domain.errors import DomainError, Violations
from lacewing_server.domain.project_rules import check_settings
from lacewing_server.domain.task_version import Defaults
from lacewing_server.store.redis.store import Store

_DISPLAY_NAME_MAX = 64
_DESCRIPTION_MAX = 300


class Projects:
    """The projects, kept at hand; news of changes come from the store."""

    def __init__(self, store: Store, default_project: str, domains: Sequence[str]) -> None:
        self.on_change: Callable[[], None] = lambda: None
        """Called when what is known of projects may no longer be true."""
        self.generation = 0
        """Raised then: what was asked for before, and is answered after, may be old."""
        self._store = store
        self.default_project = default_project
        self.domains = tuple(domains)
        self._known: dict[str, project_pb2.Project] = {}

    async def start(self) -> None:
        """Makes sure that the default project exists."""
        project = project_pb2.Project(id=self.default_project, state=project_pb2.Project.STATE_ACTIVE)
        self._stamp(project)
        # Asked first, because a store at its memory limit takes not even what changes nothing.
        if not await self._store.call("HEXISTS", self._store.keys.projects, project.id):
            await self._store.call("HSETNX", self._store.keys.projects, project.id, project.SerializeToString())

    def forget(self) -> None:
        """Forgets what is at hand: a project has changed somewhere."""
        self._known.clear()
        self.generation += 1
        self.on_change()

    async def complete(self, project: str, domain: str) -> tuple[str, str]:
        """Fills in defaults, and makes sure that project and domain exist."""
        project, domain = project or self.default_project, domain or self.domains[0]
        if domain not in self.domains:
            raise DomainError(
                errors_pb2.ERROR_REASON_DOMAIN_NOT_FOUND,
                f'there is no domain "{domain[:80]}"; configured are {", ".join(self.domains)}',
                metadata={"domain": domain[:80], "configured": ",".join(self.domains)},
            )
        if project not in self._known:
            await self.get(project)
        return project, domain

    async def require_active(self, project: str) -> None:
        """Refuses what an archived project does not take."""
        known = self._known.get(project) or await self.get(project)
        if known.state == project_pb2.Project.STATE_ARCHIVED:
            raise DomainError(
                errors_pb2.ERROR_REASON_PROJECT_ARCHIVED,
                f'project "{project}" is archived; restore it with UpdateProject',
                metadata={"project": project},
            )

    def is_active(self, project: str) -> bool:
        """Whether a project is at hand, and is not archived."""
        known = self._known.get(project)
        return known is not None and known.state != project_pb2.Project.STATE_ARCHIVED

    async def defaults(self, project: str, domain: str, otherwise: Defaults) -> Defaults:
        """What applies where a task of a project and domain declares nothing; ``otherwise`` is what the server sets."""
        return otherwise.within(self._known.get(project) or await self.get(project), domain)

    async def get(self, project_id: str) -> project_pb2.Project:
        """Reads a project."""
        project_id = project_id or self.default_project
        generation = self.generation
        value = await self._store.call("HGET", self._store.keys.projects, project_id)
        if value is None and project_id == self.default_project:  # the store has been emptied since the start
            await self.start()
            value = await self._store.call("HGET", self._store.keys.projects, project_id)
        if value is None:
            raise DomainError(
                errors_pb2.ERROR_REASON_PROJECT_NOT_FOUND,
                f'there is no project "{project_id[:80]}"; create it with CreateProject',
                metadata={"project": project_id[:80]},
            )
        project = project_pb2.Project.FromString(value)
        if generation == self.generation:
            self._known[project_id] = project
        return project

    async def create(self, given: project_pb2.Project) -> project_pb2.Project:
        """Creates a project."""
        violations = Violations()
        names.check_dns_label(given.id, "project.id", violations)
        self._check(given, violations)
        violations.raise_if_any()
        project = project_pb2.Project(
            id=given.id,
            display_name=given.display_name,
            description=given.description,
            state=project_pb2.Project.STATE_ACTIVE,
            limits=given.limits if given.HasField("limits") else None,
            defaults=given.defaults if given.HasField("defaults") else None,
        )
        self._stamp(project)
        if not await self._save(project, is_new=True):
            raise DomainError(
                errors_pb2.ERROR_REASON_PROJECT_ALREADY_EXISTS,
                f'project "{project.id}" exists',
                metadata={"project": project.id},
            )
        return project

    async def update(self, given: project_pb2.Project) -> project_pb2.Project:
        """Updates a project's texts, state, limits and defaults."""
        violations = Violations()
        self._check(given, violations)
        if given.state not in project_pb2.Project.State.values():
            violations.add("project.state", f"must be a known state, got {given.state}")
        violations.raise_if_any()
        project = project_pb2.Project()
        project.CopyFrom(await self.get(given.id))
        project.display_name, project.description = given.display_name, given.description
        if given.state:
            project.state = given.state
        if given.HasField("limits"):
            project.limits.CopyFrom(given.limits)
            await self._store.call(
                "SADD", self._store.keys.cache_over, project.id
            )  # the bound of the cache may be lower
        if given.HasField("defaults"):
            project.defaults.CopyFrom(given.defaults)
        project.update_time.FromMilliseconds(self._store.now_ms())
        await self._save(project, is_new=False)
        self.forget()
        return project

    async def list(self, *, include_archived: bool) -> list[project_pb2.Project]:
        """All projects by id: there are few."""
        flat = await self._store.call("HGETALL", self._store.keys.projects)
        projects = sorted((project_pb2.Project.FromString(value) for value in flat[1::2]), key=lambda each: each.id)
        return [each for each in projects if include_archived or each.state == project_pb2.Project.STATE_ACTIVE]

    async def _save(self, project: project_pb2.Project, *, is_new: bool) -> bool:
        bounds = project.limits
        return bool(
            await self._store.run(
                "project",
                project.id,
                identity.project_ref(project.id),
                project.SerializeToString(),
                "1" if is_new else "",
                *stored_bounds(bounds),
                bounds.max_queued if bounds.HasField("max_queued") else "",
            )
        )

    def _stamp(self, project: project_pb2.Project) -> None:
        now = timestamp_pb2.Timestamp()
        now.FromMilliseconds(self._store.now_ms())
        project.create_time.CopyFrom(now)
        project.update_time.CopyFrom(now)

    def _check(self, project: project_pb2.Project, violations: Violations) -> None:
        if len(project.display_name) > _DISPLAY_NAME_MAX:
            violations.add("project.display_name", f"must have at most {_DISPLAY_NAME_MAX} characters")
        if len(project.description) > _DESCRIPTION_MAX:
            violations.add("project.description", f"must have at most {_DESCRIPTION_MAX} characters")
        check_settings(project, self.domains, violations)
        check_bounds(project.limits, "project.limits", violations)
        if project.limits.HasField("max_queued") and project.limits.max_queued < 1:
            violations.add("project.limits.max_queued", "must be at least 1; leave it out for no bound")
