"""What graphs cost, measured against as many executions without one."""

from __future__ import annotations

import dataclasses
import statistics
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import psutil
import redis

from lacewing_server.domain import identity

if TYPE_CHECKING:
    from bench.rows import Rounds, Row, at_most, cost_of
    from bench.world import Measured, World
else:
    from rows import Rounds, Row, at_most, cost_of  # the modules beside this one
    from world import Measured, World

_WIDE = 10_000
_NARROW = 100
_MAP_FLIGHT = 1000
_MIB = 2**20


def graph_rows(world: World, rounds: int, advance: Callable[[], None]) -> Iterable[Row]:
    """How fast graphs are, what a node costs in processor time, and what it leaves and holds."""
    # The first, as memory that was used once is kept for later.
    memory = list(_memory_rows(world))
    advance()
    measured = Rounds()
    for _ in range(rounds):
        measured.add(_one_round(world))
        advance()
    yield from _speed_rows(measured)
    yield from _cpu_rows(measured)
    yield from memory


def _one_round(world: World) -> dict[str, Measured]:
    measured = {f"fan {width}": world.measure("fan", count=width) for width in (1000, _WIDE)}
    measured |= {f"map {width}": world.measure("map", count=width, flight=_MAP_FLIGHT) for width in (1000, _WIDE)}
    measured["spread"] = world.measure("spread", count=_WIDE)
    measured["chain"] = world.measure("chain", count=1000)
    measured["executions"] = world.measure("execution", count=1000)
    narrow = [world.measure("fan", count=_NARROW) for _ in range(20)]
    cost = {name: statistics.fmean(each.cpu_us[name] for each in narrow) for name in narrow[0].cpu_us}
    measured[f"fan {_NARROW}"] = dataclasses.replace(narrow[0], cpu_us=cost)
    return measured


def _speed_rows(rounds: Rounds) -> Iterable[Row]:
    for name, case, other, baseline in (
        ("fan out and in, 1,000 nodes", "fan 1000", "map 1000", "map"),
        (f"fan out and in, {_WIDE:,} nodes", f"fan {_WIDE}", f"map {_WIDE}", "map"),
        (f"map task, {_WIDE:,} elements", "spread", f"map {_WIDE}", "map"),
        ("chain, 1,000 nodes", "chain", "executions", "executions"),
    ):
        ratio = rounds.ratio(case, other, _seconds)
        budget = at_most(1.5)
        yield Row(name, rounds.median(case, _seconds), "s", baseline, ratio, f"{budget} ×", budget.holds(ratio))


def _seconds(measured: Measured) -> float:
    return measured.seconds


def _cpu_rows(rounds: Rounds) -> Iterable[Row]:
    for process in ("server", "worker", "redis"):
        cost = rounds.median(f"fan {_WIDE}", cost_of(process))
        yield Row(f"CPU per node, {_WIDE:,}, {process}", cost, "µs")
    small = f"fan {_NARROW}"
    yield Row(f"CPU per node, {_NARROW}, all", rounds.median(small, _cpu), "µs")
    for width in (1000, _WIDE):
        case = f"fan {width}"
        ratio = rounds.ratio(case, small, _cpu)
        budget = at_most(1.15)
        name = f"CPU per node, {width:,}, all"
        yield Row(name, rounds.median(case, _cpu), "µs", f"{_NARROW} nodes", ratio, f"{budget} ×", budget.holds(ratio))


def _cpu(measured: Measured) -> float:
    return sum(measured.cpu_us.values())


def _memory_rows(world: World) -> Iterable[Row]:
    world.measure("fan", count=_NARROW)
    server = psutil.Process(world.server.process.pid)
    before = server.memory_info().rss
    with _peak_of(server) as peak:
        world.measure("hold", count=_WIDE)
    held = server.memory_info().rss - before
    world.measure("release", count=_WIDE)
    yield Row("server, per node in flight", held / _WIDE, "B")
    yield Row(f"server, most for {_WIDE:,} nodes", (peak() - before) / _MIB, "MiB")

    known = set(world.redis.scan_iter("*}:g:*"))
    before = int(world.redis.info("memory")["used_memory"])
    world.measure("fan", count=_WIDE)
    grown = int(world.redis.info("memory")["used_memory"]) - before
    (graph,) = set(world.redis.scan_iter("*}:g:*")) - known
    # An id is any twelve bytes, among them those that mean something in a pattern, and the colon.
    parent = graph[-identity.ID_BYTES :]
    sizes = {key: _size(world.redis, key) for key in world.redis.scan_iter() if key.endswith(parent)}
    record = next(size for key, size in sizes.items() if key.endswith(b":x:" + parent))
    budget = at_most(1024)
    yield Row(f"record of {_WIDE:,} nodes", record, "B", "", None, f"{budget} B", budget.holds(record))
    yield Row("all keys of it, per node", sum(sizes.values()) / _WIDE, "B")
    yield Row("Redis, per node, all", grown / _WIDE, "B")


def _size(client: redis.Redis, key: bytes) -> int:
    return client.memory_usage(key, samples=0) or 0


@contextmanager
def _peak_of(process: psutil.Process) -> Iterator[Callable[[], int]]:
    """Watch the memory of a process for the time of a `with` block, and give the most that it was, in bytes."""
    seen = [process.memory_info().rss]
    over = threading.Event()

    def watch() -> None:
        while not over.wait(0.01):
            seen.append(process.memory_info().rss)

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield lambda: max(seen)
    finally:
        over.set()
        thread.join()
