"""One process that is started again whenever it has ended, as an init does."""

from __future__ import annotations

import asyncio
import signal
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from faults import bodies

_PAUSE: Final = 0.2
_LOOK: Final = 0.02
_READY_SECONDS: Final = 60.0
_STOP_SECONDS: Final = 30.0


class Program:
    """A program.

    Args:
        name: What it is called.
        command: Its command line.
        environment: Its environment.
        sign: What it writes when it is ready.
        directory: Where its logs go, one for each start.
        faketime: The library that makes its clock wrong.

    Attributes:
        incarnation: What its present start is called.
        endings: When it ended although nobody told it to, and with which exit code.
        late: What it did not do in time.
        is_over: Whether it was ended for good.
    """

    def __init__(
        self,
        name: str,
        command: list[str],
        environment: Mapping[str, str],
        sign: str,
        directory: Path,
        faketime: Path,
    ) -> None:
        self.name = name
        self.incarnation = f"{name}-0"
        self.endings: list[tuple[float, int, Path]] = []
        self.late: list[str] = []
        self.is_over = False
        self._command = command
        self._environment = environment
        self._sign = sign
        self._directory = directory
        self._faketime = faketime
        self._starts = 0
        self._skew = 0.0
        self._one_at_a_time = asyncio.Lock()
        self._wanted = asyncio.Event()
        self._wanted.set()
        self._process: asyncio.subprocess.Process | None = None
        self._supervising: asyncio.Task[None] | None = None

    @property
    def pid(self) -> int:
        """The id of its process, which may have ended."""
        assert self._process is not None
        return self._process.pid

    @property
    def logs(self) -> list[Path]:
        """What it wrote, one file for each start."""
        return sorted(self._directory.glob(f"{self.name}-*.log"))

    def start(self) -> None:
        """Starts it, and again whenever it has ended."""
        self._supervising = asyncio.create_task(self._supervise(), name=self.name)

    async def up(self) -> None:
        """Waits until it is ready."""
        end = time.monotonic() + _READY_SECONDS
        while time.monotonic() < end:
            log = self._log()
            if self._wanted.is_set() and log.exists() and self._sign in log.read_text(errors="replace"):
                return
            await asyncio.sleep(_LOOK)
        self.late.append(f"{self.incarnation} was not ready within {_READY_SECONDS:g} s; see {self._log()}")

    async def kill(self, seconds: float, skew: float) -> None:
        """Ends it by SIGKILL, and starts it so much later with its clock wrong by so much."""
        async with self._one_at_a_time:
            await self._end(signal.SIGKILL)
            await self._again(seconds, skew)

    async def restart(self, seconds: float, skew: float) -> None:
        """Tells it to end, and starts it so much later with its clock wrong by so much."""
        async with self._one_at_a_time:
            await self._end(signal.SIGTERM)
            await self._again(seconds, skew)

    async def stop(self) -> None:
        """Tells it to end, for good."""
        self.is_over = True
        await self._end(signal.SIGTERM)

    async def close(self) -> None:
        """Ends it at once, for good."""
        self.is_over = True
        await self._end(signal.SIGKILL)
        if self._supervising is not None:
            self._supervising.cancel()
            await asyncio.gather(self._supervising, return_exceptions=True)

    def _log(self) -> Path:
        return self._directory / f"{self.incarnation}.log"

    async def _end(self, number: signal.Signals) -> None:
        self._wanted.clear()
        process = self._process
        if process is None or process.returncode is not None:
            return
        process.send_signal(number)
        try:
            async with asyncio.timeout(_STOP_SECONDS):
                await process.wait()
        except TimeoutError:
            self.late.append(f"{self.incarnation} had not ended {_STOP_SECONDS:g} s after {number.name}")
            process.kill()
            await process.wait()

    async def _again(self, seconds: float, skew: float) -> None:
        await asyncio.sleep(seconds)
        before, self._skew = self.incarnation, skew
        self._wanted.set()
        while self.incarnation == before:
            await asyncio.sleep(_LOOK)
        await self.up()

    async def _supervise(self) -> None:
        while True:
            await self._wanted.wait()
            self._starts += 1
            self.incarnation = f"{self.name}-{self._starts}"
            environment = {**self._environment, bodies.INCARNATION_VARIABLE: self.incarnation}
            if self._skew:
                environment |= {
                    "LD_PRELOAD": str(self._faketime),
                    "FAKETIME": f"{self._skew:+g}",
                    "FAKETIME_DONT_FAKE_MONOTONIC": "1",  # Timers have to go on; only the time of day is wrong.
                }
            with self._log().open("wb") as log:
                self._process = await asyncio.create_subprocess_exec(
                    *self._command,
                    stdin=asyncio.subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    env=environment,
                    start_new_session=True,
                )
            code = await self._process.wait()
            if self._wanted.is_set():
                self.endings.append((time.monotonic(), code, self._log()))
                sys.stderr.write(f"{self.incarnation} ended by itself with exit code {code}; see {self._log()}\n")
                await asyncio.sleep(_PAUSE)
