"""`lacewing dev`: a server and a worker in one terminal, for the time of development.

They are `lacewing serve` and `lacewing worker`, each in a process group of its own: Ctrl-C reaches this process alone,
which ends the worker first and then the server, so that running bodies can still hand in their results.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
import tempfile
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path

import click
from watchfiles import PythonFilter, awatch

from lacewing._channel import DEFAULT_ADDRESS
from lacewing.cli.output import say

_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
# How long bodies may go on when the worker is to start again, and calls when all is to end: nobody waits for longer.
_DRAIN_SECONDS = 3
_GRACE_SECONDS = 1
# Changes that follow each other closer than this are one, in milliseconds: an editor touches a file several times.
_DEBOUNCE = 200
_SERVING = "serving on "
_MAX_NAMES = 3


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
    with ExitStack() as stack:
        if data_dir is None:
            # A short name: the path of a unix socket has about a hundred characters at most.
            store = ["--no-persist", "--data-dir", stack.enter_context(tempfile.TemporaryDirectory(prefix="lw"))]
        else:
            store = ["--data-dir", data_dir]
        serve = ["serve", "--host", host, "--port", str(port), "--log-format", "json", "--log-level", "info", *store]
        serve += ["--shutdown-grace", str(_GRACE_SECONDS)]
        work = ["worker", *modules, "--drain-timeout", str(_DRAIN_SECONDS), "--verbose"]
        work += [] if slots is None else ["--slots", str(slots)]
        stored = "data in memory only" if data_dir is None else f"data in {data_dir}"
        sys.exit(asyncio.run(_develop(serve, work, watched, stored)))


async def _develop(serve: Sequence[str], work: Sequence[str], watched: set[Path], stored: str) -> int:
    """Run both until a signal comes or the server ends; return the exit code."""
    stopping = asyncio.Event()
    server = _Process(stopping.set)
    worker = _Process(lambda: say("The worker has ended. It starts again when a file changes."))

    def on_signal() -> None:
        if stopping.is_set():
            worker.terminate()  # A second signal: it stops its bodies at once.
        stopping.set()

    for number in _SIGNALS:
        asyncio.get_running_loop().add_signal_handler(number, on_signal)
    log = await server.start(serve)
    address = await _address(log)
    passing_on = asyncio.create_task(_pass_on(log))
    if address is not None:
        say(f"Server at {address}, {stored}.")
        say(f"The worker starts again when a Python file changes below {', '.join(map(str, sorted(watched)))}.")
        named = "" if address == DEFAULT_ADDRESS else f" --address {address}"
        say(f"In another terminal: lacewing tasks{named}. Ctrl-C ends all of this.")
        await _follow_edits(worker, [*work, "--address", address], watched, stopping)
    else:
        await stopping.wait()  # It has closed its log; its end is noticed a little later.
    is_well = server.is_running
    await server.stop()
    await passing_on
    return 0 if is_well else 1


async def _follow_edits(worker: _Process, work: Sequence[str], watched: set[Path], stopping: asyncio.Event) -> None:
    """Run the worker, again after each change of a file, until the end comes."""
    await worker.start(work, is_shown=True)
    async for changes in awatch(*watched, watch_filter=PythonFilter(), debounce=_DEBOUNCE, stop_event=stopping):
        names = sorted({Path(path).name for _, path in changes})
        others = " and others" if len(names) > _MAX_NAMES else ""
        say(f"{', '.join(names[:_MAX_NAMES])}{others} changed: the worker starts again.")
        await worker.stop()
        if not stopping.is_set():
            await worker.start(work, is_shown=True)
    await worker.stop()


async def _address(log: asyncio.StreamReader) -> str | None:
    """Pass on what the server logs until it serves, and return where; None if it ends before."""
    async for line in log:
        level, message = _entry(line)
        if message.startswith(_SERVING):
            return message.removeprefix(_SERVING)
        _say_entry(level, message)
    return None


async def _pass_on(log: asyncio.StreamReader) -> None:
    """Pass on what the server logs, to its end."""
    async for line in log:
        _say_entry(*_entry(line))


def _entry(line: bytes) -> tuple[str, str]:
    """Return level and message of what the server wrote, which is not all by its log."""
    text = line.decode(errors="replace").rstrip()
    try:
        entry = json.loads(text)
        return entry["level"], entry["message"]
    except (ValueError, TypeError, KeyError):
        return "", text


def _say_entry(level: str, message: str) -> None:
    say(f"server: {level.upper()} {message}" if level else f"server: {message}")


class _Process:
    """A command of `lacewing` in a process of its own, which can be started again and again."""

    def __init__(self, on_end: Callable[[], None]) -> None:
        """Make it.

        Args:
            on_end: Called when it ends without having been stopped.
        """
        self._on_end = on_end
        self._process: asyncio.subprocess.Process | None = None
        self._watching: asyncio.Task[None] | None = None
        self._is_stopping = False

    @property
    def is_running(self) -> bool:
        """Whether it was started and has not ended."""
        return self._process is not None and self._process.returncode is None

    async def start(self, arguments: Sequence[str], *, is_shown: bool = False) -> asyncio.StreamReader:
        """Start it, and return what it writes to standard error; nothing if that is shown as it is."""
        self._is_stopping = False
        process = self._process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "lacewing.cli._dev_process", str(os.getpid()), *arguments),
            # In the background of the terminal, where a body that read from it would be stopped.
            stdin=asyncio.subprocess.DEVNULL,
            stderr=None if is_shown else asyncio.subprocess.PIPE,
            process_group=0,
            # Compiled code is found stale by second and size: of two edits in a second one could be missed.
            env=os.environ | {"PYTHONDONTWRITEBYTECODE": "1"},
        )
        self._watching = asyncio.create_task(self._watch(process))
        return process.stderr or asyncio.StreamReader()

    def terminate(self) -> None:
        """Ask it to end; a worker that is asked again stops at once."""
        if self._process is not None and self._process.returncode is None:
            self._process.terminate()

    async def stop(self) -> None:
        """Ask it to end, and wait for that."""
        self._is_stopping = True
        self.terminate()
        if self._watching is not None:
            await self._watching

    async def _watch(self, process: asyncio.subprocess.Process) -> None:
        await process.wait()
        if not self._is_stopping:
            self._on_end()
