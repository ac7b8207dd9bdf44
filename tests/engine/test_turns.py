"""Whose turn it is, as a rule of its own."""

from __future__ import annotations

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from lacewing_server.domain.offers import QueueEntry
from lacewing_server.engine.turns import Turns

QUEUES = st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, 4)), min_size=1, max_size=8, unique=True)


def _catalog(queues: list[tuple[str, int]]) -> dict[bytes, QueueEntry]:
    entries = [QueueEntry(project, "development", f"task{number}", "raw", "default") for project, number in queues]
    return {entry.ref: entry for entry in entries}


def _serve(turns: Turns, catalog: dict[bytes, QueueEntry], count: int) -> list[bytes]:
    """Who is served, one credit at a time, while all want something all the time."""
    served = []
    for _ in range(count):
        chosen = turns.in_turn(catalog, catalog)[0]
        assert turns.share(chosen, list(catalog), 1, catalog) == 1
        served.append(chosen)
    return served


@given(QUEUES)
def test_projects_are_served_alike_and_in_a_project_its_queues(queues: list[tuple[str, int]]) -> None:
    """However many queues a project has: nobody is more than one turn ahead of another."""
    catalog = _catalog(queues)
    served = _serve(Turns(), catalog, 60)
    projects = Counter(catalog[each].project for each in served)
    assert max(projects.values()) - min(projects.values()) <= 1
    assert len(projects) == len({project for project, _ in queues})
    for project in projects:
        of_project = Counter({ref: 0 for ref, entry in catalog.items() if entry.project == project})
        of_project.update(each for each in served if catalog[each].project == project)
        assert max(of_project.values()) - min(of_project.values()) <= 1


@given(QUEUES, st.integers(1, 1000))
def test_shares_leave_something_for_everybody(queues: list[tuple[str, int]], credit: int) -> None:
    """All shares together are not much more than there is, and what a project gets does not depend on its queues."""
    catalog = _catalog(queues)
    turns = Turns()
    shares = {ref: turns.share(ref, list(catalog), credit, catalog) for ref in catalog}
    projects = len({project for project, _ in queues})
    for ref, entry in catalog.items():
        siblings = sum(entry.project == each.project for each in catalog.values())
        assert credit <= shares[ref] * projects * siblings < credit + projects * siblings
    assert turns.share(next(iter(catalog)), [], credit, catalog) == credit


def test_who_had_nothing_to_do_has_saved_up_nothing() -> None:
    """A project that comes later takes turns from then on, and no more."""
    catalog = _catalog([("a", 0), ("b", 0)])
    first, second = catalog
    turns = Turns()
    for _ in range(10):
        turns.share(first, [first], 1, catalog)
    assert Counter(_serve(turns, catalog, 10)) == {first: 5, second: 5}
