"""What must hold of the processes: none is left behind, none ended by itself, and none logged a fault of its own."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final

from faults import bodies
from faults.history import History, Run, clear_time
from faults.program import Program
from faults.schedule import SERVERS

_FAULT: Final = re.compile(r"Traceback \(most recent call last\)|an internal error|a background step failed")
_SHOWN_LINES: Final = 25


def left_behind(living: Iterable[str], history: History) -> Iterator[str]:
    """Says which processes belong to starts of workers that have ended; ``living`` are those that have not."""
    marks = {f"{bodies.INCARNATION_VARIABLE}={incarnation}".encode() for incarnation in living}
    mine = f"{bodies.LOG_VARIABLE}={history.bodies}".encode()
    for directory in Path("/proc").glob("[0-9]*"):
        try:
            environment = (directory / "environ").read_bytes().split(b"\0")
            command = (directory / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except (FileNotFoundError, ProcessLookupError, PermissionError):
            continue  # It has ended, or is somebody else's.
        if mine in environment and not marks.intersection(environment):
            starts = [each.decode() for each in environment if each.startswith(bodies.INCARNATION_VARIABLE.encode())]
            yield f"process {directory.name} of {starts} is left behind: {command[:120]}"


def helpers_left_behind(runs: Iterable[Run]) -> Iterator[str]:
    """Says which processes that bodies had started outlive them."""
    for run in runs:
        for helper in run.helpers:
            if f"{bodies.INCARNATION_VARIABLE}={run.worker}".encode() in _environment(helper):
                yield f"process {helper}, started by the body of {run.execution}/{run.attempt}, is left behind"


def faulty(programs: Iterable[Program], history: History) -> Iterator[str]:
    """Says which programs ended by themselves without a reason, came too late, or logged a fault of their own."""
    for program in programs:
        yield from program.late
        for time, code, log in program.endings:
            # A server that starts while it cannot reach the store says so and ends; whoever runs it starts it again.
            is_server = program.name in SERVERS
            if not is_server or not clear_time(time - 15.0, time, history.unreachable(program.name)) < 15.0:
                yield f"{log.stem} ended by itself with exit code {code}:\n{_tail(log)}"
        for log in program.logs:
            text = log.read_text(errors="replace")
            if (found := _FAULT.search(text)) is not None:
                start = text.rfind("\n", 0, found.start()) + 1
                shown = "\n".join(text[max(0, start - 300) :].splitlines()[: _SHOWN_LINES * 2])
                yield f"{log.stem} logged a fault of its own:\n{shown}"


def _environment(pid: int) -> list[bytes]:
    try:
        return Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
    except (FileNotFoundError, ProcessLookupError):
        return []


def _tail(log: Path) -> str:
    return "\n".join(log.read_text(errors="replace").splitlines()[-_SHOWN_LINES:])
