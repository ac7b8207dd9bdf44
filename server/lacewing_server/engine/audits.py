"""Audits: a task is memoized on its author's word that equal inputs give equal outputs; an audit checks the word.

It is an ordinary execution, marked as such, that neither reads nor fills the cache. Whoever asked for it waits for its
end and compares: the server that answered the hit, or the one that serves ``AuditTask``. If that goes away, nothing is
compared: it was a sample. What differs is kept with the cache entry and with the task version.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
import random
from collections.abc import AsyncIterator, Coroutine
from dataclasses import dataclass
from typing import Any, Final

from lacewing.types import digest_literal_map, literal_map_differences
from lacewing.v1 import (
    audit_pb2,
    cache_pb2,
    cache_service_pb2,
    errors_pb2,
    execution_pb2,
    execution_service_pb2,
    identifiers_pb2,
    literals_pb2,
)
from lacewing_server.domain import identity, lifecycle, names
from lacewing_server.domain.errors import DomainError, invalid_field
from lacewing_server.domain.record import CachedOutcome, ExecutionRecord
from lacewing_server.domain.task_version import ReadyTask
from lacewing_server.engine.cache import Cache
from lacewing_server.engine.executions import Executions
from lacewing_server.engine.stats import CacheCounters
from lacewing_server.engine.tasks import Tasks
from lacewing_server.engine.terms import Terms
from lacewing_server.store.redis.store import Store

_log = logging.getLogger(__name__)

_QUEUE_TIMEOUT_MS: Final = 60_000
_RETENTION_MS: Final = 3_600_000
_INTERVAL_SECONDS: Final = 1.0
"""Background audits of one task begin at most so often."""
_REMEMBERED_MAX: Final = 10_000
_SAMPLE_MAX: Final = 100
_AT_A_TIME: Final = 4
_DIFFERENCES_MAX: Final = 10
_FINDING_MAX_BYTES: Final = 8 << 10

_Result = audit_pb2.AuditResult


@dataclass(frozen=True, slots=True)
class _Subject:
    """Outputs that are on record, and what gave them."""

    task: ReadyTask
    inputs: bytes
    outputs: bytes
    baseline: identifiers_pb2.ExecutionId
    entry: cache_pb2.CacheEntry | None = None
    hit: CachedOutcome | None = None

    @property
    def key(self) -> str:
        """The key of the cache entry, if it is one."""
        return self.entry.key if self.entry is not None else ""


class Audits:
    """Runs tasks again, and compares."""

    def __init__(
        self, store: Store, tasks: Tasks, executions: Executions, cache: Cache, counters: CacheCounters
    ) -> None:
        self._store = store
        self._tasks = tasks
        self._executions = executions
        self._cache = cache
        self._counters = counters
        self._running: dict[bytes, asyncio.Task[None]] = {}
        """Background audits, by task."""
        self._begun: dict[bytes, float] = {}
        executions.creator.on_hit = self.on_hit

    # --- in the background -------------------------------------------------------------------------------------------

    def on_hit(self, task: ReadyTask, inputs: bytes, hit: CachedOutcome) -> None:
        """Audits a hit in the background, if the task asks for it, chance wills it, and it would disturb nobody."""
        if random.random() >= task.audit_rate or task.ref in self._running:  # noqa: S311 - a sample, not a secret
            return
        now = asyncio.get_running_loop().time()
        if now - self._begun.get(task.ref, -_INTERVAL_SECONDS) < _INTERVAL_SECONDS:
            return
        if len(self._begun) >= _REMEMBERED_MAX:
            self._begun.clear()
        self._begun[task.ref] = now
        audit = asyncio.create_task(self._in_background(task, inputs, hit))
        self._running[task.ref] = audit
        audit.add_done_callback(lambda _: self._running.pop(task.ref, None))

    def stop(self) -> None:
        """Gives up the background audits: their executions go on, but are not compared."""
        for audit in self._running.values():
            audit.cancel()

    async def _in_background(self, task: ReadyTask, inputs: bytes, hit: CachedOutcome) -> None:
        try:
            entry = cache_pb2.CacheEntry.FromString(hit.meta)
            subject = _Subject(task, inputs, hit.outputs, entry.producer, entry, hit)
            await self._audit(subject, queue_timeout=_QUEUE_TIMEOUT_MS, retention=_RETENTION_MS, max_queued=1)
        except DomainError as error:  # QUEUE_FULL: there is other work to do
            _log.debug("did not audit a hit of %s: %s", names.display_task(task.id), error)
        except Exception:  # noqa: BLE001 - nobody waits for it, so that it is told here
            _log.exception("could not audit a hit of %s", names.display_task(task.id))

    # --- on demand ---------------------------------------------------------------------------------------------------

    async def on_demand(self, request: cache_service_pb2.AuditTaskRequest) -> AsyncIterator[_Result]:
        """Audits a task in one of three ways, and yields each result.

        Raises:
            DomainError: As ``AuditTask`` says.
        """
        has_inputs = request.HasField("inputs") or request.HasField("inputs_json")
        if has_inputs + bool(request.key) + bool(request.sample) > 1:
            raise invalid_field("key", "only one of inputs, key and sample can be given")
        if not 0 <= request.sample <= _SAMPLE_MAX:
            raise invalid_field("sample", f"must be from 0 to {_SAMPLE_MAX}, got {request.sample}")
        if request.key:
            if request.HasField("task"):
                raise invalid_field("task", "must not be given together with key")
            yield await self._audit_entry(request.key)
        elif request.sample:
            keys = await self._cache.sample(request.task, request.sample)
            async for result in _as_completed([self._audit_sampled(key) for key in keys]):
                yield result
        else:
            yield await self._run_twice(request)

    async def _run_twice(self, request: cache_service_pb2.AuditTaskRequest) -> _Result:
        task, _ = await self._tasks.resolve(request.task)
        if not task.idempotent:
            raise invalid_field("task", "is not idempotent (spec.policy.idempotent), so it must not run twice")
        first = execution_service_pb2.ExecuteRequest(
            task=request.task,
            inputs=request.inputs if request.HasField("inputs") else None,
            inputs_json=request.inputs_json if request.HasField("inputs_json") else None,
        )
        task, inputs, record = await self._run(
            first, Terms(execution_pb2.Execution(audit=audit_pb2.AuditInfo()).SerializeToString())
        )
        if record.state != lifecycle.SUCCEEDED:
            return _failed(record, "")
        return await self._audit(_Subject(task, inputs, record.outcome, record.execution.id))

    async def _audit_sampled(self, key: str) -> _Result:
        try:
            return await self._audit_entry(key)
        except DomainError as error:
            if error.reason != errors_pb2.ERROR_REASON_CACHE_ENTRY_NOT_FOUND:
                raise
            return _Result(outcome=_Result.OUTCOME_UNAVAILABLE, key=key, message=error.message)

    async def _audit_entry(self, key: str) -> _Result:
        entry, hit = await self._cache.find(key)
        producer = entry.producer
        execution_id = identity.execution_id_of(producer.project, producer.domain, producer.name)
        record = await self._store.get(execution_id)
        if record is None or record.execution.id != producer or record.cache_key.hex() != key:
            shown = names.display_execution(producer)
            return _Result(
                outcome=_Result.OUTCOME_UNAVAILABLE,
                key=key,
                message=f"execution {shown}, which filled it, is past its retention, and with it the inputs",
            )
        task, _ = await self._tasks.resolve(entry.task)
        return await self._audit(_Subject(task, record.inputs, hit.outputs, producer, entry, hit))

    # --- running and comparing ---------------------------------------------------------------------------------------

    async def _audit(
        self, subject: _Subject, *, queue_timeout: int = 0, retention: int = 0, max_queued: int = 0
    ) -> _Result:
        before = literals_pb2.LiteralMap.FromString(subject.outputs)
        info = audit_pb2.AuditInfo(
            key=subject.key, baseline=subject.baseline, baseline_digest=digest_literal_map(before).hex()
        )
        inputs = literals_pb2.LiteralMap.FromString(subject.inputs)
        request = execution_service_pb2.ExecuteRequest(task=subject.task.id, inputs=inputs)
        terms = Terms(
            execution_pb2.Execution(audit=info).SerializeToString(),
            queue_timeout=queue_timeout,
            retention=retention,
            max_queued=max_queued,
        )
        _, _, record = await self._run(request, terms)
        if record.state != lifecycle.SUCCEEDED:
            return _failed(record, subject.key)
        after = literals_pb2.LiteralMap.FromString(record.outcome)
        digest = digest_literal_map(after).hex()
        result = _Result(outcome=_Result.OUTCOME_MATCH, key=subject.key, execution=record.execution.id)
        if digest != info.baseline_digest:
            result.outcome = _Result.OUTCOME_MISMATCH
            finding = result.nondeterminism
            finding.key, finding.baseline_digest, finding.digest = subject.key, info.baseline_digest, digest
            finding.task.CopyFrom(subject.task.id)
            finding.baseline.CopyFrom(subject.baseline)
            finding.execution.CopyFrom(record.execution.id)
            finding.time.FromMilliseconds(self._store.now_ms())
            _add_differences(finding, before, after)
            await self._mark(subject, finding)
        self._counters.audit(subject.task, mismatch=result.outcome == _Result.OUTCOME_MISMATCH)
        return result

    async def _run(
        self, request: execution_service_pb2.ExecuteRequest, terms: Terms
    ) -> tuple[ReadyTask, bytes, ExecutionRecord]:
        request.cache_mode = execution_pb2.CACHE_MODE_BYPASS
        request.priority = execution_pb2.PRIORITY_LOW
        admitted = await self._executions.create(request, record_hit=True, terms=terms)
        inputs = admitted.record.inputs
        await self._executions.finish(admitted, None)
        return admitted.task, inputs, admitted.record

    async def _mark(self, subject: _Subject, finding: audit_pb2.Nondeterminism) -> None:
        _log.warning(
            "%s is not deterministic: %s gave other outputs than %s, first at %s",
            names.display_task(finding.task),
            names.display_execution(finding.execution),
            names.display_execution(finding.baseline),
            finding.differences[0].path,
        )
        await self._tasks.mark(subject.task, finding)
        if subject.entry is not None and subject.hit is not None and not subject.entry.HasField("nondeterminism"):
            await self._cache.mark(subject.entry.key, subject.hit, finding)


def _add_differences(
    finding: audit_pb2.Nondeterminism, before: literals_pb2.LiteralMap, after: literals_pb2.LiteralMap
) -> None:
    for path, was, became in itertools.islice(literal_map_differences(before, after), _DIFFERENCES_MAX):
        difference = audit_pb2.LiteralDifference(path=path, before=was, after=became)
        if finding.ByteSize() + difference.ByteSize() > _FINDING_MAX_BYTES:
            return
        finding.differences.append(difference)


def _failed(record: ExecutionRecord, key: str) -> _Result:
    state = execution_pb2.Execution.State.Name(record.state).removeprefix("STATE_")  # type: ignore[arg-type] # a plain int
    error = execution_pb2.TaskError.FromString(record.outcome)
    return _Result(
        outcome=_Result.OUTCOME_FAILED,
        key=key,
        execution=record.execution.id,
        message=f"the run ended {state}: {error.code}: {error.message}",
    )


async def _as_completed(audits: list[Coroutine[Any, Any, _Result]]) -> AsyncIterator[_Result]:
    """The results in the order they come, a few audits at a time; no more are begun when it is left."""
    limit = asyncio.Semaphore(_AT_A_TIME)

    async def limited(audit: Coroutine[Any, Any, _Result]) -> _Result:
        async with limit:
            return await audit

    tasks = [asyncio.create_task(limited(audit)) for audit in audits]
    try:
        for following in asyncio.as_completed(tasks):
            yield await following
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for audit in audits:
            audit.close()
