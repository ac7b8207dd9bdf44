"""A connection to a store on which news can be lost."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager


class Wire:
    """Passes on what is sent to a store.

    Attributes:
        url: Where it listens.
        is_deaf: While True, what the store publishes is dropped on the way.
    """

    def __init__(self, socket: str) -> None:
        self.url = ""
        self.is_deaf = False
        self.dropped = 0
        self._socket = socket
        self._tasks: set[asyncio.Task[None]] = set()

    async def connect(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Passes on both ways until one side ends."""
        far_reader, far_writer = await asyncio.open_unix_connection(self._socket)
        subscribed = asyncio.Event()

        async def up() -> None:
            while data := await reader.read(64 * 1024):
                if b"SUBSCRIBE" in data:
                    subscribed.set()
                far_writer.write(data)
            far_writer.close()

        async def down() -> None:
            while data := await far_reader.read(64 * 1024):
                # A connection that subscribes is sent nothing else.
                if subscribed.is_set() and self.is_deaf:
                    self.dropped += 1
                else:
                    writer.write(data)
            writer.close()

        self._tasks = {*self._tasks, asyncio.create_task(up()), asyncio.create_task(down())}

    def close(self) -> None:
        """Passes on nothing more."""
        for task in self._tasks:
            task.cancel()


@asynccontextmanager
async def wire_to(url: str) -> AsyncIterator[Wire]:
    """Opens a wire to a store."""
    wire = Wire(url.removeprefix("unix://"))
    listener = await asyncio.start_server(wire.connect, "127.0.0.1", 0)
    wire.url = f"redis://127.0.0.1:{listener.sockets[0].getsockname()[1]}"
    try:
        yield wire
    finally:
        listener.close()
        wire.close()
        await asyncio.gather(*wire._tasks, return_exceptions=True)
