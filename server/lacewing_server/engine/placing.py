"""Who is given what is leased at once: whoever has most room, and as few as is fair, because each costs a message."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from heapq import heapify, heappop, heappush
from operator import attrgetter
from typing import Final, Protocol, TypeVar

_LATELY_SECONDS: Final = 0.1
_credit: Final = attrgetter("credit")


class Place(Protocol):
    """Whoever can be given something."""

    credit: int
    """How much."""


_Place = TypeVar("_Place", bound=Place)


class Placing:
    """The rule, and what it remembers of queues."""

    def __init__(self) -> None:
        self._levels: dict[bytes, tuple[int, float]] = {}
        """By queue, the least credit that its places had on average lately, and when that is long ago."""

    def of_one(self, places: Sequence[_Place]) -> _Place | None:
        """Takes credit for one execution: of who has most, if anybody has some."""
        place = max(places, key=_credit, default=None)
        if place is None or not place.credit:
            return None
        place.credit -= 1
        return place

    def of_many(self, queue: bytes, count: int, places: Sequence[_Place], now: float) -> Iterator[_Place]:
        """Takes credit for so many executions of a queue, as far as there is any; yields whose, one after the other.

        Who has most credit comes first. Each place gets as much at a time as leaves it what all have on average: so
        what is few goes to as many, nobody gets more than their part, and of much each gets its part in one message.
        """
        average = max(sum(each.credit for each in places) - count, 0) // max(len(places), 1)
        return _richest(places, self._level(queue, average, now))

    def of_unknown(self, places: Sequence[_Place]) -> Iterator[_Place]:
        """Does as `of_many` when it is not known how many there are: the first ones go to as many as possible."""
        return _richest(places, math.inf)

    def _level(self, queue: bytes, average: int, now: float) -> int:
        """The least of the average credit now and what it was lately.

        Short tasks come and go in waves: what is free in a trough is taken at the next crest.
        """
        least, end = self._levels.get(queue, (average, now))
        if now < end and least < average:
            return least
        self._levels[queue] = average, now + _LATELY_SECONDS
        return average


def _richest(places: Sequence[_Place], level: float) -> Iterator[_Place]:
    """Takes the credit of who has most down to a level, or if it is below that, one; and so on."""
    heap = [(-each.credit, number) for number, each in enumerate(places) if each.credit]
    heapify(heap)
    while heap:
        number = heappop(heap)[1]
        place = places[number]
        least = max(min(level, place.credit - 1), 0)  # somebody else may have taken all of it
        while place.credit > least:
            place.credit -= 1
            yield place
        if place.credit:
            heappush(heap, (-place.credit, number))
