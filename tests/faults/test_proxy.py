"""Links that can be cut, slowed down and frozen."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from functools import partial

import pytest

from faults.proxy import Link


@pytest.fixture
async def link() -> AsyncIterator[Link]:
    """A link to somebody who repeats each line."""
    serving: set[asyncio.Task[None]] = set()

    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while line := await reader.readline():
                writer.write(line)
        except ConnectionError:
            pass  # The link was cut.
        finally:
            writer.close()
            await asyncio.gather(writer.wait_closed(), return_exceptions=True)

    def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        serving.add(asyncio.create_task(echo(reader, writer)))

    listener = await asyncio.start_server(serve, "127.0.0.1", 0)
    port = listener.sockets[0].getsockname()[1]
    link = Link(partial(asyncio.open_connection, "127.0.0.1", port))
    await link.open()
    try:
        yield link
    finally:
        await link.close()
        await asyncio.gather(*serving)
        listener.close()


async def _ask(link: Link) -> bytes:
    """What comes back on a connection of its own: nothing if it breaks."""
    reader, writer = await asyncio.open_connection("127.0.0.1", link.port)
    try:
        writer.write(b"hello\n")
        return await reader.readline()
    except ConnectionError:
        return b""
    finally:
        writer.close()
        await asyncio.gather(writer.wait_closed(), return_exceptions=True)


async def test_it_passes_on(link: Link) -> None:
    """Both ways."""
    assert await _ask(link) == b"hello\n"


async def test_who_is_cut_off_sees_the_end_and_nobody_comes_through(link: Link) -> None:
    """An open connection breaks, new ones do too, until the link is mended."""
    reader, writer = await asyncio.open_connection("127.0.0.1", link.port)
    writer.write(b"hello\n")
    assert await reader.readline() == b"hello\n"
    link.cut()
    with pytest.raises(ConnectionError):
        await reader.readexactly(1)
    writer.close()
    await asyncio.gather(writer.wait_closed(), return_exceptions=True)
    assert await _ask(link) == b""
    link.mend()
    assert await _ask(link) == b"hello\n"


async def test_what_is_frozen_arrives_once_it_is_mended(link: Link) -> None:
    """Nothing comes through, and nothing is lost."""
    link.freeze()
    asked = asyncio.create_task(_ask(link))
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(asyncio.shield(asked), 0.05)
    link.mend()
    assert await asked == b"hello\n"


async def test_what_is_slow_arrives_late(link: Link) -> None:
    """Each chunk is held up, on its way there and back."""
    link.delay = 0.02
    start = asyncio.get_running_loop().time()
    assert await _ask(link) == b"hello\n"
    assert asyncio.get_running_loop().time() - start >= 0.04
