"""A real server for tests: a process of its own, a store of its own, a free port.

The process is not the test's: no event loop, thread or garbage collector is shared, and it can be stopped, killed and
suspended like any server. It ends with the process that started it, however that ends.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

_STOP_SECONDS: Final = 15.0
_LOG_NAME: Final = "server.log"


class ServerProcessError(Exception):
    """The server did not start; the text is what it wrote to its standard error."""


class ServerProcess:
    """A server that runs in a process of its own until it is stopped."""

    def __init__(self, directory: Path, settings: dict[str, Any]) -> None:
        """Starts the server and waits until it takes requests.

        Args:
            directory: Where its log is written; removed by the server if its parent dies.
            settings: Its settings, by name.

        Raises:
            ServerProcessError: If it does not start.
        """
        self._log = directory / _LOG_NAME
        arguments = json.dumps({"parent": os.getpid(), "directory": str(directory), "settings": settings}, default=str)
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(  # noqa: S603 - this interpreter, with our own module
                [sys.executable, "-m", "lacewing_server.testing_process", arguments],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=log,
                start_new_session=True,  # ^C in a terminal is for the test, which then stops the server
            )
        assert self._process.stdout is not None
        try:
            with self._process.stdout as ready:
                self.address: str = ready.readline().decode().strip()
        except BaseException:
            self.kill()
            raise
        if not self.address:
            self.kill()
            raise ServerProcessError(f"the server did not start:\n{self.log.strip()}")

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    @property
    def log(self) -> str:
        """What it has written to its standard error so far: warnings and worse, unless ``log_level`` says otherwise."""
        return self._log.read_text(errors="replace")

    def stop(self) -> None:
        """Stops it in order and waits for its end, from any thread or event loop. Stopping twice is not an error."""
        self._process.send_signal(signal.SIGTERM)  # without effect on a process that has ended
        try:
            self._process.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self.kill()

    def kill(self) -> None:
        """Ends the server without a chance to say good-bye, as ``kill -9`` does. Its embedded Valkey ends with it."""
        self._process.kill()
        self._process.wait()


@contextmanager
def start_server(**settings: Any) -> Iterator[ServerProcess]:
    """Runs a server for the time of a ``with`` block; what it has logged goes to the standard error at the end.

    Args:
        **settings: Settings that differ from those for tests: a free port of the loopback interface, an embedded
            Valkey in a temporary directory that keeps everything in memory, a second for running calls at shutdown,
            and a log of warnings. With ``redis`` several servers share one store.

    Raises:
        ServerProcessError: If it does not start.
    """
    # The prefix is short because the path of a unix socket has about a hundred characters at most.
    with tempfile.TemporaryDirectory(prefix="lw") as directory:
        defaults = {"host": "127.0.0.1", "port": 0, "persist": False, "shutdown_grace": 1.0, "log_level": "warning"}
        server = ServerProcess(Path(directory), {**defaults, "data_dir": directory, **settings})
        try:
            yield server
        finally:
            server.stop()
            sys.stderr.write(server.log)
