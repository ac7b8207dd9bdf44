"""Graphs for tests of several servers, made of one task that can be held, and counts how often it runs."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Final

import lacewing
from lacewing.task import AnyTask

_PATIENCE: Final = 30.0

runs: list[str] = []
"""The labels of the steps that have begun, in order."""

_held: dict[str, threading.Event] = {}


@contextmanager
def holding(label: str) -> Iterator[threading.Event]:
    """Forgets earlier runs, and holds steps of a label until the event is set, or the block ends."""
    runs.clear()
    _held[label] = threading.Event()
    try:
        yield _held[label]
    finally:
        _held.pop(label).set()


@lacewing.task(name="step", isolation="thread")
def step(label: str, n: int = 0) -> int:
    """Returns the next number."""
    runs.append(label)
    if (door := _held.get(label)) is not None and not door.wait(_PATIENCE):
        raise TimeoutError(label)
    return n + 1


@lacewing.task(name="numbered", isolation="thread")
def numbered(n: int) -> int:
    """A step that is labelled with its number."""
    return step.function(str(n), n)


@lacewing.task(name="odd", isolation="thread")
def odd(n: int) -> int:
    """Returns an odd number, and fails with others."""
    step.function(str(n))
    if n % 2 == 0:
        raise lacewing.NonRecoverableError(f"{n} is even")
    return n


@lacewing.task(name="total", isolation="thread")
def total(numbers: list[int]) -> int:
    """Returns the sum."""
    return step.function("total", sum(numbers)) - 1


@lacewing.task(name="known", isolation="thread")
def known(numbers: list[int | None]) -> int:
    """Returns the sum of what is known."""
    return step.function("total", sum(number for number in numbers if number is not None)) - 1


def _chain(n: int) -> int:
    """Three steps, one after the other."""
    return step("after", step("held", step("before", n)))


def _fan(n: int) -> int:
    """Four steps at once, and their sum."""
    return total([step("before", n), step("held", n), step("beside", n), step("before", n)])


def _array(n: int) -> int:
    """A step for each element of a list that is known when a step has run."""
    first = step("before", n)
    return total(lacewing.map_task(numbered)(n=[first, 10, 20]))


def _failing(n: int) -> int:
    """An array of which elements may fail."""
    return known(lacewing.map_task(odd, min_success_ratio=0.5)(n=[n, 10, 21]))


def _branch(n: int) -> int:
    """A choice by what a step gives."""
    chosen = lacewing.conditional("which").if_(step("before", n) == n).then(step, "wrong").else_().then(step, "held", n)
    return step("after", chosen)


@lacewing.dynamic(name="inner", isolation="thread")
def inner(n: int) -> int:
    """A graph in a graph."""
    return _chain(step("inside", n))


@lacewing.workflow(name="innermost")
def innermost(n: int) -> int:
    """A graph in that."""
    return inner(n)


@lacewing.reference_task("innermost")
def deep(n: int) -> int:
    """The graph in a graph, as whoever has registered it."""
    raise NotImplementedError


def _nested(n: int) -> int:
    """A graph in a graph in a graph."""
    return total([deep(n), step("beside", n)])


EXPECTED: Final[dict[str, tuple[int, dict[str, int], str]]] = {
    "chain": (4, {"before": 1, "held": 1, "after": 1}, "held"),
    "fan": (8, {"before": 2, "held": 1, "beside": 1, "total": 1}, "held"),
    "array": (35, {"before": 1, "2": 1, "10": 1, "20": 1, "total": 1}, "10"),
    "failing": (22, {"1": 1, "10": 1, "21": 1, "total": 1}, "10"),
    "branch": (3, {"before": 1, "held": 1, "after": 1}, "held"),
    "nested": (7, {"inside": 1, "before": 1, "held": 1, "after": 1, "beside": 1, "total": 1}, "held"),
}
"""What each shape gives for 1, how often each of its steps runs, and which one is held."""

_SHAPES: Final = {
    "chain": _chain,
    "fan": _fan,
    "array": _array,
    "failing": _failing,
    "branch": _branch,
    "nested": _nested,
}
WORKFLOWS: Final = {name: lacewing.workflow(name=f"workflow-{name}")(each) for name, each in _SHAPES.items()}
"""The shapes as workflows."""
DYNAMICS: Final = {
    name: lacewing.dynamic(name=f"dynamic-{name}", isolation="thread")(each) for name, each in _SHAPES.items()
}
"""The shapes as dynamic tasks."""


@lacewing.workflow(name="gated")
def gated(n: int) -> int:
    """Waits for people between steps."""
    given = lacewing.wait_for_input("number", int)
    agreed = lacewing.approve(step("before", n), "agree")
    return step("after", total([agreed, given]))


@lacewing.workflow(name="sleeping")
def sleeping(n: int) -> int:
    """Waits for time between steps."""
    before = step("before", n)
    pause = lacewing.sleep(timedelta(seconds=2))
    after = step("after", n)
    lacewing.in_order(before, pause, after)
    return total([before, after])


@lacewing.workflow(name="hurried", deadline=2.0)
def hurried(n: int) -> int:
    """Has not much time."""
    return deep(n)


@lacewing.workflow(name="wide")
def wide(numbers: list[int]) -> int:
    """A step for each number, twice."""
    return total(lacewing.map_task(numbered)(n=lacewing.map_task(numbered)(n=numbers)))


STEPS: Final[list[AnyTask]] = [step, numbered, odd, total, known]
"""What is no graph."""

ALL: Final[list[AnyTask]] = [
    *(*STEPS, inner, innermost, gated, sleeping, hurried, wide),
    *WORKFLOWS.values(),
    *DYNAMICS.values(),
]
"""Everything."""
