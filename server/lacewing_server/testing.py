"""A real server for tests: a process of its own, a store of its own, a free port.

The process is not the test's: no event loop, thread or garbage collector is shared, and it can be stopped, killed and
suspended like any server. It ends with the process that started it, however that ends.

Most of the start of a server is the import of its modules. So a *nursery* does that once for a test process, and forks
a server whenever one is asked for.
"""

from __future__ import annotations

import atexit
import json
import os
import select
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any, Final

_STOP_SECONDS: Final = 15.0
_LOG_NAME: Final = "server.log"


class ServerProcessError(Exception):
    """The server did not start; the text is what it wrote to its standard error."""


class ServerProcess:
    """A server that runs in a process of its own until it is stopped."""

    def __init__(self, directory: Path, settings: dict[str, Any]) -> None:
        """Starts the server and waits until it takes requests.

        Args:
            directory: Where its log is written; removed by the server if the process that started it dies.
            settings: Its settings, by name.

        Raises:
            ServerProcessError: If it does not start.
        """
        self._log = directory / _LOG_NAME
        # Open until the process has ended altogether, as it is not ours to wait for.
        output, their_output = os.pipe()
        self._output = os.fdopen(output, "rb", buffering=0)
        request = {"directory": str(directory), "settings": settings}
        with os.fdopen(their_output, "wb") as far, self._log.open("wb") as log:
            _nursery().start(request, far, log)
        first = self._output.readline()
        if not first:
            self._output.close()
            raise ServerProcessError(f"the server did not start:\n{self.log.strip()}")
        started: dict[str, Any] = json.loads(first)
        self.address: str = started["address"]
        self.pid: int = started["pid"]
        """Its process id."""

    @property
    def log(self) -> str:
        """What it has written to its standard error so far: warnings and worse, unless ``log_level`` says otherwise."""
        return self._log.read_text(errors="replace")

    def stop(self) -> None:
        """Stops it in order and waits for its end, from any thread or event loop. Stopping twice is not an error."""
        if not self._signal(signal.SIGTERM, _STOP_SECONDS):
            self.kill()

    def kill(self) -> None:
        """Ends the server without a chance to say good-bye, as ``kill -9`` does. Its embedded Valkey ends with it."""
        self._signal(signal.SIGKILL, _STOP_SECONDS)

    def _signal(self, number: int, seconds: float) -> bool:
        """Sends a signal, unless it has ended; says whether it has ended within so many seconds."""
        if self._output.closed:
            return True
        with suppress(ProcessLookupError):
            os.kill(self.pid, number)
        deadline = time.monotonic() + seconds
        while select.select([self._output], [], [], max(0.0, deadline - time.monotonic()))[0]:
            if not self._output.read(4096):
                self._output.close()
                return True
        return False


class _Nursery:
    """A process that has imported the server and forks one whenever it is asked to."""

    def __init__(self) -> None:
        self.owner = os.getpid()
        self._lock = threading.Lock()
        self._control, far = socket.socketpair()
        with far:
            self._process = subprocess.Popen(  # noqa: S603 - this interpreter, with our own module
                [sys.executable, "-m", "lacewing_server.testing_process", str(self.owner)],
                stdin=far.fileno(),
                start_new_session=True,  # ^C in a terminal is for the test, which then stops its servers
            )
        atexit.register(self._close)

    @property
    def is_usable(self) -> bool:
        """Whether it is there, and this process's own: one that was there before a fork is the parent's."""
        return self.owner == os.getpid() and self._process.poll() is None

    def start(self, request: dict[str, Any], output: IO[bytes], log: IO[bytes]) -> None:
        """Asks for a server with these as its standard output and error, and the environment as it is now."""
        surroundings = {"cwd": str(Path.cwd()), "environ": dict(os.environ)}
        packed = json.dumps({**request, **surroundings}, default=str).encode()
        with self._lock:
            socket.send_fds(self._control, [struct.pack(">I", len(packed))], [output.fileno(), log.fileno()])
            self._control.sendall(packed)

    def _close(self) -> None:
        self._control.close()
        if self.owner == os.getpid():
            self._process.wait()


_shared: _Nursery | None = None
_shared_lock = threading.Lock()


def _nursery() -> _Nursery:
    """The nursery of this process."""
    global _shared  # noqa: PLW0603 - one for the process
    with _shared_lock:
        if _shared is None or not _shared.is_usable:
            _shared = _Nursery()
        return _shared


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
