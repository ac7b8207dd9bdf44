"""What the store keeps of an execution."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

from lacewing.v1 import execution_pb2

BIG_INPUTS: Final = 1
"""Flag: the inputs live in a key of their own, not in the record."""
WATCHED: Final = 2
"""Flag: servers other than the creator wait for changes of the execution."""
SERIALIZED: Final = 4
"""Flag: others may wait for the cache entry of the execution, and have to be told of its end."""
FILLS_CACHE: Final = 8
"""Flag: on success the outputs become the cache entry."""
HIGH_PRIORITY: Final = 16
"""Flag: the execution goes ahead in its queue."""
LOW_PRIORITY: Final = 32
"""Flag: the execution lets others go ahead in its queue."""
TASK_LIMITED: Final = 64
"""Flag: the running attempt is one of those that the task may have at a time."""
PROJECT_LIMITED: Final = 128
"""Flag: the running attempt is one of those that the project may have at a time."""
GRAPH: Final = 256
"""Flag: what runs is a graph, which a server drives: of a workflow from the start, of a dynamic task since its body
gave one. Neither an attempt timeout nor losses apply to it, and it is one attempt whatever server drives it."""

NO_SERVER: Final = bytes(8)
"""The owner of an attempt that no stream holds: a unary lease, or none at all."""
NO_NONCE: Final = bytes(8)
"""The lease of an execution that no worker holds."""
NO_KEY: Final = bytes(16)
"""The cache key of an execution that is not memoized."""


@dataclass(slots=True)
class ExecutionRecord:
    """One execution.

    Times are milliseconds since the epoch by Redis's clock, 0 where unset; durations are milliseconds.
    """

    id: bytes
    state: int
    meta: bytes
    """A serialized ``Execution`` with what never changes: id, task, labels; on a hit also the producer."""
    flags: int = 0
    cache_status: int = execution_pb2.CacheInfo.STATUS_DISABLED
    revision: int = 1
    attempt: int = 0
    failures: int = 0
    losses: int = 0
    nonce: bytes = NO_NONCE
    """The secret half of the current lease token; after a worker's completion, of the last one."""
    owner: bytes = NO_SERVER
    """The server whose stream holds the running attempt."""
    origin: bytes = NO_SERVER
    """The server that created the execution: its caller probably waits there."""
    task_ref: bytes = bytes(12)
    queue_ref: bytes = bytes(12)
    project_ref: bytes = bytes(12)
    cache_key: bytes = NO_KEY
    create_ms: int = 0
    queued_ms: int = 0
    start_ms: int = 0
    end_ms: int = 0
    not_before_ms: int = 0
    deadline_ms: int = 0
    lease_expire_ms: int = 0
    attempt_timeout: int = 0
    queue_timeout: int = 0
    retention: int = 0
    worker: bytes = b""
    inputs: bytes = b""
    """A serialized ``LiteralMap``; empty if the flag BIG_INPUTS is set."""
    outcome: bytes = b""
    """SUCCEEDED: a serialized ``LiteralMap``. Otherwise the ``TaskError`` of the last attempt that did not
    succeed, if any."""
    _execution: execution_pb2.Execution | None = field(default=None, repr=False, compare=False)

    @property
    def execution(self) -> execution_pb2.Execution:
        """The parsed ``meta``. Shared: copy before changing."""
        if self._execution is None:
            self._execution = execution_pb2.Execution.FromString(self.meta)
        return self._execution

    @property
    def priority(self) -> execution_pb2.Priority.ValueType:
        """Its priority, never unspecified."""
        if self.flags & HIGH_PRIORITY:
            return execution_pb2.PRIORITY_HIGH
        return execution_pb2.PRIORITY_LOW if self.flags & LOW_PRIORITY else execution_pb2.PRIORITY_NORMAL

    def set_meta(self, meta: bytes) -> None:
        """Replaces ``meta``."""
        self.meta, self._execution = meta, None

    @property
    def name(self) -> str:
        """The name of the execution."""
        return self.execution.id.name


@dataclass(frozen=True, slots=True)
class CachedOutcome:
    """A cache entry as the store returns it."""

    create_ms: int
    compute_ms: int
    producer_patch: bytes
    """A serialized ``Execution`` with only ``cache.producer`` set; appended to a record's ``meta`` it records
    the hit."""
    meta: bytes
    """A serialized ``CacheEntry`` without outputs and times."""
    outputs: bytes
    """A serialized ``LiteralMap``."""
