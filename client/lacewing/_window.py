"""Many executions at a time, of inputs that are taken as there is room."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterable, Awaitable, Callable, Iterable, Mapping
from typing import Any, TypeAlias

from lacewing.v1 import execution_pb2

Inputs: TypeAlias = Mapping[str, Any]
Running: TypeAlias = asyncio.Future[execution_pb2.Execution]


class Window:
    """Executions that are under way, of which there are only so many at a time.

    Args:
        start: Begins an execution.
        size: The most that are under way, at least 1.
        ordered: Whether they come out in the order in which they were begun, or as they end.
    """

    def __init__(self, start: Callable[[Inputs], Awaitable[Running]], size: int, *, ordered: bool) -> None:
        self._start = start
        self._size = size
        self._ordered = ordered
        self._under_way: set[Running] = set()
        # What comes out next. None stands for the end of the inputs.
        self._queue: deque[Running | None] = deque()
        self._is_filled = asyncio.Event()
        self._has_room = asyncio.Event()

    async def run(self, inputs: Iterable[Inputs] | AsyncIterable[Inputs]) -> AsyncGenerator[Running, None]:
        """Begin an execution for each of the inputs, and yield them. Raises what taking the inputs raises."""
        feeder = asyncio.get_running_loop().create_task(self._feed(inputs), name="lacewing map inputs")
        is_fed = False
        try:
            while self._under_way or not is_fed:
                while not self._queue:
                    self._is_filled.clear()
                    await self._is_filled.wait()
                running = self._queue.popleft()
                if running is None:
                    is_fed = True
                    await feeder
                else:
                    self._under_way.remove(running)
                    self._has_room.set()
                    yield running
        finally:
            # Cancelling also what has ended keeps asyncio from reporting errors that nobody wants to know.
            feeder.cancel()
            for running in self._under_way:
                running.cancel()
            await asyncio.wait([feeder])

    async def _feed(self, inputs: Iterable[Inputs] | AsyncIterable[Inputs]) -> None:
        # Room is made before anything is taken: what is taken is begun.
        try:
            if isinstance(inputs, AsyncIterable):
                async for each in inputs:
                    await self._begin(each)
            else:
                for each in inputs:
                    await self._begin(each)
        finally:
            self._put(None)

    async def _begin(self, inputs: Inputs) -> None:
        """Begin an execution, and wait until there is room for another one."""
        running = await self._start(inputs)
        self._under_way.add(running)
        if self._ordered:
            self._put(running)
        else:
            running.add_done_callback(self._put)
        while len(self._under_way) >= self._size:
            self._has_room.clear()
            await self._has_room.wait()

    def _put(self, running: Running | None) -> None:
        self._queue.append(running)
        self._is_filled.set()
