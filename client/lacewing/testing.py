"""Real servers and workers for tests: no stand-ins, nothing to install beside the extra `server`.

A server starts in a fraction of a second, with a store of its own. A fixture for pytest::

    @pytest.fixture(scope="session")
    def lacewing_server():
        with lacewing.testing.server() as server, lacewing.testing.worker(server.address, [add]):
            yield server

    def test_add(lacewing_server):
        with lacewing.sync.Client(lacewing_server.address) as client:
            client.register(add)
            assert client.execute(add, a=2, b=40) == 42
"""

from __future__ import annotations

from contextlib import AbstractContextManager
from importlib.metadata import entry_points
from typing import Any, Protocol

from lacewing.errors import LacewingError

_GROUP = "lacewing.servers"
_NAME = "default"


class RunningServer(Protocol):
    """A server that runs until its context ends."""

    @property
    def address(self) -> str:
        """Where it listens, `host:port`."""


def server(**settings: Any) -> AbstractContextManager[RunningServer]:
    """Run a server on a free port of this machine, with a store of its own, for the time of a `with` block.

    The server is found by the entry point `default` of the group `lacewing.servers`: the SDK does not depend on it.

    Args:
        **settings: Settings of the server that differ from its defaults.

    Raises:
        LacewingError: No server is installed.
    """
    found = entry_points(group=_GROUP, name=_NAME)
    if not found:
        raise LacewingError('no Lacewing server is installed; install it with: pip install "lacewing[server]"')
    start: AbstractContextManager[RunningServer] = next(iter(found)).load()(**settings)
    return start
