"""Every order of events between two servers and two workers: one outcome is recorded, and there is one in the end."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import redis

from lacewing_server.domain import lifecycle
from lacewing_server.domain.record import ExecutionRecord
from lacewing_server.store.redis import codec
from lacewing_server.store.redis.scripts import prelude
from lacewing_server.store.redis.transitions import lease_guard, owner_guard, revision_guard
from lacewing_server.valkey import EmbeddedValkey
from model.leases import Guard, Model, Record, State, World, admits, canonical, first_world

# Tens of thousands of worlds take a while on a busy machine.
pytestmark = pytest.mark.timeout(300)

Check = Callable[[World], bool]


class Explored:
    """All worlds that can be reached, and how."""

    def __init__(self, model: Model, start: World) -> None:
        start = canonical(start)
        self._from: dict[World, tuple[World, str] | None] = {start: None}
        self._before: dict[World, list[World]] = {}
        ahead = deque([start])
        while ahead:
            world = ahead.popleft()
            for step, after in model.steps(world):
                following = canonical(after)
                self._before.setdefault(following, []).append(world)
                if following not in self._from:
                    self._from[following] = (world, step)
                    ahead.append(following)

    @property
    def worlds(self) -> Iterator[World]:
        """The worlds."""
        return iter(self._from)

    def story(self, world: World) -> list[str]:
        """A shortest way to a world."""
        steps: list[str] = []
        while (origin := self._from[world]) is not None:
            world, step = origin
            steps.append(step)
        return steps[::-1]

    def leading_to(self, holds: Check) -> set[World]:
        """The worlds from which one can be reached that a check holds for."""
        found = {world for world in self._from if holds(world)}
        ahead = list(found)
        while ahead:
            for world in self._before.get(ahead.pop(), ()):
                if world not in found:
                    found.add(world)
                    ahead.append(world)
        return found


def _violation(model: Model, start: World, is_bad: Check) -> list[str] | None:
    """A shortest way to something bad, if there is one."""
    explored = Explored(model, start)
    return next((explored.story(world) for world in explored.worlds if is_bad(world)), None)


def _is_bad(world: World) -> bool:
    return world.ends > 1 or world.stale or world.robbed


EVILS = {
    "each is killed once": first_world(kills=2, worker_kills=2),
    "streams break, and a server is taken for dead": first_world(breaks=2, suspicions=1),
    "a clock runs out meanwhile": first_world(breaks=1, suspicions=1, judgements=1),
    "a server is killed and a stream breaks while a clock runs out": first_world(kills=1, breaks=1, judgements=1),
    "a worker is killed, and a server is taken for dead while a clock runs out": first_world(
        worker_kills=1, suspicions=1, judgements=1
    ),
    "a server and a worker are killed while a clock runs out": first_world(kills=1, worker_kills=1, judgements=1),
}


@pytest.fixture(scope="module", params=EVILS)
def explored(request: pytest.FixtureRequest) -> Explored:
    """Everything that can happen under some evils."""
    return Explored(Model(), EVILS[request.param])


def test_one_outcome_is_recorded(explored: Explored) -> None:
    """Once, by the current lease, and no lease is taken from who holds it by who no longer does."""
    bad = next((world for world in explored.worlds if _is_bad(world)), None)
    assert bad is None, explored.story(bad)


def test_there_is_an_end_from_everywhere(explored: Explored) -> None:
    """Whatever has happened, the execution can still come to its end: nothing is stuck."""
    ending = explored.leading_to(lambda world: world.record.state is State.ENDED)
    stuck = next((world for world in explored.worlds if world not in ending), None)
    assert stuck is None, explored.story(stuck)


def test_every_worker_is_free_again_in_the_end(explored: Explored) -> None:
    """Also one that comes back from the dead with a result that nobody wants."""
    free = explored.leading_to(lambda world: not any(worker.held or worker.offered for worker in world.workers))
    held = next((world for world in explored.worlds if world not in free), None)
    assert held is None, explored.story(held)


def _forgetting(part: str) -> Callable[[Record, Guard], bool]:
    """The guard without a part of it."""

    def careless(record: Record, guard: Guard) -> bool:
        if part == "terminal":
            return admits(record._replace(state=State.RUNNING), guard._replace(revision=None))
        if part == "nonce" and guard.revision is None:
            guard = guard._replace(nonce=record.nonce)
        if part == "revision" and guard.revision is not None:
            return admits(record, Guard(revision=record.revision))
        return admits(record, guard._replace(owner=None) if part == "owner" else guard)

    return careless


@pytest.mark.parametrize("part", ["terminal", "nonce", "owner", "revision"])
def test_without_a_part_of_the_guard_something_breaks(part: str) -> None:
    """The model finds what each part is good for: a check that cannot fail says nothing."""
    stories = (_violation(Model(_forgetting(part)), start, _is_bad) for start in EVILS.values())
    assert any(story is not None for story in stories)


@pytest.mark.parametrize("state", list(State))
def test_the_guard_of_the_model_is_that_of_the_scripts(state: State, tmp_path: Path) -> None:
    """For every combination of what a guard asks and a record has: the same answer as `admitted` in Lua."""
    states = {State.QUEUED: lifecycle.QUEUED, State.RUNNING: lifecycle.RUNNING, State.ENDED: lifecycle.SUCCEEDED}
    valkey = EmbeddedValkey(tmp_path, persist=False)
    client = redis.Redis.from_url(valkey.url)
    try:
        for record, guard, packed in _combinations(state):
            stored = ExecutionRecord(
                bytes(12),
                states[state],
                b"",
                revision=record.revision,
                nonce=bytes([record.nonce]) * 8,
                owner=bytes([record.owner or 0]) * 8,
            )
            script = f"{prelude()}return admitted({{struct.unpack(HEADER, ARGV[2])}}, ARGV[3]) and 1 or 0"
            header = codec.pack_record(stored)[: codec.HEADER_BYTES]
            answer = client.eval(script, 1, "m:{0}:", b"server-A", header, packed)
            assert bool(answer) == admits(record, guard), (record, guard)
    finally:
        client.close()
        valkey.stop()


def _combinations(state: State) -> Iterator[tuple[Record, Guard, bytes]]:
    for nonce in (1, 2):
        for owner in (1, 2):
            record = Record(state, 3, nonce, owner)
            yield record, Guard(nonce=1), lease_guard(bytes([1]) * 8)
            yield record, Guard(nonce=1, owner=1), owner_guard(bytes([1]) * 8, bytes([1]) * 8)
    for revision in (3, 4):
        yield Record(state, 3, 1, 1), Guard(revision=revision), revision_guard(revision)
