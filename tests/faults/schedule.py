"""Which faults come when: made of a seed, before anything runs."""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

SERVERS: Final = ("s0", "s1", "s2")
"""The servers."""

PROCESS_WORKERS: Final = ("w0", "w1")
"""The workers with child processes."""

WORKERS: Final = (*PROCESS_WORKERS, "w2", "w3")
"""All workers: w2 runs bodies in threads, w3 is none of the SDK and makes unary calls."""

STORE: Final = "valkey"
"""The store."""

LINKS: Final = tuple(f"{kind}-{server}" for kind in ("client", "worker", "redis") for server in SERVERS)
"""The connections: of clients and of workers to each server, and of each server to the store."""

SKEWS: Final = (0.0, 0.0, 45.0, -45.0, 3_600.0, -86_400.0)
"""By how many seconds the clock of a server or worker may be wrong."""

MEAN_PAUSE: Final = 1.3
"""How many seconds come between two faults, on average, unless otherwise said."""

_LEAST_PAUSE: Final = 0.2
# Longer than any lease, so that who comes back from the dead finds its work done by others.
_LONG: Final = (0.3, 8.0)


@dataclass(frozen=True, slots=True)
class Fault:
    """One fault."""

    at: float
    """When, in seconds from the start of the load."""
    kind: str
    """What: a kind of :data:`KINDS`."""
    target: str
    """Whose."""
    seconds: float
    """How long: until what was killed starts again, what was suspended goes on, a link is as before."""
    number: int = 0
    """Which child of a worker: counted from 0, taken modulo how many there are."""
    skew: float = 0.0
    """How wrong the clock of what starts again is."""

    def __str__(self) -> str:
        skew = f" skew {self.skew:+g} s" if self.skew else ""
        return f"{self.kind} {self.target} for {self.seconds:.2f} s{skew}"


KINDS: Final[Mapping[str, tuple[int, tuple[str, ...], tuple[float, float]]]] = {
    "kill server": (4, SERVERS, (0.1, 5.0)),
    "suspend server": (4, SERVERS, _LONG),
    "restart server": (2, SERVERS, (0.0, 1.0)),
    "kill worker": (4, WORKERS, (0.1, 4.0)),
    "suspend worker": (4, WORKERS, _LONG),
    "restart worker": (2, WORKERS, (0.0, 1.0)),
    "kill child": (3, PROCESS_WORKERS, (0.0, 0.0)),
    "suspend child": (2, PROCESS_WORKERS, _LONG),
    "kill store": (2, (STORE,), (0.1, 3.0)),
    "suspend store": (1, (STORE,), (0.2, 4.0)),
    "cut link": (5, LINKS, (0.0, 3.0)),
    "slow link": (4, LINKS, (1.0, 8.0)),
    "freeze link": (4, LINKS, (0.5, 7.0)),
}
"""By kind: how likely, whose, and for how long."""

_SKEWED: Final = frozenset({"kill server", "restart server", "kill worker", "restart worker"})


def schedule(seed: int, duration: float, pause: float = MEAN_PAUSE) -> list[Fault]:
    """The faults of so many seconds, in order; the same for the same arguments. None comes to a target that has one."""
    chance = random.Random(seed)
    kinds, weights = list(KINDS), [weight for weight, _, _ in KINDS.values()]
    faults: list[Fault] = []
    busy: dict[str, float] = {}
    now = 0.0
    while True:
        now += max(_LEAST_PAUSE, chance.expovariate(1 / pause))
        if now >= duration:
            return faults
        (kind,) = chance.choices(kinds, weights)
        _, targets, (least, most) = KINDS[kind]
        target = chance.choice(targets)
        fault = Fault(
            round(now, 3),
            kind,
            target,
            round(min(chance.uniform(least, most), duration - now), 3),
            chance.randrange(1_000),
            chance.choice(SKEWS) if kind in _SKEWED else 0.0,
        )
        if busy.get(target, 0.0) <= now:
            # What starts again needs a moment to be worth another fault.
            busy[target] = now + fault.seconds + 1.0
            faults.append(fault)
