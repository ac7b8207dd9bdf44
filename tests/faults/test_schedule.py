"""The schedule of faults."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from faults.schedule import KINDS, schedule

DURATIONS = st.floats(1.0, 300.0)
SEEDS = st.integers(0, 10**9)


@settings(deadline=None)
@given(SEEDS, DURATIONS)
def test_the_same_seed_gives_the_same_faults(seed: int, duration: float) -> None:
    """So that what was found can be found again."""
    assert schedule(seed, duration) == schedule(seed, duration)


def test_another_seed_gives_other_faults() -> None:
    """The seed is used."""
    assert schedule(1, 60) != schedule(2, 60)


@settings(deadline=None)
@given(SEEDS, DURATIONS)
def test_no_target_has_two_faults_at_a_time_and_all_end_in_time(seed: int, duration: float) -> None:
    """Every fault is of a known kind and target, comes in order, and is over when the time is."""
    free: dict[str, float] = {}
    before = 0.0
    for fault in schedule(seed, duration):
        assert before <= fault.at
        before = fault.at
        assert fault.target in KINDS[fault.kind][1]
        assert free.get(fault.target, 0.0) <= fault.at
        free[fault.target] = fault.at + fault.seconds
        assert free[fault.target] <= duration + 0.001


def test_every_kind_of_fault_comes_in_ten_minutes() -> None:
    """None is so rare that a long run is without it."""
    assert {fault.kind for fault in schedule(1, 600)} == set(KINDS)
