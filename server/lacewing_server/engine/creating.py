"""Creating executions: from a request to what it is answered with, the look-up in the cache included."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Final

from lacewing.types import digest_literal_map
from lacewing.v1 import execution_pb2, execution_service_pb2, identifiers_pb2, literals_pb2
from lacewing_server.domain import identity, lifecycle
from lacewing_server.domain.durations import milliseconds
from lacewing_server.domain.errors import DomainError
from lacewing_server.domain.offers import GRAPHS
from lacewing_server.domain.record import FILLS_CACHE, GRAPH, NO_KEY, SERIALIZED, CachedOutcome, ExecutionRecord
from lacewing_server.domain.task_version import UNNAMED, ReadyTask
from lacewing_server.engine import refusals
from lacewing_server.engine.admission import PRIORITY_FLAGS, Admission
from lacewing_server.engine.admitted import Admitted
from lacewing_server.engine.blobs import Blobs, mention_blobs
from lacewing_server.engine.dispatch import Dispatch, Session
from lacewing_server.engine.projects import Projects
from lacewing_server.engine.stats import CacheCounters
from lacewing_server.engine.tasks import Tasks
from lacewing_server.engine.terms import NO_TERMS, Terms
from lacewing_server.store.redis.store import Store
from lacewing_server.store.redis.transitions import Created, Creation

_USES: Final = frozenset({execution_pb2.CACHE_MODE_UNSPECIFIED, execution_pb2.CACHE_MODE_USE})
_MISSES: Final = frozenset({"leased", "queued", "waiting", "absent"})
"""What a look-up that found no entry can come to; a request that is repeated or refused looked nothing up."""

_UNKNOWN: Final = execution_pb2.CacheInfo.STATUS_UNSPECIFIED
_HIT: Final = execution_pb2.CacheInfo.STATUS_HIT
_MISS: Final = execution_pb2.CacheInfo.STATUS_MISS
_DISABLED: Final = execution_pb2.CacheInfo.STATUS_DISABLED
_Status = execution_pb2.CacheInfo.Status
ExecuteRequest = execution_service_pb2.ExecuteRequest


class Creator:
    """What creating an execution takes.

    Attributes:
        on_hit: Told of each hit of a task with an audit rate, and of the inputs that hit.
    """

    def __init__(
        self,
        store: Store,
        tasks: Tasks,
        projects: Projects,
        dispatch: Dispatch,
        counters: CacheCounters,
        blobs: Blobs,
    ) -> None:
        self.store = store
        self.tasks = tasks
        self.projects = projects
        self.dispatch = dispatch
        self.counters = counters
        self.blobs = blobs
        self.admission = Admission()
        self.hitting: set[bytes] = set()
        """Tasks of which the last request was answered from the cache: the next one probably is, too."""
        self.on_hit: Callable[[ReadyTask, bytes, CachedOutcome], None] = lambda _task, _inputs, _hit: None


class Creating:
    """One request on its way to be accepted.

    Nearly every one takes one call of the store, which is under way once this is made. `first` is its answer; what that
    leaves open, because something else has to be waited for, `rest` does.
    """

    __slots__ = (
        "_as_latest",
        "_cache_key",
        "_entry",
        "_has_missed",
        "_hit",
        "_is_outdated",
        "_lookup",
        "_nonce",
        "_of",
        "_packed",
        "_record",
        "_reply",
        "_request",
        "_session",
        "_task",
        "_terms",
        "_wants_record",
    )

    def __init__(self, of: Creator, request: ExecuteRequest, *, record_hit: bool, terms: Terms) -> None:
        """Begins it.

        Raises:
            DomainError: As ``Execute``, as far as it shows at once.
        """
        self._of = of
        self._request = request
        self._terms = terms
        self._wants_record = record_hit or bool(request.name)
        self._reply: Awaitable[Created] | None = None
        self._session: Session | None = None
        self._hit: CachedOutcome | None = None
        """A hit whose blobs have to be looked for."""
        self._entry: _Status.ValueType = _UNKNOWN
        """What is known of the blobs of a cache entry: nothing at first; STATUS_HIT, they are there; else the entry is
        of no use, and why."""
        self._has_missed = False
        """Whether it was looked up first and not found: then it goes on as it would have begun."""
        self._is_outdated = False
        """Whether the latest version is another one by now, or the task was archived."""
        at_hand = of.tasks.at_hand(request.task)
        if at_hand is not None and (terms is NO_TERMS or terms.overrides is None):
            self._check(*at_hand)
            if mention_blobs(self._packed):
                return  # they have to be looked for first
            if self._is_likely_hit():
                self._look_up()
            else:
                self._issue()

    async def first(self) -> Admitted | None:
        """What the request is answered with; None if `rest` has to be waited for.

        Raises:
            DomainError: As ``Execute``; ``LEASE_LOST`` if it is a node of a graph that this server no longer drives.
        """
        if self._reply is None:
            return None
        kind = ""
        try:
            created = await self._reply
            kind = created.kind
        finally:
            session = self._session
            if session is not None and kind != "leased":
                if not kind:  # no answer: the caller went away, or the store did
                    self._of.dispatch.doubts.add(self._nonce)
                self._of.dispatch.release(session)
        return self._settle(created)

    async def rest(self) -> Admitted:
        """What the request is answered with in the end; raises as `first`."""
        while True:
            if self._hit is not None:
                self._entry = await self._look_for_blobs(self._hit)
                if self._entry == _HIT and not self._wants_record:
                    return self._answered(self._hit)
                self._hit = None
            elif self._has_missed:
                self._has_missed = False
            else:
                await self._prepare()
            self._issue()
            admitted = await self.first()
            if admitted is not None:
                return admitted

    # --- before the call ---------------------------------------------------------------------------------------------

    def _check(self, task: ReadyTask, as_latest: bool) -> literals_pb2.LiteralMap:  # noqa: FBT001 - as `resolve` says it
        inputs, self._packed, self._cache_key = self._of.admission.check(self._request, task)
        self._task, self._as_latest = task, as_latest
        return inputs

    async def _prepare(self) -> None:
        of = self._of
        if self._is_outdated:
            await self._refresh(self._task)
        task, as_latest = await of.tasks.resolve(self._request.task)
        await of.projects.require_active(task.id.project)
        if self._terms.overrides is not None:
            task = await of.tasks.overridden(task, self._terms.overrides)
        inputs = self._check(task, as_latest)
        if mention_blobs(self._packed):
            await of.blobs.require(inputs)

    async def _refresh(self, task: ReadyTask) -> None:
        self._is_outdated, self._entry = False, _UNKNOWN
        self._of.tasks.forget_latest(task.ref)
        described = await self._of.tasks.describe(task.id)
        if described.state != described.STATE_ACTIVE:
            raise refusals.archived(task)

    def _is_likely_hit(self) -> bool:
        request = self._request
        return (
            self._task.ref in self._of.hitting
            and self._task.cached
            and request.cache_mode in _USES
            and not self._wants_record
            and self._terms is NO_TERMS
        )

    def _look_up(self) -> None:
        """Asks the store for the cache entry only: that takes half of the time, and is nearly always enough."""
        task = self._task
        self._lookup = ""
        self._record = ExecutionRecord(
            self._execution_id(task.id.project, task.id.domain) if self._request.request_id else b"",
            lifecycle.SUCCEEDED,
            self._meta("", execution_pb2.CACHE_MODE_USE),
            flags=PRIORITY_FLAGS[self._request.priority],
            task_ref=task.ref,
            cache_key=self._cache_key,
            inputs=self._packed,
        )
        expected_latest = task.id.version if self._as_latest else ""
        self._reply = self._of.store.look_up(self._record, task.id.project, expected_latest)

    def _issue(self) -> None:
        """Sends it to the store."""
        of, request, terms, task = self._of, self._request, self._terms, self._task
        project, domain = task.id.project, task.id.domain
        mode = request.cache_mode or execution_pb2.CACHE_MODE_USE
        execution_id = terms.node.execution_id if terms.node else self._execution_id(project, domain)
        name = request.name or identity.execution_name(execution_id)
        status, flags, lookup, patch = _DISABLED, 0, "", b""
        if task.cached and mode != execution_pb2.CACHE_MODE_BYPASS:
            flags = FILLS_CACHE | (SERIALIZED if task.serialized else 0)
            if mode == execution_pb2.CACHE_MODE_REFRESH:
                status = execution_pb2.CacheInfo.STATUS_SKIPPED
            else:
                status = _MISS
                lookup = "o" if mode == execution_pb2.CACHE_MODE_ONLY else "u"
                if self._entry not in (_UNKNOWN, _HIT):
                    if lookup == "o":
                        raise refusals.absent(task)
                    status, lookup = self._entry, ""
                if task.serialized:
                    own_id = identifiers_pb2.ExecutionId(project=project, domain=domain, name=name)
                    cache = execution_pb2.CacheInfo(producer=own_id)
                    patch = execution_pb2.Execution(cache=cache).SerializeToString()
        elif mode == execution_pb2.CACHE_MODE_ONLY:
            raise refusals.absent(task)
        self._lookup = lookup
        record = self._record = ExecutionRecord(
            execution_id,
            lifecycle.QUEUED,
            self._meta(name, mode),
            flags=flags | PRIORITY_FLAGS[request.priority] | (GRAPH if task.is_workflow or terms.kept_graph else 0),
            cache_status=status,
            origin=of.store.server,
            task_ref=task.ref,
            queue_ref=GRAPHS.ref if terms.kept_graph and not task.is_workflow else task.queue_ref,
            project_ref=task.project_ref,
            cache_key=self._cache_key if flags else NO_KEY,
            attempt_timeout=task.attempt_timeout,
            queue_timeout=_lesser(task.queue_timeout, terms.queue_timeout),
            retention=_lesser(task.retention, terms.retention),
            inputs=self._packed,
        )
        deadline = milliseconds(request.deadline) if request.HasField("deadline") else 0
        self._session = session = of.dispatch.reserve(record.queue_ref)
        self._nonce = identity.new_nonce() if session else b""
        self._reply = of.store.create(
            record,
            Creation(
                domain_index=f"{project}/{domain}",
                max_queued=_lesser(task.max_queued, terms.max_queued),
                deadline=_lesser(task.deadline, deadline),
                lookup=lookup,
                record_hit=self._wants_record,
                has_blobs=self._entry == _HIT,
                expected_latest=task.id.version if self._as_latest else "",
                nonce=self._nonce,
                worker=session.worker.encode() if session else b"",
                unary_lease=session.unary_lease if session else 0,
                patch=patch,
                parent=terms.node.parent if terms.node else b"",
                parent_nonce=terms.node.nonce if terms.node else b"",
                kept_graph=terms.kept_graph,
            ),
        )

    def _meta(self, name: str, mode: int) -> bytes:
        request, task = self._request, self._task
        # Serialized messages that are joined are the message with the fields of both.
        if request.name:
            meta = execution_pb2.Execution(id=identifiers_pb2.ExecutionId(name=name)).SerializeToString() + task.meta
        else:
            meta = (UNNAMED + name.encode() if name else b"") + task.meta
        bound = request.max_parallelism or task.max_parallelism
        if bound or mode != execution_pb2.CACHE_MODE_USE or request.labels:
            own = execution_pb2.Execution(labels=request.labels, max_parallelism=bound)
            if mode != execution_pb2.CACHE_MODE_USE:
                own.cache_mode = mode  # type: ignore[assignment] # a plain int
            meta += own.SerializeToString()
        return meta + self._terms.own

    def _execution_id(self, project: str, domain: str) -> bytes:
        if self._request.name:
            return identity.execution_id_of(project, domain, self._request.name)
        if self._request.request_id:
            return identity.requested_execution_id(project, domain, self._request.request_id)
        return identity.new_execution_id(self._of.store.now_ms())

    # --- after the call ----------------------------------------------------------------------------------------------

    def _settle(self, created: Created) -> Admitted | None:
        of, task, record, kind = self._of, self._task, self._record, created.kind
        if kind == "hit":
            assert created.hit is not None
            of.hitting.add(task.ref)
            if not self._entry and mention_blobs(created.hit.outputs):
                self._hit = created.hit
                return None
            return self._answered(created.hit)
        if (self._lookup or self._entry) and kind in _MISSES:
            of.counters.miss(task)
            of.hitting.discard(task.ref)
        if kind == "leased" and self._session is not None:
            of.dispatch.hand_over(self._session, record)
        elif kind == "queued":
            of.dispatch.on_work(record.queue_ref)
        elif kind == "exists":
            assert created.record is not None
            return self._replayed(created.record)
        elif kind == "task":
            self._is_outdated = True
            return None
        elif kind == "miss":
            self._has_missed = True
            return None
        elif kind == "orphan":
            raise refusals.orphaned()
        elif kind == "absent":
            raise refusals.absent(task)
        elif kind == "full":
            raise refusals.full(task, created)
        return Admitted(record, task)

    def _answered(self, hit: CachedOutcome) -> Admitted:
        self._of.counters.hit(self._task, hit.compute_ms)
        if self._task.audit_rate:
            self._of.on_hit(self._task, self._packed, hit)
        return Admitted(self._record, self._task, hit=hit, recorded=self._wants_record)

    async def _look_for_blobs(self, hit: CachedOutcome) -> _Status.ValueType:
        try:
            there = await self._of.blobs.are_there(hit.outputs)
        except DomainError:  # The cache is no reason to fail.
            return execution_pb2.CacheInfo.STATUS_LOOKUP_FAILURE
        return _HIT if there else _MISS

    def _replayed(self, record: ExecutionRecord) -> Admitted:
        task = self._task
        if self._terms.node is None:  # else its id says that it is the same
            same_task = record.execution.task == task.id
            if not same_task or not _are_equal(task, record.inputs, self._packed):
                raise refusals.conflicting(record)
        return Admitted(record, task, replayed=True)


def _lesser(bound: int, other: int) -> int:
    """The lesser of two bounds, of which 0 is none."""
    return min(bound, other) if bound and other else bound or other


def _are_equal(task: ReadyTask, inputs: bytes, others: bytes) -> bool:
    return inputs == others or _digest(task, inputs) == _digest(task, others)


def _digest(task: ReadyTask, inputs: bytes) -> bytes:
    """What is equal for equal inputs, whatever their order and encoding, and whether or not a default was given."""
    return digest_literal_map(task.inputs.complete(literals_pb2.LiteralMap.FromString(inputs)))
