"""What happened: requests with all that was seen of them, faults, runs of bodies; and when what was out of order."""

from __future__ import annotations

import json
import time
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeAlias

from faults.schedule import SERVERS, STORE, Fault
from lacewing.task import AnyTask
from lacewing.v1 import execution_pb2

State = execution_pb2.Execution.State
Interval: TypeAlias = tuple[float, float]


@dataclass(slots=True)
class Seen:
    """An execution in a terminal state, as somebody saw it."""

    time: float
    by: str
    execution: execution_pb2.Execution


@dataclass(slots=True)
class Request:
    """One execution that was asked for, and what was seen of it."""

    number: int
    kind: str
    task: AnyTask
    inputs: dict[str, Any]
    name: str = ""
    """What the execution is called, if the client says so, else once it is accepted."""
    accepted: float = 0.0
    """When its acceptance was first answered, by the monotonic clock; 0: never."""
    cancelled: float = 0.0
    """When the client first asked for its cancellation; 0: never."""
    outputs: str | None = None
    """What `execute` returned, if it did."""
    seen: list[Seen] = field(default_factory=list)
    events: list[tuple[float, str]] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    """What was wrong already when it was seen."""

    def note(self, what: str) -> None:
        """Notes what happened."""
        self.events.append((time.monotonic(), what))

    def see(self, by: str, execution: execution_pb2.Execution) -> None:
        """Notes that somebody saw it in a terminal state."""
        self.note(f"{by}: {describe(execution)}")
        self.seen.append(Seen(time.monotonic(), by, execution))


@dataclass(slots=True)
class Run:
    """One start of a body."""

    execution: str
    attempt: int
    pid: int
    worker: str
    start: float
    last: float
    """When it last gave a sign of life."""
    ending: str = ""
    """`end`, `raise`, or nothing for a body that was killed or still runs."""
    helpers: list[int] = field(default_factory=list)
    """Processes that it started."""


@dataclass(slots=True)
class Outage:
    """A time in which something was out of order by our doing."""

    target: str
    what: str
    start: float
    end: float


class History:
    """All that happened."""

    def __init__(self, directory: Path) -> None:
        self.bodies = directory / "bodies.jsonl"
        self.requests: list[Request] = []
        self.outages: list[Outage] = []
        self.last_fault = ""
        self.fault_count = 0
        self.start = time.monotonic()
        self.wall_offset = time.time() - time.monotonic()
        """What makes a time of the store one of the monotonic clock: they are of one machine."""

    def begin(self, fault: Fault) -> Outage:
        """Notes a fault that begins now, and ends when :meth:`finish` says so."""
        self.fault_count += 1
        self.last_fault = str(fault)
        outage = Outage(fault.target, str(fault), time.monotonic(), float("inf"))
        self.outages.append(outage)
        return outage

    def finish(self, outage: Outage) -> None:
        """Notes that what a fault had broken works again."""
        outage.end = time.monotonic()

    def runs(self) -> dict[str, list[Run]]:
        """The runs of bodies by execution, the first one first."""
        runs: dict[tuple[str, int, int, str], Run] = {}
        found: defaultdict[str, list[Run]] = defaultdict(list)
        lines = self.bodies.read_text().splitlines() if self.bodies.exists() else []
        for line in map(json.loads, lines):
            key = (line["execution"], line["attempt"], line["pid"], line["worker"])
            if line["event"] == "start":
                runs[key] = Run(*key, line["time"], line["time"])
                found[line["execution"]].append(runs[key])
                continue
            run = runs[key]
            run.last = line["time"]
            if line["event"] == "helper":
                run.helpers.append(line["helper"])
            elif line["event"] != "alive":
                run.ending = line["event"]
        return found

    def out(self, *, after: float = 0.0) -> list[Interval]:
        """When anything was out of order, and so long after it."""
        return [(outage.start, outage.end + after) for outage in self.outages]

    def unserved(self, *, after: float = 0.0) -> list[Interval]:
        """When no server could reach the store, and so long after it."""
        store = [(outage.start, outage.end + after) for outage in self.outages if outage.target == STORE]
        each = []
        for server in SERVERS:
            targets = {server, f"redis-{server}"}
            mine = [(outage.start, outage.end + after) for outage in self.outages if outage.target in targets]
            each.append(union(mine))
        everybody = each[0]
        for other in each[1:]:
            everybody = intersection(everybody, other)
        return union([*store, *everybody])

    def unreachable(self, server: str) -> list[Interval]:
        """When the store was out for a server."""
        targets = {STORE, f"redis-{server}"}
        return [(outage.start, outage.end) for outage in self.outages if outage.target in targets]

    def around(self, start: float, end: float) -> list[Outage]:
        """The faults that were there in a time."""
        return [outage for outage in self.outages if outage.start <= end and outage.end >= start]

    def monotonic(self, time_ms: int) -> float:
        """A time of the store by the monotonic clock."""
        return time_ms / 1000 - self.wall_offset


def union(intervals: Iterable[Interval]) -> list[Interval]:
    """The same times as intervals that do not touch, in order."""
    result: list[Interval] = []
    for start, end in sorted(intervals):
        if result and start <= result[-1][1]:
            result[-1] = (result[-1][0], max(end, result[-1][1]))
        else:
            result.append((start, end))
    return result


def intersection(one: Sequence[Interval], other: Sequence[Interval]) -> list[Interval]:
    """The times that are in both."""
    both = ((max(a, c), min(b, d)) for a, b in one for c, d in other)
    return union((start, end) for start, end in both if start < end)


def clear_time(start: float, end: float, outages: Iterable[Interval]) -> float:
    """How much of a time is in none of the intervals."""
    covered = intersection(union(outages), [(start, end)]) if end > start else []
    return max(0.0, end - start) - sum(until - since for since, until in covered)


def describe(execution: execution_pb2.Execution) -> str:
    """An execution in one line."""
    state = State.Name(execution.state).removeprefix("STATE_")
    text = (
        f"{state} revision {execution.revision} attempts {execution.attempt_count} failures {execution.failure_count} "
        f"losses {execution.loss_count}"
    )
    if execution.HasField("error"):
        text += f" {execution.error.code}: {execution.error.message.splitlines()[0] if execution.error.message else ''}"
    return text
