"""The life of executions under any order of calls: two servers, repeated calls, stale tokens, clocks that run out."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass, field
from typing import ClassVar

from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    invariant,
    multiple,
    precondition,
    rule,
    run_state_machine_as_test,
)

from lacewing.v1 import errors_pb2, execution_pb2, execution_service_pb2, task_pb2, worker_service_pb2
from lacewing_server.domain import lifecycle, limits
from lacewing_server.domain.errors import DomainError
from lacewing_server.domain.record import SERIALIZED, ExecutionRecord
from lacewing_server.domain.task_version import ReadyTask
from lacewing_server.store.redis import codec
from lacewing_server.store.redis.transitions import Due
from store.invariants import Keyspace
from store.tasks import inputs_of, outputs_of, seconds, spec, task_id
from store.time_machine import advance
from store.world import LEASE_MS, Engine, World, dump, records, token_of, value_of

NO_WAIT = task_pb2.Backoff(initial=seconds(0))
SPECS = {
    "plain": spec(retries=1, timeout=40, policy=task_pb2.TaskPolicy(backoff=NO_WAIT, max_losses=1, max_queued=3)),
    "bounded": spec(
        retries=2,
        timeout=40,
        policy=task_pb2.TaskPolicy(
            backoff=task_pb2.Backoff(initial=seconds(5), jitter=task_pb2.Backoff.JITTER_NONE),
            non_retryable_codes=["Fatal"],
            queue_timeout=seconds(20),
            deadline=seconds(100),
            retention=seconds(30),
        ),
    ),
    "serialized": spec(
        retries=1,
        timeout=40,
        cached=True,
        serialized=True,
        policy=task_pb2.TaskPolicy(
            backoff=NO_WAIT, max_losses=1, cache=task_pb2.CachePolicy(ttl=seconds(50)), retention=seconds(1000)
        ),
    ),
    "cached": spec(timeout=40, cached=True, ignored=("pad",), policy=task_pb2.TaskPolicy(queue_timeout=seconds(20))),
    "narrow": spec(
        retries=1, timeout=40, policy=task_pb2.TaskPolicy(backoff=NO_WAIT, max_concurrency=1, queue_timeout=seconds(90))
    ),
    "once": spec(retries=2, timeout=40, policy=task_pb2.TaskPolicy(idempotent=False, backoff=NO_WAIT)),
}
BIG = "x" * (limits.INLINE_INPUTS_BYTES + 1)
MODES = (
    execution_pb2.CACHE_MODE_USE,
    execution_pb2.CACHE_MODE_USE,
    execution_pb2.CACHE_MODE_REFRESH,
    execution_pb2.CACHE_MODE_BYPASS,
    execution_pb2.CACHE_MODE_ONLY,
)
RESULTS = ("outputs", "outputs", "recoverable", "final", "fatal", "later", "timed_out", "abandoned", "misfit")

REFUSALS = {
    errors_pb2.ERROR_REASON_CACHE_ENTRY_NOT_FOUND,
    errors_pb2.ERROR_REASON_QUEUE_FULL,
    errors_pb2.ERROR_REASON_EXECUTION_CONFLICT,
}


@dataclass
class Known:
    """What the test knows of an execution."""

    ended: tuple[int, int, int, int, int, bytes] | None = None
    tokens: list[bytes] = field(default_factory=list)


class Lifecycle(RuleBasedStateMachine):
    """Calls in any order."""

    world: ClassVar[World]
    executions = Bundle("executions")
    tokens = Bundle("tokens")

    def __init__(self) -> None:
        super().__init__()
        self.known: dict[bytes, Known] = {}
        self.values: dict[int, bytes] = {}
        self.late: list[tuple[Engine, Due]] = []
        self.world.run(self.world.clear())
        self.tasks: dict[str, ReadyTask] = {}
        for name, each in SPECS.items():
            for engine in self.world.engines:
                self.tasks[name] = self.world.run(engine.register(name, each))
        self.by_ref = {task.ref: task for task in self.tasks.values()}

    # --- creating

    @rule(
        target=executions,
        server=st.integers(0, 1),
        task=st.sampled_from(sorted(SPECS)),
        n=st.integers(0, 1),
        big=st.booleans(),
        mode=st.sampled_from(MODES),
        name=st.sampled_from(["", "", "", "first", "second"]),
        record_hit=st.booleans(),
        direct=st.booleans(),
        deadline=st.sampled_from([0, 0, 15]),
        repeated=st.booleans(),
    )
    def create(self, server, task, n, big, mode, name, record_hit, direct, deadline, repeated):
        """Creates an execution, perhaps with an idle worker at hand, and perhaps twice."""
        request = execution_service_pb2.ExecuteRequest(
            task=task_id(task), inputs=inputs_of(n, BIG if big else None), cache_mode=mode, name=name
        )
        if not name:
            request.request_id = f"request-{len(self.known)}-{server}"
        if deadline:
            request.deadline.CopyFrom(seconds(deadline))
        engine = self.world.engines[server]
        created = self._create(engine, request, record_hit=record_hit, direct=direct, repeated=repeated)
        return _given(self.world.run(created))

    async def _create(self, engine, request, *, record_hit, direct, repeated):
        before = await dump(engine.store)
        leased: list[ExecutionRecord] = []
        refusal: int | None = None
        try:
            async with engine.session() if direct else contextlib.nullcontext(leased) as leased:
                admitted = await engine.executions.create(request, record_hit=record_hit)
        except DomainError as error:
            refusal = error.reason
        if refusal is not None:
            assert refusal in REFUSALS
            assert await dump(engine.store) == before, "a refused request leaves nothing"
            return None
        if admitted.hit is not None and not admitted.recorded:
            assert value_of(admitted.hit.outputs) in self.values
            assert await dump(engine.store) == before, "a hit that is not recorded leaves nothing"
            return None
        record = admitted.record
        if not admitted.replayed:
            self.known[record.id] = Known()
        for each in leased:
            self.known[each.id].tokens.append(token_of(each))
        if repeated:
            after = await dump(engine.store)
            again = await self.world.engines[1].executions.create(request, record_hit=record_hit)
            assert again.replayed
            assert again.record.id == record.id
            assert await dump(engine.store) == after, "a repeated request changes nothing"
        return record.id

    # --- attempts

    @rule(target=tokens, server=st.integers(0, 1), which=st.integers(0, 5), streams=st.booleans())
    def claim(self, server, which, streams):
        """A worker takes the next execution of a task that has some, by a stream or by a unary call."""
        engine = self.world.engines[server]
        ready = [task for task in self.tasks.values() if self.world.run(self._length(task))]
        task = ready[which % len(ready)] if ready else self.tasks["plain"]
        record = self.world.run(engine.claim(task, lease_ms=0 if streams else LEASE_MS))
        if record is None:
            return multiple()
        assert record.state == lifecycle.RUNNING
        token = token_of(record)
        assert token not in self.known[record.id].tokens
        self.known[record.id].tokens.append(token)
        return token

    async def _length(self, task: ReadyTask) -> int:
        length: int = await self.world.store.call("ZCARD", self.world.store.keys.queue(task.queue_ref))
        return length

    @rule(target=tokens, execution=executions)
    def old_token(self, execution):
        """The token of any lease of an execution, such as one that was granted when it was created."""
        known = self.known.get(execution)
        return _given(known.tokens[0] if known and known.tokens else None)

    @rule(server=st.integers(0, 1), token=tokens, result=st.sampled_from(RESULTS), repeated=st.booleans())
    def complete(self, server, token, result, repeated):
        """A worker reports, perhaps with a token that is no longer current, and perhaps twice."""
        self.world.run(self._complete(self.world.engines[server], token, result, repeated=repeated))

    async def _complete(self, engine, token, result, *, repeated):
        completion, value = _completion(token, result, len(self.values))
        current = await self._is_current(token)
        before = await dump(engine.store)
        refusal = await refusal_of(engine.attempts.complete(completion, None))
        if current:
            assert refusal == (errors_pb2.ERROR_REASON_OUTPUTS_INVALID if result == "misfit" else None)
            if result == "outputs":
                self.values[value] = token[:12]
        else:
            assert refusal in {None, errors_pb2.ERROR_REASON_LEASE_LOST}
            assert await dump(engine.store) == before, "a stale token changes nothing"
        if repeated:
            before = await dump(engine.store)
            again = await refusal_of(self.world.engines[1].attempts.complete(completion, None))
            assert again in ({None, errors_pb2.ERROR_REASON_LEASE_LOST} if not current else {None})
            assert await dump(engine.store) == before, "a repeated completion changes nothing"

    async def _is_current(self, token: bytes) -> bool:
        record = (await records(self.world.store)).get(token[:12])
        return record is not None and record.state == lifecycle.RUNNING and token_of(record) == token

    @rule(server=st.integers(0, 1), token=tokens, repeated=st.booleans())
    def attach(self, server, token, repeated):
        """A worker comes back with a token, to any server."""
        for _ in range(1 + repeated):
            self.world.run(self._with_token(self.world.engines[server], token, attach=True))

    @rule(server=st.integers(0, 1), token=tokens)
    def extend(self, server, token):
        """A unary worker keeps its lease alive."""
        self.world.run(self._with_token(self.world.engines[server], token, attach=False))

    async def _with_token(self, engine: Engine, token: bytes, *, attach: bool) -> None:
        current = await self._is_current(token)
        before = await dump(engine.store)
        lease = (token[:12], token[12:])
        if attach:
            kept = await engine.store.attach(*lease) is not None
        else:
            (end,) = await engine.store.extend([lease], LEASE_MS)
            kept = end > 0
        assert kept == current
        if not current:
            assert await dump(engine.store) == before, "a stale token changes nothing"

    @rule(dead=st.integers(0, 1), repeated=st.booleans())
    def reap(self, dead, repeated):
        """A server is taken for dead, and the other one takes over what its streams held."""
        other = self.world.engines[1 - dead]
        for _ in range(1 + repeated):
            self.world.run(other.loops._reap(self.world.engines[dead].store.server))

    # --- clocks, cancellation, cache

    @rule(span=st.sampled_from([1, 6, 16, 21, 31, 41, 101]))
    def wait(self, span):
        """Time passes."""
        self.world.run(advance(self.world.store, span))

    @rule(server=st.integers(0, 1), repeated=st.booleans())
    def tick(self, server, repeated):
        """A server looks at the clocks."""
        for _ in range(1 + repeated):
            self.world.run(self.world.engines[server].tick())

    @rule(server=st.integers(0, 1))
    def see_clocks(self, server):
        """A server has seen clocks that ran out, and is slow to judge them."""
        engine = self.world.engines[server]
        due = self.world.run(engine.store.due())
        if due.judge:
            self.late.append((engine, due))

    @precondition(lambda self: self.late)
    @rule(repeated=st.booleans())
    def judge_late(self, repeated):
        """The slow server judges what it saw."""
        for _ in range(1 + repeated):
            for engine, due in self.late:
                for record in due.judge:
                    self.world.run(engine.attempts.judge(record, due.now_ms))
        self.late.clear()

    @rule(server=st.integers(0, 1), execution=executions, repeated=st.booleans())
    def cancel(self, server, execution, repeated):
        """Somebody cancels an execution, perhaps one that has ended."""
        for _ in range(1 + repeated):
            record = self.world.run(self.world.engines[server].attempts.cancel(execution, "enough"))
            assert record is None or lifecycle.is_terminal(record.state)

    @rule(server=st.integers(0, 1), task=st.sampled_from(["serialized", "cached"]))
    def evict(self, server, task):
        """Somebody empties the cache of a task."""
        self.world.run(self.world.engines[server].cache.evict_task(task_id(task), None))

    @rule(server=st.integers(0, 1), execution=executions)
    def watch(self, server, execution):
        """Somebody waits at some server."""
        self.world.run(self.world.engines[server].store.watch(execution))

    # --- what holds

    @invariant()
    def holds(self):
        """Everything in Redis is consistent, and what has ended has not changed."""
        self.world.run(self._holds())

    async def _holds(self) -> Keyspace:
        keyspace = await Keyspace(self.world.store).read()
        keyspace.check(self.by_ref)
        computing: dict[bytes, bytes] = {}
        for execution_id, record in keyspace.records.items():
            known = self.known[execution_id]
            if known.ended is not None:
                assert _end_of(record) == known.ended, "what has ended changes no more"
            elif lifecycle.is_terminal(record.state):
                known.ended = _end_of(record)
            if record.state == lifecycle.SUCCEEDED:
                producer = self.values[value_of(record.outcome)]
                is_hit = record.cache_status == execution_pb2.CacheInfo.STATUS_HIT
                assert is_hit or producer == execution_id, "outputs of another execution"
            reserves = record.flags & SERIALIZED and record.cache_status == execution_pb2.CacheInfo.STATUS_MISS
            if reserves and record.state in {lifecycle.QUEUED, lifecycle.RUNNING}:
                assert computing.setdefault(record.cache_key, execution_id) == execution_id, "two compute one entry"
        for execution_id in set(self.known) - set(keyspace.records):
            assert self.known.pop(execution_id).ended is not None, "lost without an end"
        for key, value in keyspace.entries.items():
            entry = codec.unpack_entry(value)
            if entry is not None:
                producer = self.values[value_of(entry.outputs)]
                found = keyspace.records.get(producer)
                assert found is None or (found.state == lifecycle.SUCCEEDED and found.cache_key == key)
        return keyspace

    def teardown(self) -> None:
        """Workers that succeed at everything bring everything to its end, and nothing is left behind."""
        self.world.run(self._finish_all())

    async def _finish_all(self) -> None:
        engine = self.world.engines[0]
        for round_ in range(100):
            await advance(self.world.store, 6)
            await engine.tick()
            for task in self.tasks.values():
                while (record := await engine.claim(task)) is not None:
                    completion, value = _completion(token_of(record), "outputs", len(self.values))
                    self.values[value] = record.id
                    await engine.attempts.complete(completion, record)
            keyspace = await self._holds()
            if all(lifecycle.is_terminal(each.state) for each in keyspace.records.values()):
                break
            assert round_ < 99, "an execution has no end"
        assert not keyspace.timer
        assert not keyspace.waiting
        assert all(codec.unpack_entry(value) is not None for value in keyspace.entries.values())


def _given(value):
    """Nothing for a bundle if there is nothing."""
    return multiple() if value is None else value


def _end_of(record: ExecutionRecord) -> tuple[int, int, int, int, int, bytes]:
    return (record.state, record.revision, record.attempt, record.failures, record.losses, record.outcome)


def _completion(token: bytes, result: str, value: int) -> tuple[worker_service_pb2.Completion, int]:
    completion = worker_service_pb2.Completion(token=token)
    if result == "outputs":
        completion.outputs.CopyFrom(outputs_of(value))
    elif result == "misfit":
        completion.outputs.literals["o1"].scalar.primitive.integer = value
    elif result == "timed_out":
        completion.timed_out.SetInParent()
    elif result == "abandoned":
        completion.abandoned.reason = "drained"
    else:
        completion.error.code = {"fatal": "Fatal"}.get(result, "Oops")
        completion.error.recoverable = result != "final"
        if result == "later":
            completion.error.retry_delay.CopyFrom(seconds(10))
    return completion, value


async def refusal_of(call) -> int | None:
    """The reason for which a call is refused."""
    try:
        await call
    except DomainError as error:
        return error.reason
    return None


def test_any_order_of_calls_keeps_the_promises(world: World) -> None:
    """One terminal state, bounded attempts, no stale result, no false cache entry, nothing left behind."""
    Lifecycle.world = world
    run_state_machine_as_test(
        Lifecycle,
        settings=settings(
            max_examples=50,
            stateful_step_count=40,
            deadline=None,
            derandomize=True,
            phases=(Phase.explicit, Phase.generate),
            suppress_health_check=list(HealthCheck),
        ),
    )
