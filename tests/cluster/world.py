"""Servers on one store."""

from __future__ import annotations

import asyncio
import itertools
import os
import signal
import sys
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack, asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import redis

import lacewing
from cluster import bodies
from lacewing import testing
from lacewing.testing import RunningServer
from lacewing_server.valkey import EmbeddedValkey

QUICK: dict[str, Any] = {
    "server_lease": 1.0,
    "reconnect_grace": 0.5,
    "tick": 0.02,
    "lease_duration": 1.5,
    "heartbeat_interval": 0.3,
}
"""Settings with which the death of a server or worker is noticed soon."""

_prefixes = itertools.count(1)


class World:
    """A store, and the servers that a test starts on it."""

    def __init__(self, url: str, stack: ExitStack) -> None:
        self.url = url
        self.prefix = f"lw:{{{next(_prefixes)}}}:"
        self.redis = redis.Redis.from_url(url)
        stack.callback(self.redis.close)
        self._stack = stack

    def start(self, *, has_faults: bool = False, **settings: Any) -> RunningServer:
        """Starts a server; when the test is over it must not have logged a fault, unless the test provokes one."""
        chosen: dict[str, Any] = {"redis": self.url, "key_prefix": self.prefix, **QUICK, **settings}
        server = self._stack.enter_context(testing.server(**chosen))
        self._stack.callback(_stop, server, has_faults=has_faults)
        return server

    def keys(self, beginning: str) -> list[bytes]:
        """The keys of the store that begin so, after the prefix."""
        escaped = self.prefix.replace("{", "\\{").replace("}", "\\}")
        return list(self.redis.scan_iter(match=f"{escaped}{beginning}*"))

    def server_count(self) -> int:
        """How many servers the store knows that have not been taken over."""
        count: Any = self.redis.scard(f"{self.prefix}servers")
        return int(count)

    async def servers(self, count: int, **settings: Any) -> list[RunningServer]:
        """Starts several servers at once."""
        return await asyncio.gather(*(asyncio.to_thread(self.start, **settings) for _ in range(count)))


def _stop(server: RunningServer, *, has_faults: bool) -> None:
    server.stop()
    assert "never retrieved" not in server.log
    assert has_faults or "Traceback" not in server.log


@contextmanager
def store(**options: Any) -> Iterator[EmbeddedValkey]:
    """Runs a Valkey for the time of a block; by default it keeps nothing on disk."""
    # The prefix is short because the path of a unix socket has about a hundred characters at most.
    with tempfile.TemporaryDirectory(prefix="lw") as directory:
        valkey = EmbeddedValkey(Path(directory), **{"persist": False, **options})
        try:
            yield valkey
        finally:
            valkey.stop()


@contextmanager
def suspended(server: RunningServer) -> Iterator[None]:
    """Lets a server stand still for the time of a block."""
    os.kill(server.pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(server.pid, signal.SIGCONT)


@asynccontextmanager
async def calling(server: RunningServer) -> AsyncIterator[lacewing.Client]:
    """A client of a server where the tasks are registered."""
    async with lacewing.Client(server.address) as client:
        await client.register(*bodies.ALL)
        yield client


@asynccontextmanager
async def program(*servers: RunningServer, slots: int = 1) -> AsyncIterator[asyncio.subprocess.Process]:
    """Runs the SDK's worker as a program that knows several servers, and uses the first one that is there."""
    address = "ipv4:" + ",".join(server.address for server in servers)
    command = [sys.executable, "-m", "lacewing.worker", bodies.__file__, "--address", address, "--slots", str(slots)]
    process = await asyncio.create_subprocess_exec(*command, stderr=asyncio.subprocess.DEVNULL)
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()
