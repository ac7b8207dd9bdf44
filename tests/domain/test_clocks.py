"""Which clock of an execution has run out."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from lacewing_server.domain import lifecycle
from lacewing_server.domain.clocks import Clock, expired
from lacewing_server.domain.record import ExecutionRecord

NOW = 1_000_000
times = st.integers(NOW - 1_000, NOW + 1_000)
optional_times = st.one_of(st.just(0), times)
spans = st.integers(1, 2_000)


@st.composite
def records(draw: st.DrawFn, states: st.SearchStrategy[int]) -> ExecutionRecord:
    """An execution with clocks around now."""
    return ExecutionRecord(
        bytes(12),
        draw(states),
        b"",
        queued_ms=draw(times),
        start_ms=draw(times),
        not_before_ms=draw(optional_times),
        deadline_ms=draw(optional_times),
        lease_expire_ms=draw(optional_times),
        attempt_timeout=draw(spans),
        queue_timeout=draw(st.one_of(st.just(0), spans)),
    )


live = st.sampled_from([lifecycle.QUEUED, lifecycle.RUNNING, lifecycle.WAITING])


@given(records(st.sampled_from(sorted(lifecycle.TERMINAL))))
def test_no_clock_runs_for_what_has_ended(record: ExecutionRecord) -> None:
    """A terminal execution is left alone, whatever times it carries."""
    assert expired(record, NOW) is None


@given(records(live))
def test_the_deadline_comes_before_all_others(record: ExecutionRecord) -> None:
    """It runs in every state that is not terminal, and when it has passed, nothing else counts."""
    passed = 0 < record.deadline_ms <= NOW
    assert (expired(record, NOW) is Clock.DEADLINE) == passed


@given(records(live))
def test_each_state_has_its_own_clocks(record: ExecutionRecord) -> None:
    """The attempt timeout and the lease run while RUNNING, the queue timeout while QUEUED without a back-off."""
    record.deadline_ms = 0
    clock = expired(record, NOW)
    if record.state == lifecycle.WAITING:
        assert clock is None
    elif record.state == lifecycle.RUNNING:
        timed_out = record.start_ms + record.attempt_timeout <= NOW
        lost = 0 < record.lease_expire_ms <= NOW
        assert clock is (Clock.ATTEMPT if timed_out else Clock.LEASE if lost else None)
    else:
        waited = record.queue_timeout and not record.not_before_ms
        ran_out = waited and record.queued_ms + record.queue_timeout <= NOW
        assert clock is (Clock.QUEUE if ran_out else None)


@given(records(live), st.integers(0, 5_000))
def test_a_clock_that_has_run_out_stays_so(record: ExecutionRecord, later: int) -> None:
    """Who looks later sees a clock, too; perhaps a stronger one."""
    before, after = expired(record, NOW), expired(record, NOW + later)
    if before is not None:
        assert after is not None
        assert after.value <= before.value
