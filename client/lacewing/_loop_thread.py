"""An event loop in a thread, for callers that block."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from typing import TypeVar

import grpc

from lacewing.errors import CallFailed

_Result = TypeVar("_Result")


class LoopThread:
    """An event loop in a thread, for callers that block."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._serve, name="lacewing-client", daemon=True)
        self._thread.start()

    @property
    def is_over(self) -> bool:
        """Whether it was stopped."""
        return self._loop.is_closed()

    def _serve(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.run_forever()

    def run(self, call: Callable[[], Awaitable[_Result]]) -> _Result:
        """Run what the call returns to its end; when the waiting is interrupted, it is cancelled."""

        async def awaited() -> _Result:
            return await call()

        if self._loop.is_closed():
            raise CallFailed("the client is closed", grpc.StatusCode.CANCELLED)
        future = asyncio.run_coroutine_threadsafe(awaited(), self._loop)
        try:
            return future.result()
        except BaseException:
            # Ours is over, or the caller was interrupted (KeyboardInterrupt): then nobody waits for it any more.
            future.cancel()
            raise

    def iterate(self, call: Callable[[], AsyncIterator[_Result]]) -> Iterator[_Result]:
        """Yield what the call's iterator yields, one after the other."""

        async def opened() -> AsyncIterator[_Result]:
            return call()

        iterator = self.run(opened)
        try:
            while True:
                try:
                    item = self.run(lambda: anext(iterator))
                except StopAsyncIteration:
                    return
                yield item
        finally:
            close = getattr(iterator, "aclose", None)
            # A loop that has ended has closed it.
            if close is not None and not self._loop.is_closed():
                self.run(close)

    def stop(self) -> None:
        """End the loop and its thread; what other threads still wait for is cancelled."""
        self.run(self._finish)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    async def _finish(self) -> None:
        others = asyncio.all_tasks() - {asyncio.current_task()}
        for task in others:
            task.cancel()
        if others:
            await asyncio.wait(others)
        await self._loop.shutdown_asyncgens()
