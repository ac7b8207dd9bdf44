"""What runs under fire: bodies that log what they do to one file that is only appended to, whatever becomes of them.

An output names the attempt that produced it, so that it can be told which one was recorded.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta

import lacewing
from lacewing.task import AnyTask

LOG_VARIABLE = "FAULTS_BODIES"
"""The environment variable that names the file."""

INCARNATION_VARIABLE = "FAULTS_INCARNATION"
"""The environment variable that names the start of the worker, inherited by everything that it starts."""

SHARED = "shared"
"""The queue of bodies that any worker may run: they are short."""

KILLABLE = "killable"
"""The queue of bodies that only workers with child processes may run: they have to be stopped."""

NOBODY = "nobody"
"""The queue that no worker serves."""

NARROW = 2
"""How many attempts of `narrow` may run at a time."""

MIDDLE = 50
"""The number above which `choosing` chooses the other node."""

PAUSE = timedelta(seconds=0.7)
"""How long `pausing` pauses."""

_BACKOFF = lacewing.Backoff(initial=0.1, max=0.5)
_STEP = 0.05


def note(event: str, **more: object) -> None:
    """Adds a line to the log. The time is the machine's monotonic one, which no skew of the clock moves."""
    attempt = lacewing.current_attempt()
    line = {
        "time": time.monotonic(),
        "event": event,
        "execution": attempt.execution.name,
        "attempt": attempt.attempt,
        "pid": os.getpid(),
        "worker": os.environ[INCARNATION_VARIABLE],
        **more,
    }
    descriptor = os.open(os.environ[LOG_VARIABLE], os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    try:
        os.write(descriptor, json.dumps(line).encode() + b"\n")
    finally:
        os.close(descriptor)


@contextmanager
def _noted() -> Iterator[str]:
    """Logs start and end of a body, and gives what its output is to begin with."""
    attempt = lacewing.current_attempt()
    note("start")
    try:
        yield f"{attempt.execution.name}/{attempt.attempt}/{os.getpid()}"
    except BaseException as error:
        note("raise", error=type(error).__name__)
        raise
    note("end")


def _live(seconds: float) -> None:
    """Lets time pass, and logs that the body is alive."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        note("alive")
        time.sleep(_STEP)


def _fails_by_chance() -> bool:
    """Whether the execution is one of the third that fails, the same for each of its attempts."""
    return zlib.crc32(lacewing.current_attempt().execution.name.encode()) % 3 == 0


@lacewing.task(name="faults.quick", queue=SHARED, timeout=20, retries=1, backoff=_BACKOFF)
def quick(n: int) -> str:
    """Ends at once."""
    with _noted() as identity:
        return identity


@lacewing.task(name="faults.eager", queue=SHARED, timeout=20, retries=1, backoff=_BACKOFF)
async def eager(n: int) -> str:
    """Ends soon, on an event loop."""
    with _noted() as identity:
        await asyncio.sleep(_STEP)
        return identity


@lacewing.task(name="faults.slow", queue=KILLABLE, timeout=20, retries=2, backoff=_BACKOFF)
def slow(seconds: float) -> str:
    """Takes its time."""
    with _noted() as identity:
        _live(seconds)
        return identity


@lacewing.task(name="faults.flaky", queue=SHARED, timeout=20, retries=3, backoff=_BACKOFF)
def flaky(failures: int) -> str:
    """Fails in its first attempts."""
    with _noted() as identity:
        if lacewing.current_attempt().attempt <= failures:
            raise ValueError("not yet")
        return identity


@lacewing.task(name="faults.broken", queue=SHARED, timeout=20, retries=2, backoff=_BACKOFF)
def broken(n: int) -> str:
    """Fails always."""
    with _noted():
        raise RuntimeError(f"broken {n}")


@lacewing.task(name="faults.hopeless", queue=SHARED, timeout=20, retries=5, non_retryable=[KeyError])
def hopeless(n: int) -> str:
    """Fails in a way that is not tried again."""
    with _noted():
        raise KeyError(n)


@lacewing.task(name="faults.overdue", queue=KILLABLE, timeout=1, retries=1, backoff=_BACKOFF)
def overdue(stubborn: int) -> str:
    """Takes longer than its timeout, with a process of its own, and, if stubborn, does not mind being told to end."""
    with _noted() as identity:
        if stubborn:
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
        helper = subprocess.Popen([sys.executable, "-S", "-c", "import signal; signal.pause()"])
        note("helper", helper=helper.pid)
        _live(60)
        return identity


@lacewing.task(name="faults.endless", queue=KILLABLE, timeout=50, max_losses=20)
def endless(n: int) -> str:
    """Runs until its execution is cancelled."""
    with _noted() as identity:
        _live(120)
        return identity


@lacewing.task(name="faults.hurried", queue=KILLABLE, deadline=2, timeout=20, retries=2, backoff=_BACKOFF)
def hurried(seconds: float) -> str:
    """May take longer than its execution may."""
    with _noted() as identity:
        _live(seconds)
        return identity


@lacewing.task(name="faults.ignored", queue=NOBODY, queue_timeout=1.5)
def ignored(n: int) -> str:
    """Is never run, for nobody serves its queue."""
    with _noted() as identity:
        return identity


@lacewing.task(name="faults.once", queue=SHARED, timeout=20, idempotent=False)
def once(n: int) -> str:
    """Must not run twice."""
    with _noted() as identity:
        return identity


@lacewing.task(name="faults.big", queue=SHARED, timeout=20, retries=1, backoff=_BACKOFF)
def big(given: str, size: int) -> str:
    """Takes much and gives more."""
    with _noted() as identity:
        return f"{identity}/{len(given)}/" + "x" * size


@lacewing.task(name="faults.narrow", queue=KILLABLE, timeout=20, max_concurrency=NARROW)
def narrow(n: int) -> str:
    """Runs a few times at once, and no more."""
    with _noted() as identity:
        _live(0.2)
        return identity


@lacewing.task(name="faults.cached", queue=SHARED, timeout=20, cache=True)
def cached(n: int) -> str:
    """Is memoized; a third of its executions fails."""
    with _noted() as identity:
        if _fails_by_chance():
            raise ValueError("by chance")
        return identity


@lacewing.task(name="faults.brief", queue=SHARED, timeout=20, cache=lacewing.Cache(ttl=3))
def brief(n: int) -> str:
    """Is memoized for a short time."""
    with _noted() as identity:
        return identity


@lacewing.task(name="faults.serialized", queue=KILLABLE, timeout=20, cache=lacewing.Cache(serialize=True))
def serialized(n: int) -> str:
    """Is computed by one execution while the others wait; a third of those that compute fails."""
    with _noted() as identity:
        _live(0.3)
        if _fails_by_chance():
            raise ValueError("by chance")
        return identity


_NODE_LOSSES = 20
"""How often a node of a graph may be lost: so often that graphs end as computed, whatever befalls their nodes."""


@lacewing.task(name="faults.sum_of", queue=SHARED, timeout=20, retries=1, backoff=_BACKOFF, max_losses=_NODE_LOSSES)
def sum_of(numbers: list[int]) -> int:
    """Adds."""
    with _noted():
        return sum(numbers)


@lacewing.task(name="faults.dwell", queue=KILLABLE, timeout=20, retries=1, max_losses=_NODE_LOSSES)
def dwell(n: int) -> int:
    """Takes its time, and gives what it was given."""
    with _noted():
        _live(0.3)
        return n


@lacewing.task(name="faults.unsure", queue=SHARED, timeout=20, retries=2, max_losses=_NODE_LOSSES)
def unsure(n: int) -> int:
    """Gives what it was given, and fails for good with every third number."""
    with _noted():
        if n % 3 == 0:
            raise lacewing.NonRecoverableError(f"{n} is a third number")
        return n


@lacewing.task(name="faults.sum_of_known", queue=SHARED, timeout=20, retries=1, max_losses=_NODE_LOSSES)
def sum_of_known(numbers: list[int | None]) -> int:
    """Adds what there is."""
    with _noted():
        return sum(number for number in numbers if number is not None)


@lacewing.task(name="faults.hang", queue=KILLABLE, timeout=50, max_losses=_NODE_LOSSES)
def hang(n: int) -> int:
    """Runs until it is cancelled."""
    with _noted():
        _live(120)
        return n


@lacewing.dynamic(name="faults.widening", queue=SHARED, timeout=20, retries=1, max_losses=_NODE_LOSSES)
def widening(n: int) -> int:
    """As many nodes as its input says, and one that waits for all."""
    with _noted():
        return sum_of([sum_of([number, 1]) for number in range(n)])


@lacewing.workflow(name="faults.choosing")
def choosing(n: int) -> int:
    """One node or another, by what a node gives."""
    first = sum_of([n, 1])
    return lacewing.conditional("size").if_(first > MIDDLE).then(sum_of, [first, 100]).else_().then(dwell, first)


@lacewing.workflow(name="faults.bearing")
def bearing(numbers: list[int]) -> int:
    """A node for each number, half of which may fail."""
    return sum_of_known(lacewing.map_task(unsure, min_success_ratio=0.5)(n=numbers))


@lacewing.dynamic(name="faults.nested", queue=SHARED, timeout=20, retries=1, max_losses=_NODE_LOSSES)
def nested(n: int) -> int:
    """Graphs in graphs, as deep as its input says."""
    with _noted():
        return sum_of([nested(n - 1), widening(n)]) if n else dwell(1)


@lacewing.workflow(name="faults.pausing")
def pausing(n: int) -> int:
    """Waits for some time between nodes."""
    before, pause, after = sum_of([n, 1]), lacewing.sleep(PAUSE), dwell(n)
    lacewing.in_order(before, pause, after)
    return sum_of([before, after])


@lacewing.dynamic(name="faults.hanging", queue=SHARED, timeout=20, retries=1, max_losses=_NODE_LOSSES)
def hanging(n: int) -> int:
    """A tree that never ends by itself, as deep as its input says."""
    with _noted():
        return sum_of([hanging(n - 1), hang(n)]) if n else sum_of([hang(0), dwell(0)])


GRAPHS: list[AnyTask] = [widening, choosing, bearing, nested, pausing, hanging]
"""What runs as graphs."""

ALL: list[AnyTask] = [
    *(quick, eager, slow, flaky, broken, hopeless, overdue, endless, hurried, ignored, once, big),
    *(narrow, cached, brief, serialized),
    *(sum_of, dwell, unsure, sum_of_known, hang),
    *GRAPHS,
]
"""Everything that is registered."""
