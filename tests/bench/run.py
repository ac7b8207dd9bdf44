"""Measures Lacewing: speed, processor time, memory. Starts all it needs, prints a table, writes `build/bench.json`.

Usage: `python tests/bench/run.py [--rounds N] [--seconds S] [--stored N]`.

Absolute times say more of the machine than of Lacewing. What counts are the ratios to an empty `grpc.aio` call and to a
`GET` of Redis, which are measured between the same processes, in the same rounds, and compared round by round.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

if TYPE_CHECKING:
    from bench.world import Measured, World, WorldError, world
else:
    from world import Measured, World, WorldError, world  # the module beside this one

OUTPUT = Path("build/bench.json")
FLIGHT = 64
MAP_FLIGHT = 1000
_PAYLOAD_BYTES = 2 * 400  # of the task `keep`, in and out
_RECOVERED = 2000


@dataclass(frozen=True, slots=True)
class Row:
    """One figure. `ok` is None for a figure without a budget."""

    name: str
    value: float
    unit: str
    baseline: str = ""
    """What the ratio is to."""
    ratio: float | None = None
    budget: str = ""
    ok: bool | None = None
    redis_get_ratio: float | None = None
    """The ratio to a `GET` of Redis, where that says something."""


@dataclass(frozen=True, slots=True)
class Budget:
    """A bound of a figure, or of its ratio."""

    sign: str
    bound: float

    def holds(self, value: float) -> bool:
        """Whether a value keeps it."""
        return value <= self.bound if self.sign == "≤" else value >= self.bound

    def __str__(self) -> str:
        return f"{self.sign} {self.bound:g}"


def at_most(bound: float) -> Budget:
    """A budget from above."""
    return Budget("≤", bound)


def at_least(bound: float) -> Budget:
    """A budget from below."""
    return Budget("≥", bound)


class Rounds:
    """What was measured in turns, so that a busy moment of the machine meets both sides of a ratio."""

    def __init__(self) -> None:
        self._rounds: list[dict[str, Measured]] = []

    def add(self, measured: dict[str, Measured]) -> None:
        """Add a round."""
        self._rounds.append(measured)

    def median(self, case: str, figure: Callable[[Measured], float]) -> float:
        """The median of a figure."""
        return statistics.median(figure(each[case]) for each in self._rounds)

    def ratio(self, case: str, other: str, figure: Callable[[Measured], float]) -> float:
        """The median of the ratios to another case of the same round."""
        return statistics.median(figure(each[case]) / figure(each[other]) for each in self._rounds)


def p50(measured: Measured) -> float:
    """The median time of a call."""
    return measured.p50_us


def rate(measured: Measured) -> float:
    """Calls per second."""
    return measured.rate


def speed_rows(rounds: Rounds) -> Iterable[Row]:
    """How fast calls are, one by one and many at a time."""
    yield Row("empty grpc.aio echo, p50", rounds.median("echo", p50), "µs")
    yield Row(f"empty grpc.aio echo, {FLIGHT} in flight", rounds.median("echo 64", rate), "/s")
    yield Row("redis GET, p50", rounds.median("get", p50), "µs")
    yield Row(f"redis GET, {FLIGHT} in flight", rounds.median("get 64", rate), "/s")
    for name, case, budget in (
        ("memo hit, p50", "hit", at_most(1.2)),
        ("execution, p50", "execution", at_most(2.5)),
    ):
        ratio = rounds.ratio(case, "echo", p50)
        get = rounds.ratio(case, "get", p50)
        yield Row(name, rounds.median(case, p50), "µs", "echo", ratio, f"{budget} ×", budget.holds(ratio), get)
    for name, case, budget in (
        (f"memo hits, unary, {FLIGHT} in flight", "hit 64", at_least(0.8)),
        (f"executions, unary, {FLIGHT} in flight", "execution 64", at_least(0.5)),
        (f"executions, SDK map, {MAP_FLIGHT:,} in flight", "map", at_least(3.0)),
    ):
        ratio = rounds.ratio(case, "echo 64", rate)
        get = rounds.ratio(case, "get 64", rate)
        yield Row(name, rounds.median(case, rate), "/s", "echo", ratio, f"{budget} ×", budget.holds(ratio), get)


def cpu_rows(rounds: Rounds) -> Iterable[Row]:
    """What an execution costs each process."""
    for name, case in (("streamed", "map"), ("unary", "execution 64")):
        for process in ("client", "server", "worker", "redis"):
            cost = rounds.median(case, _cost_of(process))
            yield Row(f"CPU per {name} execution, {process}", cost, "µs")
    budget = at_most(0.25)
    total = rounds.median("map", lambda measured: sum(measured.cpu_us.values())) / 1000
    yield Row("CPU per 1,000 streamed executions, all", total, "s", "", None, f"{budget} s", budget.holds(total))


def _cost_of(process: str) -> Callable[[Measured], float]:
    return lambda measured: measured.cpu_us[process]


def round_trip_rows(world: World) -> Iterable[Row]:
    """How often Redis reads from the server per call, with one call under way."""
    for name, case, budget in (
        ("Redis round trips per memo hit", "hit", at_most(1.0)),
        ("Redis round trips per execution", "execution", at_most(3.0)),
    ):
        start, before = time.monotonic(), _reads(world)
        time.sleep(1.0)
        # The clocks of the server look at Redis by themselves.
        idle = (_reads(world) - before) / (time.monotonic() - start)
        start, before = time.monotonic(), _reads(world)
        count = world.measure(case, seconds=1.0).count
        trips = (_reads(world) - before - idle * (time.monotonic() - start)) / count
        value = round(trips, 1)
        yield Row(name, value, "", "", None, str(budget), budget.holds(value))


def _reads(world: World) -> int:
    return int(world.redis.info("stats")["total_reads_processed"])


def memory_rows(world: World, count: int) -> Iterable[Row]:
    """What a finished execution leaves in Redis."""
    before = int(world.redis.info("memory")["used_memory"])
    world.measure("keep", count=count, flight=MAP_FLIGHT)
    grown = int(world.redis.info("memory")["used_memory"]) - before
    budget = at_most(2 * _PAYLOAD_BYTES + 700)
    value = grown / count
    yield Row(
        f"Redis bytes per execution of {_PAYLOAD_BYTES} bytes",
        value,
        "B",
        "payload",
        value / _PAYLOAD_BYTES,
        f"{budget} B",
        budget.holds(value),
    )


def recovery_rows(world: World) -> Iterable[Row]:
    """How long it takes until all is done when the worker is killed in the middle."""
    doomed = world.worker
    world.load.send(case="brief", count=_RECOVERED, flight=MAP_FLIGHT)
    time.sleep(0.3)
    doomed.process.kill()
    killed = time.monotonic()
    world.start_worker("second worker")
    sample = world.load.receive()
    budget = at_most(4.0)
    value = time.monotonic() - killed
    yield Row("kill -9 of the worker: all done after", value, "s", "", None, f"{budget} s", budget.holds(value))
    lost = _RECOVERED - sample["count"]
    yield Row("kill -9 of the worker: lost", lost, "", "", None, "≤ 0", lost == 0)


def growth_rows(world: World, rounds: int, stored: int, advance: Callable[[], None]) -> Iterable[Row]:
    """Whether an execution gets dearer with what is stored, and with the number of workers."""
    before = _cost(world, rounds)
    advance()
    world.measure("map", count=stored, flight=MAP_FLIGHT)
    advance()
    after = _cost(world, rounds)
    advance()
    budget = at_most(1.15)
    yield Row(
        f"server + Redis CPU, {stored:,} more stored",
        after,
        "µs",
        "before",
        after / before,
        f"{budget} ×",
        budget.holds(after / before),
    )
    world.worker.__exit__(None, None, None)
    with world.start_crowd(1, 1000):
        one = _cost(world, rounds)
    advance()
    with world.start_crowd(100, 10):
        hundred = _cost(world, rounds)
    advance()
    yield Row(
        "server + Redis CPU, 100 workers",
        hundred,
        "µs",
        "one worker",
        hundred / one,
        f"{budget} ×",
        budget.holds(hundred / one),
    )


def _cost(world: World, rounds: int) -> float:
    samples = [world.measure("map", seconds=0.5, flight=MAP_FLIGHT).cpu_us for _ in range(rounds)]
    return statistics.median(each["server"] + each["redis"] for each in samples)


def one_round(world: World, seconds: float, advance: Callable[[], None]) -> dict[str, Measured]:
    """Measure every case once."""
    measured = {}
    for case in ("echo", "get", "hit", "execution"):
        measured[case] = world.measure(case, seconds=seconds)
        measured[f"{case} 64"] = world.measure(case, seconds=seconds, flight=FLIGHT)
        advance()
    measured["map"] = world.measure("map", seconds=2 * seconds, flight=MAP_FLIGHT)
    advance()
    return measured


def measure_all(rounds: int, seconds: float, stored: int, console: Console) -> list[Row]:
    """Measure everything, with a bar that shows how far it is."""
    columns = (TextColumn("{task.description:<24}"), BarColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console, transient=True) as progress:
        bar = progress.add_task("starting", total=5 * rounds + 8)

        def advance() -> None:
            progress.advance(bar)

        with world() as running:
            progress.update(bar, description="speed")
            measured = Rounds()
            for _ in range(rounds):
                measured.add(one_round(running, seconds, advance))
            rows = [*speed_rows(measured), *cpu_rows(measured)]
            progress.update(bar, description="round trips and memory")
            rows += round_trip_rows(running)
            advance()
            rows += memory_rows(running, 5_000)
            advance()
            progress.update(bar, description="kill -9 of the worker")
            rows += recovery_rows(running)
            advance()
            progress.update(bar, description="growth")
            rows += growth_rows(running, rounds, stored, advance)
    return rows


def show(rows: Iterable[Row], console: Console) -> None:
    """Print the table."""
    table = Table(box=None, padding=(0, 1), header_style="bold")
    table.add_column("", overflow="fold")
    for column in ("value", "ratio to", "to GET"):
        table.add_column(column, no_wrap=True, justify="right")
    table.add_column("budget", no_wrap=True)
    table.add_column("", no_wrap=True)
    for row in rows:
        table.add_row(
            row.name,
            f"{row.value:,.{_decimals(row.value)}f} {row.unit}".strip(),
            f"{_ratio(row.ratio)} {row.baseline}".strip(),
            _ratio(row.redis_get_ratio),
            row.budget,
            {None: "", True: "[green]✓[/]", False: "[red]✗[/]"}[row.ok],
        )
    console.print(table)


def _decimals(value: float) -> int:
    return 0 if value >= 100 or value == int(value) else 1 if value >= 10 else 2


def _ratio(value: float | None) -> str:
    return "" if value is None else f"{value:.2f} ×"


def main() -> int:
    """Run the benchmark. A missed budget is shown, and is no failure: a busy machine misses some."""
    parser = argparse.ArgumentParser(description="Measures the speed, the processor time and the memory of Lacewing.")
    parser.add_argument("--rounds", type=int, default=7, help="how often each speed is measured (default: %(default)s)")
    parser.add_argument("--seconds", type=float, default=0.8, help="how long each time (default: %(default)s)")
    parser.add_argument(
        "--stored",
        type=int,
        default=50_000,
        help="executions to store before growth is measured (default: %(default)s)",
    )
    options = parser.parse_args()
    console = Console(highlight=False)
    try:
        rows = measure_all(options.rounds, options.seconds, options.stored, console)
    except WorldError as error:
        console.print(str(error), markup=False)
        return 1
    show(rows, console)
    OUTPUT.parent.mkdir(exist_ok=True)
    OUTPUT.write_text(json.dumps([asdict(row) for row in rows], indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    console.print(f"\nThe same rows are in {OUTPUT}.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
