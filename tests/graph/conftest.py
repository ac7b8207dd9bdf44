"""A server of the module's own, and a connection to it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

import pytest

from graph.service import GraphService
from server.world import World, connect, run_world


@pytest.fixture(scope="module")
def world() -> Iterator[World]:
    """A server that looks at its clocks often, so that tests need not wait."""
    with run_world(tick=0.01) as world:
        yield world


@pytest.fixture
async def service(world: World, request: pytest.FixtureRequest) -> AsyncIterator[GraphService]:
    """The server as a caller and a worker see it; names of tasks begin with that of the test."""
    async with connect(world.server.address) as stubs:
        yield GraphService(world, stubs, request.node.name)
