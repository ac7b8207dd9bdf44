"""Executions as their callers see them: creating (with the look-up in the cache), waiting, watching, listing."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from typing import Final

from lacewing.types import digest_literal_map
from lacewing.v1 import errors_pb2, execution_pb2, execution_service_pb2, identifiers_pb2, literals_pb2
from lacewing_server.domain import identity, lifecycle, limits, names
from lacewing_server.domain.durations import milliseconds
from lacewing_server.domain.errors import DomainError, Violations, invalid_field
from lacewing_server.domain.offers import GRAPHS
from lacewing_server.domain.record import (
    FILLS_CACHE,
    GRAPH,
    NO_KEY,
    SERIALIZED,
    CachedOutcome,
    ExecutionRecord,
)
from lacewing_server.domain.task_version import ReadyTask
from lacewing_server.engine.admission import PRIORITY_FLAGS, Admission
from lacewing_server.engine.attempts import Attempts
from lacewing_server.engine.blobs import Blobs, mention_blobs
from lacewing_server.engine.dispatch import Dispatch
from lacewing_server.engine.projects import Projects
from lacewing_server.engine.shutdown import Shutdown
from lacewing_server.engine.stats import CacheCounters
from lacewing_server.engine.tasks import Tasks
from lacewing_server.engine.wakeups import Waiter, Wakeups
from lacewing_server.store.redis.store import Created, Creation, Store

_FULL_RETRY_SECONDS: Final = 1.0
_MISSES: Final = frozenset({"leased", "queued", "waiting", "absent"})
"""What a look-up that found no entry can come to; a request that is repeated or refused looked nothing up."""

_CacheInfo = execution_pb2.CacheInfo
ExecuteRequest = execution_service_pb2.ExecuteRequest


@dataclass(frozen=True, slots=True)
class NodeOf:
    """The node of a graph that an execution runs."""

    execution_id: bytes
    """The id of the execution, which is derived from that of the parent and the path of the node."""
    parent: bytes
    nonce: bytes
    """The lease under which the parent's graph is driven."""


@dataclass(frozen=True, slots=True)
class Terms:
    """How an execution departs from what task and request declare. Durations are milliseconds; 0: it does not."""

    own: execution_pb2.Execution = field(default_factory=execution_pb2.Execution)
    """What is its own from the start, beyond id, task and labels: of its audit, its node, what it repeats."""
    queue_timeout: int = 0
    retention: int = 0
    max_queued: int = 0
    node: NodeOf | None = None
    kept_graph: bytes = b""
    """The execution whose graph and journal it takes over, or b''."""


_NO_TERMS: Final = Terms()


@dataclass(slots=True)
class Admitted:
    """What an accepted request is answered with."""

    record: ExecutionRecord
    """The execution as it was accepted; once it was waited for, as it was then."""
    task: ReadyTask
    replayed: bool = False
    hit: CachedOutcome | None = None
    recorded: bool = True
    """False: a hit that was not stored."""

    @property
    def size(self) -> int:
        """Bytes of its values."""
        outputs = self.record.outcome if self.hit is None else self.hit.outputs
        return len(self.record.inputs) + len(outputs)


class Executions:
    """The executions."""

    def __init__(
        self,
        store: Store,
        tasks: Tasks,
        projects: Projects,
        dispatch: Dispatch,
        attempts: Attempts,
        wakeups: Wakeups,
        counters: CacheCounters,
        shutdown: Shutdown,
        blobs: Blobs,
    ) -> None:
        self._store = store
        self._tasks = tasks
        self._projects = projects
        self._dispatch = dispatch
        self._attempts = attempts
        self._wakeups = wakeups
        self._counters = counters
        self._shutdown = shutdown
        self._blobs = blobs
        self._admission = Admission()
        self.on_hit: Callable[[ReadyTask, bytes, CachedOutcome], None] = lambda _task, _inputs, _hit: None
        """Told of each hit of a task with an audit rate, and of the inputs that hit."""

    # --- creating
    # ------------------------------------------------------------------------------------------------------

    async def create(self, request: ExecuteRequest, *, record_hit: bool, terms: Terms = _NO_TERMS) -> Admitted:
        """Accepts a request, or answers it from the cache.

        Raises:
            DomainError: As ``Execute``; ``LEASE_LOST`` if it is a node of a graph that this server no longer drives.
        """
        self._shutdown.refuse()
        while True:
            task, as_latest = await self._tasks.resolve(request.task)
            if self._projects.is_archived(task.id.project):
                await self._projects.require_active(task.id.project)
            if terms.own.HasField("overrides"):
                task = await self._tasks.overridden(task, terms.own.overrides)
            inputs, packed, cache_key = self._admission.check(request, task)
            if mention_blobs(packed):
                await self._blobs.require(inputs)
            admitted = await self._create(
                request, task, packed, cache_key, as_latest=as_latest, record_hit=record_hit, terms=terms
            )
            if admitted is not None:
                return admitted
            # The latest version is another one by now, or the task was archived.
            self._tasks.forget_latest(task.ref)
            described = await self._tasks.describe(task.id)
            if described.state != described.STATE_ACTIVE:
                shown = f"{task.id.project}/{task.id.domain}/{task.id.name}"
                raise DomainError(
                    errors_pb2.ERROR_REASON_TASK_ARCHIVED,
                    f"task {shown} is archived; restore it with RestoreTask",
                    metadata={"task": shown},
                )

    async def _create(
        self,
        request: ExecuteRequest,
        task: ReadyTask,
        packed: bytes,
        cache_key: bytes,
        *,
        as_latest: bool,
        record_hit: bool,
        terms: Terms,
        entry: _CacheInfo.Status.ValueType = _CacheInfo.STATUS_UNSPECIFIED,
    ) -> Admitted | None:
        # `entry` is what is known of the blobs of a cache entry: nothing at first; STATUS_HIT, they are there; else the
        # entry is of no use, and why.
        project, domain = task.id.project, task.id.domain
        mode = request.cache_mode or execution_pb2.CACHE_MODE_USE
        execution_id = terms.node.execution_id if terms.node else self._execution_id(request, project, domain)
        name = request.name or identity.execution_name(execution_id)
        own_id = identifiers_pb2.ExecutionId(project=project, domain=domain, name=name)
        # Serialized messages that are joined are the message with the fields of both.
        own = execution_pb2.Execution(id=own_id, labels=request.labels)
        if mode != execution_pb2.CACHE_MODE_USE:
            own.cache_mode = mode
        if bound := request.max_parallelism or task.max_parallelism:
            own.max_parallelism = bound
        meta = own.SerializeToString() + terms.own.SerializeToString() + task.meta
        status, flags, lookup, patch = _CacheInfo.STATUS_DISABLED, 0, "", b""
        if task.cached and mode != execution_pb2.CACHE_MODE_BYPASS:
            flags = FILLS_CACHE | (SERIALIZED if task.serialized else 0)
            if mode == execution_pb2.CACHE_MODE_REFRESH:
                status = _CacheInfo.STATUS_SKIPPED
            else:
                status = _CacheInfo.STATUS_MISS
                lookup = "o" if mode == execution_pb2.CACHE_MODE_ONLY else "u"
                if entry not in (_CacheInfo.STATUS_UNSPECIFIED, _CacheInfo.STATUS_HIT):
                    if lookup == "o":
                        raise _absent(task)
                    status, lookup = entry, ""
                if task.serialized:
                    cache = execution_pb2.CacheInfo(producer=own_id)
                    patch = execution_pb2.Execution(cache=cache).SerializeToString()
        elif mode == execution_pb2.CACHE_MODE_ONLY:
            raise _absent(task)
        record = ExecutionRecord(
            execution_id,
            lifecycle.QUEUED,
            meta,
            flags=flags | PRIORITY_FLAGS[request.priority] | (GRAPH if task.is_workflow or terms.kept_graph else 0),
            cache_status=status,
            origin=self._store.server,
            task_ref=task.ref,
            queue_ref=GRAPHS.ref if terms.kept_graph and not task.is_workflow else task.queue_ref,
            project_ref=task.project_ref,
            cache_key=cache_key if flags else NO_KEY,
            attempt_timeout=task.attempt_timeout,
            queue_timeout=_lesser(task.queue_timeout, terms.queue_timeout),
            retention=_lesser(task.retention, terms.retention),
            inputs=packed,
        )
        wants_record = record_hit or bool(request.name)
        deadlines = [each for each in (task.deadline, milliseconds(request.deadline)) if each]
        session = self._dispatch.reserve(record.queue_ref)
        nonce = identity.new_nonce() if session else b""
        kind = ""
        try:
            created = await self._store.create(
                record,
                Creation(
                    domain_index=f"{project}/{domain}",
                    max_queued=_lesser(task.max_queued, terms.max_queued),
                    deadline=min(deadlines, default=0),
                    lookup=lookup,
                    record_hit=wants_record,
                    has_blobs=entry == _CacheInfo.STATUS_HIT,
                    expected_latest=task.id.version if as_latest else "",
                    nonce=nonce,
                    worker=session.worker.encode() if session else b"",
                    unary_lease=session.unary_lease if session else 0,
                    patch=patch,
                    parent=terms.node.parent if terms.node else b"",
                    parent_nonce=terms.node.nonce if terms.node else b"",
                    kept_graph=terms.kept_graph,
                ),
            )
            kind = created.kind
        finally:
            if session is not None and kind != "leased":
                if not kind:  # no answer: the caller went away, or the store did
                    self._dispatch.doubts.add(nonce)
                self._dispatch.release(session)
        if kind == "hit":
            assert created.hit is not None
            if not entry and mention_blobs(created.hit.outputs):
                entry = await self._look_for_blobs(created.hit)
                if wants_record or entry != _CacheInfo.STATUS_HIT:
                    return await self._create(
                        request,
                        task,
                        packed,
                        cache_key,
                        as_latest=as_latest,
                        record_hit=record_hit,
                        terms=terms,
                        entry=entry,
                    )
            self._counters.hit(task, created.hit.compute_ms)
            if task.audit_rate:
                self.on_hit(task, packed, created.hit)
            return Admitted(record, task, hit=created.hit, recorded=wants_record)
        if (lookup or entry) and kind in _MISSES:
            self._counters.miss(task)
        if kind == "leased" and session is not None:
            self._dispatch.hand_over(session, record)
        elif kind == "queued":
            self._dispatch.on_work(record.queue_ref)
        elif kind == "exists":
            assert created.record is not None
            if terms.node is not None:  # its id says that it is the same
                return Admitted(created.record, task, replayed=True)
            return self._replayed(created.record, task, packed)
        elif kind == "task":
            return None
        elif kind == "orphan":
            raise DomainError(
                errors_pb2.ERROR_REASON_LEASE_LOST,
                "the graph has ended, or another server drives it; begin nothing more",
            )
        elif kind == "absent":
            raise _absent(task)
        elif kind == "full":
            raise _full(task, created)
        return Admitted(record, task)

    async def _look_for_blobs(self, hit: CachedOutcome) -> _CacheInfo.Status.ValueType:
        try:
            return _CacheInfo.STATUS_HIT if await self._blobs.are_there(hit.outputs) else _CacheInfo.STATUS_MISS
        except DomainError:  # The cache is no reason to fail.
            return _CacheInfo.STATUS_LOOKUP_FAILURE

    def _execution_id(self, request: ExecuteRequest, project: str, domain: str) -> bytes:
        if request.name:
            return identity.execution_id_of(project, domain, request.name)
        if request.request_id:
            return identity.requested_execution_id(project, domain, request.request_id)
        return identity.new_execution_id(self._store.now_ms())

    def _replayed(self, record: ExecutionRecord, task: ReadyTask, packed: bytes) -> Admitted:
        same_task = record.execution.task == task.id
        if not same_task or (record.inputs != packed and _digest(task, record.inputs) != _digest(task, packed)):
            shown = names.display_execution(record.execution.id)
            raise DomainError(
                errors_pb2.ERROR_REASON_EXECUTION_CONFLICT,
                f"the name or request id belongs to execution {shown} of another task version or with other inputs",
                metadata={"execution": shown},
            )
        return Admitted(record, task, replayed=True)

    # --- reading
    # ---------------------------------------------------------------------------------------------------------

    async def get(self, execution: identifiers_pb2.ExecutionId, *, inputs: bool = True) -> ExecutionRecord:
        """Reads an execution."""
        execution_id, shown = await self._identify(execution)
        record = await self._store.get(execution_id, inputs=inputs)
        return _found(record, shown)

    async def wait(self, execution: identifiers_pb2.ExecutionId, seconds: float | None) -> ExecutionRecord:
        """Waits for the end of an execution; gives it as it is when the wait is over."""
        execution_id, shown = await self._identify(execution)
        with self._wakeups.waiting(execution_id) as waiter:
            record = _found(await self._store.watch(execution_id), shown)
            return await self._until_terminal(record, waiter, seconds)

    async def finish(self, admitted: Admitted, seconds: float | None) -> None:
        """Waits for the end of an execution that was just created here."""
        record = admitted.record
        if lifecycle.is_terminal(record.state) or admitted.hit is not None:
            return
        with self._wakeups.waiting(record.id) as waiter:
            if admitted.replayed:
                record = await self._store.watch(record.id) or record
            admitted.record = await self._until_terminal(record, waiter, seconds)

    async def watch(
        self, execution: identifiers_pb2.ExecutionId, after_revision: int
    ) -> AsyncIterator[ExecutionRecord]:
        """Yields an execution after each change and each progress, until its end."""
        execution_id, shown = await self._identify(execution)
        with self._wakeups.waiting(execution_id) as waiter:
            record = _found(await self._store.watch(execution_id), shown)
            while True:
                waiter.revision = record.revision
                has_progressed, waiter.has_progressed = waiter.has_progressed, False
                if record.revision > after_revision or has_progressed or lifecycle.is_terminal(record.state):
                    after_revision = record.revision
                    yield record
                if lifecycle.is_terminal(record.state):
                    return
                self._shutdown.refuse(record)
                await waiter.changed(None)
                record = _found(await self._store.get(execution_id), shown)

    def progress(self, record: ExecutionRecord) -> execution_pb2.Progress | None:
        """What the running body last reported of itself, if this server holds its lease."""
        return self._dispatch.progress_of(record) if record.state == lifecycle.RUNNING else None

    async def cancel(self, execution: identifiers_pb2.ExecutionId, reason: str) -> ExecutionRecord:
        """Cancels an execution."""
        if len(reason) > limits.REASON_MAX:
            raise invalid_field("reason", f"must have at most {limits.REASON_MAX} characters")
        execution_id, shown = await self._identify(execution)
        return _found(await self._attempts.cancel(execution_id, reason), shown)

    async def attempts(self, execution: identifiers_pb2.ExecutionId) -> list[execution_pb2.Attempt]:
        """The attempts of an execution, the first one first."""
        record = await self.get(execution, inputs=False)
        attempts = [execution_pb2.Attempt.FromString(each) for each in await self._store.attempts(record.id)]
        if record.attempt and (not attempts or attempts[-1].number < record.attempt):
            attempts.append(_current_attempt(record))
        return attempts

    async def _until_terminal(self, record: ExecutionRecord, waiter: Waiter, seconds: float | None) -> ExecutionRecord:
        loop = asyncio.get_running_loop()
        until = None if seconds is None else loop.time() + seconds
        while not lifecycle.is_terminal(record.state):
            waiter.revision = record.revision
            remaining = None if until is None else until - loop.time()
            is_over = remaining is not None and remaining <= 0
            if not is_over:
                self._shutdown.refuse(record)
                is_over = not await waiter.changed(remaining)
            if is_over:
                return await self._again(record)
            record = waiter.record or await self._again(record)
        return record

    async def _again(self, record: ExecutionRecord) -> ExecutionRecord:
        return _found(await self._store.get(record.id), names.display_execution(record.execution.id))

    async def _identify(self, execution: identifiers_pb2.ExecutionId) -> tuple[bytes, str]:
        violations = Violations()
        names.check_execution_name(execution.name, "id.name", violations)
        violations.raise_if_any()
        project, domain = await self._projects.complete(execution.project, execution.domain)
        return identity.execution_id_of(project, domain, execution.name), f"{project}/{domain}/{execution.name}"


def _lesser(bound: int, other: int) -> int:
    """The lesser of two bounds, of which 0 is none."""
    return min(bound, other) if bound and other else bound or other


def _digest(task: ReadyTask, inputs: bytes) -> bytes:
    """What is equal for equal inputs, whatever their order and encoding, and whether or not a default was given."""
    return digest_literal_map(task.inputs.complete(literals_pb2.LiteralMap.FromString(inputs)))


def _full(task: ReadyTask, created: Created) -> DomainError:
    shown = names.display_task(task.id) if created.full == "task" else task.id.project
    return DomainError(
        errors_pb2.ERROR_REASON_QUEUE_FULL,
        f"{created.bound} executions of {created.full} {shown} are waiting already; try again later",
        metadata={created.full: shown, "limit": str(created.bound)},
        retry_seconds=_FULL_RETRY_SECONDS,
    )


def _absent(task: ReadyTask) -> DomainError:
    shown = names.display_task(task.id)
    return DomainError(
        errors_pb2.ERROR_REASON_CACHE_ENTRY_NOT_FOUND,
        f"the cache has no entry of {shown} for these inputs",
        metadata={"task": shown},
    )


def _found(record: ExecutionRecord | None, shown: str) -> ExecutionRecord:
    if record is None or names.display_execution(record.execution.id) != shown:
        raise DomainError(
            errors_pb2.ERROR_REASON_EXECUTION_NOT_FOUND,
            f"there is no execution {shown}: it never was, or its retention has passed",
            metadata={"execution": shown},
        )
    return record


_ATTEMPT_STATES: Final[dict[int, execution_pb2.Attempt.State.ValueType]] = {
    lifecycle.RUNNING: execution_pb2.Attempt.STATE_LEASED,
    lifecycle.SUCCEEDED: execution_pb2.Attempt.STATE_SUCCEEDED,
}


def _current_attempt(record: ExecutionRecord) -> execution_pb2.Attempt:
    attempt = execution_pb2.Attempt(
        number=record.attempt,
        state=_ATTEMPT_STATES.get(record.state, execution_pb2.Attempt.STATE_CANCELLED),
        worker=record.worker.decode(),
    )
    attempt.start_time.FromMilliseconds(record.start_ms)
    if record.end_ms:
        attempt.end_time.FromMilliseconds(record.end_ms)
    return attempt
