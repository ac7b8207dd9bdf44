"""A connection to a store on which news and answers can be lost."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager


class Wire:
    """Passes on what is sent to a store.

    Attributes:
        url: Where it listens.
        is_deaf: While True, what the store publishes is dropped on the way.
        is_mute: While True, what the store answers is dropped on the way.
        dropped: How often something was.
        answers: While not set, what the store answers waits on the way.
        reads: How many times a single value was asked for.
    """

    def __init__(self, socket: str) -> None:
        self.url = ""
        self.is_deaf = False
        self.is_mute = False
        self.dropped = 0
        self.reads = 0
        self.answers = asyncio.Event()
        self.answers.set()
        self._socket = socket
        self._writers: set[asyncio.StreamWriter] = set()

    def cut(self) -> None:
        """Breaks every connection, without a word to either side."""
        for writer in self._writers:
            writer.transport.abort()

    async def connect(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Passes on both ways until one side ends."""
        far_reader, far_writer = await asyncio.open_unix_connection(self._socket)
        both = {writer, far_writer}
        self._writers |= both
        is_subscription = False

        async def up(data: bytes) -> bool:
            nonlocal is_subscription
            is_subscription |= b"SUBSCRIBE" in data
            self.reads += data.count(b"\r\nGET\r\n")
            return True

        async def down(_: bytes) -> bool:
            if is_subscription:  # it is sent nothing but news
                return not self.is_deaf
            await self.answers.wait()
            return not self.is_mute

        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._pass_on(reader, far_writer, up))
                group.create_task(self._pass_on(far_reader, writer, down))
        finally:
            self._writers -= both

    async def _pass_on(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, passes: Callable[[bytes], Awaitable[bool]]
    ) -> None:
        try:
            while data := await reader.read(64 * 1024):
                if await passes(data):
                    writer.write(data)
                else:
                    self.dropped += 1
        except ConnectionError:
            pass  # Cut: the other direction ends too.
        finally:
            writer.close()


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
        wire.cut()
        await listener.wait_closed()
