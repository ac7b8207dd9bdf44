"""Shows Lacewing at work on a real data set: a server, a worker, and this program as their client.

Usage: `python tests/demo/run.py`. Each step checks what it says; the exit code is 1 if one of them is not true.
"""

from __future__ import annotations

import asyncio
import csv
import json
import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections import Counter
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.table import Table

import lacewing
from lacewing.errors import InputsInvalid
from lacewing.v1 import execution_pb2

if TYPE_CHECKING:
    from demo import tasks
else:
    import tasks  # the module beside this one, under the name that the worker gives it too

HERE = Path(__file__).parent
GRPCURL = Path(sys.executable).parent / "grpcurl"
PROGRAM = Path(sys.executable).parent / "lacewing"
YEAR = 2012
OTHER_YEAR = 2015
WEEK = 7
SECONDS = 20.0
console = Console(highlight=False)


class Untrue(Exception):  # noqa: N818 it is no error of the program
    """A step did not do what it says."""


def check(holds: bool, claim: str) -> None:  # noqa: FBT001 the claim beside it says what it is
    """Show a claim that holds; end the demo with one that does not."""
    if not holds:
        raise Untrue(claim)
    console.print(f"  [green]✓[/] {claim}")


def step(title: str) -> None:
    """Show what comes next."""
    console.print(f"\n[bold cyan]{title}[/]")


def free_port() -> int:
    """A port that was free a moment ago."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port


def start(log: Path, *arguments: str | Path, **environment: str) -> subprocess.Popen[bytes]:
    """Start a Python program that writes into a log."""
    with log.open("ab") as file:
        return subprocess.Popen(
            [sys.executable, *arguments], env=os.environ | environment, stdout=file, stderr=subprocess.STDOUT
        )


def stop(process: subprocess.Popen[bytes]) -> None:
    """Stop a program, by force if it does not end by itself."""
    process.terminate()
    try:
        process.wait(5)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


async def wait_for_server(server: subprocess.Popen[bytes], port: int) -> None:
    """Wait until the server listens."""
    end = time.monotonic() + SECONDS
    while True:
        try:
            _, writer = await asyncio.open_connection("127.0.0.1", port)
        except OSError:
            if server.poll() is not None or time.monotonic() > end:
                raise Untrue("the server starts") from None
            await asyncio.sleep(0.05)
        else:
            writer.close()
            return


async def wait_for_worker(client: lacewing.Client) -> None:
    """Wait until a worker is connected."""
    end = time.monotonic() + SECONDS
    while not [worker async for worker in client.workers()]:
        if time.monotonic() > end:
            raise Untrue("the worker connects")
        await asyncio.sleep(0.05)


def rows_of_year() -> list[dict[str, str]]:
    """The rows of the data set, read without Lacewing, to compare with."""
    text = (files("vega_datasets") / "_data" / "seattle-weather.csv").read_text(encoding="utf-8")
    return [row for row in csv.DictReader(text.splitlines()) if row["date"].startswith(f"{YEAR}/")]


async def attempts(handle: lacewing.Handle[Any]) -> list[tuple[str, str]]:
    """State and code of the error of each attempt, which are shown too."""
    table = Table("attempt", "state", "error", box=None, padding=(0, 2))
    found = []
    async for attempt in handle.attempts():
        state = execution_pb2.Attempt.State.Name(attempt.state).removeprefix("STATE_")
        found.append((state, attempt.error.code))
        table.add_row(str(attempt.number), state, f"{attempt.error.code} {attempt.error.message}".strip())
    console.print(table)
    return found


async def show_types(client: lacewing.Client) -> list[tasks.Day]:
    """Typed values go in and come out."""
    step("1. Typed: records, lists, enums and optional values go in and come out")
    rows = rows_of_year()
    days = await client.execute(tasks.read_days, year=YEAR)
    check(
        len(days) == len(rows) == 366 and all(isinstance(day, tasks.Day) for day in days),
        f"read_days(year={YEAR}) gave {len(days)} records of type Day, one for each row of the file",
    )
    summary = await client.execute(tasks.summarize, days=days, unit=tasks.Unit.FAHRENHEIT, above=25.0)
    warm = [float(row["temp_max"]) for row in rows if float(row["temp_max"]) > 25.0]
    check(
        summary.unit is tasks.Unit.FAHRENHEIT
        and summary.days == len(warm)
        and summary.mean_max == round(sum(warm) / len(warm) * 9 / 5 + 32, 2),
        f"summarize: {summary.days} days above 25 °C, {summary.mean_max} °F on average",
    )
    check(
        summary.warmest is not None and summary.warmest.temp_max == max(warm),
        f"the warmest was {summary.warmest.date if summary.warmest else None}",
    )
    empty = await client.execute(tasks.summarize, days=[], unit=tasks.Unit.CELSIUS)
    check(empty.mean_max is None and empty.warmest is None, "of no days there is no mean and no warmest day: None")
    return days


async def show_cache(client: lacewing.Client, days: list[tasks.Day]) -> None:
    """What was computed once is not computed again."""
    step("2. Memoized: equal inputs are computed once")
    first = await client.submit(tasks.summarize, days=days, unit=tasks.Unit.CELSIUS)
    ran = await first.wait(SECONDS)
    second = await client.submit(tasks.summarize, days=days, unit=tasks.Unit.CELSIUS)
    hit = await second.wait(SECONDS)
    check(ran.cache.status == execution_pb2.CacheInfo.STATUS_POPULATED, "the first call ran and filled the cache")
    check(
        hit.cache.status == execution_pb2.CacheInfo.STATUS_HIT and hit.attempt_count == 0,
        "the second was answered from the cache: no attempt was started",
    )
    check(await first.result() == await second.result(), "both gave the same summary")


async def show_retry(client: lacewing.Client, days: list[tasks.Day]) -> None:
    """An attempt that fails is followed by another."""
    step("3. Retried: the first attempt of count_weather raises ConnectionError")
    handle = await client.submit(tasks.count_weather, days=days)
    counts = await handle.result(SECONDS)
    check(counts == Counter(row["weather"] for row in rows_of_year()), f"it gave {counts}")
    states = await attempts(handle)
    check(states == [("FAILED", "ConnectionError"), ("SUCCEEDED", "")], "it failed once, then succeeded")


async def show_timeout(client: lacewing.Client, days: list[tasks.Day]) -> None:
    """An attempt that hangs is stopped and followed by another."""
    step("4. Timed out: the first attempt of windiest sleeps for a minute, and may take a second")
    handle = await client.submit(tasks.windiest, days=days)
    began = time.monotonic()
    day = await handle.result(SECONDS)
    took = time.monotonic() - began
    check(
        day is not None and day.wind == max(float(row["wind"]) for row in rows_of_year()),
        f"it was {day.date if day else None}",
    )
    states = await attempts(handle)
    check(
        states == [("TIMED_OUT", "AttemptTimeout"), ("SUCCEEDED", "")] and took >= 1,
        f"it was stopped once, then succeeded: {took:.1f} s in all",
    )


async def show_loss(
    client: lacewing.Client,
    days: list[tasks.Day],
    worker: subprocess.Popen[bytes],
    worker_command: list[str],
    log: Path,
) -> subprocess.Popen[bytes]:
    """A worker is killed, and nothing is lost. Returns the worker that took its place."""
    step("5. Nothing lost: the worker is killed (kill -9) while it adds up the rain")
    handle = await client.submit(tasks.rainfall, days=days, seconds=2.0)
    end = time.monotonic() + SECONDS
    while (await handle.status()).state != execution_pb2.Execution.STATE_RUNNING:
        if time.monotonic() > end:
            raise Untrue("rainfall is running")
        await asyncio.sleep(0.05)
    os.kill(worker.pid, signal.SIGKILL)
    check(worker.wait() == -signal.SIGKILL, f"the worker (process {worker.pid}) is dead, the task was running")
    other = start(log, *worker_command)
    try:
        rain = await handle.result(SECONDS)
        expected = round(sum(float(row["precipitation"]) for row in rows_of_year()), 1)
        check(rain == expected, f"another worker (process {other.pid}) gave the result: {rain} mm")
        states = [state for state, _ in await attempts(handle)]
        check(states == ["LOST", "SUCCEEDED"], "the lost attempt is on record, and did not count as a failure")
        check((await handle.status()).failure_count == 0, "the failures of the task: 0")
    except BaseException:
        stop(other)
        raise
    return other


async def show_graph(client: lacewing.Client, days: list[tasks.Day], address: str) -> None:
    """What a body finds in its inputs decides what runs."""
    step("6. Dynamic: how many tasks find_spells runs, the weather decides")
    handle: lacewing.Handle[list[tasks.Spell]] = await client.submit(tasks.find_spells, days=days, at_least=WEEK)
    spells = await handle.result(SECONDS)
    console.print(f"  lacewing graph {handle.id.name}")
    command = (PROGRAM, "graph", handle.id.name, "--address", address, "--no-follow")
    process = await asyncio.create_subprocess_exec(*command)
    check(await process.wait() == 0, "the graph that the server ran, drawn by the command line")
    weeks = [length for length in wet_spells(days) if length >= WEEK]
    check(
        sorted(spell.days for spell in spells) == sorted(weeks) and len((await handle.graph()).nodes) == len(weeks) + 1,
        f"a task for each of the {len(weeks)} spells of {WEEK} wet days or more in {YEAR}, and one that orders them",
    )
    check(
        spells[0].rain == max(spell.rain for spell in spells),
        f"the wettest: {spells[0].days} days from {spells[0].first}, {spells[0].rain} mm",
    )
    days = await client.execute(tasks.read_days, year=OTHER_YEAR)
    spells = await client.execute(tasks.find_spells, days=days, at_least=WEEK)
    other = sum(length >= WEEK for length in wet_spells(days))
    check(len(spells) == other != len(weeks), f"in {OTHER_YEAR} there were {other}, and so as many tasks")


def wet_spells(days: list[tasks.Day]) -> list[int]:
    """How long it rained each time, computed without Lacewing."""
    return [len(spell) for spell in re.findall("w+", "".join("w" if day.precipitation else "d" for day in days))]


async def show_refusal(client: lacewing.Client) -> None:
    """What does not fit is refused before anything runs."""
    step("7. Checked: inputs that do not fit are refused, with the place")
    good = {"date": "2012-01-01", "precipitation": 0, "temp_max": 9.5, "temp_min": 1, "wind": 2, "weather": "sun"}
    bad = good | {"temp_max": "warm"}
    try:
        await client.execute(tasks.summarize.name, days=[good, bad], unit="celsius")
    except InputsInvalid as error:
        for violation in error.violations:
            console.print(f"  refused: {violation}")
        places = [str(violation) for violation in error.violations]
        check(
            len(places) == 1 and "days" in places[0] and "1" in places[0] and "temp_max" in places[0],
            "the refusal names the field of the second day, and nothing else",
        )
    else:
        raise Untrue("summarize refuses a temperature that is a text")


async def show_grpcurl(address: str) -> None:
    """Any client of gRPC can do it."""
    step("8. Open: the same without the SDK, by grpcurl and in plain JSON")
    request = {"task": {"name": tasks.read_days.name}, "inputs_json": {"year": YEAR}, "plain": True}
    code, output, errors = await grpcurl(address, request)
    console.print(f"  grpcurl -plaintext -d '{json.dumps(request)}' {address} lacewing.v1.ExecutionService/Execute")
    check(code == 0, f"grpcurl ended well {errors}".rstrip())
    execution = json.loads(output)["execution"]
    (days,) = execution["outputs_json"].values()
    check(
        execution["state"] == "STATE_SUCCEEDED" and len(days) == len(rows_of_year()),
        f"it gave {len(days)} days, the first of them {days[0]['date']}: {days[0]['weather']}",
    )
    request = {"task": {"name": tasks.read_days.name}, "inputs_json": {"year": "soon"}, "plain": True}
    code, output, errors = await grpcurl(address, request)
    check(
        code != 0 and "InvalidArgument" in errors and "year" in errors,
        'the server refuses {"year": "soon"}, and says where',
    )


async def grpcurl(address: str, request: dict[str, Any]) -> tuple[int | None, str, str]:
    """Call Execute; return exit code, output and errors."""
    process = await asyncio.create_subprocess_exec(
        *(GRPCURL, "-plaintext", "-max-time", "20", "-d", json.dumps(request), address),
        "lacewing.v1.ExecutionService/Execute",
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    output, errors = await process.communicate()
    return process.returncode, output.decode(), errors.decode()


async def demo(folder: Path) -> None:
    """Run all steps."""
    port = free_port()
    address = f"127.0.0.1:{port}"
    worker_command = ["-m", "lacewing.worker", str(HERE / "tasks.py"), "--address", address, "--slots", "2"]
    data = folder / "data"
    data.mkdir()
    server = start(folder / "server.log", "-m", "lacewing_server", LACEWING_PORT=str(port), LACEWING_DATA_DIR=str(data))
    running = [server]
    try:
        await wait_for_server(server, port)
        running.append(start(folder / "worker.log", *worker_command))
        console.print(f"[bold]Lacewing[/]: a server at {address}, a worker with 2 slots, and this client")
        async with lacewing.Client(address).with_options(timeout=SECONDS) as client:
            await client.register(
                tasks.read_days,
                tasks.summarize,
                tasks.count_weather,
                tasks.windiest,
                tasks.rainfall,
                tasks.measure_spell,
                tasks.wettest_first,
                tasks.find_spells,
            )
            await wait_for_worker(client)
            days = await show_types(client)
            await show_cache(client, days)
            await show_retry(client, days)
            await show_timeout(client, days)
            running.append(await show_loss(client, days, running[1], worker_command, folder / "worker.log"))
            await show_graph(client, days, address)
            await show_refusal(client)
            await show_grpcurl(address)
    finally:
        for process in reversed(running):
            stop(process)


def main() -> int:
    """Run the demo; return the exit code."""
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="lacewing-demo-") as folder:
        try:
            asyncio.run(asyncio.wait_for(demo(Path(folder)), 55))
        except (Untrue, lacewing.LacewingError, TimeoutError) as error:
            console.print(f"  [red]✗ {type(error).__name__}[/]: {error}", markup=True)
            for log in sorted(Path(folder).glob("*.log")):
                console.rule(log.name)
                console.print("\n".join(log.read_text(errors="replace").splitlines()[-40:]), markup=False)
            return 1
    console.print(f"\n[bold green]All of it is true[/], after {time.monotonic() - began:.0f} s. What to try next:")
    console.print("  lacewing serve                                       a server at 127.0.0.1:7400")
    console.print("  python -m lacewing.worker tests/demo/tasks.py        a worker with the tasks of this demo")
    console.print("  lacewing --help                                      what else there is to do from the shell")
    return 0


if __name__ == "__main__":
    sys.exit(main())
