"""The way to Redis is cut, or goes dead, in the middle of the load; when it is there again everything goes on."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import ExitStack, asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from cluster.world import QUICK, calling, program
from external.load import Load
from external.processes import Node
from faults.proxy import Link
from lacewing_server.domain.errors import DomainError
from lacewing_server.store.redis.store import Store
from lacewing_server.testing import ServerProcess, start_server
from worker.leases import until

TIMEOUT = 0.5


@asynccontextmanager
async def linked(node: Node) -> AsyncIterator[Link]:
    """A way to a node that can be cut."""
    link = Link(partial(asyncio.open_connection, "127.0.0.1", node.port))
    await link.open()
    try:
        yield link
    finally:
        await link.close()


@asynccontextmanager
async def serving(link: Link) -> AsyncIterator[ServerProcess]:
    """A server behind a link, which starts and stops while the link goes on passing on."""
    with ExitStack() as stack:
        url = f"redis://127.0.0.1:{link.port}"
        start = start_server(redis=url, redis_timeout=TIMEOUT, **QUICK)
        server = await asyncio.to_thread(stack.enter_context, start)
        try:
            yield server
        finally:
            await asyncio.to_thread(server.stop)


@asynccontextmanager
async def connected(link: Link) -> AsyncIterator[tuple[Store, list[float]]]:
    """A store behind a link, and the times at which it subscribed."""
    subscribed: list[float] = []
    store = Store(f"redis://127.0.0.1:{link.port}", "lw:{0}:", b"12345678", timeout=TIMEOUT)
    await store.start(lambda _news: None, lambda: subscribed.append(time.monotonic()))
    try:
        yield store, subscribed
    finally:
        await store.close()


@pytest.mark.parametrize("how", ["cut", "freeze"])
async def test_nothing_is_lost_when_the_way_to_redis_is(
    kind: str, start_node: Callable[..., Node], tmp_path: Path, how: str
) -> None:
    """Cut or dead: calls say so soon, workers keep what they hold, and all that was accepted ends when it is back."""
    node = start_node(kind)
    async with linked(node) as link, serving(link) as server:
        async with calling(server) as client, program(server, slots=4):
            load = Load(client, tmp_path)
            await load.create(20)
            getattr(link, how)()
            creating = asyncio.create_task(load.create(20))
            await until(lambda: load.refused)
            assert load.refused.keys() == {"STORE_UNAVAILABLE"}
            link.mend()
            await creating
            await load.check()
        assert "Traceback" not in server.log


async def test_a_dead_connection_is_noticed_within_the_timeout(kind: str, start_node: Callable[..., Node]) -> None:
    """Who waits for an answer gets an error, and who asks later gets it at once, until the way is there again."""
    async with linked(start_node(kind)) as link, connected(link) as (store, _):
        link.freeze()
        begin = time.monotonic()
        with pytest.raises(DomainError, match="the connection to Redis was lost"):
            await store.call("PING")
        assert time.monotonic() - begin < 4 * TIMEOUT
        with pytest.raises(DomainError, match="there is no connection to Redis"):
            await store.call("PING")
        link.mend()
        assert await _until_answering(store) == b"PONG"


@pytest.mark.parametrize("how", ["cut", "freeze"])
async def test_subscriptions_are_renewed(kind: str, start_node: Callable[..., Node], how: str) -> None:
    """Also when nobody was told that the connection is dead, and nothing is ever sent on it."""
    node = start_node(kind)
    async with linked(node) as link, connected(link) as (store, subscribed):
        await until(lambda: len(subscribed) == 1)
        getattr(link, how)()
        with node.connect() as client:
            channel = store.keys.channel(store.server)

            def listeners() -> int:
                ((_, count),) = client.pubsub_numsub(channel)
                return int(count)

            await until(lambda: not store.connected)
            link.mend()
            await until(lambda: len(subscribed) == 2)
            await until(lambda: listeners() == 1)


async def test_scripts_are_loaded_again(kind: str, start_node: Callable[..., Node]) -> None:
    """After a restart of Redis, and when somebody has flushed them."""
    node = start_node(kind)
    async with linked(node) as link, connected(link) as (store, _):
        node.kill()
        node.start()
        await _until_answering(store)
        assert (await store.due()).judge == ()
        with node.connect() as client:
            client.script_flush()
        assert (await store.due()).judge == ()


async def _until_answering(store: Store) -> Any:
    async with asyncio.timeout(20):
        while True:
            try:
                return await store.call("PING")
            except DomainError:
                await asyncio.sleep(0.01)
