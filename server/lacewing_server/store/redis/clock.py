"""What time it is for Redis, estimated between its answers."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final

_TRUST_SECONDS: Final = 60.0
"""How long an estimate counts for more than a later one that is behind it: until then clocks drift by milliseconds."""


class RedisClock:
    """Redis's clock, estimated from its answers.

    An answer may have been long on its way, through a slow connection or to a server that stood still. It never tells a
    time that has not come yet, so of the recent ones that which is furthest ahead was the quickest.
    """

    def __init__(self, monotonic: Callable[[], float] = time.monotonic) -> None:
        """Begins with this machine's time, until Redis has answered."""
        self._monotonic = monotonic
        self._offset = time.time() - monotonic()
        self._learned = float("-inf")

    def learn(self, now_ms: int) -> None:
        """Takes note of the time in an answer that has just come."""
        heard = self._monotonic()
        offset = now_ms / 1000 - heard
        if offset >= self._offset or heard - self._learned > _TRUST_SECONDS:
            self._offset, self._learned = offset, heard

    def now_ms(self) -> int:
        """The time in milliseconds since the epoch."""
        return int((self._monotonic() + self._offset) * 1000)
