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

import asyncio
from collections.abc import Generator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import AbstractContextManager, contextmanager, suppress
from importlib.metadata import entry_points
from typing import Any, Protocol

from lacewing.errors import LacewingError
from lacewing.task import AnyTask
from lacewing.worker import Worker

_GROUP = "lacewing.servers"
_NAME = "default"
# A test does not wait long for a server that is not there, nor for a body that nobody needs any more.
_START_SECONDS = 10.0
_DRAIN_SECONDS = 1.0


class RunningServer(Protocol):
    """A server that runs in a process of its own until its context ends, or this process does."""

    @property
    def address(self) -> str:
        """Where it listens, `host:port`."""

    @property
    def pid(self) -> int:
        """Its process id."""

    @property
    def log(self) -> str:
        """What it has logged so far."""

    def stop(self) -> None:
        """Stop it in order before its context ends, from any thread or event loop. Stopping twice is not an error."""

    def kill(self) -> None:
        """End it without a chance to say good-bye."""


def server(**settings: Any) -> AbstractContextManager[RunningServer]:
    """Run a server on a free port of this machine, with a store of its own, for the time of a `with` block.

    The server is found by the entry point `default` of the group `lacewing.servers`: the SDK does not depend on it.

    It is a process of its own, so it may be used and stopped from anywhere, a running event loop too.

    Args:
        **settings: Settings of the server that differ from its defaults for tests. With `redis` several servers share
            one store.

    Raises:
        LacewingError: No server is installed.
        Exception: The server does not start; the text is its log.
    """
    found = entry_points(group=_GROUP, name=_NAME)
    if not found:
        raise LacewingError('no Lacewing server is installed; install it with: pip install "lacewing[server]"')
    start: AbstractContextManager[RunningServer] = next(iter(found)).load()(**settings)
    return start


@contextmanager
def worker(address: str, tasks: Sequence[AnyTask], **options: Any) -> Generator[Worker]:
    """Run a worker in this process for the time of a `with` block.

    It has a thread and an event loop of its own, and runs bodies in threads, so that they can be debugged and see what
    the test sees. It registers the tasks, and is connected when the block begins.

    Args:
        address: Where the server is. It must not run on the event loop of the caller, which is blocked meanwhile.
        tasks: What the worker runs.
        **options: Further arguments of `lacewing.worker.Worker`, such as `isolation="process"`.

    Raises:
        LacewingError: The worker cannot start, or has failed meanwhile, in the words of `Worker.run`; or it is not
            connected within 10 s.
    """
    options = {"isolation": "thread", "drain_timeout": _DRAIN_SECONDS, **options}
    connected: Future[tuple[asyncio.AbstractEventLoop, Worker]] = Future()

    async def run() -> None:
        running_worker = Worker(address, tasks, **options)
        running = asyncio.create_task(running_worker.run())
        welcome = asyncio.create_task(running_worker.connected())
        await asyncio.wait((running, welcome), timeout=_START_SECONDS, return_when=asyncio.FIRST_COMPLETED)
        if welcome.done():
            connected.set_result((asyncio.get_running_loop(), running_worker))
        else:
            welcome.cancel()
            if not running.done():
                running_worker.stop()
                await running
                raise LacewingError(f"the worker did not get a connection to {address} within {_START_SECONDS:.0f} s")
        await running

    with ThreadPoolExecutor(1, thread_name_prefix="lacewing-worker") as thread:
        ended = thread.submit(lambda: asyncio.run(run()))
        either: tuple[Future[Any], ...] = (connected, ended)
        wait(either, return_when=FIRST_COMPLETED)
        if not connected.done():
            ended.result()
        loop, running_worker = connected.result()
        try:
            yield running_worker
        finally:
            # If its loop is closed, it has ended by itself: the next line tells how.
            with suppress(RuntimeError):
                loop.call_soon_threadsafe(running_worker.drain, "the test is over")
            ended.result()
