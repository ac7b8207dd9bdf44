"""What a lease looks like to a worker, and the unary way to get one."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Final

from lacewing._wire import part
from lacewing.v1 import literals_pb2, worker_service_pb2
from lacewing_server.domain import identity
from lacewing_server.domain.offers import Offer
from lacewing_server.domain.record import ExecutionRecord
from lacewing_server.domain.task_version import NAME_END, UNNAMED, ReadyTask
from lacewing_server.engine.attempts import Attempts
from lacewing_server.engine.dispatch import Dispatch, Session
from lacewing_server.engine.paging import fitting
from lacewing_server.engine.shutdown import Shutdown
from lacewing_server.engine.tasks import Tasks

_INPUTS: Final = worker_service_pb2.Lease.INPUTS_FIELD_NUMBER


def packed_lease(record: ExecutionRecord, task: ReadyTask) -> bytes:
    """The message that grants a lease, serialized; defaults of inputs are filled in."""
    lease = worker_service_pb2.Lease(
        token=identity.lease_token(record.id, record.nonce),
        attempt=record.attempt,
        idempotency_key=identity.idempotency_key(record.id, record.create_ms),
    )
    if record.deadline_ms:
        lease.deadline.FromMilliseconds(record.deadline_ms)
    if record.lease_expire_ms:
        lease.expire_time.FromMilliseconds(record.lease_expire_ms)
    meta, common = record.meta, b""
    # Nearly all executions have nothing of their own but what is above, a generated name, and inputs that are complete.
    if meta.startswith(UNNAMED) and meta[NAME_END:] == task.meta and record.attempt_timeout == task.attempt_timeout:
        common = task.lease + meta[len(UNNAMED) : NAME_END]
    else:
        _describe(lease, record)
    inputs = record.inputs
    if task.has_defaults:
        inputs = task.inputs.complete(literals_pb2.LiteralMap.FromString(inputs)).SerializeToString()
    # Serialized messages that are joined are the message with the fields of all.
    return common + lease.SerializeToString() + part(_INPUTS, inputs)


def _describe(lease: worker_service_pb2.Lease, record: ExecutionRecord) -> None:
    execution = record.execution
    lease.execution.CopyFrom(execution.id)
    lease.task.CopyFrom(execution.task)
    lease.attempt_timeout.FromMilliseconds(record.attempt_timeout)
    if execution.HasField("overrides"):
        overrides = execution.overrides
        if overrides.HasField("task"):
            lease.overrides.CopyFrom(overrides.task)
        lease.config.update(overrides.metadata.config)


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
        packed = map(packed_lease, taken, ready)
        return [worker_service_pb2.Lease.FromString(each) for each in packed], list(dict.fromkeys(ready))
