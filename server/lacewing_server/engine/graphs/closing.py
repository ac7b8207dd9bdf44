"""Ending what still runs of a graph that has ended: it was cancelled, ran out of time, or failed."""

from __future__ import annotations

import asyncio
import logging
from typing import Final

from lacewing_server.domain import lifecycle
from lacewing_server.domain.errors import DomainError
from lacewing_server.engine.attempts import Attempts
from lacewing_server.store.redis.store import Store

_log = logging.getLogger(__name__)

_BATCH: Final = 256
_GRACE_MS: Final = 2_000
"""How long the server that ended an execution has to close its graph, before others do it too."""
_WHY: Final = "the graph that it is a node of has ended"


class Closing:
    """Cancels the executions of nodes of graphs that have ended.

    An execution that runs a graph and ends without success is noted in the same script (``gx``), so that a server which
    dies before it has cancelled everything is made up for by another one. Nothing new begins: `create` refuses it.
    """

    def __init__(self, store: Store, attempts: Attempts) -> None:
        self._store = store
        self._attempts = attempts
        self._closing: dict[bytes, asyncio.Task[None]] = {}

    def close_soon(self, execution_id: bytes) -> None:
        """Closes the graph of an execution that has ended."""
        if execution_id not in self._closing:
            task = asyncio.create_task(self._close(execution_id))
            self._closing[execution_id] = task
            task.add_done_callback(lambda _: self._closing.pop(execution_id, None))

    async def step(self) -> None:
        """Closes what others have left."""
        due = self._store.now_ms() - _GRACE_MS
        keys = self._store.keys
        for execution_id in await self._store.call("ZRANGEBYSCORE", keys.graphs_to_close, "-inf", due, "LIMIT", 0, 16):
            self.close_soon(execution_id)

    async def stop(self) -> None:
        """Leaves what is not closed yet to other servers."""
        closing = list(self._closing.values())
        for task in closing:
            task.cancel()
        await asyncio.gather(*closing, return_exceptions=True)

    async def _close(self, execution_id: bytes) -> None:
        try:
            record = await self._store.get(execution_id, inputs=False)
            if record is not None and not lifecycle.is_terminal(record.state):
                return  # another server goes on with it
            children = await self._store.call("ZRANGE", self._store.keys.child_index(execution_id), 0, -1)
            for start in range(0, len(children), _BATCH):
                records = await self._store.get_many(children[start : start + _BATCH])
                living = [
                    record
                    for record in records.values()
                    if record is not None and not lifecycle.is_terminal(record.state)
                ]
                await asyncio.gather(*(self._attempts.cancel(record.id, _WHY) for record in living))
            await self._store.call("ZREM", self._store.keys.graphs_to_close, execution_id)
        except DomainError as error:
            _log.warning("could not end what runs of a graph yet: %s", error)  # the next step tries again
