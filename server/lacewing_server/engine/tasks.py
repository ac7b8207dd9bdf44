"""Tasks and projects as the engine sees them: registering, resolving, listing; a cache of what never changes."""

from __future__ import annotations

import asyncio
import difflib
from collections.abc import Sequence
from functools import partial
from typing import Any, Final, Protocol

from google.protobuf import timestamp_pb2

from lacewing.types import digest_spec
from lacewing.v1 import audit_pb2, errors_pb2, execution_pb2, identifiers_pb2, interface_pb2, task_pb2
from lacewing_server.domain import identity, limits, names, registration
from lacewing_server.domain.bounds import stored_bounds
from lacewing_server.domain.errors import DomainError
from lacewing_server.domain.offers import QueueEntry
from lacewing_server.domain.record import ExecutionRecord
from lacewing_server.domain.task_version import NAME_END, UNNAMED, Defaults, ReadyTask
from lacewing_server.engine.paging import fitting
from lacewing_server.engine.projects import Projects
from lacewing_server.store.redis.store import Store

_READY_MAX: Final = 10_000


class Compile(Protocol):
    """Compiles the graph of a workflow."""

    async def __call__(
        self,
        graph: task_pb2.Graph,
        own: identifiers_pb2.TaskId,
        interface: interface_pb2.TypedInterface,
        *,
        validate_only: bool,
    ) -> task_pb2.Graph:
        """Compiles it, and registers what it brings along unless that is only validated; raises ``GRAPH_INVALID``."""
        ...


async def _no_compiler(
    graph: task_pb2.Graph,
    own: identifiers_pb2.TaskId,
    interface: interface_pb2.TypedInterface,
    *,
    validate_only: bool,
) -> task_pb2.Graph:
    """Stands in until a compiler is there."""
    raise NotImplementedError


class Tasks:
    """The registered tasks."""

    def __init__(self, store: Store, projects: Projects, defaults: Defaults) -> None:
        self._store = store
        self._projects = projects
        self._defaults = defaults
        self._ready: dict[tuple[bytes, str], ReadyTask] = {}
        self._plain: dict[bytes, ReadyTask] = {}
        """The same by what executions of a version have in common."""
        self._overridden: dict[tuple[bytes, str, bytes], ReadyTask] = {}
        self._latest: dict[bytes, str] = {}
        self._at_hand: dict[tuple[str, str, str, str], ReadyTask] = {}
        """What ids mean, as they were given, of projects that are not archived."""
        self.compile: Compile = _no_compiler
        projects.on_change = self._forget_ready

    # --- resolving ---------------------------------------------------------------------------------------------------

    def at_hand(self, task: identifiers_pb2.TaskId) -> tuple[ReadyTask, bool] | None:
        """What `resolve` returns, if nothing has to be waited for and the project takes requests."""
        version = task.version
        ready = self._at_hand.get((task.project, task.domain, task.name, version))
        return None if ready is None else (ready, not version)

    async def resolve(self, task: identifiers_pb2.TaskId, *, path: str = "task") -> tuple[ReadyTask, bool]:
        """Finds the version that an id means.

        Returns:
            The version, and whether it was resolved as the latest: the store confirms that it still is.
        """
        project, domain = await self._projects.complete(task.project, task.domain)
        ref = identity.task_ref(project, domain, task.name)
        version = task.version or self._latest.get(ref)
        if version is not None and (ready := self._ready.get((ref, version))) is not None:
            if self._projects.is_active(project):
                if len(self._at_hand) >= _READY_MAX:
                    self._at_hand.clear()
                self._at_hand[task.project, task.domain, task.name, task.version] = ready
            return ready, not task.version
        return await self._load(ref, project, domain, task, path), not task.version

    def _forget_ready(self) -> None:
        self._ready.clear()
        self._plain.clear()
        self._at_hand.clear()
        self._overridden.clear()

    def forget_latest(self, task_ref: bytes) -> None:
        """Forgets which version is the latest: another may have been registered."""
        self._latest.pop(task_ref, None)
        self._at_hand.clear()

    def forget_all_latest(self) -> None:
        """Forgets which versions are the latest: news may have been lost."""
        self._latest.clear()
        self._at_hand.clear()

    async def cache_bound(self, project: str) -> int:
        """How many bytes the cache entries of a project may take."""
        return (await self._projects.defaults(project, "", self._defaults)).cache_max

    def ready_of(self, record: ExecutionRecord) -> ReadyTask | None:
        """The version that an execution runs, as it has it, if it is at hand."""
        meta = record.meta
        if meta.startswith(UNNAMED) and (ready := self._plain.get(meta[NAME_END:])) is not None:
            return ready
        execution = record.execution
        if execution.HasField("overrides"):
            return self._overridden.get((record.task_ref, execution.task.version, _packed(execution.overrides)))
        return self._ready.get((record.task_ref, execution.task.version))

    async def ready_for(self, record: ExecutionRecord) -> ReadyTask:
        """The version that an execution runs, as it has it; it exists."""
        if (ready := self.ready_of(record)) is not None:
            return ready
        # Not by resolve: what runs goes on, even if its domain is no longer configured.
        execution, task = record.execution, record.execution.task
        key = (record.task_ref, task.version)
        ready = self._ready.get(key) or await self._load(record.task_ref, task.project, task.domain, task, "task")
        return await self.overridden(ready, execution.overrides) if execution.HasField("overrides") else ready

    async def pinned(self, task: identifiers_pb2.TaskId) -> ReadyTask:
        """The version that a compiled graph refers to; it exists."""
        ref = identity.task_ref(task.project, task.domain, task.name)
        ready = self._ready.get((ref, task.version))
        return ready or await self._load(ref, task.project, task.domain, task, "task")

    async def overridden(self, task: ReadyTask, overrides: execution_pb2.NodeOverrides) -> ReadyTask:
        """A version as a node of a graph has it."""
        key = (task.ref, task.id.version, _packed(overrides))
        found = self._overridden.get(key)
        if found is None:
            found = task.overridden(
                overrides, await self._projects.defaults(task.id.project, task.id.domain, self._defaults)
            )
            if len(self._overridden) >= _READY_MAX:
                self._overridden.clear()
            self._overridden[key] = found
        return found

    async def _load(self, ref: bytes, project: str, domain: str, task: identifiers_pb2.TaskId, path: str) -> ReadyTask:
        registration.check_task_id(project, domain, task.name, task.version, path)
        generation = self._projects.generation
        version = task.version
        if not version:
            latest = await self._store.call("HGET", self._store.keys.task(ref), "latest")
            if latest is None:
                raise await self._not_found(project, domain, task.name)
            version = latest.decode()
        value = await self._store.call("HGET", self._store.keys.task(ref), f"v:{version}")
        if value is None:
            latest = await self._store.call("HGET", self._store.keys.task(ref), "latest")
            if latest is None:
                raise await self._not_found(project, domain, task.name)
            shown = names.display_task(
                identifiers_pb2.TaskId(project=project, domain=domain, name=task.name, version=version)
            )
            raise DomainError(
                errors_pb2.ERROR_REASON_TASK_VERSION_NOT_FOUND,
                f"{shown} is not registered; the latest version is {latest.decode()}",
                metadata={"task": shown, "latest": latest.decode()},
            )
        defaults = await self._projects.defaults(project, domain, self._defaults)
        ready = ReadyTask(task_pb2.TaskVersion.FromString(value), defaults)
        if len(self._ready) >= _READY_MAX:
            self._ready.clear()
            self._plain.clear()
        if generation == self._projects.generation:
            self._ready[ref, version] = self._plain[ready.meta] = ready
        if not task.version:
            self._latest[ref] = version
        return ready

    async def _not_found(self, project: str, domain: str, name: str) -> DomainError:
        shown = f"{project}/{domain}/{name}"
        known = await self._store.call("ZRANGE", self._store.keys.task_names(project, domain), 0, 4_999)
        near = difflib.get_close_matches(name, [each.decode() for each in known], n=1)
        hint = f'; did you mean "{near[0]}"?' if near else "; register it first"
        metadata = {"task": shown} | ({"nearest": near[0]} if near else {})
        return DomainError(errors_pb2.ERROR_REASON_TASK_NOT_FOUND, f"there is no task {shown}{hint}", metadata=metadata)

    # --- registering -------------------------------------------------------------------------------------------------

    async def register(
        self, task: identifiers_pb2.TaskId, spec: task_pb2.TaskSpec, *, validate_only: bool
    ) -> tuple[task_pb2.TaskVersion, bool, Sequence[str]]:
        """Creates a version, or confirms that it exists with an equal spec.

        Returns:
            The version, whether it was created, and warnings.
        """
        project, domain = await self._projects.complete(task.project, task.domain)
        defaults = await self._projects.defaults(project, domain, self._defaults)
        check = partial(registration.check, project, domain, task.name, task.version, spec, defaults)
        checked = await asyncio.to_thread(check) if spec.ByteSize() > limits.LARGE_BYTES else check()
        await self._projects.require_active(project)
        version = task_pb2.TaskVersion(
            id=identifiers_pb2.TaskId(project=project, domain=domain, name=task.name, version=checked.version),
            spec=spec,
            digest=checked.digest,
            create_time=timestamp_pb2.Timestamp(),
        )
        version.spec.template.ClearField("id")
        version.create_time.FromMilliseconds(self._store.now_ms())
        if spec.HasField("graph"):
            interface = spec.template.interface
            version.graph.CopyFrom(await self.compile(spec.graph, version.id, interface, validate_only=validate_only))
        ready = ReadyTask(version, defaults)
        if validate_only:
            existing = await self._store.call("HGET", self._store.keys.task(ready.ref), f"v:{checked.version}")
            if existing is not None:
                return self._confirmed(version, existing), False, checked.warnings
            return version, True, checked.warnings
        entry = QueueEntry(project, domain, task.name, spec.template.type, ready.queue_label)
        reply = await self._store.run(
            "register",
            ready.ref,
            checked.version,
            version.SerializeToString(),
            f"{project}/{domain}",
            task.name,
            ready.queue_ref,
            entry.pack(),
            spec.template.type,
            spec.description,
            *stored_bounds(spec.policy),
        )
        if reply[0] == b"exists":
            return self._confirmed(version, reply[1]), False, checked.warnings
        self.forget_latest(ready.ref)
        return version, True, checked.warnings

    async def confirm(self, task: identifiers_pb2.TaskId, spec: task_pb2.TaskSpec) -> None:
        """Confirms that a version is not registered with another spec.

        Raises:
            DomainError: ``TASK_VERSION_CONFLICT``, or that of the store.
        """
        ref = identity.task_ref(task.project, task.domain, task.name)
        existing = await self._store.call("HGET", self._store.keys.task(ref), f"v:{task.version}")
        if existing is not None:
            given = task_pb2.TaskVersion(id=task, spec=spec, digest=digest_spec(spec))
            self._confirmed(given, existing)

    def _confirmed(self, given: task_pb2.TaskVersion, value: bytes) -> task_pb2.TaskVersion:
        existing = task_pb2.TaskVersion.FromString(value)
        if existing.digest == given.digest:
            return existing
        shown = names.display_task(given.id)
        raise DomainError(
            errors_pb2.ERROR_REASON_TASK_VERSION_CONFLICT,
            f"{shown} is registered with another spec; versions never change: register under a new version",
            metadata={"task": shown, "existing_digest": existing.digest, "given_digest": given.digest},
            violations=registration.differences(existing.spec, given.spec),
        )

    # --- reading -----------------------------------------------------------------------------------------------------

    async def get(self, task: identifiers_pb2.TaskId) -> tuple[task_pb2.Task, task_pb2.TaskVersion]:
        """A task and one of its versions."""
        ready, _ = await self.resolve(task, path="id")
        return await self.describe(ready.id), (await self._marked(ready.ref, [ready.version]))[0]

    async def _marked(self, ref: bytes, versions: Sequence[task_pb2.TaskVersion]) -> list[task_pb2.TaskVersion]:
        """Copies of versions, with what audits have found of them."""
        marks = await self._store.call(
            "HMGET", self._store.keys.task(ref), *(f"n:{each.id.version}" for each in versions)
        )
        found = []
        for version, mark in zip(versions, marks, strict=True):
            copied = task_pb2.TaskVersion()
            copied.CopyFrom(version)
            if mark is not None:
                copied.nondeterminism.ParseFromString(mark)
            found.append(copied)
        return found

    async def describe(self, task: identifiers_pb2.TaskId, *, path: str = "id") -> task_pb2.Task:
        """What is known of a task, all versions together."""
        project, domain = await self._projects.complete(task.project, task.domain)
        registration.check_task_id(project, domain, task.name, "", path)
        ref = identity.task_ref(project, domain, task.name)
        found = await self._store.call("HMGET", self._store.keys.task(ref), *_FIELDS)
        if found[0] is None:
            raise await self._not_found(project, domain, task.name)
        described = _task(project, domain, task.name, found)
        if found[-1] is not None:
            mark = await self._store.call("HGET", self._store.keys.task(ref), f"n:{described.id.version}")
            if mark is not None:
                described.nondeterminism.ParseFromString(mark)
        return described

    async def mark(self, task: ReadyTask, finding: audit_pb2.Nondeterminism) -> None:
        """Keeps with a version that it is not deterministic."""
        packed = finding.SerializeToString()
        await self._store.call("HSET", self._store.keys.task(task.ref), f"n:{task.id.version}", packed, "marked", 1)

    async def set_archived(self, task: identifiers_pb2.TaskId, *, archived: bool) -> task_pb2.Task:
        """Archives or restores a task."""
        described = await self.describe(task)
        ref = identity.task_ref(described.id.project, described.id.domain, described.id.name)
        await self._store.call("HSET", self._store.keys.task(ref), "state", "archived" if archived else "active")
        return await self.describe(task)

    async def list_names(self, project: str, domain: str, prefix: str, after: str, count: int) -> list[str]:
        """Names of tasks in lexical order, after a name."""
        start = f"({after}" if after else f"[{prefix}"
        end = b"[" + prefix.encode() + b"\xff" if prefix else b"+"
        found = await self._store.call(
            "ZRANGEBYLEX", self._store.keys.task_names(project, domain), start, end, "LIMIT", 0, count
        )
        return [name.decode() for name in found]

    async def list_versions(
        self, task: identifiers_pb2.TaskId, after: int, count: int
    ) -> tuple[list[task_pb2.TaskVersion], int]:
        """Versions of a task, last registered first, and the position after them (0: the end).

        A position is the number of the last version shown, so that versions registered meanwhile shift nothing.
        """
        described = await self.describe(task)
        ref = identity.task_ref(described.id.project, described.id.domain, described.id.name)
        high = f"({after}" if after else "+inf"
        flat = await self._store.call(
            "ZREVRANGEBYSCORE", self._store.keys.task_versions(ref), high, "-inf", "WITHSCORES", "LIMIT", 0, count + 1
        )
        page = flat[: 2 * count : 2]
        if not page:
            return [], 0
        values = await self._store.call("HMGET", self._store.keys.task(ref), *(b"v:" + version for version in page))
        shown = fitting(map(len, values))
        found = [task_pb2.TaskVersion.FromString(value) for value in values[:shown]]
        return await self._marked(ref, found), int(flat[2 * shown - 1]) if len(flat) > 2 * shown else 0


def _packed(overrides: execution_pb2.NodeOverrides) -> bytes:
    return overrides.SerializeToString(deterministic=True)


_FIELDS: Final = ("state", "latest", "type", "description", "versions", "create_ms", "update_ms", "marked")


def _task(project: str, domain: str, name: str, found: list[Any]) -> task_pb2.Task:
    state, latest, task_type, description, versions, create_ms, update_ms, _ = found
    task = task_pb2.Task(
        id=identifiers_pb2.TaskId(project=project, domain=domain, name=name, version=latest.decode()),
        state=task_pb2.Task.STATE_ACTIVE if state == b"active" else task_pb2.Task.STATE_ARCHIVED,
        type=task_type.decode(),
        description=description.decode(),
        version_count=int(versions),
    )
    task.create_time.FromMilliseconds(int(create_ms))
    task.update_time.FromMilliseconds(int(update_ms))
    return task
