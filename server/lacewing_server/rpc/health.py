"""Readiness, as ``grpc.health.v1`` tells it: whether this server can serve, which it cannot without its Redis."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Sequence
from typing import Final

from grpc_health.v1 import health, health_pb2

from lacewing_server.domain.errors import DomainError
from lacewing_server.store.redis.store import Store

_log = logging.getLogger(__name__)

_INTERVAL_SECONDS: Final = 0.5
AWAY_SECONDS: Final = 2.0
"""How long Redis may be away before the server says that it does not serve: calls are repeated for that long."""

_SERVING: Final = health_pb2.HealthCheckResponse.SERVING
_NOT_SERVING: Final = health_pb2.HealthCheckResponse.NOT_SERVING


class Readiness:
    """Keeps the health of all services at what Redis allows."""

    def __init__(self, store: Store, services: Sequence[str]) -> None:
        self.servicer = health.aio.HealthServicer()
        self._store = store
        self._services = services
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Says that the server serves, and looks after Redis from now on."""
        await self._set(is_ready=True)
        self._task = asyncio.create_task(self._watch(), name="readiness")

    async def stop(self) -> None:
        """Says that the server does not serve any more, for good."""
        await self.servicer.enter_graceful_shutdown()
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task

    async def _watch(self) -> None:
        loop = asyncio.get_running_loop()
        seen, is_ready = loop.time(), True
        while True:
            await asyncio.sleep(_INTERVAL_SECONDS)
            if await self._answers():
                seen = loop.time()
            if (loop.time() - seen < AWAY_SECONDS) != is_ready:
                is_ready = not is_ready
                _log.warning("Redis answers again: serving" if is_ready else "Redis does not answer: not serving")
                await self._set(is_ready=is_ready)

    async def _answers(self) -> bool:
        try:
            async with asyncio.timeout(_INTERVAL_SECONDS):
                await self._store.call("PING")
        except (DomainError, TimeoutError):
            return False
        return True

    async def _set(self, *, is_ready: bool) -> None:
        for name in self._services:
            await self.servicer.set(name, _SERVING if is_ready else _NOT_SERVING)
