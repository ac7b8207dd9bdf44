"""Links between processes: TCP connections that can be cut, slowed down and frozen."""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import Awaitable, Callable
from typing import Final, TypeAlias

Connect: TypeAlias = Callable[[], Awaitable[tuple[asyncio.StreamReader, asyncio.StreamWriter]]]

_CHUNK: Final = 64 * 1024


class Link:
    """Listens on a port of the loopback interface, and passes on what comes to where it leads.

    Args:
        connect: Opens the far side.

    Attributes:
        port: Where it listens, once it was opened.
        delay: How many seconds each chunk is held up.
        is_cut: While True, who connects is turned away.
    """

    def __init__(self, connect: Connect) -> None:
        self.port = 0
        self.delay = 0.0
        self.is_cut = False
        self._connect = connect
        self._flowing = asyncio.Event()
        self._flowing.set()
        self._writers: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._listener: asyncio.Server | None = None

    async def open(self) -> None:
        """Listens."""
        self._listener = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        self.port = self._listener.sockets[0].getsockname()[1]

    def cut(self) -> None:
        """Resets every connection, and lets none come about until it is mended."""
        self.is_cut = True
        for writer in self._writers:
            _reset(writer)

    def freeze(self) -> None:
        """Lets nothing through, but keeps the connections."""
        self._flowing.clear()

    def mend(self) -> None:
        """Makes it as it was at first."""
        self.is_cut, self.delay = False, 0.0
        self._flowing.set()

    async def close(self) -> None:
        """Ends everything."""
        assert self._listener is not None
        self._listener.close()
        self.cut()
        self._flowing.set()
        await asyncio.gather(*self._tasks)
        await self._listener.wait_closed()

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.create_task(self._serve(reader, writer))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self.is_cut:
            _reset(writer)
            return
        try:
            far_reader, far_writer = await self._connect()
        except OSError:
            _reset(writer)  # As if who is there were asked directly.
            return
        both = {writer, far_writer}
        self._writers |= both
        if self.is_cut:
            self.cut()
        try:
            await asyncio.gather(self._pass_on(reader, far_writer), self._pass_on(far_reader, writer))
        finally:
            self._writers -= both
            await asyncio.gather(*(each.wait_closed() for each in both), return_exceptions=True)

    async def _pass_on(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while data := await reader.read(_CHUNK):
                if self.delay:
                    await asyncio.sleep(self.delay)
                await self._flowing.wait()
                writer.write(data)
                await writer.drain()
        except ConnectionError:
            _reset(writer)  # Cut: the other side is to see it as well.
        finally:
            writer.close()


def _reset(writer: asyncio.StreamWriter) -> None:
    """Breaks a connection, so that the other side learns of it by a reset and not by an end."""
    if writer.transport.is_closing():
        return
    linger = struct.pack("ii", 1, 0)
    writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
    writer.transport.abort()
