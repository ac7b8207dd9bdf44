"""Redis processes for the tests of Redis."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from external.processes import KINDS, Node


@pytest.fixture
def directory() -> Iterator[Path]:
    """A directory whose path is short enough for that of a unix socket in it."""
    with tempfile.TemporaryDirectory(prefix="lw") as name:
        yield Path(name)


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest) -> str:
    """Each program that is supported."""
    chosen: str = request.param
    return chosen


@pytest.fixture
def start_node(tmp_path: Path) -> Iterator[Callable[..., Node]]:
    """Starts nodes that end with the test: ``start_node(kind, *options)``."""
    with ExitStack() as stack:

        def start(kind: str, *options: str, name: str = "node", **parts: Any) -> Node:
            node = Node(kind, tmp_path / name, *options, **parts)
            stack.callback(node.kill)
            return node

        yield start


@pytest.fixture(scope="module", params=KINDS)
def node(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Node]:
    """A node of each kind for all tests of a module."""
    started = Node(request.param, tmp_path_factory.mktemp("node"))
    yield started
    started.kill()
