"""What must hold of each execution, whatever happened: rules over all that was seen of it. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from faults import bodies
from faults.history import History, Request, Run, State, clear_time, describe
from faults.schedule import PROCESS_WORKERS
from faults.world import GRACE
from lacewing._handle import TERMINAL
from lacewing.types import digest_literal_map
from lacewing.v1 import execution_pb2

Execution = execution_pb2.Execution
Attempt = execution_pb2.Attempt
Cache = execution_pb2.CacheInfo

TOLERANCE: Final = 3.0
"""By how many seconds a clock of a server may be late, while one is at work: a tick, a second until a clock that a
server died over is looked at again, and the load of the machine."""

RECOVERY: Final = 6.0
"""For how many seconds after a fault its effects may last: leases that run out, servers that are taken over, workers
that connect again."""

ALWAYS: Final = 30.0
"""In how many seconds a body that nobody needs is stopped whatever happens: no fault lasts for more than eight."""

_EARLY: Final = 0.05
_OUTPUT_PARTS: Final = 3


@dataclass(slots=True)
class Case:
    """One execution, and all there is to judge it by."""

    request: Request
    history: History
    executions: Sequence[Execution]
    """As each server gives it at the end; none if they do not."""
    attempts: Sequence[Attempt]
    runs: Sequence[Run]
    text: str = ""
    """What the execution gave, large outputs fetched."""
    producer: Execution | None = None
    """For a hit: the execution that computed its outputs, None if there is none."""
    problems: list[str] = field(default_factory=list)

    @property
    def execution(self) -> Execution:
        """As the first server gives it."""
        return self.executions[0]


Rule = Callable[[Case], Iterator[str]]


def check(case: Case, rules: Sequence[Rule] | None = None) -> Iterator[str]:
    """Says what is wrong with an execution, by default by the rules of those that are asked for and run one body."""
    yield from case.request.problems
    yield from case.problems
    if not case.request.accepted:
        yield "was never accepted, although every fault had an end"
        return
    if not case.executions:
        return
    if case.execution.state not in TERMINAL:
        yield f"has not ended: {describe(case.execution)}"
        return
    for rule in RULES if rules is None else rules:
        yield from rule(case)


def one_end(case: Case) -> Iterator[str]:
    """Whoever saw its end saw the same, and every server still says so."""
    ends = {_end(execution) for execution in case.executions}
    ends |= {_end(seen.execution) for seen in case.request.seen}
    if len(ends) > 1:
        yield f"ended in {len(ends)} ways: {sorted(ends)}"
    if case.request.outputs is not None and case.request.outputs != case.text:
        yield f"gave {case.request.outputs!r} to who waited, and {case.text!r} afterwards"


def outcome(case: Case) -> Iterator[str]:
    """It ended in a way that its task allows for, and the error says why."""
    execution, task = case.execution, case.request.task
    retries = task.spec.template.metadata.retries.retries
    code = execution.error.code
    losses_over = code == "LossesExhausted" and (
        execution.loss_count == max_losses(case) + 1 or (execution.loss_count == 1 and not _is_idempotent(case))
    )
    if execution.state == State.STATE_SUCCEEDED:
        if task in {bodies.broken, bodies.hopeless, bodies.overdue, bodies.endless, bodies.ignored}:
            yield "succeeded, which its body never does"
    elif execution.state == State.STATE_FAILED:
        expected = _ERRORS.get(task.name, frozenset()) | {"WorkerCrashed"}
        failures_over = code in expected and execution.failure_count == retries + 1
        final = code == "KeyError" and task is bodies.hopeless and execution.failure_count == 1
        if not losses_over and not failures_over and not final:
            yield f"failed without a reason that counts: {describe(execution)}"
    elif execution.state == State.STATE_TIMED_OUT:
        attempts_over = code == "AttemptTimeout" and (
            execution.failure_count == retries + 1 or not _is_idempotent(case)
        )
        policy = task.spec.policy
        deadline_over = code == "DeadlineExceeded" and policy.HasField("deadline")
        queue_over = code == "QueueTimeout" and policy.HasField("queue_timeout") and not execution.attempt_count
        if not (attempts_over or deadline_over or queue_over):
            yield f"timed out by no clock that it has: {describe(execution)}"
    elif not case.request.cancelled:
        yield "was cancelled, which nobody asked for"


def budgets(case: Case) -> Iterator[str]:
    """It failed and was lost no more often than declared, and its attempts are listed as they were counted."""
    execution = case.execution
    retries = case.request.task.spec.template.metadata.retries.retries
    if execution.failure_count > retries + 1:
        yield f"failed {execution.failure_count} times with {retries} retries"
    if execution.loss_count > max_losses(case) + 1:
        yield f"was lost {execution.loss_count} times, {max_losses(case)} are allowed"
    states = Counter(attempt.state for attempt in case.attempts)
    failed = states[Attempt.STATE_FAILED] + states[Attempt.STATE_TIMED_OUT]
    if (failed, states[Attempt.STATE_LOST]) != (execution.failure_count, execution.loss_count):
        yield f"its attempts do not add up to its counts: {describe(execution)}"
    if states[Attempt.STATE_LEASED]:
        yield "has ended, and an attempt of it is leased"
    numbers = [attempt.number for attempt in case.attempts]
    if numbers != list(range(1, execution.attempt_count + 1)):
        yield f"its attempts are numbered {numbers}, and it had {execution.attempt_count}"


def winner(case: Case) -> Iterator[str]:
    """Its output is that of the attempt that the server says succeeded, and of no other."""
    execution = case.execution
    if execution.state != State.STATE_SUCCEEDED:
        if execution.HasField("outputs"):
            yield "has outputs, and did not succeed"
        return
    parts = case.text.split("/", _OUTPUT_PARTS)
    if len(parts) < _OUTPUT_PARTS:
        yield f"gave no output of a body: {execution.outputs}"
        return
    name, attempt, pid = parts[:_OUTPUT_PARTS]
    if execution.cache.status == Cache.STATUS_HIT:
        if name != execution.cache.producer.name:
            yield f"was answered with the output of {name}, and says it is of {execution.cache.producer.name}"
        if case.producer is None:
            yield "was answered from the cache with the output of an execution that there is not"
        elif case.producer.state != State.STATE_SUCCEEDED or case.producer.cache.status != Cache.STATUS_POPULATED:
            yield f"was answered from the cache with the output of one that ended so: {describe(case.producer)}"
        elif output(case.producer) != output(execution):
            yield f"was answered with {output(execution)!r}, and its producer gave {output(case.producer)!r}"
        return
    if (name, int(attempt)) != (execution.id.name, execution.attempt_count):
        yield f"gave the output of {name}/{attempt}, and its attempt {execution.attempt_count} succeeded"
    if not any((run.attempt, run.pid, run.ending) == (int(attempt), int(pid), "end") for run in case.runs):
        yield f"gave an output that no body returned: {case.text[:80]}"
    if case.request.task is bodies.big and parts[_OUTPUT_PARTS] != _big(case.request):
        yield "gave an output that is not whole"


def starts(case: Case) -> Iterator[str]:
    """No lease started its body twice; what must not run twice has not; what never ran has no attempts."""
    for attempt, count in Counter(run.attempt for run in case.runs).items():
        if count > 1:
            yield f"attempt {attempt} ran {count} times"
        if not 1 <= attempt <= case.execution.attempt_count:
            yield f"attempt {attempt} ran, and there were {case.execution.attempt_count}"
    if not _is_idempotent(case) and len(case.runs) > 1:
        yield f"ran {len(case.runs)} times, and is not idempotent"
    if case.execution.cache.status == Cache.STATUS_HIT and case.runs:
        yield "ran, and was answered from the cache"


def clocks(case: Case) -> Iterator[str]:
    """No clock ran out early, or, while a server was at work, much too late."""
    execution, policy = case.execution, case.request.task.spec.policy
    created = case.history.monotonic(execution.create_time.ToMilliseconds())
    ended = case.history.monotonic(execution.end_time.ToMilliseconds())
    unserved = case.history.unserved(after=TOLERANCE)
    if policy.HasField("deadline"):
        yield from _bound("its deadline", policy.deadline.ToMilliseconds(), created, ended, unserved)
        if execution.error.code == "DeadlineExceeded" and ended - created < policy.deadline.ToMilliseconds() / 1000:
            yield f"its deadline was over after {ended - created:.2f} s"
    if policy.HasField("queue_timeout"):
        yield from _bound("its queue timeout", policy.queue_timeout.ToMilliseconds(), created, ended, unserved)
    timeout = case.request.task.spec.template.metadata.timeout.ToMilliseconds()
    if not timeout:
        return
    for attempt in case.attempts:
        start = case.history.monotonic(attempt.start_time.ToMilliseconds())
        end = case.history.monotonic(attempt.end_time.ToMilliseconds())
        if attempt.state == Attempt.STATE_TIMED_OUT and attempt.number == execution.attempt_count:
            end = ended  # by the store's clock, where the attempt has a server's estimate of it
        yield from _bound(f"the timeout of attempt {attempt.number}", timeout, start, end, unserved)
        # The worker's clock begins when the lease arrives, so it may not be early by the server's.
        if attempt.state == Attempt.STATE_TIMED_OUT and end - start < timeout / 1000 - _EARLY:
            yield f"attempt {attempt.number} timed out after {end - start:.2f} s of {timeout / 1000:g}"


def _bound(
    what: str, milliseconds: int, start: float, end: float, outages: Sequence[tuple[float, float]]
) -> Iterator[str]:
    late = clear_time(start + milliseconds / 1000, end, outages)
    if late > TOLERANCE:
        yield f"{what} of {milliseconds / 1000:g} s was over {late:.2f} s too late: after {end - start:.2f} s"


def stopped(case: Case) -> Iterator[str]:
    """A body that nobody needs any more is stopped, unless it runs in a thread, which cannot be."""
    ends = {
        attempt.number: case.history.monotonic(attempt.end_time.ToMilliseconds())
        for attempt in case.attempts
        if attempt.state != Attempt.STATE_SUCCEEDED
    }
    for run in case.runs:
        if run.worker.partition("-")[0] in PROCESS_WORKERS and run.attempt in ends:
            late = clear_time(ends[run.attempt], run.last, case.history.out(after=RECOVERY))
            if late > GRACE + TOLERANCE or run.last - ends[run.attempt] > ALWAYS:
                yield (
                    f"attempt {run.attempt} was over, and its body ran on for {run.last - ends[run.attempt]:.2f} s on "
                    f"{run.worker} (process {run.pid})"
                )


def fresh(case: Case) -> Iterator[str]:
    """No entry of the cache was served after its time to live."""
    ttl = case.request.task.spec.policy.cache.ttl.ToMilliseconds()
    if ttl and case.producer is not None and case.execution.cache.status == Cache.STATUS_HIT:
        age = case.execution.create_time.ToMilliseconds() - case.producer.end_time.ToMilliseconds()
        if age > ttl:
            yield f"was answered with an entry of {age} ms, which was to live for {ttl}"


RULES: Final[tuple[Rule, ...]] = (one_end, outcome, budgets, winner, starts, clocks, stopped, fresh)
"""What must hold of each execution that has ended."""


_ERRORS: Final[Mapping[str, frozenset[str]]] = {
    bodies.flaky.name: frozenset({"ValueError"}),
    bodies.broken.name: frozenset({"RuntimeError"}),
    bodies.cached.name: frozenset({"ValueError"}),
    bodies.serialized.name: frozenset({"ValueError"}),
}


def output(execution: Execution) -> str:
    """The text that an execution gave."""
    return execution.outputs.literals["o0"].scalar.primitive.string_value if "o0" in execution.outputs.literals else ""


def _end(execution: Execution) -> str:
    """All that must never change of an end."""
    return (
        f"{describe(execution)} ended {execution.end_time.ToMilliseconds()} cache {execution.cache.status} of "
        f"{execution.cache.producer.name} outputs {digest_literal_map(execution.outputs).hex()[:12]}"
    )


def max_losses(case: Case) -> int:
    """How often it may be lost without failing by it."""
    policy = case.request.task.spec.policy
    return policy.max_losses if policy.HasField("max_losses") else 3


def _is_idempotent(case: Case) -> bool:
    policy = case.request.task.spec.policy
    return policy.idempotent if policy.HasField("idempotent") else True


def _big(request: Request) -> str:
    return f"{len(request.inputs['given'])}/" + "x" * int(request.inputs["size"])
