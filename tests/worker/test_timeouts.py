"""The clock of the attempt timeouts."""

from __future__ import annotations

import asyncio

import pytest

from lacewing.worker._attempt import Attempt
from lacewing.worker._timeouts import Timeouts
from worker import bodies
from worker.leases import lease


def attempt() -> Attempt:
    return Attempt(lease(bodies.add_on_loop, a=1), bodies.add_on_loop)


@pytest.fixture
def ran_out() -> list[Attempt]:
    return []


async def until_quiet(timeouts: Timeouts) -> None:
    """Waits until no time is counted, and asserts that no timer is left."""
    async with asyncio.timeout(5):
        while timeouts._running:
            await asyncio.sleep(0.005)
    assert not timeouts._timers


class Clock:
    """The clock of the loop, which stands still but for what it is advanced by."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self._now = 1_000.0
        patch.setattr(asyncio.get_running_loop(), "time", lambda: self._now)

    async def advance(self, seconds: int) -> None:
        """Lets time pass, and what is due then happen."""
        self._now += seconds
        for _ in range(3):
            await asyncio.sleep(0)


async def test_each_attempt_runs_out_of_its_own_time(ran_out: list[Attempt], monkeypatch: pytest.MonkeyPatch) -> None:
    """Attempts are told of when their time is over and not before, whatever the timeouts of others are."""
    clock = Clock(monkeypatch)
    timeouts = Timeouts(ran_out.append)
    long, short, later = attempt(), attempt(), attempt()
    timeouts.begin(long, 60)
    timeouts.begin(short, 20)
    await clock.advance(10)
    timeouts.begin(later, 20)
    for seconds, over in ((9, []), (1, [short]), (9, [short]), (1, [short, later]), (29, [short, later])):
        await clock.advance(seconds)
        assert ran_out == over
    await clock.advance(1)
    assert ran_out == [short, later, long]
    await until_quiet(timeouts)


async def test_none_is_early(ran_out: list[Attempt]) -> None:
    """An attempt that began after another one with the same timeout has that much longer."""
    clock = asyncio.get_running_loop().time
    ends: list[float] = []
    timeouts = Timeouts(lambda _: ends.append(clock()))
    begins = []
    for _ in range(3):
        begins.append(clock())
        timeouts.begin(attempt(), 0.02)
        await asyncio.sleep(0.01)
    await until_quiet(timeouts)
    assert all(end - begin >= 0.02 for begin, end in zip(begins, ends, strict=True))


async def test_what_has_ended_does_not_run_out(ran_out: list[Attempt]) -> None:
    """The first, the last, and one in the middle may end before their time; so may all, which leaves no timer."""
    timeouts = Timeouts(ran_out.append)
    attempts = [attempt() for _ in range(5)]
    for each in attempts:
        timeouts.begin(each, 0.02)
    for index in (0, 2, 4):
        timeouts.end(attempts[index])
        timeouts.end(attempts[index])
    await until_quiet(timeouts)
    assert ran_out == [attempts[1], attempts[3]]
    timeouts.begin(attempts[0], 0.02)
    timeouts.end(attempts[0])
    await until_quiet(timeouts)
    assert ran_out == [attempts[1], attempts[3]]
    timeouts.end(attempt())


async def test_being_told_may_end_others() -> None:
    """Who is told of one attempt may end any other one, and begin new ones."""
    attempts = [attempt() for _ in range(3)]
    told: list[Attempt] = []

    def on_end(each: Attempt) -> None:
        told.append(each)
        timeouts.end(each)
        if each is attempts[0]:
            timeouts.end(attempts[1])
            timeouts.begin(attempts[2], 0.01)

    timeouts = Timeouts(on_end)
    timeouts.begin(attempts[0], 0.01)
    timeouts.begin(attempts[1], 0.01)
    await until_quiet(timeouts)
    assert told == [attempts[0], attempts[2]]
