"""What the tests of several servers share."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from cluster.world import World, store


@pytest.fixture(scope="session")
def url() -> Iterator[str]:
    """A store for all tests that do not harm it; each has a partition of its own."""
    with store() as valkey:
        yield valkey.url


@pytest.fixture
def world(url: str) -> Iterator[World]:
    """A partition of the store, and the servers that the test starts on it."""
    with ExitStack() as stack:
        yield World(url, stack)
