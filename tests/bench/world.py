"""The processes of a benchmark, each measured by itself: server, Valkey, worker, empty service and caller."""

from __future__ import annotations

import json
import os
import re
import selectors
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import psutil
import redis

HERE = Path(__file__).parent
_START_SECONDS = 30.0
# Enough for one measurement, however busy the machine is.
_ANSWER_SECONDS = 600.0


class WorldError(Exception):
    """A process did not start, or has ended. The text says which, and shows what it wrote."""


@dataclass(frozen=True, slots=True)
class Measured:
    """One measurement: what the caller saw, and what it cost everybody."""

    count: int
    seconds: float
    p50_us: float
    cpu_us: Mapping[str, float]
    """Processor time per call, by process: `client`, `server`, `worker`, `redis`."""

    @property
    def rate(self) -> float:
        """Calls per second."""
        return self.count / self.seconds


class Program:
    """A program of ours that runs until it is killed.

    Args:
        name: What it is called in error messages.
        arguments: Its command line, after the interpreter.
        log: Where it writes to.
    """

    def __init__(self, name: str, *arguments: str | Path, log: Path) -> None:
        self._name = name
        self._log = log
        with log.open("ab") as file:
            self.process = subprocess.Popen(
                [sys.executable, *map(str, arguments)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=file,
                text=True,
                env={name: value for name, value in os.environ.items() if not name.startswith("LACEWING_")},
            )

    def read_line(self, seconds: float = _START_SECONDS) -> str:
        """Return the next line that it prints.

        Raises:
            WorldError: It has ended, or has not printed one in time.
        """
        assert self.process.stdout is not None
        with selectors.DefaultSelector() as selector:
            selector.register(self.process.stdout, selectors.EVENT_READ)
            line = self.process.stdout.readline() if selector.select(seconds) else ""
        if not line:
            raise WorldError(f"the {self._name} gives no answer; it wrote:\n{self._log.read_text()}")
        return line.strip()

    def wait_for(self, pattern: str) -> re.Match[str]:
        """Wait until it has written something that matches to its standard error.

        Raises:
            WorldError: It has ended, or has not written it in time.
        """
        timeout = psutil.Process(self.process.pid)
        for _ in range(round(_START_SECONDS / 0.05)):
            if found := re.search(pattern, self._log.read_text()):
                return found
            try:
                timeout.wait(0.05)
                break
            except psutil.TimeoutExpired:
                continue
        raise WorldError(f"the {self._name} does not start; it wrote:\n{self._log.read_text()}")

    def send(self, **order: Any) -> None:
        """Give an order."""
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps(order) + "\n")
        self.process.stdin.flush()

    def receive(self) -> dict[str, Any]:
        """Return the answer to an order."""
        answer: dict[str, Any] = json.loads(self.read_line(_ANSWER_SECONDS))
        return answer

    def __enter__(self) -> Self:
        """Let it run for the time of a `with` block."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Stop it, by force if it does not end by itself."""
        self.process.terminate()
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


class World:
    """Everything that runs.

    Args:
        directory: Where logs and data go.
        stack: Ends what is started.
    """

    def __init__(self, directory: Path, stack: ExitStack) -> None:
        self._directory = directory
        self._stack = stack
        data = directory / "data"
        self.server = self._run(
            "server",
            Path(sys.executable).parent / "lacewing",
            "serve",
            "--port",
            "0",
            "--data-dir",
            data,
            "--retention",
            "3600",
        )
        self.address = self.server.wait_for(r"serving on (\S+)")[1]
        self.redis_url = f"unix://{data / 'valkey.sock'}"
        self.redis: redis.Redis = redis.Redis.from_url(self.redis_url)
        self._stack.callback(self.redis.close)
        (valkey,) = psutil.Process(self.server.process.pid).children()
        echo = self._run("echo", HERE / "echo.py")
        self.start_worker("worker")
        self.load = self._run("load", HERE / "load.py", self.address, echo.read_line(), self.redis_url)
        self.load.read_line()
        self._measured = {"server": psutil.Process(self.server.process.pid), "redis": valkey}

    def start_worker(self, name: str, *, slots: int = 1000) -> Program:
        """Start a worker and wait until it is connected.

        By default it has a slot for each execution that is under way: how long an execution waits for one, and that it
        is leased by a call of its own then, is not what is measured.
        """
        # Not the queue of the tasks that wait in vain.
        options = ("--address", self.address, "--slots", str(slots), "--queue", "default")
        worker = self._run(name, "-m", "lacewing.worker", HERE / "tasks.py", *options)
        worker.wait_for("Connected to the server")
        self.worker = worker
        return worker

    def start_crowd(self, count: int, credit: int) -> Program:
        """Start many small workers and wait until all are connected."""
        crowd = self._run("crowd", HERE / "crowd.py", self.address, str(count), str(credit))
        crowd.read_line()
        self.worker = crowd
        return crowd

    def measure(self, case: str, **order: Any) -> Measured:
        """Have the caller measure a case, and measure the others meanwhile."""
        processes = self._measured | {"worker": psutil.Process(self.worker.process.pid)}
        before = {name: _cpu(process) for name, process in processes.items()}
        self.load.send(case=case, **order)
        sample = self.load.receive()
        cpu = {name: (_cpu(process) - before[name]) * 1e6 / sample["count"] for name, process in processes.items()}
        return Measured(sample["count"], sample["seconds"], sample["p50_us"], {"client": sample["cpu_us"], **cpu})

    def _run(self, name: str, *arguments: str | Path) -> Program:
        return self._stack.enter_context(Program(name, *arguments, log=self._directory / f"{name}.log"))


@contextmanager
def world() -> Iterator[World]:
    """Run a world for the time of a `with` block."""
    # The prefix is short because the path of a unix socket has about a hundred characters at most.
    with tempfile.TemporaryDirectory(prefix="lw") as directory, ExitStack() as stack:
        yield World(Path(directory), stack)


def _cpu(process: psutil.Process) -> float:
    times = process.cpu_times()
    return float(times.user + times.system)
