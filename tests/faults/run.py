"""Runs real processes under load and a seeded schedule of faults, then checks what happened: `make faults`.

Ends with one line, `executions=… faults=… violations=…`, and exit code 1 if anything that is promised did not hold.
Each violation comes with all that is known of its execution.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final

import redis

sys.path.insert(0, str(Path(__file__).parents[1]))

from faults import bodies, processes
from faults.checks import RECOVERY, TOLERANCE, Case, check
from faults.graphs import GRAPH_RULES, check_tree
from faults.history import History, Request, State, describe
from faults.keyspace import check_keys
from faults.load import Load
from faults.relations import no_more_than_allowed, one_computes
from faults.schedule import MEAN_PAUSE, SERVERS, Fault, schedule
from faults.world import GRACE, World
from lacewing.errors import LacewingError, RefusedError
from lacewing.v1 import execution_pb2

_PROGRESS_SECONDS: Final = 5.0
_QUIET_SECONDS: Final = 90.0
"""By when everything must have ended once the faults are over."""
_CLEAN_SECONDS: Final = 15.0
"""By when the store and the processes must be tidy once everything has ended."""
_REST_SECONDS: Final = RECOVERY + GRACE + TOLERANCE + 2.0
"""How long there are no faults before anything is judged."""
_AROUND: Final = 3.0


class Violations:
    """What did not hold."""

    def __init__(self) -> None:
        self.count = 0

    def add(self, what: str, details: str = "") -> None:
        """Prints a violation."""
        self.count += 1
        print(f"\nVIOLATION {self.count}: {what}" + (f"\n{details}" if details else ""), flush=True)


async def inject(world: World, faults: Sequence[Fault], start: float) -> None:
    """Lets the faults happen at their times, and waits for the end of the last one."""
    async with asyncio.TaskGroup() as group:
        for fault in faults:
            await asyncio.sleep(max(0.0, start + fault.at - time.monotonic()))
            group.create_task(world.inject(fault))


async def tell(history: History, load: Load) -> None:
    """Shows how it goes, for ever."""
    while True:
        await asyncio.sleep(_PROGRESS_SECONDS)
        accepted = sum(bool(request.accepted) for request in history.requests)
        print(
            f"{time.monotonic() - history.start:4.0f} s  accepted {accepted}  ended {load.ended}  faults "
            f"{history.fault_count}  last: {history.last_fault}",
            flush=True,
        )


async def attack(world: World, load: Load, history: History, faults: Sequence[Fault], duration: float) -> None:
    """Puts load and faults on the world, then lets it come to rest."""
    await world.start()
    await load.register()
    history.start = time.monotonic()
    telling = asyncio.create_task(tell(history, load))
    try:
        async with asyncio.TaskGroup() as group:
            group.create_task(load.run(duration))
            group.create_task(load.evict(duration))
            group.create_task(inject(world, faults, history.start))
        print(f"{time.monotonic() - history.start:4.0f} s  all faults are over; coming to rest", flush=True)
        over = time.monotonic()
        await load.settle(_QUIET_SECONDS)
        # What goes on although it should not is given the time to be told from what is late.
        await asyncio.sleep(max(0.0, over + _REST_SECONDS - time.monotonic()))
    finally:
        telling.cancel()


async def examine(world: World, load: Load, history: History, violations: Violations) -> None:
    """Checks everything."""
    cases = await read(load, history)
    runs = history.runs()
    executions = {case.execution.id.name: case.execution for case in cases if case.executions}
    for case in cases:
        if case.executions:
            case.producer = executions.get(case.execution.cache.producer.name)
        graph_rules = GRAPH_RULES if case.request.task in bodies.GRAPHS else None
        if problems := list(check(case, graph_rules)):
            name = case.request.name or case.request.number
            violations.add(f"{case.request.task.name} {name}: {'; '.join(problems)}", tale(case))
    for case, problem in [*one_computes(cases), *no_more_than_allowed(cases)]:
        violations.add(f"{case.request.task.name} {case.request.name}: {problem}", tale(case))
    known = {case.request.name for case in cases}
    for case in cases:
        if case.executions and case.request.task in bodies.GRAPHS:
            tree = await load.tree(case.request)
            known |= {each.execution.id.name for each in tree.all()}
            for problem in check_tree(tree, history, runs):
                violations.add(f"{case.request.task.name} {case.request.name}: {problem}", tale(case))
    listed = Counter(await load.listed())
    for name in sorted((listed.keys() | executions.keys()) - (listed.keys() & executions.keys())):
        violations.add(f"execution {name} is {'listed, and was not accepted' if name in listed else 'not listed'}")
    for name in [name for name, count in listed.items() if count > 1]:
        violations.add(f"execution {name} is listed {listed[name]} times")
    for name, ran in runs.items():
        if name not in known:
            violations.add(f"execution {name} ran, and nobody asked for it: {ran}")
    executed = Counter(State.Name(each.state).removeprefix("STATE_").lower() for each in executions.values())
    print(", ".join(f"{count} {state}" for state, count in sorted(executed.items())), flush=True)
    with redis.Redis.from_url(world.redis_url) as store:

        def unclean() -> Iterator[str]:
            yield from check_keys(store, executions)
            living = [program.incarnation for program in world.programs.values() if not program.is_over]
            yield from processes.left_behind(living, history)
            yield from processes.helpers_left_behind(run for each in runs.values() for run in each)

        for problem in await settled(unclean):
            violations.add(problem)
        await world.stop_workers()
        for problem in await settled(unclean):
            violations.add(f"after the workers were stopped: {problem}")
    for problem in processes.faulty(world.programs.values(), history):
        violations.add(problem)


async def read(load: Load, history: History) -> list[Case]:
    """Reads every execution as it is now, one case for each name."""
    runs = history.runs()

    async def case_of(request: Request) -> Case:
        case = Case(request, history, [], [], runs.get(request.name, []))
        if not request.accepted:
            return case
        try:
            case.executions, case.attempts = await load.read(request)
            if case.execution.state == State.STATE_SUCCEEDED:
                case.text = await load.result(request)
        except RefusedError as error:
            case.problems.append(f"was accepted, and is gone: {error}")
        except LacewingError as error:
            case.problems.append(f"cannot be read: {error}")
        return case

    cases: list[Case] = []
    for first in range(0, len(history.requests), 16):
        cases += await asyncio.gather(*(case_of(each) for each in history.requests[first : first + 16]))
    return cases


async def settled(problems: Callable[[], Iterator[str]]) -> list[str]:
    """What is wrong, once nothing is or the time for it to come right is over."""
    end = time.monotonic() + _CLEAN_SECONDS
    while found := list(problems()):
        if time.monotonic() > end:
            return found
        await asyncio.sleep(0.2)
    return []


def tale(case: Case) -> str:
    """All that is known of an execution, in the order of time."""
    history, request = case.history, case.request
    events = [(at, what) for at, what in request.events]
    for run in case.runs:
        events.append((run.start, f"body of attempt {run.attempt} starts on {run.worker} (process {run.pid})"))
        events.append((run.last, f"body of attempt {run.attempt}: last sign of life, {run.ending or 'killed'}"))
    for attempt in case.attempts:
        state = execution_pb2.Attempt.State.Name(attempt.state).removeprefix("STATE_")
        start = history.monotonic(attempt.start_time.ToMilliseconds())
        events.append((start, f"attempt {attempt.number} is leased to {attempt.worker}"))
        if attempt.HasField("end_time"):
            end = history.monotonic(attempt.end_time.ToMilliseconds())
            events.append((end, f"attempt {attempt.number} is {state} {attempt.error.code}: {attempt.error.message}"))
    if case.executions:
        created = history.monotonic(case.execution.create_time.ToMilliseconds())
        events.append((created, "is created"))
        if case.execution.HasField("end_time"):
            ended = history.monotonic(case.execution.end_time.ToMilliseconds())
            events.append((ended, f"ends: {describe(case.execution)}"))
    if not events:
        return "  (nothing is known of it)"
    times = [at for at, _ in events]
    for outage in history.around(min(times) - _AROUND, max(times) + _AROUND):
        events.append((outage.start, f"    FAULT {outage.what}"))
        events.append((outage.end, f"    over: {outage.what}"))
    inputs = str(request.inputs)[:120]
    lines = [f"  {at - history.start:8.3f} {what}" for at, what in sorted(events)]
    return "\n".join([f"  {request.kind} {request.task.name} {inputs}", *lines])


async def main(seed: int, duration: float, rate: float, pause: float, directory: Path) -> int:
    """Runs it; returns the exit code."""
    faults = schedule(seed, duration, pause)
    print(f"seed {seed}, {duration:g} s, {len(faults)} faults, {rate:g} requests per second; logs in {directory}")
    history, violations = History(directory), Violations()
    world = World(directory, history)
    task = asyncio.current_task()
    assert task is not None
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    load: Load | None = None
    try:
        await world.open_links()
        load = Load([world.client_address(server) for server in SERVERS], history, seed, rate)
        await attack(world, load, history, faults, duration)
        await examine(world, load, history, violations)
    finally:
        if load is not None:
            await load.close()
        await world.close()
    executions = sum(bool(request.accepted) for request in history.requests)
    print(f"executions={executions} faults={history.fault_count} violations={violations.count}")
    return 1 if violations.count else 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Attack Lacewing, and check what happened.")
    parser.add_argument("--duration", type=float, default=600.0, help="seconds of load and faults")
    parser.add_argument("--seed", type=int, default=None, help="of the schedule (default: a random one)")
    parser.add_argument("--rate", type=float, default=10.0, help="requests per second")
    parser.add_argument("--pause", type=float, default=MEAN_PAUSE, help="seconds between faults, on average")
    return parser.parse_args()


if __name__ == "__main__":
    given = _arguments()
    chosen = random.randrange(1_000_000) if given.seed is None else given.seed
    # The prefix is short because the path of a unix socket has about a hundred characters at most.
    place = Path(tempfile.mkdtemp(prefix="lwf"))
    code = 1
    with suppress(asyncio.CancelledError):
        code = asyncio.run(main(chosen, given.duration, given.rate, given.pause, place))
    if code == 0:
        shutil.rmtree(place)
    sys.exit(code)
