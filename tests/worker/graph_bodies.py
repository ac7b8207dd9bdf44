"""Bodies that build graphs, and what they call."""

from __future__ import annotations

import time
from pathlib import Path

import lacewing
from lacewing.worker import AttemptStopped


@lacewing.task(name="add")
def add(a: int, b: int = 1) -> int:
    return a + b


@lacewing.task(name="stranger", retries=4)
def stranger(a: int) -> int:
    return a


@lacewing.workflow(name="inner")
def inner(n: int) -> int:
    return add(stranger(n))


@lacewing.dynamic(name="fan_out", on_failure="fail_after_executable_nodes_complete")
def fan_out(n: int) -> int:
    """Adds as often as its input says."""
    total = add(0)
    for number in range(n):
        total = add(total, number)
    return total


@lacewing.dynamic(name="fan_out_soon")
async def fan_out_soon(n: int) -> int:
    """Adds, in a body that is asynchronous."""
    return add(n) if n else 0


@lacewing.dynamic(name="nested")
def nested(n: int) -> int:
    """Calls itself, a workflow, and a task that the worker has not registered."""
    if n == 0:
        return 0
    return add(nested(n - 1), stranger(inner(n)))


@lacewing.dynamic(name="decide_by_a_promise", retries=3)
def decide_by_a_promise(n: int) -> int:
    """Decides by what is not known yet."""
    return n if add(n) else 0


@lacewing.dynamic(name="return_another")
def return_another(n: int) -> str:
    """Returns a promise of another type."""
    return add(n)  # type: ignore[return-value] # that is what is tested


@lacewing.dynamic(name="return_short")
def return_short(n: int) -> tuple[int, int]:
    """Returns one promise too few."""
    return (add(n),)  # type: ignore[return-value] # that is what is tested


@lacewing.dynamic(name="build_while_stopped")
def build_while_stopped(folder: str) -> int:
    """Comes to its end while it is stopped."""
    try:
        Path(folder, "started").write_text("yes")
        time.sleep(600)
    except AttemptStopped:
        return add(1)
    return 0


@lacewing.task(name="plain")
def plain(n: int) -> int:
    """An ordinary body: calls in it run."""
    return add(fan_out(n))


@lacewing.dynamic(name="in_thread", isolation="thread")
def in_thread(n: int) -> int:
    return add(n)


@lacewing.dynamic(name="on_loop", isolation="thread")
async def on_loop(n: int) -> int:
    return add(n)
