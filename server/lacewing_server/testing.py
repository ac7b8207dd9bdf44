"""A real server in this process, for tests: its own event loop in a thread, its own store, a free port."""

from __future__ import annotations

import asyncio
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from lacewing_server.app import Server
from lacewing_server.settings import Settings


class BackgroundServer:
    """A server that runs in a thread until it is stopped."""

    def __init__(self, settings: Settings) -> None:
        """Starts the server and waits until it takes requests.

        Raises:
            Exception: What kept the server from starting, as it raised it.
        """
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="lacewing-server", daemon=True)
        self._thread.start()
        self._server: Server | None = None
        try:
            self._server = asyncio.run_coroutine_threadsafe(_started(settings), self._loop).result()
            self.address: str = self._server.address
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """Stops the server and its thread. Stopping twice is not an error."""
        if self._loop.is_closed():
            return
        try:
            if self._server is not None:
                asyncio.run_coroutine_threadsafe(self._server.stop(), self._loop).result()
        finally:
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join()
            self._loop.run_until_complete(self._loop.shutdown_default_executor())
            self._loop.close()


@contextmanager
def start_server(**settings: Any) -> Iterator[BackgroundServer]:
    """Runs a server for the time of a ``with`` block.

    Args:
        **settings: Settings that differ from those for tests: a free port of the loopback interface, and an embedded
            Valkey in a temporary directory that keeps everything in memory.
    """
    # The prefix is short because the path of a unix socket has about a hundred characters at most.
    with tempfile.TemporaryDirectory(prefix="lw") as directory:
        chosen: dict[str, Any] = {"host": "127.0.0.1", "port": 0, "data_dir": directory, "persist": False} | settings
        server = BackgroundServer(Settings(**chosen))
        try:
            yield server
        finally:
            server.stop()


async def _started(settings: Settings) -> Server:
    server = Server(settings)
    await server.start()
    return server
