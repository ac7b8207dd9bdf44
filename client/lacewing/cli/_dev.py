"""`lacewing dev`: a server and a worker in one terminal, for the time of development.

Server and worker are processes of their own; the worker is started again when a file changes. Ctrl-C reaches this
process alone, which ends the worker first and then the server: running bodies can still hand in their results.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click
from watchfiles import PythonFilter, awatch

import lacewing.testing
from lacewing._channel import DEFAULT_ADDRESS
from lacewing.cli.output import say
from lacewing.errors import LacewingError

_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
# How long running bodies may go on when the worker is to start again: nobody waits for longer to see an edit.
_DRAIN_SECONDS = 3
# Changes that follow each other closer than this are one, in milliseconds: an editor touches a file several times.
_DEBOUNCE = 200


@click.command()
@click.argument("modules", nargs=-1, required=True, metavar="MODULE...", type=click.Path())
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option("--port", default=7400, show_default=True, help="Port to listen on; 0 takes a free one.")
@click.option(
    "--data-dir",
    type=click.Path(file_okay=False),
    help="Keep what is stored, in this folder.  [default: in memory only]",
)
@click.option("--slots", type=click.IntRange(min=1), help="How many bodies run at a time.  [default: number of CPUs]")
@click.option(
    "--watch", "folders", multiple=True, type=click.Path(exists=True), help="Watch this folder too. May be repeated."
)
def dev(
    modules: tuple[str, ...], host: str, port: int, data_dir: str | None, slots: int | None, folders: tuple[str, ...]
) -> None:
    """Run a server, and a worker of the tasks of modules that starts again when a Python file changes.

    Watched are the current folder and those of the named files. What bodies write is shown. Ctrl-C ends all of it.
    """
    watched = {Path.cwd(), *(Path(module).resolve().parent for module in modules if module.endswith(".py"))}
    watched.update(Path(folder).resolve() for folder in folders)
    store = {} if data_dir is None else {"data_dir": Path(data_dir), "persist": True}
    with _server(host=host, port=port, **store) as address:
        say(f"Server at {address}, {'data in memory only' if data_dir is None else f'data in {data_dir}'}.")
        say(f"The worker starts again when a Python file changes below {', '.join(map(str, sorted(watched)))}.")
        say(f"In another terminal: lacewing tasks{_named(address)}. Ctrl-C ends all of this.")
        options = [*modules, "--address", address, "--drain-timeout", str(_DRAIN_SECONDS), "--verbose"]
        asyncio.run(_supervise(options + ([] if slots is None else ["--slots", str(slots)]), watched))


@contextmanager
def _server(**settings: Any) -> Iterator[str]:
    running = lacewing.testing.server(**settings)
    try:
        server = running.__enter__()
    except LacewingError:
        raise
    except Exception as error:
        # The server is found by an entry point: the types of what it raises are not known here.
        raise click.ClickException(str(error)) from error
    try:
        yield server.address
    finally:
        running.__exit__(None, None, None)


def _named(address: str) -> str:
    return "" if address == DEFAULT_ADDRESS else f" --address {address}"


async def _supervise(options: Sequence[str], watched: set[Path]) -> None:
    stopping = asyncio.Event()
    worker = _Worker(options)

    def on_signal() -> None:
        if stopping.is_set():
            worker.terminate()  # A second signal: it stops its bodies at once.
        stopping.set()

    loop = asyncio.get_running_loop()
    for number in _SIGNALS:
        loop.add_signal_handler(number, on_signal)
    await worker.start()
    try:
        async for changes in awatch(*watched, watch_filter=PythonFilter(), debounce=_DEBOUNCE, stop_event=stopping):
            names = sorted({Path(path).name for _, path in changes})
            say(f"{', '.join(names[:3])}{' and others' if len(names) > 3 else ''} changed: the worker starts again.")  # noqa: PLR2004 - a line has room for three
            await worker.stop()
            if not stopping.is_set():
                await worker.start()
    finally:
        await worker.stop()


class _Worker:
    """The process of the worker, if it runs."""

    def __init__(self, options: Sequence[str]) -> None:
        self._command = (sys.executable, "-m", "lacewing.cli._dev_worker", str(os.getpid()), *options)
        self._process: asyncio.subprocess.Process | None = None
        self._watching: asyncio.Task[None] | None = None
        self._is_stopping = False

    async def start(self) -> None:
        """Start it."""
        self._is_stopping = False
        # In the background of the terminal, where a body that read from it would be stopped.
        self._process = await asyncio.create_subprocess_exec(
            *self._command, stdin=asyncio.subprocess.DEVNULL, process_group=0
        )
        self._watching = asyncio.create_task(self._watch(self._process))

    def terminate(self) -> None:
        """Ask it to drain; when asked again, to stop at once."""
        if self._process is not None and self._process.returncode is None:
            self._process.terminate()

    async def stop(self) -> None:
        """Drain it, and wait for its end."""
        self._is_stopping = True
        self.terminate()
        if self._watching is not None:
            await self._watching

    async def _watch(self, process: asyncio.subprocess.Process) -> None:
        code = await process.wait()
        if not self._is_stopping:
            say(f"The worker ended with exit code {code}. It starts again when a file changes.")
