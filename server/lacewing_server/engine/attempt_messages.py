"""What is kept or told of an attempt: its record, the cache entry it fills, its errors."""

from __future__ import annotations

from lacewing.v1 import cache_pb2, errors_pb2, execution_pb2
from lacewing_server.domain import limits, names, retrying
from lacewing_server.domain.errors import DomainError
from lacewing_server.domain.record import ExecutionRecord
from lacewing_server.domain.task_version import ReadyTask
from lacewing_server.store.redis import codec


def attempt_of(
    now_ms: int, record: ExecutionRecord, state: int, error: execution_pb2.TaskError | None, log_tail: str
) -> bytes:
    """The attempt that ends now, as it is recorded: a serialized ``Attempt``."""
    attempt = execution_pb2.Attempt(
        number=record.attempt,
        state=state,  # type: ignore[arg-type] # a plain int is what the table holds
        worker=record.worker.decode(),
        error=error,
        log_tail=log_tail[-limits.LOG_TAIL_MAX :],
    )
    attempt.start_time.FromMilliseconds(record.start_ms)
    attempt.end_time.FromMilliseconds(max(now_ms, record.start_ms))
    return attempt.SerializeToString()


def entry_of(record: ExecutionRecord, task: ReadyTask, outputs: bytes) -> bytes:
    """The cache entry of an execution that gives these outputs, packed but for its times, which the store knows."""
    producer = record.execution.id
    patch = execution_pb2.Execution(cache=execution_pb2.CacheInfo(producer=producer)).SerializeToString()
    meta = cache_pb2.CacheEntry(
        key=record.cache_key.hex(),
        task=task.id,
        cache_version=task.cache_version,
        producer=producer,
        size_bytes=len(outputs),
    )
    return codec.pack_entry(patch, meta.SerializeToString(), outputs)


def timeout_error(record: ExecutionRecord) -> execution_pb2.TaskError:
    """The error of an attempt that ran for too long."""
    return execution_pb2.TaskError(
        kind=execution_pb2.TaskError.KIND_USER,
        code=retrying.ATTEMPT_TIMEOUT,
        message=f"attempt {record.attempt} ran longer than its timeout of {record.attempt_timeout / 1000:g} s",
        recoverable=True,
    )


def lost(record: ExecutionRecord | None) -> DomainError:
    """The refusal of what is said under a lease that is no longer current."""
    metadata = {"execution": names.display_execution(record.execution.id)} if record is not None else {}
    return DomainError(
        errors_pb2.ERROR_REASON_LEASE_LOST,
        "the lease is no longer current: the attempt timed out, was cancelled, or was given to "
        "another worker; drop the result",
        metadata=metadata,
    )
