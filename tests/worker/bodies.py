"""Tasks for tests of the stream: they wait, hang, and resist, on purpose."""

from __future__ import annotations

import asyncio
import ctypes
import os
import signal
import subprocess
import threading
from pathlib import Path

import lacewing

_never = threading.Event()


@lacewing.task(name="add")
def add(a: int, b: int = 1) -> int:
    """Returns the sum."""
    return a + b


@lacewing.task(name="add_in_thread", isolation="thread")
def add_in_thread(a: int, b: int = 1) -> int:
    """Returns the sum, in a thread of the worker."""
    return a + b


@lacewing.task(name="add_on_loop", isolation="thread")
async def add_on_loop(a: int, b: int = 1) -> int:
    """Returns the sum, on the worker's event loop."""
    return a + b


@lacewing.task(name="process_id")
def process_id() -> int:
    """Returns the id of the process it runs in."""
    return os.getpid()


@lacewing.task(name="report")
def report(folder: str) -> None:
    """Reports its progress and waits until there is a file `go`."""
    lacewing.current_attempt().report_progress(0.5, "half")
    wait_for(Path(folder, "go"))


@lacewing.task(name="hang")
def hang(folder: str) -> None:
    """Writes its process id into `pid`, and never ends by itself; notes in `stopped` that it was told to end."""
    try:
        write_pid(folder, "pid", os.getpid())
        _never.wait()
    finally:
        Path(folder, "stopped").touch()


@lacewing.task(name="hang_on_loop", isolation="thread")
async def hang_on_loop(folder: str) -> None:
    """Never ends by itself, on the worker's event loop; notes in `stopped` that it was told to end."""
    try:
        Path(folder, "started").touch()
        await asyncio.Event().wait()
    finally:
        Path(folder, "stopped").touch()


@lacewing.task(name="flood")
def flood() -> None:
    """Writes and reports without end."""
    while True:
        os.write(1, b"x" * 64 * 1024)
        lacewing.current_attempt().report_progress(0.5)


@lacewing.task(name="wait_in_thread", isolation="thread")
def wait_in_thread(folder: str) -> str:
    """Waits in a thread of the worker until there is a file `go`."""
    Path(folder, "started").touch()
    wait_for(Path(folder, "go"))
    return "went"


@lacewing.task(name="resist")
def resist(folder: str) -> None:
    """Ignores SIGTERM, as do the processes that it starts: one in its group and one that left its group."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    near = subprocess.Popen(["sleep", "1000"])
    far = subprocess.Popen(["sleep", "1000"], start_new_session=True)
    write_pid(folder, "near", near.pid)
    write_pid(folder, "far", far.pid)
    write_pid(folder, "pid", os.getpid())
    while True:
        signal.pause()


@lacewing.task(name="wait")
def wait(folder: str) -> str:
    """Notes which attempt runs in which process, and waits until there is a file `go`."""
    write_pid(folder, f"attempt-{lacewing.current_attempt().attempt}", os.getpid())
    wait_for(Path(folder, "go"))
    return "went"


@lacewing.task(name="crash_once", retries=1, backoff=lacewing.Backoff(initial=0.01))
def crash_once() -> int:
    """Reads from address 0 at its first attempt, after a word."""
    attempt = lacewing.current_attempt().attempt
    if attempt == 1:
        os.write(2, b"about to crash\n")
        ctypes.string_at(0)
    return attempt


@lacewing.task(name="hang_once", retries=1, timeout=0.3, backoff=lacewing.Backoff(initial=0.01))
def hang_once(folder: str) -> int:
    """Never ends by itself at its first attempt."""
    attempt = lacewing.current_attempt().attempt
    if attempt == 1:
        write_pid(folder, "pid", os.getpid())
        _never.wait()
    return attempt


def write_pid(folder: str, name: str, pid: int) -> None:
    """Writes a process id so that it is there completely or not at all."""
    temporary = Path(folder, f".{name}")
    temporary.write_text(str(pid))
    temporary.rename(Path(folder, name))


def wait_for(path: Path) -> None:
    """Waits until there is a file."""
    while not path.exists():
        _never.wait(0.005)
