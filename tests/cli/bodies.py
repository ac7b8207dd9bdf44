"""The tasks that the tests of the command line run."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import Enum
from pathlib import Path
from typing import NamedTuple

from lacewing import Backoff, NonRecoverableError, current_attempt, task
from lacewing.task import AnyTask, RateLimit


class Color(Enum):
    """A choice."""

    RED = "red"
    GREEN = "green"


@dataclass
class Order:
    """A record."""

    item: str
    count: int = 1


class Bounds(NamedTuple):
    """Two outputs with names."""

    low: int
    high: int


@task(cache=True, timeout=60)
def add(a: int, b: int = 2) -> int:
    """Adds two numbers.

    Args:
        a: The first number.
        b: The second number.
    """
    return a + b


@task(timeout=60)
def bounds(values: list[int]) -> Bounds:
    """Finds the smallest and the largest."""
    return Bounds(min(values), max(values))


@task(timeout=60)
def describe(
    names: list[str],
    order: Order,
    color: Color,
    tags: dict[str, int] = {},  # noqa: B006 it is a default that nobody changes
    loud: bool = False,  # noqa: FBT001, FBT002 it is a task
    rate: float = 0.5,
    note: str | None = None,
    when: datetime | None = None,
    pause: timedelta = timedelta(seconds=1),
    data: bytes = b"",
    either: int | str = 0,
) -> str:
    """Says in JSON what it was given."""
    return json.dumps(
        {
            "names": names,
            "order": [order.item, order.count],
            "color": color.value,
            "tags": tags,
            "loud": loud,
            "rate": rate,
            "note": note,
            "when": when.isoformat() if when else None,
            "pause": pause.total_seconds(),
            "data": data.decode(),
            "either": either,
        }
    )


@task(timeout=60)
def named(name: str, timeout: int = 1, help: str = "none") -> str:  # noqa: A002 its inputs have the names of options
    """Has inputs that are named like options."""
    return f"{name} {timeout} {help}"


@task(timeout=60, max_losses=1, max_queued=10, max_concurrency=3, rate_limit=RateLimit(count=100, period=60))
def underscored(dry_run: bool, max_items: int = 1) -> str:  # noqa: FBT001 it is a task
    """Has inputs with underscores."""
    return f"{dry_run} {max_items}"


@task(timeout=60)
def nothing() -> None:
    """Gives nothing."""


@task(timeout=60)
def broken(why: str = "bad luck") -> None:
    """Fails for good."""
    print("before it breaks")
    try:
        _ = dict[str, int]()["missing"]
    except KeyError as error:
        raise NonRecoverableError(f"because of {why}", code="Broken") from error


@task(timeout=60, retries=1, backoff=Backoff(initial=0))
def flaky() -> int:
    """Fails at the first attempt."""
    if current_attempt().attempt == 1:
        raise ValueError("not yet \x1b[31mred\x1b[0m")
    return 1


@task(timeout=60)
def gated(folder: str) -> str:
    """Says that it has begun, and waits for a file that lets it end."""
    Path(folder, "begun").touch()
    while not Path(folder, "open").exists():
        time.sleep(0.01)
    return "open"


@task(timeout=60, queue="nobody", max_queued=1)
def waiting(a: int = 0) -> int:
    """Is in a queue that no worker serves."""
    return a


ALL: list[AnyTask] = [add, bounds, describe, named, underscored, nothing, broken, flaky, gated]
