"""The processes under fire: a store, three servers, four workers, and links between them; and what can befall them."""

from __future__ import annotations

import asyncio
import importlib.util
import os
import signal
import sys
from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Final

import psutil

from faults import bodies
from faults.history import History, Outage
from faults.program import Program
from faults.proxy import Link
from faults.schedule import LINKS, SERVERS, WORKERS, Fault
from lacewing_server.valkey import EmbeddedValkey

HERE: Final = Path(__file__).parent

GRACE: Final = 1.0
"""How long a body that is told to end may take to do so."""

PREFIX: Final = "lw:{0}:"
"""What all keys in the store begin with."""

# With these the death of a server or worker is noticed within seconds.
_SERVER_SETTINGS: Final = {
    "server-lease": 2,
    "reconnect-grace": 1,
    "lease-duration": 3,
    "heartbeat-interval": 0.5,
    "shutdown-grace": 3,
}
_SLOW_SECONDS: Final = 0.15
_FIRST_PORT: Final = 7401


class World:
    """Everything that runs.

    Args:
        directory: Where data and logs go. Its path is short, for there is a unix socket in it.
        history: Is told of each fault.
    """

    def __init__(self, directory: Path, history: History) -> None:
        self._directory = directory
        self._history = history
        # Always: what was acknowledged must survive its kill. With everysec a second of it may be lost.
        self._start_store = partial(EmbeddedValkey, directory / "valkey", persist=True, fsync="always")
        self._store: EmbeddedValkey | None = None
        self._host = _own_host()
        self._ports = {server: _FIRST_PORT + number for number, server in enumerate(SERVERS)}
        self.links = {name: Link(self._connector(name)) for name in LINKS}
        self.programs: dict[str, Program] = {}
        self._effects: Mapping[str, Callable[[Fault], Awaitable[None]]] = {
            "kill server": self._kill,
            "suspend server": self._suspend,
            "restart server": self._restart,
            "kill worker": self._kill,
            "suspend worker": self._suspend,
            "restart worker": self._restart,
            "kill child": self._kill_child,
            "suspend child": self._suspend_child,
            "kill store": self._kill_store,
            "suspend store": self._suspend_store,
            "cut link": self._cut,
            "slow link": self._slow,
            "freeze link": self._freeze,
        }

    @property
    def redis_url(self) -> str:
        """The address of the store, past all links."""
        return f"unix://{self._directory / 'valkey' / 'valkey.sock'}"

    def client_address(self, server: str) -> str:
        """Where clients reach a server."""
        return f"127.0.0.1:{self.links[f'client-{server}'].port}"

    async def open_links(self) -> None:
        """Opens the links, so that it is known where everything is."""
        for link in self.links.values():
            await link.open()

    async def start(self) -> None:
        """Starts everything, and waits until it works."""
        self._store = await asyncio.to_thread(self._start_store)
        for server in SERVERS:
            self._add(server, self._server_command(server), "serving on")
        await asyncio.gather(*(self.programs[server].up() for server in SERVERS))
        for number, worker in enumerate(WORKERS):
            self._add(worker, self._worker_command(worker, number), "Connected to")
        await asyncio.gather(*(self.programs[worker].up() for worker in WORKERS))

    async def inject(self, fault: Fault) -> None:
        """Lets a fault happen, and waits until what it broke works again."""
        outage: Outage = self._history.begin(fault)
        try:
            await self._effects[fault.kind](fault)
        finally:
            self._history.finish(outage)

    async def stop_workers(self) -> None:
        """Stops the workers in order."""
        await asyncio.gather(*(self.programs[worker].stop() for worker in WORKERS if worker in self.programs))

    async def close(self) -> None:
        """Ends everything, at once."""
        await asyncio.gather(*(program.close() for program in self.programs.values()))
        await asyncio.gather(*(link.close() for link in self.links.values() if link.port))
        if self._store is not None:
            await asyncio.to_thread(self._store.stop)
        self._sweep()

    @staticmethod
    def _sweep() -> None:
        """Removes what the library that makes clocks wrong leaves behind of processes that are killed."""
        for path in Path("/dev/shm").glob("*faketime_*"):
            if not psutil.pid_exists(int(path.name.rpartition("_")[2])):
                path.unlink(missing_ok=True)

    # --- what runs -----------------------------------------------------------------------------------------------

    def _add(self, name: str, command: list[str], sign: str) -> None:
        environment = {name: value for name, value in os.environ.items() if not name.startswith("LACEWING_")}
        environment[bodies.LOG_VARIABLE] = str(self._history.bodies)
        self.programs[name] = Program(name, command, environment, sign, self._directory, _faketime())
        self.programs[name].start()

    def _server_command(self, server: str) -> list[str]:
        settings = {"host": self._host, "port": self._ports[server], "key-prefix": PREFIX, **_SERVER_SETTINGS}
        settings |= {
            "redis": f"redis://127.0.0.1:{self.links[f'redis-{server}'].port}",
            "data-dir": self._directory / "data",
        }
        flags = [part for name, value in settings.items() for part in (f"--{name}", str(value))]
        return [str(Path(sys.executable).with_name("lacewing")), "serve", *flags]

    def _worker_command(self, worker: str, number: int) -> list[str]:
        first = number % len(SERVERS)
        ports = [self.links[f"worker-{server}"].port for server in (*SERVERS[first:], *SERVERS[:first])]
        if worker == "w3":
            return [sys.executable, str(HERE / "unary.py"), ",".join(map(str, ports)), worker, bodies.SHARED]
        address = "ipv4:" + ",".join(f"127.0.0.1:{port}" for port in ports)
        command = [sys.executable, "-m", "lacewing.worker", str(HERE / "bodies.py"), "--address", address]
        command += ["--name", worker, "--slots", "4", "--grace", str(GRACE), "--drain-timeout", "3"]
        command += ["--queue", bodies.SHARED]
        return [*command, "--isolation", "thread"] if worker == "w2" else [*command, "--queue", bodies.KILLABLE]

    def _connector(self, name: str) -> Callable[[], Awaitable[tuple[asyncio.StreamReader, asyncio.StreamWriter]]]:
        kind, _, server = name.partition("-")
        if kind == "redis":
            return partial(asyncio.open_unix_connection, self._directory / "valkey" / "valkey.sock")
        return partial(asyncio.open_connection, self._host, self._ports[server])

    # --- what befalls it -----------------------------------------------------------------------------------------

    async def _kill(self, fault: Fault) -> None:
        await self.programs[fault.target].kill(fault.seconds, fault.skew)

    async def _suspend(self, fault: Fault) -> None:
        await _suspend(self.programs[fault.target].pid, fault.seconds)

    async def _restart(self, fault: Fault) -> None:
        await self.programs[fault.target].restart(fault.seconds, fault.skew)

    async def _kill_child(self, fault: Fault) -> None:
        if (child := self._child(fault)) is not None:
            _signal(child, signal.SIGKILL)

    async def _suspend_child(self, fault: Fault) -> None:
        if (child := self._child(fault)) is not None:
            await _suspend(child.pid, fault.seconds)

    def _child(self, fault: Fault) -> psutil.Process | None:
        """One of the processes below a worker: the one that forks the others, one with a body, or one of a body's."""
        try:
            children = psutil.Process(self.programs[fault.target].pid).children(recursive=True)
        except psutil.NoSuchProcess:
            return None
        return children[fault.number % len(children)] if children else None

    async def _kill_store(self, fault: Fault) -> None:
        assert self._store is not None
        os.kill(self._store.pid, signal.SIGKILL)
        await asyncio.to_thread(self._store.stop)
        await asyncio.sleep(fault.seconds)
        self._store = await asyncio.to_thread(self._start_store)

    async def _suspend_store(self, fault: Fault) -> None:
        assert self._store is not None
        await _suspend(self._store.pid, fault.seconds)

    async def _cut(self, fault: Fault) -> None:
        self.links[fault.target].cut()
        await self._mend(fault)

    async def _slow(self, fault: Fault) -> None:
        self.links[fault.target].delay = _SLOW_SECONDS
        await self._mend(fault)

    async def _freeze(self, fault: Fault) -> None:
        self.links[fault.target].freeze()
        await self._mend(fault)

    async def _mend(self, fault: Fault) -> None:
        await asyncio.sleep(fault.seconds)
        self.links[fault.target].mend()


async def _suspend(pid: int, seconds: float) -> None:
    try:
        process = psutil.Process(pid)
    except psutil.NoSuchProcess:
        return
    _signal(process, signal.SIGSTOP)
    try:
        await asyncio.sleep(seconds)
    finally:
        _signal(process, signal.SIGCONT)


def _signal(process: psutil.Process, number: signal.Signals) -> None:
    """Signals the very process, never one that has its id by now."""
    try:
        process.send_signal(number)
    except psutil.NoSuchProcess:
        return


def _own_host() -> str:
    """An address of the loopback network that is this process's alone: its ports stay free while a server is down."""
    pid = os.getpid()
    return f"127.{64 + (pid >> 16)}.{pid >> 8 & 255}.{pid & 255}"


def _faketime() -> Path:
    """The library that makes the clock of a program wrong."""
    found = importlib.util.find_spec("libfaketime")
    assert found is not None
    assert found.origin is not None
    return Path(found.origin).parent / "vendor" / "libfaketime" / "src" / "libfaketime.so.1"
