"""Who is given what is leased at once, as a rule of its own."""

from __future__ import annotations

import itertools
from collections import Counter
from dataclasses import dataclass

from hypothesis import given
from hypothesis import strategies as st

from lacewing_server.engine.placing import Placing

QUEUE = b"queue"
CREDITS = st.lists(st.integers(0, 20), min_size=1, max_size=8)


@dataclass(eq=False)
class _Worker:
    credit: int


def _place(placing: Placing, workers: list[_Worker], count: int, now: float = 0.0) -> list[int]:
    """The numbers of the workers that were given something."""
    given_to = itertools.islice(placing.of_many(QUEUE, count, workers, now), count)
    return [workers.index(each) for each in given_to]


@given(CREDITS, st.integers(1, 100))
def test_nobody_gets_more_than_their_credit_and_nothing_is_left(given_credit: list[int], count: int) -> None:
    """All that can be given is given."""
    workers = [_Worker(credit) for credit in given_credit]
    placed = _place(Placing(), workers, count)
    assert len(placed) == min(count, sum(given_credit))
    for number, credit in enumerate(given_credit):
        assert workers[number].credit == credit - placed.count(number) >= 0


@given(CREDITS, st.integers(1, 100))
def test_nobody_is_left_with_less_room_than_all_have_on_average(given_credit: list[int], count: int) -> None:
    """Whoever gets something has as much credit left as is left to all on average."""
    workers = [_Worker(credit) for credit in given_credit]
    average = max(sum(given_credit) - count, 0) // len(workers)
    for number in set(_place(Placing(), workers, count)):
        assert workers[number].credit >= min(average, given_credit[number] - 1)


@given(st.integers(1, 8), st.integers(1, 20), st.integers(1, 8))
def test_idle_workers_get_as_much_as_each_other_and_each_of_it_at_once(number: int, credit: int, part: int) -> None:
    """Few executions are spread, and many are not dealt out one by one."""
    part = min(part, credit)
    workers = [_Worker(credit) for _ in range(number)]
    placed = _place(Placing(), workers, number * part)
    assert set(Counter(placed).values()) == {part}
    assert len(list(itertools.groupby(placed))) == number


@given(CREDITS)
def test_one_execution_goes_to_who_has_most_room(given_credit: list[int]) -> None:
    """If anybody has some."""
    workers = [_Worker(credit) for credit in given_credit]
    place = Placing().of_one(workers)
    assert (place is None) == (max(given_credit) == 0)
    assert place is None or place.credit == max(given_credit) - 1


@given(CREDITS, st.integers(1, 100))
def test_of_an_unknown_number_each_goes_to_who_has_most_room(given_credit: list[int], count: int) -> None:
    """One execution is not put beside another one while somebody has more room."""
    workers = [_Worker(credit) for credit in given_credit]
    places = Placing().of_unknown(workers)
    for _ in range(min(count, sum(given_credit))):
        most = max(each.credit for each in workers)
        assert next(places).credit == most - 1


def test_a_wave_is_remembered_for_a_moment() -> None:
    """Between two of them a few are not spread; later they are."""
    placing = Placing()
    _place(placing, [_Worker(10) for _ in range(4)], 40)
    assert Counter(_place(placing, [_Worker(10) for _ in range(4)], 10, now=0.05)) == {0: 10}
    assert Counter(_place(placing, [_Worker(10) for _ in range(4)], 4, now=0.2)) == {0: 1, 1: 1, 2: 1, 3: 1}
