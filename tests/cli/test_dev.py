"""`lacewing dev`: a server and a worker that follows edits, in one process to start and to stop."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from cli.console import Lacewing, until

MODULE = """
from lacewing import task

@task(timeout=60)
def answer() -> int:
    return {value}
"""


class Dev:
    """A running `lacewing dev`, and the command line that speaks to its server."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process
        self.lines: list[str] = []
        (address,) = re.findall(r"^Server at (\S+),", self.told("Server at"))
        self.lacewing = Lacewing(address)

    def told(self, words: str) -> str:
        """Reads until it has told something, and returns that line."""
        assert self.process.stderr is not None
        for line in self.process.stderr:
            self.lines.append(line)
            if words in line:
                return line
        raise AssertionError("".join(self.lines))


@contextmanager
def developing(folder: Path, *arguments: str) -> Iterator[Dev]:
    """Runs it on a free port, in a folder with a module."""
    (folder / "answers.py").write_text(MODULE.format(value=1))
    with Lacewing("").started("dev", "answers.py", "--port", "0", *arguments, cwd=folder) as process:
        dev = Dev(process)
        dev.told("Connected to the server")
        yield dev


def test_an_edit_runs_at_once(tmp_path: Path) -> None:
    """The worker starts again when a file changes, survives a file that is broken, and all ends with Ctrl-C."""
    with developing(tmp_path) as dev:
        assert dev.lacewing("run", "answers.answer").out == "1\n"
        (tmp_path / "answers.py").write_text(MODULE.format(value=2))
        dev.told("answers.py changed")
        dev.told("Connected to the server")
        assert dev.lacewing("run", "answers.answer").out == "2\n"
        (tmp_path / "answers.py").write_text("def broken(")
        dev.told("SyntaxError")
        dev.told("The worker has ended. It starts again when a file changes.")
        (tmp_path / "answers.py").write_text(MODULE.format(value=3))
        dev.told("Connected to the server")
        assert dev.lacewing("run", "answers.answer").out == "3\n"
        dev.process.send_signal(signal.SIGINT)
        _, errors = dev.process.communicate(timeout=30)
        assert dev.process.returncode == 0
        assert "Traceback" not in errors
    assert dev.lacewing("list").code == 3


def test_what_is_stored_can_be_kept(tmp_path: Path) -> None:
    """With a folder for it, executions are there the next time."""
    folder = tmp_path / "d"
    with developing(tmp_path, "--data-dir", str(folder)) as dev:
        name = dev.lacewing("run", "answers.answer", "--output", "json").json["id"]["name"]
        dev.process.send_signal(signal.SIGTERM)
        assert dev.process.wait(30) == 0
    with developing(tmp_path, "--data-dir", str(folder)) as dev:
        assert dev.lacewing("get", name).code == 0


def test_it_leaves_nothing_behind_when_it_is_killed(tmp_path: Path) -> None:
    """The worker and its children end with it, and so does the store."""
    marker = f"answers-{tmp_path.name}"
    (tmp_path / marker).mkdir()

    def left() -> list[Path]:
        found = []
        for entry in Path("/proc").iterdir():
            try:
                if entry.name.isdigit() and (entry / "cwd").resolve() == tmp_path / marker:
                    found.append(entry)
            except OSError:
                continue
        return found

    with developing(tmp_path / marker) as dev:
        assert len(left()) >= 3  # It, the worker, and what the worker starts.
        dev.process.kill()
        dev.process.wait(30)
        until(lambda: not left())


def test_a_port_that_is_taken_is_told(tmp_path: Path) -> None:
    """Instead of a server that cannot be reached."""
    (tmp_path / "answers.py").write_text(MODULE.format(value=1))
    with socket.create_server(("127.0.0.1", 0)) as taken:
        ran = Lacewing("").program("dev", str(tmp_path / "answers.py"), "--port", str(taken.getsockname()[1]))
    assert ran.code == 1
    assert "server: lacewing: cannot listen on 127.0.0.1:" in ran.err
    assert "Traceback" not in ran.err


def test_it_ends_with_its_server(tmp_path: Path) -> None:
    """A server that is killed leaves nothing to develop with: the worker ends too, and the exit code is 1."""
    with developing(tmp_path) as dev:
        server = next(
            entry
            for entry in Path("/proc").iterdir()
            if entry.name.isdigit() and f"\0{dev.process.pid}\0serve\0" in _command_line(entry)
        )
        os.kill(int(server.name), signal.SIGKILL)
        assert dev.process.wait(30) == 1


def _command_line(process: Path) -> str:
    try:
        return (process / "cmdline").read_text()
    except OSError:
        return ""


@pytest.mark.parametrize("signals", [1, 2])
def test_a_body_that_runs_ends_with_it(tmp_path: Path, signals: int) -> None:
    """The first Ctrl-C lets it finish for a few seconds, the second one does not wait."""
    (tmp_path / "patient.py").write_text(
        "import time\nfrom pathlib import Path\nfrom lacewing import task\n\n\n"
        "@task(timeout=60)\ndef wait(folder: str) -> None:\n"
        "    Path(folder, 'begun').touch()\n"
        "    while not Path(folder, 'open').exists():\n        time.sleep(0.01)\n"
        "    Path(folder, 'ended').touch()\n"
    )
    with developing(tmp_path, "patient.py") as dev:
        dev.lacewing("run", "--no-wait", "patient.wait", "--folder", str(tmp_path))
        until((tmp_path / "begun").exists)
        dev.process.send_signal(signal.SIGINT)
        dev.told("Draining: 1 running")
        if signals == 1:
            (tmp_path / "open").touch()
        else:
            dev.process.send_signal(signal.SIGINT)
        assert dev.process.wait(30) == 0
        assert (tmp_path / "ended").exists() == (signals == 1)
