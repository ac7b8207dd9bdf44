"""Cache statistics: counted in memory, added to the store once a second, so that a hit costs no extra round trip."""

from __future__ import annotations

import asyncio
from typing import Final

from lacewing_server.domain.task_version import ReadyTask
from lacewing_server.store.redis.store import Store

_FIELDS: Final = ("hits", "misses", "saved_ms", "audits", "mismatches")
_HITS, _MISSES, _SAVED_MS, _AUDITS, _MISMATCHES = range(len(_FIELDS))


class CacheCounters:
    """What the cache did since the last flush. A crash loses at most a second of counts."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._counts: dict[tuple[bytes, str], list[int]] = {}

    def hit(self, task: ReadyTask, saved_ms: int) -> None:
        """Counts a hit, and the time of the body that did not have to run."""
        counts = self._of(task)
        counts[_HITS] += 1
        counts[_SAVED_MS] += saved_ms

    def miss(self, task: ReadyTask) -> None:
        """Counts a miss."""
        self._of(task)[_MISSES] += 1

    def audit(self, task: ReadyTask, *, mismatch: bool) -> None:
        """Counts an audit whose outputs were compared, and whether they differed."""
        counts = self._of(task)
        counts[_AUDITS] += 1
        counts[_MISMATCHES] += mismatch

    async def flush(self) -> None:
        """Adds the counts to the store: to those of the task, and of its project."""
        counts, self._counts = self._counts, {}
        keys = self._store.keys
        await asyncio.gather(
            *(
                self._store.call("HINCRBY", key, field, number)
                for (ref, project), numbers in counts.items()
                for key in (keys.cache_stats(ref), keys.project_cache_stats(project))
                for field, number in zip(_FIELDS, numbers, strict=True)
                if number
            )
        )

    def _of(self, task: ReadyTask) -> list[int]:
        key = task.ref, task.id.project
        counts = self._counts.get(key)
        if counts is None:
            counts = self._counts[key] = [0] * len(_FIELDS)
        return counts
