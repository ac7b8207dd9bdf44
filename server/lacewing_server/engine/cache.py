"""The cache as operators see it: reading entries, evicting them, and what the cache did."""

from __future__ import annotations

import asyncio
from typing import Final

from lacewing.v1 import audit_pb2, cache_pb2, errors_pb2, identifiers_pb2, literals_pb2
from lacewing_server.domain import identity
from lacewing_server.domain.errors import DomainError, invalid_field
from lacewing_server.domain.record import CachedOutcome, ExecutionRecord
from lacewing_server.engine.projects import Projects
from lacewing_server.engine.tasks import Tasks
from lacewing_server.store.redis import codec
from lacewing_server.store.redis.store import Store

_KEY_DIGITS: Final = 32
_BATCH: Final = 500
_HEAD_BYTES: Final = 16 << 10
"""The first bytes of an entry hold all but its outputs: names, versions and findings are bounded."""
_STATS: Final = ("hits", "misses", "saved_ms", "entries", "bytes", "evictions", "audits", "mismatches")


class Cache:
    """The memoized results."""

    def __init__(self, store: Store, tasks: Tasks, projects: Projects) -> None:
        self._store = store
        self._tasks = tasks
        self._projects = projects

    async def get(self, key: str) -> cache_pb2.CacheEntry:
        """Reads an entry with its outputs.

        Raises:
            DomainError: ``FIELD_INVALID`` or ``CACHE_ENTRY_NOT_FOUND``.
        """
        entry, outcome = await self.find(key)
        entry.outputs.CopyFrom(literals_pb2.LiteralMap.FromString(outcome.outputs))
        return entry

    async def find(self, key: str) -> tuple[cache_pb2.CacheEntry, CachedOutcome]:
        """Reads an entry without its outputs, and the same as the store has it; raises as `get` does."""
        found = await self._read(_cache_key(key), -1)
        if found is None:
            raise _not_found(key)
        return found

    async def is_kept(self, record: ExecutionRecord) -> bool:
        """Whether the entry that an execution filled is still there, and still its own."""
        found = await self._read(record.cache_key, _HEAD_BYTES - 1)
        return found is not None and found[0].producer == record.execution.id

    async def sample(self, task: identifiers_pb2.TaskId, count: int) -> list[str]:
        """Keys of entries of a task, or of those that one of its versions filled, chosen at random: at most so many.

        Raises:
            DomainError: ``TASK_NOT_FOUND``.
        """
        index = self._store.keys.cache_index(await self._ref(task))
        # Some have expired, or another version filled them.
        entries = await self._heads(await self._store.call("ZRANDMEMBER", index, _BATCH if task.version else 2 * count))
        found = [entry.key for entry in entries if entry is not None and _filled_by(entry, task.version)]
        return found[:count]

    async def mark(self, key: str, hit: CachedOutcome, finding: audit_pb2.Nondeterminism) -> None:
        """Keeps a finding with an entry, if it is still as it was read."""
        addition = cache_pb2.CacheEntry(nondeterminism=finding).SerializeToString()
        await self._store.run("mark", _cache_key(key), hit.create_ms, len(hit.meta), addition)

    async def list_entries(
        self, task: identifiers_pb2.TaskId, after: int, count: int
    ) -> tuple[list[cache_pb2.CacheEntry], int]:
        """Entries of a task without outputs, last filled first, and the position after them (0: the end).

        Entries that have expired, or that another version filled if one is given, count for the position only.

        Raises:
            DomainError: ``TASK_NOT_FOUND``.
        """
        index = self._store.keys.cache_index(await self._ref(task))
        found = await self._store.call("ZREVRANGE", index, after, after + count)
        entries = await self._heads(found[:count])
        page = [entry for entry in entries if entry is not None and _filled_by(entry, task.version)]
        return page, after + count if len(found) > count else 0

    async def evict_key(self, key: str) -> int:
        """Evicts one entry.

        Raises:
            DomainError: ``FIELD_INVALID`` or ``CACHE_ENTRY_NOT_FOUND``.
        """
        cache_key = _cache_key(key)
        found = await self._read(cache_key, _HEAD_BYTES - 1)
        if found is None:
            raise _not_found(key)
        task = found[0].task
        ref = identity.task_ref(task.project, task.domain, task.name)
        evicted: int = await self._store.run("evict", ref, cache_key)
        if not evicted:
            raise _not_found(key)
        return evicted

    async def evict_task(self, task: identifiers_pb2.TaskId, created_before_ms: int | None) -> int:
        """Evicts the entries of a task, or of one of its versions, that were filled before a time.

        Raises:
            DomainError: ``TASK_NOT_FOUND``.
        """
        ref = await self._ref(task)
        until = "+inf" if created_before_ms is None else f"({created_before_ms}"
        keys = await self._store.call("ZRANGEBYSCORE", self._store.keys.cache_index(ref), "-inf", until)
        evicted = 0
        for start in range(0, len(keys), _BATCH):
            batch = keys[start : start + _BATCH]
            if task.version:
                entries = await self._heads(batch)
                batch = [
                    key
                    for key, entry in zip(batch, entries, strict=True)
                    if entry is not None and _filled_by(entry, task.version)
                ]
            if batch:
                evicted += await self._store.run("evict", ref, *batch)
        return evicted

    async def stats(self, task: identifiers_pb2.TaskId) -> cache_pb2.CacheStats:
        """What the cache did for a task; counts of the last second may be missing.

        Raises:
            DomainError: ``TASK_NOT_FOUND``.
        """
        described = (await self._tasks.describe(task, path="task")).id
        ref = identity.task_ref(described.project, described.domain, described.name)
        name = identifiers_pb2.TaskId(project=described.project, domain=described.domain, name=described.name)
        return await self._stats(name, self._store.keys.cache_stats(ref))

    async def project_stats(self, project: str) -> cache_pb2.CacheStats:
        """What the cache did for all tasks of a project, likewise.

        Raises:
            DomainError: ``PROJECT_NOT_FOUND``.
        """
        await self._projects.get(project)
        return await self._stats(identifiers_pb2.TaskId(project=project), self._store.keys.project_cache_stats(project))

    async def _stats(self, task: identifiers_pb2.TaskId, key: bytes) -> cache_pb2.CacheStats:
        found = await self._store.call("HMGET", key, *_STATS)
        numbers = {field: int(number or 0) for field, number in zip(_STATS, found, strict=True)}
        stats = cache_pb2.CacheStats(
            task=task,
            hit_count=numbers["hits"],
            miss_count=numbers["misses"],
            entry_count=numbers["entries"],
            size_bytes=numbers["bytes"],
            eviction_count=numbers["evictions"],
            audit_count=numbers["audits"],
            mismatch_count=numbers["mismatches"],
        )
        stats.saved_duration.FromMilliseconds(numbers["saved_ms"])
        return stats

    async def _ref(self, task: identifiers_pb2.TaskId) -> bytes:
        described = (await self._tasks.describe(task, path="task")).id
        return identity.task_ref(described.project, described.domain, described.name)

    async def _heads(self, keys: list[bytes]) -> list[cache_pb2.CacheEntry | None]:
        found = await asyncio.gather(*(self._read(key, _HEAD_BYTES - 1) for key in keys))
        return [None if each is None else each[0] for each in found]

    async def _read(self, cache_key: bytes, last_byte: int) -> tuple[cache_pb2.CacheEntry, CachedOutcome] | None:
        name = self._store.keys.cache_entry(cache_key)
        value, lives_ms = await asyncio.gather(
            self._store.call("GETRANGE", name, 0, last_byte), self._store.call("PTTL", name)
        )
        try:
            outcome = codec.unpack_entry(value) if value else None
        except codec.UnknownFormatError:  # a newer server's: not served either
            outcome = None
        if outcome is None:
            return None
        entry = cache_pb2.CacheEntry.FromString(outcome.meta)
        entry.create_time.FromMilliseconds(outcome.create_ms)
        entry.compute_duration.FromMilliseconds(outcome.compute_ms)
        if lives_ms >= 0:
            entry.expire_time.FromMilliseconds(self._store.now_ms() + lives_ms)
        return entry, outcome


def _cache_key(key: str) -> bytes:
    try:
        cache_key = bytes.fromhex(key)
    except ValueError:  # not hexadecimal
        cache_key = b""
    if len(key) != _KEY_DIGITS or len(cache_key) != _KEY_DIGITS // 2:
        raise invalid_field("key", f"must be {_KEY_DIGITS} hexadecimal digits")
    return cache_key


def _not_found(key: str) -> DomainError:
    return DomainError(
        errors_pb2.ERROR_REASON_CACHE_ENTRY_NOT_FOUND,
        f"there is no cache entry {key}: it was evicted, has expired, or was never filled",
        metadata={"key": key},
    )


def _filled_by(entry: cache_pb2.CacheEntry, version: str) -> bool:
    return not version or entry.task.version == version
