"""What transitions of the store are given and what they come to; guards say under which condition one happens."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple, Protocol

from lacewing_server.domain.record import CachedOutcome, ExecutionRecord


class Created(NamedTuple):
    """What came of creating an execution."""

    kind: str
    """``exists``, ``task``, ``orphan``, ``hit``, ``absent``, ``full``, ``leased``, ``queued`` or ``waiting``, as
    ``create.lua`` says; or ``miss``, as ``lookup.lua`` says."""
    record: ExecutionRecord | None = None
    hit: CachedOutcome | None = None
    now_ms: int = 0
    full: str = ""
    """Whose bound on what waits is met: ``task`` or ``project``."""
    bound: int = 0
    """That bound."""


class Queue(Protocol):
    """A ready queue as the store needs to know it."""

    @property
    def ref(self) -> bytes:
        """Its short identity."""

    @property
    def task_ref(self) -> bytes:
        """The short identity of its task."""

    @property
    def project_ref(self) -> bytes:
        """The short identity of its project."""


@dataclass(frozen=True, slots=True)
class Claimed:
    """What came of claiming."""

    more: bool
    """Whether the queue may hold more."""
    wait_ms: int
    """How long to wait before claiming again, because a bound is met; 0: no bound was met."""
    records: list[ExecutionRecord]
    """What was leased, in the order of the slots."""


class Creation(NamedTuple):
    """How an execution is to be created, beyond its record."""

    domain_index: str
    max_queued: int
    deadline: int
    """Milliseconds from now, or 0."""
    lookup: str
    """Whether to look into the cache: '' no, 'u' use, 'o' only."""
    record_hit: bool
    has_blobs: bool
    """Whether a hit is recorded that refers to blobs; else it is only answered, so that they can be looked for."""
    expected_latest: str
    """The version that the caller resolved as the latest, or '' if it was named."""
    nonce: bytes
    """A nonce to lease the execution with at once, or b''."""
    worker: bytes
    unary_lease: int
    patch: bytes
    """For a serialized cache: a serialized ``Execution`` with ``cache.producer`` set to this execution. Else b''."""
    parent: bytes = b""
    """The execution whose graph it is a node of, or b''."""
    parent_nonce: bytes = b""
    """The lease under which that graph is driven."""
    kept_graph: bytes = b""
    """The execution whose graph and journal it takes over, or b''."""


class Outcome(NamedTuple):
    """How an execution is to end, or an attempt of it."""

    state: int
    outcome: bytes
    attempt: bytes = b""
    """A serialized ``Attempt`` to record, or b''."""
    cache_status: int = 0
    entry: bytes = b""
    """A cache entry to fill, or b''."""
    entry_ttl: int = 0
    project: str = ""
    """Whose cache the entry is for."""
    cache_max: int = 0
    """How many bytes that cache may have."""
    keep_nonce: bool = False
    revoke_reason: int = 0
    failures: int = 0
    losses: int = 0


@dataclass(frozen=True, slots=True)
class Requeueing:
    """How an execution goes back to its queue."""

    failures: int = 0
    losses: int = 0
    delay: int = 0
    outcome: bytes = b""
    attempt: bytes = b""
    keep_nonce: bool = False
    revoke_reason: int = 0
    graph: bytes = b""
    """A serialized ``Graph`` that runs from now on, or b''."""


class Applied(NamedTuple):
    """What came of a guarded transition."""

    kind: str
    """``done``; ``refused``: the guard did not hold, ``record`` is as it is now; ``gone``."""
    now_ms: int = 0
    cache_status: int = 0
    """What memoization did, if it is the end."""
    record: ExecutionRecord | None = None


@dataclass(frozen=True, slots=True)
class Due:
    """Clocks that have run out."""

    now_ms: int
    next_ms: int
    ready: tuple[bytes, ...]
    judge: tuple[ExecutionRecord, ...]


def lease_guard(nonce: bytes) -> bytes:
    """The transition happens only while this lease is current."""
    return b"n" + nonce


def owner_guard(nonce: bytes, owner: bytes) -> bytes:
    """The transition happens only while this lease is current and that server's stream holds it."""
    return b"o" + nonce + owner


def expired_guard(nonce: bytes) -> bytes:
    """The transition happens only while this lease is current and has not been extended in time."""
    return b"e" + nonce


def revision_guard(revision: int) -> bytes:
    """The transition happens only if nothing has changed since this revision."""
    return b"r" + revision.to_bytes(4, "big")
