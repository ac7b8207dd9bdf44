"""Runs the command line: in this process, or as the program that users have."""

from __future__ import annotations

import json
import os
import pty
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from click.testing import CliRunner

from lacewing.cli._app import app

PROGRAM = str(Path(sys.executable).parent / "lacewing")
DEADLINE = 30.0


class Ran(NamedTuple):
    """What came of a command."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """What it printed, as one JSON document."""
        return json.loads(self.out)

    @property
    def error(self) -> Any:
        """What it wrote to standard error, as one JSON document."""
        return json.loads(self.err)["error"]


class Lacewing(NamedTuple):
    """The command line, with the address of a server in its environment."""

    address: str

    def __call__(self, *arguments: str, stdin: str | None = None) -> Ran:
        """Runs it in this process."""
        result = CliRunner(env=self._environment()).invoke(
            app, list(arguments), input=stdin, prog_name="lacewing", catch_exceptions=False
        )
        return Ran(result.exit_code, result.stdout, result.stderr)

    def program(self, *arguments: str, **environment: str) -> Ran:
        """Runs it as a program."""
        ran = subprocess.run(
            [PROGRAM, *arguments],
            env=os.environ | self._environment() | environment,
            capture_output=True,
            text=True,
            timeout=DEADLINE,
            check=False,
        )
        return Ran(ran.returncode, ran.stdout, ran.stderr)

    @contextmanager
    def started(self, *arguments: str, cwd: Path | None = None) -> Iterator[subprocess.Popen[str]]:
        """Starts it as a program, and kills what is left of it at the end."""
        process = subprocess.Popen(
            [PROGRAM, *arguments],
            env=os.environ | self._environment(),
            cwd=cwd,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        with process:
            try:
                yield process
            finally:
                process.kill()

    def on_terminal(self, *arguments: str, **environment: str) -> str:
        """Runs it on a terminal of 100 columns, and returns all that it wrote there."""
        ours, theirs = pty.openpty()
        shown = {"TERM": "xterm-256color", "COLUMNS": "100"}
        unset = {"NO_COLOR", "FORCE_COLOR"} - environment.keys()
        inherited = {name: value for name, value in os.environ.items() if name not in unset}
        process = subprocess.Popen(
            [PROGRAM, *arguments],
            env=inherited | self._environment() | shown | environment,
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
        )
        os.close(theirs)
        written = b""
        try:
            while chunk := _read(ours):
                written += chunk
            process.wait(DEADLINE)
        finally:
            process.kill()
            process.wait()
            os.close(ours)
        return written.decode()

    def _environment(self) -> dict[str, str]:
        return {"LACEWING_ADDRESS": self.address, "LACEWING_DEBUG": ""}


def until(is_true: Callable[[], Any]) -> None:
    """Waits for something to happen."""
    end = time.monotonic() + DEADLINE
    while not is_true():
        assert time.monotonic() < end
        time.sleep(0.02)


def _read(terminal: int) -> bytes:
    try:
        return os.read(terminal, 65_536)
    except OSError:  # Linux says so when the other side has closed it.
        return b""
