"""The rules, each on a history that keeps it and on one that breaks it: what cannot fail proves nothing."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import pytest

from faults import bodies
from faults.checks import Case, check
from faults.history import History, Outage, Request, Run, Seen, State, clear_time, intersection, union
from faults.relations import no_more_than_allowed, one_computes
from lacewing.task import AnyTask
from lacewing.v1 import execution_pb2

Attempt = execution_pb2.Attempt
Execution = execution_pb2.Execution
Cache = execution_pb2.CacheInfo
Change = Callable[[Case], object]


def made(
    directory: Path,
    task: AnyTask = bodies.quick,
    *,
    name: str = "x",
    start: float = 100.0,
    seconds: float = 0.5,
    state: int = State.STATE_SUCCEEDED,
    code: str = "",
) -> Case:
    """An execution with one attempt that ended well, or as said, by a worker with child processes."""
    history = History(directory)
    history.wall_offset = 0.0
    request = Request(0, "submit", task, {"n": 1}, name=name, accepted=start)
    execution = Execution(state=state, attempt_count=1)  # type: ignore[arg-type] # a plain int says it
    execution.id.name = name
    execution.create_time.FromMilliseconds(round(start * 1000))
    execution.end_time.FromMilliseconds(round((start + seconds) * 1000))
    attempt = Attempt(number=1, state=Attempt.STATE_SUCCEEDED, start_time=execution.create_time)
    attempt.end_time.CopyFrom(execution.end_time)
    ending = "end"
    if state == State.STATE_SUCCEEDED:
        execution.outputs.literals["o0"].scalar.primitive.string_value = f"{name}/1/77"
    else:
        execution.error.code, execution.failure_count, ending = code, 1, "raise"
        attempt.state = Attempt.STATE_FAILED if state == State.STATE_FAILED else Attempt.STATE_TIMED_OUT
    request.seen.append(Seen(start + seconds, "wait", execution))
    runs = [Run(name, 1, 77, "w0-1", start, start + seconds, ending)]
    executions = [execution, Execution.FromString(execution.SerializeToString())]
    return Case(request, history, executions, [attempt], runs, f"{name}/1/77")


def test_what_keeps_all_promises_is_not_reproached(tmp_path: Path) -> None:
    """An execution that succeeded, one that failed as declared, one that timed out."""
    assert list(check(made(tmp_path))) == []
    failed = made(tmp_path, bodies.hopeless, state=State.STATE_FAILED, code="KeyError")
    assert list(check(failed)) == []
    late = made(tmp_path, bodies.hurried, seconds=2.1, state=State.STATE_TIMED_OUT, code="DeadlineExceeded")
    late.attempts[0].state, late.execution.failure_count = Attempt.STATE_CANCELLED, 0
    late.executions[1].CopyFrom(late.execution)
    assert list(check(late)) == []


def _unlike(case: Case) -> None:
    case.executions[1].state = State.STATE_FAILED


def _unlike_seen(case: Case) -> None:
    seen = Execution.FromString(case.execution.SerializeToString())
    seen.revision += 1
    case.request.seen.append(Seen(0.0, "watch", seen))


def _give(output: str) -> Change:
    def change(case: Case) -> None:
        for execution in case.executions:
            execution.outputs.literals["o0"].scalar.primitive.string_value = output
        case.text = output

    return change


def _set(**fields: int) -> Change:
    def change(case: Case) -> None:
        for execution in case.executions:
            for name, value in fields.items():
                setattr(execution, name, value)

    return change


def _ran_again(case: Case) -> None:
    case.runs = [*case.runs, case.runs[0]]


def _ran_too_often(case: Case) -> None:
    case.runs = [*case.runs, Run("x", 2, 78, "w0-1", 101.0, 101.5, "end")]


def _never_accepted(case: Case) -> None:
    case.request.accepted = 0.0


def _late(case: Case) -> None:
    case.attempts[0].end_time.FromMilliseconds(130_000)


def _from_nowhere(case: Case) -> None:
    for execution in case.executions:
        execution.cache.status, execution.cache.producer.name = Cache.STATUS_HIT, "x"
    case.runs = []


@pytest.mark.parametrize(
    ("change", "reproach"),
    [
        (_unlike, "ended in 2 ways"),
        (_unlike_seen, "ended in 2 ways"),
        (lambda case: setattr(case.request, "outputs", "x/2/78"), "to who waited"),
        (_give("x/2/77"), "gave the output of x/2"),
        (_give("y/1/77"), "gave the output of y/1"),
        (_give("x/1/78"), "no body returned"),
        (_set(state=State.STATE_RUNNING), "has not ended"),
        (_set(failure_count=3), "failed 3 times with 1 retries"),
        (_set(loss_count=5), "was lost 5 times, 3 are allowed"),
        (_set(attempt_count=2), "its attempts are numbered"),
        (_set(state=State.STATE_CANCELLED), "nobody asked for"),
        (_set(state=State.STATE_FAILED), "without a reason that counts"),
        (_set(state=State.STATE_TIMED_OUT), "by no clock that it has"),
        (_ran_again, "attempt 1 ran 2 times"),
        (_ran_too_often, "attempt 2 ran, and there were 1"),
        (_never_accepted, "was never accepted"),
        (_late, "s too late"),
        (_from_nowhere, "of an execution that there is not"),
    ],
)
def test_a_broken_promise_is_told(tmp_path: Path, change: Change, reproach: str) -> None:
    """Whatever is changed of an execution that ended well breaks a rule, which says so."""
    case = made(tmp_path)
    change(case)
    assert any(reproach in problem for problem in check(case)), list(check(case))


def test_an_outage_of_the_store_excuses_a_late_clock_and_nothing_else_does(tmp_path: Path) -> None:
    """Who judges clocks needs the store; that one of three servers was suspended is no excuse."""
    case = made(tmp_path)
    _late(case)
    case.history.outages.append(Outage("s0", "suspend server", 100.0, 131.0))
    assert any("too late" in problem for problem in check(case))
    case.history.outages.append(Outage("valkey", "suspend store", 119.0, 131.0))
    assert not any("too late" in problem for problem in check(case))


def test_a_body_that_runs_on_is_told(tmp_path: Path) -> None:
    """Its attempt is over, all works, and it gives signs of life."""
    case = made(tmp_path, bodies.endless, state=State.STATE_CANCELLED)
    case.request.cancelled = 100.4
    case.runs[0].last = 104.0
    assert not any("ran on" in problem for problem in check(case))
    case.runs[0].last = 106.0
    assert any("ran on" in problem for problem in check(case))
    case.history.outages.append(Outage("w0", "suspend worker", 100.0, 200.0))
    assert not any("ran on" in problem for problem in check(case))
    case.runs[0].last = 131.0
    assert any("ran on" in problem for problem in check(case))


def test_an_entry_that_was_served_for_too_long_is_told(tmp_path: Path) -> None:
    """The entry of `brief` lives for three seconds from the end of its producer."""
    producer = made(tmp_path, bodies.brief, name="y")
    for execution in producer.executions:
        execution.cache.status = Cache.STATUS_POPULATED
    for start, is_late in ((103.0, False), (104.0, True)):
        case = made(tmp_path, bodies.brief, start=start, seconds=0.0)
        _give("y/1/77")(case)
        for execution in case.executions:
            execution.cache.status, execution.cache.producer.name, execution.attempt_count = Cache.STATUS_HIT, "y", 0
        case.request.seen, case.attempts, case.runs, case.producer = [], [], [], producer.execution
        assert bool(list(check(case))) == is_late


def test_two_that_compute_the_same_entry_are_told(tmp_path: Path) -> None:
    """At the same time, or one after the other although the first one succeeded."""
    first = made(tmp_path, bodies.serialized, name="a", start=100.0)
    again = made(tmp_path, bodies.serialized, name="b", start=101.0)
    assert ["again" in problem for _, problem in one_computes([again, first])] == [True]
    failed = made(tmp_path, bodies.serialized, name="a", start=100.0, state=State.STATE_FAILED, code="ValueError")
    assert list(one_computes([failed, again])) == []
    meanwhile = made(tmp_path, bodies.serialized, name="c", start=100.2)
    assert ["while" in problem for _, problem in one_computes([failed, meanwhile])] == [True]


def test_too_many_at_a_time_are_told(tmp_path: Path) -> None:
    """Two attempts of `narrow` may run; a third one that begins when one has ended does no harm."""
    two = [made(tmp_path, bodies.narrow, name=name, start=start) for name, start in (("a", 100.0), ("b", 100.3))]
    third = made(tmp_path, bodies.narrow, name="c", start=100.5)
    assert list(no_more_than_allowed([*two, third])) == []
    third = made(tmp_path, bodies.narrow, name="c", start=100.35)
    assert [case.request.name for case, _ in no_more_than_allowed([*two, third])] == ["c"]


def test_intervals() -> None:
    """Times are added up, cut with each other, and subtracted."""
    assert union([(3.0, 4.0), (1.0, 2.0), (1.5, 2.5)]) == [(1.0, 2.5), (3.0, 4.0)]
    assert intersection([(1.0, 3.0)], [(2.0, 4.0), (5.0, 6.0)]) == [(2.0, 3.0)]
    assert clear_time(0.0, 10.0, [(1.0, 2.0), (1.5, 4.0), (9.0, 20.0)]) == pytest.approx(6.0)
    assert clear_time(2.0, 1.0, []) == 0.0


def test_runs_are_read_from_what_bodies_wrote(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A body that ended, with how often it gave signs of life."""
    history = History(tmp_path)
    monkeypatch.setenv(bodies.LOG_VARIABLE, str(history.bodies))
    monkeypatch.setenv(bodies.INCARNATION_VARIABLE, "w0-1")
    before = time.monotonic()
    assert bodies.slow(0.01).startswith("local/1/")
    (run,) = history.runs()["local"]
    assert (run.attempt, run.worker, run.ending) == (1, "w0-1", "end")
    assert before <= run.start <= run.last <= time.monotonic()
