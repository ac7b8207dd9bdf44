"""What must hold between executions: of those that compute the same, and of those that run at a time. Pure."""

from __future__ import annotations

import itertools
from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import Final

from faults import bodies
from faults.checks import Case
from faults.history import State

_ESTIMATE_MS: Final = 100


def one_computes(cases: Sequence[Case]) -> Iterator[tuple[Case, str]]:
    """Of executions that would compute the same serialized entry, one does at a time, and none after it succeeded."""
    by_key: defaultdict[int, list[Case]] = defaultdict(list)
    for case in cases:
        if case.request.task is bodies.serialized and case.executions and case.attempts:
            by_key[case.request.inputs["n"]].append(case)
    for key, same in by_key.items():
        same.sort(key=lambda case: case.attempts[0].start_time.ToMilliseconds())
        for before, after in itertools.pairwise(same):
            if before.execution.state == State.STATE_SUCCEEDED:
                yield after, f"computed entry {key} again after {before.execution.id.name} had filled it"
            if before.execution.end_time.ToMilliseconds() > after.attempts[0].start_time.ToMilliseconds():
                yield after, f"computed entry {key} while {before.execution.id.name} did"


def no_more_than_allowed(cases: Sequence[Case]) -> Iterator[tuple[Case, str]]:
    """No more attempts run at a time than their task allows."""
    changes: list[tuple[int, int, Case]] = []
    for case in cases:
        if case.request.task is bodies.narrow and case.executions:
            for attempt in case.attempts:
                # Its end is a server's estimate of the store's time: a little earlier is safe to say.
                end = max(attempt.end_time.ToMilliseconds() - _ESTIMATE_MS, attempt.start_time.ToMilliseconds())
                changes += [(attempt.start_time.ToMilliseconds(), 1, case), (end, -1, case)]
    running = 0
    for at, change, case in sorted(changes, key=lambda each: each[:2]):
        running += change
        if running > bodies.NARROW:
            yield case, f"was one of {running} that ran at {case.history.monotonic(at) - case.history.start:.3f}"
