"""Leases, queues and losses: cases that the order of calls makes rare."""

from __future__ import annotations

import asyncio

from lacewing.v1 import execution_service_pb2, task_pb2, worker_service_pb2
from lacewing_server.domain import lifecycle
from lacewing_server.domain.errors import DomainError
from lacewing_server.domain.record import ExecutionRecord
from lacewing_server.store.redis.transitions import (
    Outcome,
    Requeueing,
    expired_guard,
    lease_guard,
    owner_guard,
    revision_guard,
)
from store.tasks import inputs_of, outputs_of, seconds, spec, task_id
from store.time_machine import advance
from store.world import LEASE_MS, Engine, World, dump, token_of


def request_of(task: str, n: int = 0) -> execution_service_pb2.ExecuteRequest:
    """A request."""
    return execution_service_pb2.ExecuteRequest(task=task_id(task), inputs=inputs_of(n))


async def create(engine: Engine, task: str, n: int = 0) -> ExecutionRecord:
    """Creates an execution."""
    return (await engine.executions.create(request_of(task, n), record_hit=True)).record


async def read(engine: Engine, record: ExecutionRecord) -> ExecutionRecord:
    """The execution as it is now."""
    found = await engine.store.get(record.id)
    assert found is not None
    return found


def test_cancelling_frees_the_place_in_the_queue(world: World) -> None:
    """What was cancelled while it was queued does not count for the bound of the queue."""

    async def scenario() -> None:
        engine = world.engines[0]
        await engine.register("short", spec(policy=task_pb2.TaskPolicy(max_queued=1)))
        for _ in range(3):
            record = await create(engine, "short")
            await engine.attempts.cancel(record.id, "")

    world.run(scenario())


def test_queue_timeout_frees_the_place_in_the_queue(world: World) -> None:
    """What no worker took in time does not count for the bound of the queue either."""

    async def scenario() -> None:
        engine = world.engines[0]
        await engine.register("short", spec(policy=task_pb2.TaskPolicy(max_queued=1, queue_timeout=seconds(5))))
        for _ in range(3):
            record = await create(engine, "short")
            await advance(engine.store, 6)
            await engine.tick()
            assert (await read(engine, record)).state == lifecycle.TIMED_OUT

    world.run(scenario())


def test_the_loss_that_ends_an_execution_is_counted(world: World) -> None:
    """After two losses where one is allowed the execution says two."""

    async def scenario() -> None:
        engine = world.engines[0]
        task = await engine.register("lossy", spec(policy=task_pb2.TaskPolicy(max_losses=1)))
        record = await create(engine, "lossy")
        for _ in range(2):
            assert await engine.claim(task) is not None
            await advance(engine.store, LEASE_MS / 1000 + 1)
            await engine.tick()
        record = await read(engine, record)
        assert (record.state, record.losses, record.failures) == (lifecycle.FAILED, 2, 0)
        assert len(await engine.store.attempts(record.id)) == 2

    world.run(scenario())


def test_a_lease_that_reached_no_worker_is_no_attempt(world: World) -> None:
    """A stream that closed before it could be told of its lease leaves no trace in the counts."""

    async def scenario() -> None:
        engine = world.engines[0]
        task = await engine.register("plain", spec())
        record = await create(engine, "plain")
        leased = await engine.claim(task, lease_ms=0)
        assert leased is not None
        await engine.attempts.give_back(leased)
        record = await read(engine, record)
        assert (record.state, record.attempt, record.losses) == (lifecycle.QUEUED, 0, 0)
        leased = await engine.claim(task)
        assert leased is not None
        assert leased.attempt == 1

    world.run(scenario())


def test_a_lease_that_is_extended_is_not_lost_to_a_late_judge(world: World) -> None:
    """A server that saw the lease run out, and is slow, does not take away what was extended meanwhile."""

    async def scenario() -> None:
        slow, other = world.engines
        task = await slow.register("plain", spec())
        await create(slow, "plain")
        leased = await slow.claim(task)
        assert leased is not None
        await advance(slow.store, LEASE_MS / 1000 + 1)
        due = await slow.store.due()
        assert [each.id for each in due.judge] == [leased.id]
        (end,) = await other.store.extend([(leased.id, leased.nonce)], LEASE_MS)
        assert end > due.now_ms
        await slow.attempts.judge(due.judge[0], due.now_ms)
        assert (await read(slow, leased)).state == lifecycle.RUNNING

    world.run(scenario())


def test_a_lease_that_moved_is_not_reaped_with_the_server_it_left(world: World) -> None:
    """What a worker took along to another server survives the death of the first one."""

    async def scenario() -> None:
        dead, alive = world.engines
        task = await dead.register("plain", spec())
        await create(dead, "plain")
        leased = await dead.claim(task, lease_ms=0)
        assert leased is not None
        assert await alive.store.attach(leased.id, leased.nonce) is not None
        await alive.loops._reap(dead.store.server)
        await alive.attempts.lose(leased, owner_guard(leased.nonce, dead.store.server), "it died")
        found = await read(alive, leased)
        assert (found.state, found.owner, found.losses) == (lifecycle.RUNNING, alive.store.server, 0)

    world.run(scenario())


def test_one_of_many_servers_judges_a_clock(world: World) -> None:
    """Two servers that see the same clock at the same time count one timeout."""

    async def scenario() -> None:
        first, second = world.engines
        task = await first.register("slow", spec(timeout=5, retries=3))
        await create(first, "slow")
        leased = await first.claim(task)
        assert leased is not None
        await advance(first.store, 6)
        due = await first.store.due()
        await asyncio.gather(
            first.attempts.judge(due.judge[0], due.now_ms), second.attempts.judge(due.judge[0], due.now_ms)
        )
        found = await read(first, leased)
        assert (found.state, found.failures, found.attempt) == (lifecycle.QUEUED, 1, 1)
        completion = worker_service_pb2.Completion(token=token_of(leased))
        completion.timed_out.SetInParent()
        refused = False
        try:
            await second.attempts.complete(completion, None)
        except DomainError:
            refused = True
        assert refused, "the worker came too late"

    world.run(scenario())


def test_many_servers_that_claim_at_once_lease_each_execution_once(world: World) -> None:
    """Sixty claims from two servers for forty executions: forty leases, each of another execution, none twice."""

    async def scenario() -> None:
        engines = world.engines
        task = await engines[0].register("plain", spec())
        created = await asyncio.gather(*(create(engines[n % 2], "plain", n) for n in range(40)))
        claims = await asyncio.gather(*(engines[n % 2].claim(task, lease_ms=(n % 3) * LEASE_MS) for n in range(60)))
        leased = [each.id for each in claims if each is not None]
        assert sorted(leased) == sorted(each.id for each in created)
        tokens = {token_of(each) for each in claims if each is not None}
        assert len(tokens) == 40
        found = [await read(engines[1], each) for each in created]
        assert {(each.state, each.attempt) for each in found} == {(lifecycle.RUNNING, 1)}

    world.run(scenario())


def test_a_completion_and_a_cancellation_at_once_leave_one_end(world: World) -> None:
    """Whichever comes first; the worker is told so, and who cancels is answered with what was reached."""

    async def scenario() -> None:
        first, second = world.engines
        task = await first.register("plain", spec(retries=3))
        ends = set()
        for n in range(30):
            await create(first, "plain", n)
            leased = await first.claim(task)
            assert leased is not None
            completion = worker_service_pb2.Completion(token=token_of(leased), outputs=outputs_of(n))
            calls = [first.attempts.complete(completion, leased), second.attempts.cancel(leased.id, "enough")]
            results = await asyncio.gather(*(calls if n % 2 else calls[::-1]), return_exceptions=True)
            found = await read(first, leased)
            refused = any(isinstance(each, DomainError) for each in results)
            assert found.state == (lifecycle.CANCELLED if refused else lifecycle.SUCCEEDED)
            (reached,) = [each.state for each in results if isinstance(each, ExecutionRecord)]
            assert reached == found.state
            ends.add(found.state)
        assert ends <= {lifecycle.CANCELLED, lifecycle.SUCCEEDED}

    world.run(scenario())


def test_the_token_of_an_earlier_lease_moves_nothing(world: World) -> None:
    """While another worker runs the next attempt: no end, no retry, no move, no extension, by any guard."""

    async def scenario() -> None:
        engine, other = world.engines
        task = await engine.register("plain", spec(retries=3, policy=task_pb2.TaskPolicy(max_losses=3)))
        await create(engine, "plain")
        stale = await engine.claim(task, lease_ms=0)
        assert stale is not None
        await engine.attempts.lose(stale, lease_guard(stale.nonce), "it is gone")
        current = await engine.claim(task)
        assert current is not None
        assert (current.id, current.attempt) == (stale.id, 2)
        await advance(engine.store, LEASE_MS / 1000 + 1)
        before = await dump(engine.store)
        end = Outcome(lifecycle.CANCELLED, b"")
        for guard in (
            lease_guard(stale.nonce),
            owner_guard(stale.nonce, engine.store.server),
            owner_guard(current.nonce, other.store.server),
            expired_guard(stale.nonce),
            revision_guard(stale.revision),
        ):
            assert (await engine.store.finish(stale.id, guard, end)).kind == "refused"
            assert (await engine.store.requeue(stale.id, guard, Requeueing(failures=1))).kind == "refused"
        assert await other.store.attach(stale.id, stale.nonce) is None
        assert await engine.store.extend([(stale.id, stale.nonce)], LEASE_MS) == [0]
        assert await dump(engine.store) == before

    world.run(scenario())
