"""What a lease looks like to a worker, and the unary way to get one."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from lacewing.v1 import worker_service_pb2
from lacewing_server.domain import identity
from lacewing_server.domain.offers import Offer
from lacewing_server.domain.record import ExecutionRecord
from lacewing_server.domain.task_version import ReadyTask
from lacewing_server.engine.attempts import Attempts
from lacewing_server.engine.dispatch import Dispatch, Session
from lacewing_server.engine.paging import fitting
from lacewing_server.engine.shutdown import Shutdown
from lacewing_server.engine.tasks import Tasks


def fill_lease(lease: worker_service_pb2.Lease, record: ExecutionRecord, task: ReadyTask) -> None:
    """Makes an empty message the one that grants a lease; defaults of inputs are filled in."""
    execution = record.execution
    lease.token = identity.lease_token(record.id, record.nonce)
    lease.execution.CopyFrom(execution.id)
    lease.task.CopyFrom(task.id)
    lease.attempt = record.attempt
    lease.idempotency_key = identity.idempotency_key(record.id, record.create_ms)
    inputs = lease.inputs
    inputs.MergeFromString(record.inputs)
    completed = task.inputs.complete(inputs)
    if completed is not inputs:
        inputs.CopyFrom(completed)
    timeout = lease.attempt_timeout
    timeout.seconds, timeout.nanos = record.attempt_timeout // 1_000, record.attempt_timeout % 1_000 * 1_000_000
    if execution.HasField("overrides"):
        overrides = execution.overrides
        if overrides.HasField("task"):
            lease.overrides.CopyFrom(overrides.task)
        lease.config.update(overrides.metadata.config)
    if record.deadline_ms:
        lease.deadline.FromMilliseconds(record.deadline_ms)
    if record.lease_expire_ms:
        lease.expire_time.FromMilliseconds(record.lease_expire_ms)


class UnaryLeases:
    """Leases for workers without a stream."""

    def __init__(self, dispatch: Dispatch, attempts: Attempts, tasks: Tasks, shutdown: Shutdown) -> None:
        self._dispatch = dispatch
        self._attempts = attempts
        self._tasks = tasks
        self._shutdown = shutdown

    async def acquire(
        self, worker: str, offer: Offer, count: int, wait_seconds: float, lease_ms: int
    ) -> tuple[list[worker_service_pb2.Lease], Sequence[ReadyTask]]:
        """Waits for the first lease, and takes what comes with it, as far as it fits into one message."""
        taken: list[ExecutionRecord] = []
        changed = asyncio.Event()

        def on_lease(record: ExecutionRecord) -> None:
            taken.append(record)
            changed.set()

        session = Session(worker, offer, on_lease, lambda _token, _reason: None, unary_lease=lease_ms, credit=count)
        self._dispatch.open(session)
        try:
            async with asyncio.timeout(max(wait_seconds, 0.05)):
                with self._shutdown.waking(changed.set):
                    await changed.wait()
        except TimeoutError:
            pass  # no lease is an answer
        finally:
            self._dispatch.close(session)
        if not taken:
            self._shutdown.refuse()
        count = fitting(len(record.inputs) for record in taken)
        for record in taken[count:]:
            await self._attempts.give_back(record)
        del taken[count:]
        ready = [await self._tasks.ready_for(record) for record in taken]
        leases = []
        for record, task in zip(taken, ready, strict=True):
            leases.append(worker_service_pb2.Lease())
            fill_lease(leases[-1], record, task)
        return leases, list(dict.fromkeys(ready))
