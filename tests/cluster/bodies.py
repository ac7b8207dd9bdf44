"""Tasks for tests of several servers."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import lacewing
from lacewing.task import AnyTask

_never = threading.Event()


@lacewing.task(name="add")
def add(a: int, b: int = 1) -> int:
    """Returns the sum."""
    return a + b


@lacewing.task(name="fragile", max_losses=0)
def fragile(a: int) -> int:
    """Returns what it is given; must not be lost once."""
    return a


@lacewing.task(name="cached", cache=lacewing.Cache(serialize=True), max_losses=0)
def cached(a: int) -> int:
    """Returns what it is given; one computes it and the others wait."""
    return a


@lacewing.task(name="failing", retries=1, backoff=lacewing.Backoff(initial=60, jitter=False))
def failing(a: int) -> int:
    """Fails, and is tried again much later."""
    raise ValueError(a)


@lacewing.task(name="wait")
def wait(folder: str) -> int:
    """Notes in files named after its attempt that it runs, until it ends, which it does once there is a file `go`."""
    attempt = lacewing.current_attempt().attempt
    Path(folder, f"running-{attempt}").touch()
    Path(folder, f"attempt-{attempt}").write_text(str(os.getpid()))
    while not Path(folder, "go").exists():
        _never.wait(0.005)
    Path(folder, f"running-{attempt}").unlink()
    return attempt


@lacewing.task(name="note", isolation="thread")
def note(folder: str, number: int) -> int:
    """Adds a line with its number to a file, and returns it."""
    with Path(folder, "runs").open("a") as runs:
        runs.write(f"{number}\n")
    _never.wait(0.002)
    return number


ALL: list[AnyTask] = [add, fragile, cached, failing, wait, note]
