"""Two servers on one Valkey, for the tests of the store."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from store.world import World


@pytest.fixture(scope="module")
def shared_world() -> Iterator[World]:
    """Two servers on a Valkey of the module's own."""
    # The prefix is short because the path of a unix socket has about a hundred characters at most.
    with tempfile.TemporaryDirectory(prefix="lw") as directory:
        world = World(Path(directory))
        yield world
        world.close()


@pytest.fixture
def world(shared_world: World) -> World:
    """The same, with nothing in it."""
    shared_world.run(shared_world.clear())
    return shared_world
