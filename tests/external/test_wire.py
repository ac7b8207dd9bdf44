"""The life of executions through the wire, as on the embedded Valkey: retries, caches, repeated requests, the end."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest

from engine import test_cancellation, test_idempotency, test_retries, test_serialization
from engine.service import Service
from external.processes import borrowed_from
from lacewing_server.testing import start_server
from server.world import World, connect

globals().update(borrowed_from(test_cancellation, test_idempotency, test_retries, test_serialization))


@pytest.fixture(scope="module")
def world(node: Any) -> Iterator[World]:
    """A server that looks at its clocks often."""
    with start_server(redis=node.url, tick=0.01) as server:
        world = World(node, server)
        yield world
        world.store.close()


@pytest.fixture
async def service(world: World, request: pytest.FixtureRequest) -> AsyncIterator[Service]:
    """The server as a caller and a worker see it; names of tasks begin with that of the test."""
    async with connect(world.server.address) as stubs:
        yield Service(world, stubs, request.node.name)
