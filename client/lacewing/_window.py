"""Many executions at a time, of inputs that are taken as there is room."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterable, Awaitable, Callable, Iterable, Mapping
from contextlib import aclosing
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
        self._ordered = ordered
        self._room = asyncio.Semaphore(size)
        self._under_way: set[Running] = set()
        # None stands for the end of the inputs.
        self._queue: asyncio.Queue[Running | None] = asyncio.Queue()

    async def run(self, inputs: Iterable[Inputs] | AsyncIterable[Inputs]) -> AsyncGenerator[Running, None]:
        """Begin an execution for each of the inputs, and yield them. Raises what taking the inputs raises."""
        feeder = asyncio.get_running_loop().create_task(self._feed(inputs), name="lacewing map inputs")
        is_fed = False
        try:
            while self._under_way or not is_fed:
                running = await self._queue.get()
                if running is None:
                    is_fed = True
                    await feeder
                else:
                    self._under_way.remove(running)
                    self._room.release()
                    yield running
        finally:
            # Cancelling also what has ended keeps asyncio from reporting errors that nobody wants to know.
            feeder.cancel()
            for running in self._under_way:
                running.cancel()
            await asyncio.wait([feeder])

    async def _feed(self, inputs: Iterable[Inputs] | AsyncIterable[Inputs]) -> None:
        try:
            async with aclosing(_each(inputs)) as iterator:
                while True:
                    # Room first: what is taken is begun.
                    await self._room.acquire()
                    running = await self._start(await anext(iterator))
                    self._under_way.add(running)
                    if self._ordered:
                        self._queue.put_nowait(running)
                    else:
                        running.add_done_callback(self._queue.put_nowait)
        except StopAsyncIteration:
            return
        finally:
            self._queue.put_nowait(None)


async def _each(inputs: Iterable[Inputs] | AsyncIterable[Inputs]) -> AsyncGenerator[Inputs, None]:
    if isinstance(inputs, AsyncIterable):
        async for each in inputs:
            yield each
    else:
        for each in inputs:
            yield each
