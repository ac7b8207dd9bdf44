"""Takes out of the indexes what has expired: records and entries expire by themselves, their names do not.

One server at a time does it, by a key that expires when that server stops. A tick does a bounded part of a round over
all indexes, whatever their number and size.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from typing import Final

from lacewing_server.domain import identity
from lacewing_server.domain.offers import QueueEntry
from lacewing_server.store.redis.store import Store

_RIGHT_MS: Final = 10_000
"""How long after its last step a server is still the one who does it."""
_BATCH: Final = 500
"""Entries that one script looks at: half a millisecond of Redis."""
_ENTRIES_PER_TICK: Final = 2_000
_SCRIPTS_PER_TICK: Final = 32


class Janitor:
    """Trims the indexes of executions and of cache entries."""

    def __init__(self, store: Store, queues: Callable[[], Iterable[QueueEntry]]) -> None:
        """Prepares it.

        Args:
            store: The store.
            queues: Gives the queues that are known, which name all tasks.
        """
        self._store = store
        self._queues = queues
        self._round: deque[tuple[bytes, bytes]] = deque()
        """Indexes that are still to be looked at, and the prefix of the keys that they name."""
        self._position = 0

    async def step(self) -> None:
        """Does a part of a round, and begins the next one when it is over.

        Raises:
            DomainError: ``STORE_UNAVAILABLE``.
        """
        if not self._round:
            self._round.extend(self._indexes())
        looked = scripts = 0
        while self._round and looked < _ENTRIES_PER_TICK and scripts < _SCRIPTS_PER_TICK:
            index, named = self._round[0]
            kind, *counts = await self._store.run("trim", _RIGHT_MS, index, named, self._position, _BATCH)
            if kind == b"busy":
                return
            looked, scripts, self._position = looked + counts[0], scripts + 1, counts[1]
            if not self._position:
                self._round.popleft()

    def _indexes(self) -> Iterable[tuple[bytes, bytes]]:
        queues = list(self._queues())
        keys, prefix = self._store.keys, len(self._store.keys.prefix)
        refs = dict.fromkeys(identity.task_ref(each.project, each.domain, each.name) for each in queues)
        for project, domain in dict.fromkeys((each.project, each.domain) for each in queues):
            yield keys.domain_index(project, domain)[prefix:], b"x:"
        for ref in refs:
            yield keys.task_index(ref)[prefix:], b"x:"
            yield keys.cache_index(ref)[prefix:], b"m:"
