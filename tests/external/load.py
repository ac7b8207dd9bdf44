"""Executions that are created while Redis is in trouble, by a caller that repeats what was not taken."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from pathlib import Path
from typing import Any

import lacewing
from cluster import bodies
from lacewing.v1 import execution_pb2

Execution = execution_pb2.Execution
PATIENCE = 40.0


class Load:
    """Creates executions one after the other, each of them with the same id until it is accepted.

    Attributes:
        accepted: When each was accepted, by its number.
        handles: A handle on each, by its number.
        refused: How often each reason was told.
    """

    def __init__(self, client: lacewing.Client, folder: Path) -> None:
        self._client = client
        self._folder = folder
        self.accepted: dict[int, float] = {}
        self.handles: dict[int, lacewing.Handle[int]] = {}
        self.refused: Counter[str] = Counter()

    async def create(self, count: int) -> None:
        """Creates so many more."""
        for number in range(len(self.handles), len(self.handles) + count):
            client = self._client.with_options(request_id=f"request-{number}")
            handle = await self.until_taken(client.submit, bodies.note, str(self._folder), number)
            self.accepted[number], self.handles[number] = time.monotonic(), handle

    async def create_until(self, others: asyncio.Future[Any]) -> None:
        """Creates more until something else has ended."""
        while not others.done():
            await self.create(1)

    def first_accepted_after(self, moment: float) -> float:
        """How long after a moment the next one was accepted, in seconds."""
        return min(at for at in self.accepted.values() if at > moment) - moment

    async def check(self) -> None:
        """Waits for the end of all that was accepted, and checks that each succeeded, with its own result."""
        results = await asyncio.gather(*(self.until_taken(handle.result) for handle in self.handles.values()))
        assert results == list(self.handles)
        for handle in self.handles.values():
            execution = await self.until_taken(handle.status)
            assert execution.state == Execution.STATE_SUCCEEDED
            assert execution.failure_count == 0
        runs = {int(line) for line in (self._folder / "runs").read_text().split()}
        assert runs >= set(self.handles)  # and maybe one that was not acknowledged

    async def until_taken(self, call: Any, *arguments: Any) -> Any:
        """Repeats a call while it is told that the store is not available."""
        async with asyncio.timeout(PATIENCE):
            while True:
                try:
                    return await call(*arguments)
                except lacewing.errors.StoreUnavailable as error:
                    self.refused[error.reason] += 1
                    await asyncio.sleep(0.02)
