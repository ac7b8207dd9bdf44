"""The zygote as the worker sees it: a process to start, and to give orders to."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import sys
from collections.abc import Mapping
from typing import Any, Protocol

from lacewing.worker._attempt import WorkerStartError
from lacewing.worker._zygote import ZygoteSettings

_BOOT = "import sys; sys.path[:] = sys.argv[2:]; from lacewing.worker._zygote import main; main(int(sys.argv[1]))"
_RECEIVE_BYTES = 64 * 1024
_CLOSE_SECONDS = 10.0


class ZygoteListener(Protocol):
    """Is told what the zygote tells. Every method is called on the event loop."""

    def child_forked(self, child: int, process: int) -> None:
        """A child runs, under this process id."""

    def child_ended(self, child: int, code: int) -> None:
        """A child ended with an exit code, or, if negative, by a signal."""

    def child_refused(self, child: int, why: str) -> None:
        """A child could not be forked."""

    def zygote_ended(self) -> None:
        """The zygote ended although it was not closed; its children are ending too."""


class ZygoteProcess:
    """A running zygote.

    Args:
        settings: what it is told at its start.
        listener: is told of its children.
    """

    def __init__(self, settings: ZygoteSettings, listener: ZygoteListener) -> None:
        self._settings = settings
        self._listener = listener
        self._process: asyncio.subprocess.Process | None = None
        self._control: socket.socket | None = None
        self._reading: asyncio.Task[None] | None = None
        self._received = bytearray()

    async def start(self) -> None:
        """Start it and wait until it has imported the tasks.

        Raises:
            WorkerStartError: if they cannot be imported.
        """
        control, theirs = socket.socketpair()
        control.setblocking(False)
        self._control = control
        with theirs:
            self._process = await asyncio.create_subprocess_exec(
                sys.executable,
                "-c",
                _BOOT,
                str(theirs.fileno()),
                *map(str, sys.path),
                pass_fds=[theirs.fileno()],
                stdin=asyncio.subprocess.DEVNULL,
            )
        self._order(dict(self._settings))
        first = await self._read_line()
        if first is None or "failed" in first:
            await self.close()
            why = "the process ended" if first is None else first["failed"]
            raise WorkerStartError(f"the tasks cannot be imported into a child process: {why}")
        self._reading = asyncio.create_task(self._read(), name="lacewing zygote")

    def fork(self, child: int, connection: socket.socket, log: int) -> None:
        """Order a child, and pass it the connection and the log pipe. Both are closed here."""
        try:
            self._order({"fork": child}, [connection.fileno(), log])
        finally:
            connection.close()
            os.close(log)

    def signal(self, child: int, number: signal.Signals) -> None:
        """Order that a child and all of its process group get a signal. Nothing happens if it has ended."""
        self._order({"signal": child, "number": number})

    async def close(self) -> None:
        """End it, and with it every child and all that they started."""
        if self._reading is not None:
            self._reading.cancel()
        if self._control is not None:
            self._control.close()
            self._control = None
        if self._process is None:
            return
        try:
            await asyncio.wait_for(self._process.wait(), _CLOSE_SECONDS)
        except TimeoutError:
            self._process.kill()
            await self._process.wait()

    def _order(self, message: Mapping[str, Any], descriptors: list[int] | None = None) -> None:
        if self._control is None or self._process is None:
            return
        data = json.dumps(message).encode() + b"\n"
        try:
            sent = socket.send_fds(self._control, [data], descriptors or [])
        except (BrokenPipeError, ConnectionResetError):
            return  # It ended; the reading side tells the listener.
        except BlockingIOError:
            sent = 0
        if sent < len(data) and self._process.returncode is None:
            self._process.kill()  # It takes no orders any more. The reading side sees its end.

    async def _read(self) -> None:
        while (message := await self._read_line()) is not None:
            if "ended" in message:
                self._listener.child_ended(message["ended"], message["code"])
            elif "forked" in message:
                self._listener.child_forked(message["forked"], message["process"])
            else:
                self._listener.child_refused(message["refused"], message["why"])
        self._listener.zygote_ended()

    async def _read_line(self) -> dict[str, Any] | None:
        loop = asyncio.get_running_loop()
        while b"\n" not in self._received:
            if self._control is None:
                return None
            try:
                data = await loop.sock_recv(self._control, _RECEIVE_BYTES)
            except ConnectionResetError:
                return None
            if not data:
                return None
            self._received += data
        line, _, rest = self._received.partition(b"\n")
        self._received = bytearray(rest)
        message: dict[str, Any] = json.loads(line)
        return message
