"""A real server with a real worker, for all tests of the command line."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

import lacewing.testing
from cli import bodies
from cli.console import Lacewing


@pytest.fixture(scope="session")
def lacewing_cli() -> Iterator[Lacewing]:
    with (
        lacewing.testing.server() as server,
        lacewing.testing.worker(server.address, bodies.ALL, slots=4, isolation="process", name="test-worker"),
    ):
        yield Lacewing(server.address)
