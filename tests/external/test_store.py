"""The cases of the store, as on the embedded Valkey: leases, queues, cache entries and clocks."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from external.processes import Node, borrowed_from
from store import test_cache_entries, test_leases
from store.world import World

globals().update(borrowed_from(test_cache_entries, test_leases))


@pytest.fixture(scope="module")
def servers(node: Node) -> Iterator[World]:
    """Two servers without a wire."""
    world = World(node.url)
    yield world
    world.close()


@pytest.fixture
def world(servers: World) -> World:
    """The same, with nothing in it."""
    servers.run(servers.clear())
    return servers
