"""The worker as a program: signals drain it, and whatever ends it, it leaves no process behind."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from worker import process_bodies as bodies
from worker.pool import DEADLINE, is_running, lease, until, written
from worker.work_server import Stream, TaskServer, WorkServer, serving

MODULE = str(Path(bodies.__file__))


class Program:
    """A worker that runs as a program, and the server it works for.

    Attributes:
        work: The server of work.
        process: The program.
    """

    def __init__(self, work: WorkServer, process: asyncio.subprocess.Process) -> None:
        self.work = work
        self.process = process

    async def connected(self) -> Stream:
        """Waits until it can be given leases."""
        await until(lambda: bool(self.work.streams) and self.work.stream.credit > 0)
        return self.work.stream

    async def ended(self) -> tuple[int | None, str]:
        """Waits for its end, and returns its exit code and what it wrote to standard error."""
        async with asyncio.timeout(DEADLINE):
            _, errors = await self.process.communicate()
        return self.process.returncode, errors.decode()

    def processes(self) -> set[int]:
        """Returns the processes that it started, and those that these started."""
        found: set[int] = set()
        parents = {self.process.pid}
        while parents:
            parents = {child for child in _running() if _parent(child) in parents} - found
            found |= parents
        return found


def _running() -> list[int]:
    return [
        int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit() and is_running(int(entry.name))
    ]


def _parent(process: int) -> int:
    try:
        return int(Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[1])
    except (FileNotFoundError, ProcessLookupError):
        return 0


@asynccontextmanager
async def program(*arguments: str, modules: tuple[str, ...] = (MODULE,)) -> AsyncIterator[Program]:
    """Runs a worker with a server of its own."""
    work = WorkServer()  # type: ignore[abstract] # it serves what is tested
    tasks = TaskServer()  # type: ignore[abstract] # it serves what is tested
    async with serving(work, tasks) as port:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "lacewing.worker", *modules, "--address", f"127.0.0.1:{port}", "--slots", "2"),
            *arguments,
            stderr=asyncio.subprocess.PIPE,
        )
        try:
            yield Program(work, process)
        finally:
            if process.returncode is None:
                process.kill()
            await process.wait()
            process._transport.close()  # type: ignore[attr-defined] # else its pipe is closed when the loop is gone


async def test_the_first_signal_drains() -> None:
    """After SIGTERM the worker takes no more leases, finishes, and exits with 0."""
    async with program() as worker:
        stream = await worker.connected()
        assert stream.hello.offer.task_names == sorted(task.name for task in bodies.ALL)
        attempt = lease(bodies.double, number=4)
        stream.lease(attempt)
        await until(lambda: attempt.token in stream.completions)
        worker.process.terminate()
        code, errors = await worker.ended()
        assert (code, stream.drain) == (0, "the worker got SIGTERM")
        assert stream.half_closed
        assert "Draining" in errors


async def test_the_second_signal_stops(tmp_path: Path) -> None:
    """A body that would go on is killed by a second signal, its attempt is given back, and the exit code is still 0."""
    async with program() as worker:
        stream = await worker.connected()
        attempt = lease(bodies.stubborn, marker=str(tmp_path / "marker"))
        stream.lease(attempt)
        process = int(await written(tmp_path / "marker"))
        worker.process.send_signal(signal.SIGINT)
        await until(lambda: stream.drain is not None)
        worker.process.send_signal(signal.SIGINT)
        code, _ = await worker.ended()
        assert code == 0
        assert stream.completions[attempt.token].abandoned.reason == "the worker got SIGINT"
        assert not is_running(process)


async def test_bodies_have_time_to_finish(tmp_path: Path) -> None:
    """What a body still gives after the drain timeout, within its grace, is its result."""
    async with program("--drain-timeout", "0.05") as worker:
        stream = await worker.connected()
        attempt = lease(bodies.finish_when_stopped, marker=str(tmp_path / "marker"))
        stream.lease(attempt)
        await written(tmp_path / "marker")
        worker.process.terminate()
        assert (await worker.ended())[0] == 0
        assert stream.completions[attempt.token].WhichOneof("result") == "outputs"


async def test_a_worker_that_is_killed_leaves_nothing_behind(tmp_path: Path) -> None:
    """SIGKILL of the worker ends its child processes, busy or idle, and all that bodies have started."""
    program_marker, daemon_marker = tmp_path / "program", tmp_path / "daemon"
    async with program() as worker:
        stream = await worker.connected()
        stream.lease(
            lease(bodies.family, marker=str(program_marker), daemon_marker=str(daemon_marker), wait=True),
            lease(bodies.stubborn, marker=str(tmp_path / "stubborn")),
        )
        left = {int(await written(path)) for path in (program_marker, daemon_marker, tmp_path / "stubborn")}
        left |= worker.processes()
        assert len(left) == 5  # The zygote, two children, and what one of these started.
        worker.process.kill()
        await worker.process.wait()
        await until(lambda: not any(map(is_running, left)))


async def test_a_service_manager_that_signals_every_process_loses_nothing(tmp_path: Path) -> None:
    """When all processes of the worker get SIGTERM together, running attempts are given back, not failed."""
    async with program() as worker:
        stream = await worker.connected()
        attempt = lease(bodies.sleep, marker=str(tmp_path / "marker"))
        stream.lease(attempt)
        await written(tmp_path / "marker")
        for process in [*worker.processes(), worker.process.pid]:
            os.kill(process, signal.SIGTERM)
        assert (await worker.ended())[0] == 0
        assert stream.completions[attempt.token].WhichOneof("result") == "abandoned"


@pytest.mark.parametrize(
    ("modules", "words"),
    [
        (("no_such_module",), "there is no module 'no_such_module'"),
        (("lacewing.errors",), "holds no task"),
    ],
)
async def test_a_module_that_cannot_be_run_is_named(modules: tuple[str, ...], words: str) -> None:
    """Modules without tasks, or that are not there, end the worker with a message and no traceback."""
    async with program(modules=modules) as worker:
        code, errors = await worker.ended()
        assert code == 1
        assert words in errors
        assert "Traceback" not in errors
