"""The end of attempts: completions, losses, clocks and cancellations become transitions of the store.

Every way an attempt can end comes through here, so that retry budgets, memoization and wake-ups are decided in one
place.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass
from typing import Any, Final, Protocol

from lacewing.v1 import errors_pb2, execution_pb2, literals_pb2, task_pb2, worker_service_pb2
from lacewing_server.domain import clocks, identity, lifecycle, limits, names, retrying, task_errors
from lacewing_server.domain.errors import DomainError, Violation, invalid_field
from lacewing_server.domain.offers import GRAPHS
from lacewing_server.domain.record import BIG_INPUTS, FILLS_CACHE, GRAPH, ExecutionRecord
from lacewing_server.domain.task_version import ReadyTask
from lacewing_server.engine.attempt_messages import attempt_of, entry_of, lost, timeout_error
from lacewing_server.engine.tasks import Tasks
from lacewing_server.engine.wakeups import Wakeups
from lacewing_server.store.redis.store import Store
from lacewing_server.store.redis.transitions import (
    Applied,
    Outcome,
    Requeueing,
    expired_guard,
    lease_guard,
    owner_guard,
    revision_guard,
)

_log = logging.getLogger(__name__)

_Attempt = execution_pb2.Attempt
_Reason = worker_service_pb2.Revocation
_TRIES: Final = 16


class Revoker(Protocol):
    """Tells a worker that a lease is no longer its own."""

    def __call__(self, token: bytes, reason: int) -> None:
        """Revokes the lease, if a stream of this server holds it."""


def _no_revoker(token: bytes, reason: int) -> None:
    """Stands in until a dispatcher is there."""


class Compiler(Protocol):
    """Compiles a graph that a body gave."""

    async def __call__(self, graph: task_pb2.Graph, task: ReadyTask, depth: int) -> task_pb2.Graph:
        """Compiles the graph of an execution of the task at this depth; raises ``GRAPH_INVALID``."""
        ...


async def _no_compiler(graph: task_pb2.Graph, task: ReadyTask, depth: int) -> task_pb2.Graph:
    """Stands in until a compiler is there."""
    raise NotImplementedError


@dataclass(frozen=True, slots=True)
class _Ended:
    """An attempt that ended without outputs."""

    error: execution_pb2.TaskError
    attempt: bytes
    """A serialized ``Attempt``, to be kept."""
    revoke_reason: int
    failures: int = 0
    losses: int = 0
    keep_nonce: bool = False
    """Whether its worker reported the end, and may repeat that."""


class Attempts:
    """Ends attempts and executions."""

    def __init__(self, store: Store, tasks: Tasks, wakeups: Wakeups) -> None:
        self._store = store
        self._tasks = tasks
        self._wakeups = wakeups
        self.revoke: Revoker = _no_revoker
        self.on_ready: Callable[[bytes], None] = lambda _queue_ref: None
        self.compile: Compiler = _no_compiler

    # --- completions
    # ---------------------------------------------------------------------------------------------------

    def complete(self, completion: worker_service_pb2.Completion, record: ExecutionRecord | None) -> Awaitable[None]:
        """Records the result of an attempt. It is on its way when this returns; await the answer in any case.

        Args:
            completion: What the worker says.
            record: The execution as leased, if it is at hand.

        Raises:
            DomainError: When awaited: ``LEASE_LOST``, ``OUTPUTS_INVALID``, ``VALUE_TOO_LARGE``, ``FIELD_INVALID`` or
            that of the store.
        """
        # Nearly all are outputs of a lease that is at hand, which need nothing but a call of the store.
        if record is not None and completion.HasField("outputs") and _is_held(record, completion.token):
            task = self._tasks.ready_of(record)
            if task is not None:
                return self._succeed(record, task, completion)
        return asyncio.ensure_future(self._complete(completion, record))

    async def _complete(self, completion: worker_service_pb2.Completion, record: ExecutionRecord | None) -> None:
        parts = identity.split_token(completion.token)
        if parts is None:
            raise lost(None)
        execution_id, nonce = parts
        if record is None:
            record = await self._store.get(execution_id, inputs=False)
        if record is None or record.nonce != nonce:
            raise lost(record)
        if record.state != lifecycle.RUNNING:
            return  # recorded before: the nonce is kept for that
        task = await self._tasks.ready_for(record)
        result = completion.WhichOneof("result")
        if result == "outputs":
            await self._succeed(record, task, completion)
        elif result == "error":
            await self._fail(record, task, completion.error, completion.log_tail, timed_out=False)
        elif result == "timed_out":
            error = timeout_error(record)
            error.stack_trace = completion.timed_out.stack_trace
            await self._fail(record, task, error, completion.log_tail, timed_out=True)
        elif result == "graph":
            await self._expand(record, task, completion)
        elif result == "abandoned":
            why = completion.abandoned.reason or "the worker gave it back"
            await self.lose(record, lease_guard(nonce), why, revoke=False, keep_nonce=True)
        else:
            raise invalid_field("completions.result", "must be set")

    async def lost(self, token: bytes) -> DomainError:
        """The refusal of a token that is not, or no longer, that of a lease."""
        parts = identity.split_token(token)
        return lost(await self._store.get(parts[0], inputs=False) if parts is not None else None)

    def _succeed(
        self, record: ExecutionRecord, task: ReadyTask, completion: worker_service_pb2.Completion
    ) -> Awaitable[None]:
        outputs = completion.outputs
        packed = outputs.SerializeToString()
        refusal: DomainError | None = None
        if len(packed) > limits.OUTPUTS_MAX_BYTES:
            refusal = DomainError(
                errors_pb2.ERROR_REASON_VALUE_TOO_LARGE,
                f"the outputs have {len(packed)} bytes, {limits.OUTPUTS_MAX_BYTES} are allowed",
                metadata={"field": "outputs", "bytes": str(len(packed)), "limit": str(limits.OUTPUTS_MAX_BYTES)},
            )
        elif problems := task.outputs.check(outputs):
            violations = [Violation(problem.path, problem.message) for problem in problems]
            refusal = DomainError(
                errors_pb2.ERROR_REASON_OUTPUTS_INVALID,
                f"the outputs do not fit the interface of {names.display_task(task.id)}: {problems[0]}",
                metadata={
                    "task": names.display_task(task.id),
                    "execution": names.display_execution(record.execution.id),
                },
                violations=violations,
            )
        if refusal is not None:
            return asyncio.ensure_future(self._refuse(record, task, refusal, completion.log_tail))
        entry = b""
        status = record.cache_status
        if record.flags & FILLS_CACHE:
            entry = entry_of(record, task, packed)
            status = execution_pb2.CacheInfo.STATUS_POPULATED
        attempt = b""
        has_more = completion.log_tail or record.failures + record.losses
        if has_more and not _body_is_recorded(record, task):
            attempt = attempt_of(self._store.now_ms(), record, _Attempt.STATE_SUCCEEDED, None, completion.log_tail)
        outcome = Outcome(
            lifecycle.SUCCEEDED,
            packed,
            attempt,
            status,
            entry,
            task.cache_ttl,
            task.id.project,
            task.cache_max,
            keep_nonce=True,
        )
        return self._recorded(record, self._finish(record, lease_guard(record.nonce), outcome))

    async def _recorded(self, record: ExecutionRecord, applying: Awaitable[Applied]) -> None:
        self._require_done(await applying, record)

    async def _refuse(self, record: ExecutionRecord, task: ReadyTask, refusal: DomainError, log_tail: str) -> None:
        """Fails an attempt whose outputs cannot be taken."""
        error = execution_pb2.TaskError(
            kind=execution_pb2.TaskError.KIND_USER, code=retrying.OUTPUTS_INVALID, message=refusal.message
        )
        await self._fail(record, task, error, log_tail, timed_out=False)
        raise refusal

    async def _expand(
        self, record: ExecutionRecord, task: ReadyTask, completion: worker_service_pb2.Completion
    ) -> None:
        """Lets the graph that a body gave run instead of the body."""
        try:
            graph = await self.compile(completion.graph, task, record.execution.depth)
        except DomainError as refusal:
            if refusal.reason != errors_pb2.ERROR_REASON_GRAPH_INVALID:
                raise
            listed = "".join(f"\n{each.field}: {each.description}" for each in refusal.violations)
            error = execution_pb2.TaskError(
                kind=execution_pb2.TaskError.KIND_USER, code=retrying.GRAPH_INVALID, message=refusal.message + listed
            )
            await self._fail(record, task, error, completion.log_tail, timed_out=False)
            refusal.metadata["execution"] = names.display_execution(record.execution.id)
            raise
        attempt = attempt_of(self._store.now_ms(), record, _Attempt.STATE_SUCCEEDED, None, completion.log_tail)
        how = Requeueing(attempt=attempt, keep_nonce=True, graph=graph.SerializeToString())
        applied = await self._store.requeue(record.id, lease_guard(record.nonce), how)
        self._require_done(applied, record)
        self._wakeups.notify(record.id)
        self.on_ready(GRAPHS.ref)

    async def end_graph(
        self, record: ExecutionRecord, outputs: literals_pb2.LiteralMap | None, error: execution_pb2.TaskError | None
    ) -> None:
        """Ends an execution whose graph has ended, with its outputs or with the error of what failed in it.

        Raises:
            DomainError: ``LEASE_LOST`` if this server no longer drives it; or that of the store.
        """
        task = await self._tasks.ready_for(record)
        if outputs is not None:
            completion = worker_service_pb2.Completion(
                token=identity.lease_token(record.id, record.nonce), outputs=outputs
            )
            await self._succeed(record, task, completion)
            return
        assert error is not None
        error = self._normalized(error, record)
        attempt = b""
        if not _body_is_recorded(record, task):
            attempt = attempt_of(self._store.now_ms(), record, _Attempt.STATE_FAILED, error, "")
        outcome = Outcome(
            lifecycle.FAILED, error.SerializeToString(), attempt, record.cache_status, keep_nonce=True, failures=1
        )
        self._require_done(await self._finish(record, lease_guard(record.nonce), outcome), record)

    async def _fail(
        self,
        record: ExecutionRecord,
        task: ReadyTask,
        given: execution_pb2.TaskError,
        log_tail: str,
        *,
        timed_out: bool,
        guard: bytes | None = None,
        from_worker: bool = True,
    ) -> Applied:
        error = self._normalized(given, record)
        decision = retrying.after_failure(task, record, error, timed_out=timed_out, spread=random.random)
        state = _Attempt.STATE_TIMED_OUT if timed_out else _Attempt.STATE_FAILED
        attempt = b""
        if not _body_is_recorded(record, task):
            attempt = attempt_of(self._store.now_ms(), record, state, error, log_tail)
        reason = _Reason.REASON_TIMED_OUT
        ended = _Ended(error, attempt, reason, failures=1, keep_nonce=from_worker)
        applied = await self._carry_out(decision, record, guard or lease_guard(record.nonce), ended)
        if from_worker:
            self._require_done(applied, record)
        elif applied.kind == "done":
            self.revoke(identity.lease_token(record.id, record.nonce), reason)
        return applied

    # --- losses and clocks
    # -----------------------------------------------------------------------------------------------

    async def lose(
        self, record: ExecutionRecord, guard: bytes, why: str, *, revoke: bool = True, keep_nonce: bool = False
    ) -> None:
        """Records that infrastructure lost an attempt; without effect if the lease has moved on."""
        if record.flags & GRAPH:
            # Nothing is lost: another server goes on with what runs. Whoever drove it must not take that for the end.
            await self._requeue(record, guard, Requeueing(revoke_reason=_Reason.REASON_LOST))
            return
        task = await self._tasks.ready_for(record)
        error = execution_pb2.TaskError(
            kind=execution_pb2.TaskError.KIND_SYSTEM, code=retrying.LEASE_LOST, message=why, recoverable=True
        )
        error = self._normalized(error, record)
        decision = retrying.after_loss(task, record, error)
        attempt = attempt_of(self._store.now_ms(), record, _Attempt.STATE_LOST, error, "")
        reason = _Reason.REASON_LOST
        ended = _Ended(error, attempt, reason, losses=1, keep_nonce=keep_nonce)
        applied = await self._carry_out(decision, record, guard, ended)
        if revoke and applied.kind == "done":
            self.revoke(identity.lease_token(record.id, record.nonce), reason)

    async def give_back(self, record: ExecutionRecord) -> None:
        """Returns a lease that reached no worker; it counts as nothing."""
        await self._requeue(record, owner_guard(record.nonce, record.owner), Requeueing())

    async def judge(self, record: ExecutionRecord, now_ms: int) -> None:
        """Applies the clock that has run out for an execution, if one has."""
        clock = clocks.expired(record, now_ms)
        guard = revision_guard(record.revision)
        if clock is None:
            return
        if clock is clocks.Clock.ATTEMPT:
            task = await self._tasks.ready_for(record)
            await self._fail(record, task, timeout_error(record), "", timed_out=True, guard=guard, from_worker=False)
        elif clock is clocks.Clock.LEASE:
            # The worker may have extended it since the clock was read; that is no new revision.
            await self.lose(record, expired_guard(record.nonce), "the worker did not extend its lease")
        elif clock is clocks.Clock.QUEUE:
            message = f"no worker took it within {record.queue_timeout / 1000:g} s"
            await self._end(record, guard, lifecycle.TIMED_OUT, retrying.QUEUE_TIMEOUT, message)
        else:
            span = (record.deadline_ms - record.create_ms) / 1000
            message = f"it was not finished within {span:g} s"
            await self._end(record, guard, lifecycle.TIMED_OUT, retrying.DEADLINE_EXCEEDED, message)

    async def cancel(self, execution_id: bytes, reason: str) -> ExecutionRecord | None:
        """Cancels an execution; gives it as it is then, None if there is none."""
        for _ in range(_TRIES):
            record = await self._store.get(execution_id)
            if record is None or lifecycle.is_terminal(record.state):
                return record
            guard = revision_guard(record.revision)
            applied = await self._end(
                record, guard, lifecycle.CANCELLED, retrying.CANCELLED, reason or "cancelled by request"
            )
            if applied.kind == "done":
                return await self._store.get(execution_id)
        return await self._store.get(execution_id)

    async def _end(self, record: ExecutionRecord, guard: bytes, state: int, code: str, message: str) -> Applied:
        kind = execution_pb2.TaskError.KIND_USER
        error = self._normalized(execution_pb2.TaskError(kind=kind, code=code, message=message), record)
        running = record.state == lifecycle.RUNNING
        attempt = b""
        is_recorded = record.flags & GRAPH and _body_is_recorded(record, await self._tasks.ready_for(record))
        if running and not is_recorded:
            attempt = attempt_of(self._store.now_ms(), record, _Attempt.STATE_CANCELLED, error, "")
        reason = _Reason.REASON_CANCELLED if state == lifecycle.CANCELLED else _Reason.REASON_TIMED_OUT
        outcome = Outcome(state, error.SerializeToString(), attempt, record.cache_status, revoke_reason=reason)
        applied = await self._finish(record, guard, outcome)
        if applied.kind == "done" and running:
            self.revoke(identity.lease_token(record.id, record.nonce), reason)
        return applied

    # --- transitions -------------------------------------------------------------------------------------------------

    async def _carry_out(
        self, decision: retrying.Retry | retrying.GiveUp, record: ExecutionRecord, guard: bytes, ended: _Ended
    ) -> Applied:
        """Sends an execution back to its queue, or ends it, as was decided after an attempt without outputs."""
        if isinstance(decision, retrying.Retry):
            how = Requeueing(
                failures=ended.failures,
                losses=ended.losses,
                delay=decision.delay,
                outcome=ended.error.SerializeToString(),
                attempt=ended.attempt,
                keep_nonce=ended.keep_nonce,
                revoke_reason=ended.revoke_reason,
            )
            return await self._requeue(record, guard, how)
        outcome = Outcome(
            decision.state,
            decision.error.SerializeToString(),
            ended.attempt,
            record.cache_status,
            keep_nonce=ended.keep_nonce,
            revoke_reason=ended.revoke_reason,
            failures=ended.failures,
            losses=ended.losses,
        )
        return await self._finish(record, guard, outcome)

    def _finish(self, record: ExecutionRecord, guard: bytes, outcome: Outcome) -> Coroutine[Any, Any, Applied]:
        return self._finished(record, outcome, self._store.finish(record.id, guard, outcome))

    async def _finished(self, record: ExecutionRecord, outcome: Outcome, applying: Awaitable[Applied]) -> Applied:
        applied = await applying
        if applied.kind == "done":
            record.state, record.outcome, record.end_ms = outcome.state, outcome.outcome, applied.now_ms
            record.cache_status, record.not_before_ms = applied.cache_status, 0
            record.failures += outcome.failures
            record.losses += outcome.losses
            record.revision += 1
            self._tell(record)
        return applied

    async def _requeue(self, record: ExecutionRecord, guard: bytes, how: Requeueing) -> Applied:
        applied = await self._store.requeue(record.id, guard, how)
        if applied.kind == "done":
            self._wakeups.notify(record.id)
            if not how.delay:
                self.on_ready(record.queue_ref)
        return applied

    def started(self, record: ExecutionRecord) -> None:
        """Tells those who wait for an execution here that an attempt has begun."""
        self._tell(record)

    def _tell(self, record: ExecutionRecord) -> None:
        # Who waits wants the inputs too; a record that was read to be judged or completed is without big ones.
        is_whole = record.inputs or not record.flags & BIG_INPUTS
        self._wakeups.notify(record.id, record if is_whole else None)

    def _normalized(self, given: execution_pb2.TaskError, record: ExecutionRecord) -> execution_pb2.TaskError:
        return task_errors.normalized(given, worker=record.worker.decode(), now_ms=self._store.now_ms())

    def _require_done(self, applied: Applied, record: ExecutionRecord) -> None:
        if applied.kind == "done":
            return
        now = applied.record
        if now is not None and now.state != lifecycle.RUNNING and now.nonce == record.nonce:
            return  # this completion was recorded by an earlier call
        raise lost(record)


def _is_held(record: ExecutionRecord, token: bytes) -> bool:
    """Whether it is the token of the running attempt."""
    return record.state == lifecycle.RUNNING and identity.lease_token(record.id, record.nonce) == token


def _body_is_recorded(record: ExecutionRecord, task: ReadyTask) -> bool:
    """Whether the attempt is one whose body gave the graph that runs: it is among the recorded ones already."""
    return bool(record.flags & GRAPH) and not task.is_workflow
