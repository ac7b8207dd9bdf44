"""Whose turn it is when several queues want the same workers: projects take turns, and in a project its queues."""

from __future__ import annotations

import itertools
import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

from lacewing_server.domain.offers import QueueEntry


class Turns:
    """Remembers who was served last.

    Fairness is between those who want something now: who had nothing to do has saved up nothing.
    """

    def __init__(self) -> None:
        self._clock = itertools.count(1)
        self._projects: dict[str, int] = {}
        self._queues: dict[bytes, int] = {}

    def in_turn(self, queues: Iterable[bytes], catalog: Mapping[bytes, QueueEntry]) -> list[bytes]:
        """Queues in the order of their turns: the one whose project, and which itself, was served longest ago first."""
        return sorted(
            queues, key=lambda queue: (self._projects.get(catalog[queue].project, 0), self._queues.get(queue, 0))
        )

    def share(self, queue: bytes, rivals: Sequence[bytes], credit: int, catalog: Mapping[bytes, QueueEntry]) -> int:
        """Takes a turn.

        Args:
            queue: Who takes it.
            rivals: The queues that want something, this one perhaps among them.
            credit: How much there is.
            catalog: What is known of queues.

        Returns:
            How much of the credit it may have: at least 1, all of it if there are no rivals.
        """
        project = catalog[queue].project
        now = next(self._clock)
        self._projects[project] = self._queues[queue] = now
        wanting = Counter(catalog[each].project for each in {*rivals, queue})
        return max(1, math.ceil(credit / len(wanting) / wanting[project]))
