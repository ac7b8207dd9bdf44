"""Tasks that keep their word, and some that do not."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from pathlib import Path

from lacewing import Backoff, Cache, NonRecoverableError, current_attempt, task
from lacewing.task import AnyTask

_numbers = itertools.count(1)


@dataclass
class Item:
    """A part of a record."""

    rate: float


@dataclass
class Quote:
    """A record."""

    items: list[Item]


@task(cache=True, timeout=60, isolation="thread")
def steady(n: int) -> int:
    """Keeps its word."""
    return n + 1


@task(cache=True, timeout=60, isolation="thread")
def drifting(n: int) -> Quote:
    """Depends on what it was asked before."""
    return Quote([Item(1.0), Item(n + next(_numbers) / 2)])


@task(cache=Cache(audit_rate=1), timeout=60, isolation="thread")
def watched(n: int) -> int:
    """Is audited at each hit, and does not keep its word."""
    return n + next(_numbers)


@task(cache=True, timeout=60, isolation="thread")
def large(size: int, drifts: bool = False) -> bytes:  # noqa: FBT001, FBT002 it is a task
    """Gives more than fits into a message, and keeps its word unless it drifts."""
    return b"x" * size + (b"%d" % next(_numbers) if drifts else b"")


@task(timeout=60, isolation="thread")
def broken(n: int) -> int:
    """Fails for good."""
    raise NonRecoverableError(f"cannot do {n}", code="Broken")


@task(timeout=60, isolation="thread", idempotent=False)
def once(n: int) -> int:
    """Must not run twice."""
    return n


@task(timeout=60, retries=1, backoff=Backoff(initial=0))
def keyed(path: str) -> list[str]:
    """Gives the idempotency keys of both of its attempts."""
    key = current_attempt().idempotency_key
    if current_attempt().attempt == 1:
        Path(path).write_text(key)
        raise ValueError("once more")
    return [Path(path).read_text(), key]


ALL: list[AnyTask] = [steady, drifting, watched, large, broken, once, keyed]
