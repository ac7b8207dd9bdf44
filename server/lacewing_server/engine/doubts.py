"""Leases that may have been granted without anybody knowing.

A lease is granted by a script. If its answer is lost, because the connection to Redis broke or the caller went away in
the meantime, the execution may be RUNNING, owned by this server, and held by no worker: only its attempt timeout would
end that. Whoever does not see an answer says so here, and the tick looks what came of it.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import Final

from lacewing_server.domain import lifecycle
from lacewing_server.engine.attempts import Attempts
from lacewing_server.store.redis.store import Store
from lacewing_server.store.redis.transitions import owner_guard

_log = logging.getLogger(__name__)

_LOOKS: Final = 10
"""How often the tick looks. A script that is under way when its connection breaks may run a little later; by then it
has run or never will."""
_BATCH: Final = 256


@dataclass(slots=True)
class _Doubt:
    looks: int
    was_held: bool


class Doubts:
    """The leases of this server that are in doubt."""

    def __init__(self, store: Store, attempts: Attempts) -> None:
        self._store = store
        self._attempts = attempts
        self._doubts: dict[bytes, _Doubt] = {}

    def add(self, *nonces: bytes, was_held: bool = False) -> None:
        """Notes that it is not known whether leases were granted to this server.

        Args:
            *nonces: Those of the leases.
            was_held: Whether a worker holds them: then they are left alone for a while, because the worker may come
                back, and count as lost after that. Else they never reached a worker, and count as nothing.
        """
        for nonce in nonces:
            self._doubts[nonce] = _Doubt(_LOOKS, was_held)

    def remove(self, nonce: bytes) -> None:
        """Notes that a worker holds the lease by a stream of this server."""
        self._doubts.pop(nonce, None)

    async def settle(self) -> None:
        """Looks which leases in doubt were granted, and takes them back.

        Raises:
            DomainError: ``STORE_UNAVAILABLE``; the next look comes with the next tick.
        """
        if not self._doubts:
            return
        server = self._store.server
        ids = list(await self._store.call("SMEMBERS", self._store.keys.running(server)))
        for start in range(0, len(ids), _BATCH):
            for record in (await self._store.get_many(ids[start : start + _BATCH])).values():
                doubt = self._doubts.get(record.nonce) if record is not None else None
                if record is None or doubt is None or record.state != lifecycle.RUNNING:
                    continue
                if not doubt.was_held:
                    await self._attempts.give_back(record)
                elif doubt.looks == 1:
                    guard = owner_guard(record.nonce, server)
                    await self._attempts.lose(record, guard, f"worker {record.worker.decode()} is gone")
                else:
                    continue
                _log.warning("took back the lease of execution %s, whose grant had no answer", record.name)
        for nonce, doubt in list(self._doubts.items()):
            doubt.looks -= 1
            if not doubt.looks:
                del self._doubts[nonce]
