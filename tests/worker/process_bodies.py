"""Tasks with every kind of body that a worker has to bear."""

from __future__ import annotations

import asyncio
import ctypes
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import lacewing
from lacewing.worker import AttemptStopped

LONG = 600.0


@lacewing.task(name="double")
def double(number: int) -> int:
    return 2 * number


@lacewing.task(name="double_soon")
async def double_soon(number: int) -> int:
    await asyncio.sleep(0)
    return 2 * number


@lacewing.task(name="process_id")
def process_id() -> int:
    return os.getpid()


@lacewing.task(name="length")
def length(text: str) -> str:
    return text + text[:1]


@lacewing.task(name="say")
def say(text: str) -> None:
    print(text)
    print("to the error stream", file=sys.stderr)
    os.system("echo by another program")


@lacewing.task(name="quiet")
def quiet() -> None:
    """Says nothing."""


@lacewing.task(name="exit_hard")
def exit_hard(code: int) -> None:
    print("the last words")
    os._exit(code)


@lacewing.task(name="exit_soft")
def exit_soft() -> None:
    sys.exit("enough")


@lacewing.task(name="segfault")
def segfault() -> None:
    ctypes.string_at(0)


@lacewing.task(name="kill_itself")
def kill_itself(number: int) -> None:
    os.kill(os.getpid(), number)
    time.sleep(LONG)


@lacewing.task(name="sleep")
def sleep(marker: str) -> None:
    """Tells in a file that it runs, and then that it was stopped."""
    path = Path(marker)
    try:
        path.write_text(str(os.getpid()))
        time.sleep(LONG)
    except AttemptStopped:
        path.write_text("stopped")
        raise


@lacewing.task(name="sleep_async")
async def sleep_async(marker: str) -> None:
    path = Path(marker)
    try:
        path.write_text(str(os.getpid()))
        await asyncio.sleep(LONG)
    except asyncio.CancelledError:
        path.write_text("stopped")
        raise


@lacewing.task(name="stubborn")
def stubborn(marker: str) -> None:
    """Does not stop for SIGTERM."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    Path(marker).write_text(str(os.getpid()))
    time.sleep(LONG)


@lacewing.task(name="finish_when_stopped")
def finish_when_stopped(marker: str) -> str:
    """Has something to give even when it is stopped."""
    try:
        Path(marker).write_text(str(os.getpid()))
        time.sleep(LONG)
    except AttemptStopped:
        return "what there was"
    return "everything"


_DAEMON = """
import os, sys, time
if os.fork():
    os._exit(0)
os.setsid()
open(sys.argv[1], "w").write(str(os.getpid()))
time.sleep(600)
"""


@lacewing.task(name="family")
def family(marker: str, daemon_marker: str, *, wait: bool) -> None:
    """Starts a program, and one that hides in a session of its own and belongs to nobody."""
    subprocess.run([sys.executable, "-c", _DAEMON, daemon_marker], check=True)
    while not Path(daemon_marker).exists() or not Path(daemon_marker).read_text():
        time.sleep(0.005)
    program = subprocess.Popen([sys.executable, "-c", f"import time; time.sleep({LONG})"])
    Path(marker).write_text(str(program.pid))
    if wait:
        program.wait()
    else:
        os._exit(3)


@lacewing.task(name="with_program")
def with_program(marker: str) -> None:
    """Starts a program and waits for it."""
    program = subprocess.Popen([sys.executable, "-c", f"import time; time.sleep({LONG})"])
    Path(marker).write_text(str(program.pid))
    program.wait()


@lacewing.task(name="report")
def report() -> None:
    for step in range(1, 4):
        lacewing.current_attempt().report_progress(step / 4, f"step {step}")


@lacewing.task(name="fail")
def fail(how: str) -> int:
    if how == "recoverable":
        raise lacewing.RecoverableError("try later", code="Busy", retry_delay=2.5)
    if how == "final":
        raise lacewing.NonRecoverableError("never again", code="Broken")
    if how == "cause":
        try:
            raise KeyError("inner")
        except KeyError as error:
            raise ValueError("outer") from error
    raise ValueError(how)


@lacewing.task(name="lie")
def lie() -> int:
    return "no number"  # type: ignore[return-value] # on purpose: a body may break its word


@lacewing.task(name="grow")
def grow(megabytes: int) -> int:
    KEPT.append(bytearray(megabytes << 20))
    return os.getpid()


KEPT: list[bytearray] = []

ALL = [value for value in vars().values() if isinstance(value, lacewing.Task)]
