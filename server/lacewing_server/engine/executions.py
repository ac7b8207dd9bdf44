"""Executions as their callers see them: creating, reading, waiting, watching, cancelling."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AbstractContextManager
from functools import partial
from typing import Final

from lacewing.v1 import execution_pb2, execution_service_pb2, identifiers_pb2
from lacewing_server.domain import identity, lifecycle, limits, names
from lacewing_server.domain.errors import Violations, invalid_field
from lacewing_server.domain.record import ExecutionRecord
from lacewing_server.engine.admitted import Admitted
from lacewing_server.engine.attempts import Attempts
from lacewing_server.engine.blobs import Blobs
from lacewing_server.engine.creating import Creating, Creator
from lacewing_server.engine.dispatch import Dispatch
from lacewing_server.engine.endings import Endings, found, result
from lacewing_server.engine.projects import Projects
from lacewing_server.engine.shutdown import Shutdown
from lacewing_server.engine.stats import CacheCounters
from lacewing_server.engine.tasks import Tasks
from lacewing_server.engine.terms import NO_TERMS, Terms
from lacewing_server.engine.wakeups import Wakeups
from lacewing_server.store.redis.store import Store

ExecuteRequest = execution_service_pb2.ExecuteRequest


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
        self._projects = projects
        self._dispatch = dispatch
        self._attempts = attempts
        self._wakeups = wakeups
        self._shutdown = shutdown
        self.creator = Creator(store, tasks, projects, dispatch, counters, blobs)
        self.endings = Endings(store, wakeups, shutdown)

    # --- creating ----------------------------------------------------------------------------------------------------

    def begin(self, request: ExecuteRequest, *, record_hit: bool, terms: Terms = NO_TERMS) -> Creating:
        """Begins to accept a request, or to answer it from the cache.

        Raises:
            DomainError: As ``Execute``, as far as it shows at once.
        """
        self._shutdown.refuse()
        return Creating(self.creator, request, record_hit=record_hit, terms=terms)

    def together(self, count: int) -> AbstractContextManager[None]:
        """Within it so many executions are begun at once."""
        return self._dispatch.together(count)

    async def create(self, request: ExecuteRequest, *, record_hit: bool, terms: Terms = NO_TERMS) -> Admitted:
        """Accepts a request, or answers it from the cache.

        Raises:
            DomainError: As ``Execute``; ``LEASE_LOST`` if it is a node of a graph that this server no longer drives.
        """
        creating = self.begin(request, record_hit=record_hit, terms=terms)
        return await creating.first() or await creating.rest()

    async def execute(self, request: ExecuteRequest, seconds: float | None) -> Admitted:
        """Accepts a request and waits for the end."""
        admitted = await self.create(request, record_hit=request.record_hit)
        if admitted.has_ended:
            return admitted
        try:
            await self.finish(admitted, seconds)
        except asyncio.CancelledError:
            await asyncio.shield(self.forsake(request, admitted))
            raise
        return admitted

    async def forsake(self, request: ExecuteRequest, admitted: Admitted) -> None:
        """Ends an execution whose caller went away, if the request says so."""
        if request.cancel_on_disconnect and not admitted.has_ended:
            await self._attempts.cancel(admitted.record.id, "the caller went away")

    # --- reading
    # ---------------------------------------------------------------------------------------------------------

    async def get(self, execution: identifiers_pb2.ExecutionId, *, inputs: bool = True) -> ExecutionRecord:
        """Reads an execution."""
        execution_id, shown = await self._identify(execution)
        record = await self._store.get(execution_id, inputs=inputs)
        return found(record, shown)

    async def wait(self, execution: identifiers_pb2.ExecutionId, seconds: float | None) -> ExecutionRecord:
        """Waits for the end of an execution; gives it as it is when the wait is over."""
        execution_id, shown = await self._identify(execution)
        return await result(partial(self.endings.find, execution_id, shown, seconds))

    async def finish(self, admitted: Admitted, seconds: float | None) -> None:
        """Waits for the end of an execution that was accepted just now."""
        if not admitted.has_ended:
            admitted.record = await result(partial(self.endings.follow, admitted, seconds))

    async def watch(
        self, execution: identifiers_pb2.ExecutionId, after_revision: int
    ) -> AsyncIterator[ExecutionRecord]:
        """Yields an execution after each change and each progress, until its end."""
        execution_id, shown = await self._identify(execution)
        with self._wakeups.waiting(execution_id) as waiter:
            record = found(await self._store.watch(execution_id), shown)
            while True:
                waiter.revision = record.revision
                has_progressed, waiter.has_progressed = waiter.has_progressed, False
                if record.revision > after_revision or has_progressed or lifecycle.is_terminal(record.state):
                    after_revision = record.revision
                    yield record
                if lifecycle.is_terminal(record.state):
                    return
                self._shutdown.refuse(record)
                await waiter.changed()
                record = found(await self._store.get(execution_id), shown)

    def progress(self, record: ExecutionRecord) -> execution_pb2.Progress | None:
        """What the running body last reported of itself, if this server holds its lease."""
        return self._dispatch.progress_of(record) if record.state == lifecycle.RUNNING else None

    async def cancel(self, execution: identifiers_pb2.ExecutionId, reason: str) -> ExecutionRecord:
        """Cancels an execution."""
        if len(reason) > limits.REASON_MAX:
            raise invalid_field("reason", f"must have at most {limits.REASON_MAX} characters")
        execution_id, shown = await self._identify(execution)
        return found(await self._attempts.cancel(execution_id, reason), shown)

    async def attempts(self, execution: identifiers_pb2.ExecutionId) -> list[execution_pb2.Attempt]:
        """The attempts of an execution, the first one first."""
        record = await self.get(execution, inputs=False)
        attempts = [execution_pb2.Attempt.FromString(each) for each in await self._store.attempts(record.id)]
        if record.attempt and (not attempts or attempts[-1].number < record.attempt):
            attempts.append(_current_attempt(record))
        return attempts

    async def _identify(self, execution: identifiers_pb2.ExecutionId) -> tuple[bytes, str]:
        violations = Violations()
        names.check_execution_name(execution.name, "id.name", violations)
        violations.raise_if_any()
        project, domain = await self._projects.complete(execution.project, execution.domain)
        return identity.execution_id_of(project, domain, execution.name), f"{project}/{domain}/{execution.name}"


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
