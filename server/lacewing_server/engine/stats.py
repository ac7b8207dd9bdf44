"""Cache statistics: counted in memory, added to the store once a second, so that a hit costs no extra round trip."""

from __future__ import annotations

import asyncio

from lacewing_server.domain.task_version import ReadyTask
from lacewing_server.store.redis.store import Store


class CacheCounters:
    """What the cache did since the last flush. A crash loses at most a second of counts."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._counts: dict[bytes, list[int]] = {}

    def hit(self, task: ReadyTask, saved_ms: int) -> None:
        """Counts a hit, and the time of the body that did not have to run."""
        counts = self._counts.setdefault(task.ref, [0, 0, 0])
        counts[0] += 1
        counts[2] += saved_ms

    def miss(self, task: ReadyTask) -> None:
        """Counts a miss."""
        self._counts.setdefault(task.ref, [0, 0, 0])[1] += 1

    async def flush(self) -> None:
        """Adds the counts to the store."""
        counts, self._counts = self._counts, {}
        calls = []
        for ref, numbers in counts.items():
            key = self._store.keys.cache_stats(ref)
            for field, number in zip(("hits", "misses", "saved_ms"), numbers, strict=True):
                if number:
                    calls.append(self._store.call("HINCRBY", key, field, number))
        await asyncio.gather(*calls)
