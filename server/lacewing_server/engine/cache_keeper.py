"""Keeps the books of the cache: takes out what has expired, and evicts where a project is over its bound.

Entries expire by themselves, and filling one makes room for it; what is left to do here is the rest, in scripts of
bounded length.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Final

from lacewing_server.store.redis.store import Store

_BATCH: Final = 128
"""Entries that one script takes: about half a millisecond of Redis."""
_SCRIPTS_PER_STEP: Final = 64


class CacheKeeper:
    """The background work of the cache."""

    def __init__(self, store: Store, bound: Callable[[str], Awaitable[int]]) -> None:
        """Prepares it.

        Args:
            store: The store.
            bound: Gives how many bytes the cache of a project may have.
        """
        self._store = store
        self._bound = bound

    async def step(self) -> None:
        """Does what there is to do, or as much of it as one step may.

        Raises:
            DomainError: ``STORE_UNAVAILABLE``.
        """
        for _ in range(_SCRIPTS_PER_STEP):
            more, *over = await self._store.run("reclaim", _BATCH)
            for project in over:
                more |= 1 - await self._store.run("shrink", project, await self._bound(project.decode()), _BATCH)
            if not more:
                return
