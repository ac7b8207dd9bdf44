"""Measures Lacewing: speed, processor time, memory. Starts all it needs, prints a table, writes `build/bench.json`.

Usage: `python tests/bench/run.py [--rounds N] [--seconds S] [--stored N] [--only PART]`.

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
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

if TYPE_CHECKING:
    from bench.graphs import graph_rows
    from bench.rows import Rounds, Row, at_least, at_most, cost_of, p50, rate
    from bench.world import Measured, World, WorldError, world
else:
    from graphs import graph_rows  # the modules beside this one
    from rows import Rounds, Row, at_least, at_most, cost_of, p50, rate
    from world import Measured, World, WorldError, world

OUTPUT = Path("build/bench.json")
FLIGHT = 64
MAP_FLIGHT = 1000
_PAYLOAD_BYTES = 2 * 400  # of the task `keep`, in and out
_RECOVERED = 2000
PARTS = ("speed", "memory", "recovery", "growth", "graphs")


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
            cost = rounds.median(case, cost_of(process))
            yield Row(f"CPU per {name} execution, {process}", cost, "µs")
    budget = at_most(0.25)
    total = rounds.median("map", lambda measured: sum(measured.cpu_us.values())) / 1000
    yield Row("CPU per 1,000 streamed executions, all", total, "s", "", None, f"{budget} s", budget.holds(total))


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


def measure_all(options: argparse.Namespace, console: Console) -> list[Row]:
    """Measure what is asked for, with a bar that shows how far it is."""
    rounds, seconds = options.rounds, options.seconds
    columns = (TextColumn("{task.description:<24}"), BarColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console, transient=True) as progress:
        bar = progress.add_task("starting")

        def advance() -> None:
            progress.advance(bar)

        def speed(world: World) -> Iterable[Row]:
            measured = Rounds()
            for _ in range(rounds):
                measured.add(one_round(world, seconds, advance))
            yield from speed_rows(measured)
            yield from cpu_rows(measured)

        def memory(world: World) -> Iterable[Row]:
            yield from round_trip_rows(world)
            advance()
            yield from memory_rows(world, 5_000)
            advance()

        def recovery(world: World) -> Iterable[Row]:
            yield from recovery_rows(world)
            advance()

        parts: dict[str, tuple[Callable[[World], Iterable[Row]], int]] = {
            "speed": (speed, 5 * rounds),
            "memory": (memory, 2),
            "recovery": (recovery, 1),
            "growth": (lambda world: growth_rows(world, rounds, options.stored, advance), 5),
            "graphs": (lambda world: graph_rows(world, rounds, advance), rounds + 1),
        }
        rows: list[Row] = []
        chosen = options.only or PARTS
        progress.update(bar, total=sum(parts[part][1] for part in chosen))
        for part in chosen:
            progress.update(bar, description=part)
            with world() as running:  # each its own, so that none depends on what was measured before
                rows += parts[part][0](running)
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
    parser.add_argument("--only", action="append", choices=PARTS, help="measure this part; may be repeated")
    options = parser.parse_args()
    console = Console(highlight=False)
    try:
        rows = measure_all(options, console)
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
