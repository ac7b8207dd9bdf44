"""The scripts against the table of states."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator

import pytest

from lacewing.v1 import execution_pb2
from lacewing_server.domain import lifecycle
from lacewing_server.store.redis.scripts import SCRIPTS, Script

_LINE = re.compile(r"^-- from: ([A-Za-z_ ]+)\. to: ([A-Z_ ]+?)(?: \([^)]*\))?$", re.MULTILINE)
_CALLS_ENTER = re.compile(r"^\s*enter\(", re.MULTILINE)


def _states(names: str) -> set[int]:
    return {execution_pb2.Execution.State.Value(f"STATE_{name}") for name in names.split()}


def _heads(script: Script) -> Iterator[tuple[str, set[int]]]:
    yield from ((origin, _states(targets)) for origin, targets in _LINE.findall(script.text))


def test_the_scripts_accept_and_leave_exactly_the_states_of_the_table() -> None:
    """Each transition of the table is one that a script states in its head, and no head states another one."""
    stated: set[tuple[int, int]] = set()
    for name, script in SCRIPTS.items():
        if name != "create":
            for origin, targets in _heads(script):
                stated |= set(itertools.product(_states(origin), targets))
    assert stated == {(state, to) for state, leads in lifecycle.TRANSITIONS.items() for to in leads}


def test_an_execution_is_created_in_the_initial_states_only() -> None:
    """``create`` begins from nothing, and leaves the initial states of the table."""
    assert list(_heads(SCRIPTS["create"])) == [("nothing", set(lifecycle.INITIAL))]


@pytest.mark.parametrize("name", SCRIPTS)
def test_a_script_states_in_its_head_what_it_does(name: str) -> None:
    """A script that changes a state says from where to where; all say what they take and return."""
    text = SCRIPTS[name].text
    assert "-- args: " in text or "-- each: " in text
    assert "-- returns: " in text
    if _CALLS_ENTER.search(text):
        assert _LINE.search(text)


def test_terminal_states_lead_nowhere_and_all_others_can_be_left() -> None:
    """The table has no dead end that is not terminal, and terminal states absorb everything."""
    assert {state for state, leads in lifecycle.TRANSITIONS.items() if not leads} == lifecycle.TERMINAL
    assert all(lifecycle.CANCELLED in leads for leads in lifecycle.TRANSITIONS.values() if leads)
    reached = set(lifecycle.INITIAL)
    for _ in lifecycle.TRANSITIONS:
        reached |= {to for state in reached for to in lifecycle.TRANSITIONS[state]}
    assert reached == set(lifecycle.TRANSITIONS)
