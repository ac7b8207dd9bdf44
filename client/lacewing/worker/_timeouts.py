"""The attempt timeouts of all that a worker runs."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from lacewing.worker._attempt import Attempt


class Timeouts:
    """Tells which attempts have run for longer than they may.

    Attempts with the same timeout run out of time in the order in which they began, so that one timer does for all of
    them: one for each attempt would cost more than all else that starting a body does.

    Args:
        ran_out: is told of each.
    """

    def __init__(self, ran_out: Callable[[Attempt], None]) -> None:
        self._ran_out = ran_out
        # That of the first attempt. Asking for it costs a call of the system each time (before Python 3.12).
        self._loop: asyncio.AbstractEventLoop | None = None
        # By timeout in seconds: the attempts, first come first, with the time at which each runs out; and their timer.
        self._running: dict[float, dict[Attempt, float]] = {}
        self._timers: dict[float, asyncio.TimerHandle] = {}

    def begin(self, attempt: Attempt, seconds: float) -> None:
        """Count the time of an attempt from now."""
        loop = self._loop = self._loop or asyncio.get_running_loop()
        due = loop.time() + seconds
        attempt.timeout = seconds
        running = self._running.get(seconds)
        if running is None:
            self._running[seconds] = {attempt: due}
            self._timers[seconds] = loop.call_at(due, self._look, loop, seconds)
        else:
            running[attempt] = due

    def end(self, attempt: Attempt) -> None:
        """Count the time of an attempt no longer."""
        seconds = attempt.timeout
        if seconds is None:
            return
        attempt.timeout = None
        running = self._running.get(seconds)
        if running is not None and running.pop(attempt, None) is not None and not running:
            self._timers.pop(seconds).cancel()
            del self._running[seconds]

    def _look(self, loop: asyncio.AbstractEventLoop, seconds: float) -> None:
        now = loop.time()
        running = self._running[seconds]
        over = []
        for attempt, due in running.items():
            if due > now:
                self._timers[seconds] = loop.call_at(due, self._look, loop, seconds)
                break
            over.append(attempt)
        else:
            del self._running[seconds], self._timers[seconds]
        for attempt in over:
            running.pop(attempt, None)
            if attempt.timeout is not None:
                attempt.timeout = None
                self._ran_out(attempt)
