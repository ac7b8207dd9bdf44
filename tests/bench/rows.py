"""What a benchmark finds, and what it is measured by."""

from __future__ import annotations

import statistics
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from bench.world import Measured
else:
    from world import Measured  # the module beside this one


@dataclass(frozen=True, slots=True)
class Row:
    """One figure. `ok` is None for a figure without a budget."""

    name: str
    value: float
    unit: str
    baseline: str = ""
    """What the ratio is to."""
    ratio: float | None = None
    budget: str = ""
    ok: bool | None = None
    redis_get_ratio: float | None = None
    """The ratio to a `GET` of Redis, where that says something."""


@dataclass(frozen=True, slots=True)
class Budget:
    """A bound of a figure, or of its ratio."""

    sign: str
    bound: float

    def holds(self, value: float) -> bool:
        """Whether a value keeps it."""
        return value <= self.bound if self.sign == "≤" else value >= self.bound

    def __str__(self) -> str:
        return f"{self.sign} {self.bound:g}"


def at_most(bound: float) -> Budget:
    """A budget from above."""
    return Budget("≤", bound)


def at_least(bound: float) -> Budget:
    """A budget from below."""
    return Budget("≥", bound)


class Rounds:
    """What was measured in turns, so that a busy moment of the machine meets both sides of a ratio."""

    def __init__(self) -> None:
        self._rounds: list[dict[str, Measured]] = []

    def add(self, measured: dict[str, Measured]) -> None:
        """Add a round."""
        self._rounds.append(measured)

    def median(self, case: str, figure: Callable[[Measured], float]) -> float:
        """The median of a figure."""
        return statistics.median(figure(each[case]) for each in self._rounds)

    def ratio(self, case: str, other: str, figure: Callable[[Measured], float]) -> float:
        """The median of the ratios to another case of the same round."""
        return statistics.median(figure(each[case]) / figure(each[other]) for each in self._rounds)


def p50(measured: Measured) -> float:
    """The median time of a call."""
    return measured.p50_us


def rate(measured: Measured) -> float:
    """Calls per second."""
    return measured.rate


def cost_of(process: str) -> Callable[[Measured], float]:
    """The processor time of a process per call."""
    return lambda measured: measured.cpu_us[process]
