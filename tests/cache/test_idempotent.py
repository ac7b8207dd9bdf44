"""Bodies with effects outside: a key that makes their calls idempotent, and tasks that must not run twice."""

from __future__ import annotations

from pathlib import Path

import lacewing.testing
from cache import bodies
from engine.service import Execution, Service, StreamWorker
from lacewing import Client, current_attempt
from lacewing.v1 import worker_service_pb2

ONCE_MORE = {"backoff": {"initial": "0s"}}
DRAINED = worker_service_pb2.Completion.Abandoned(reason="drained")


async def test_all_attempts_of_an_execution_have_one_key(service: Service) -> None:
    """After a failure and after a loss, by a unary lease and by a stream; another execution has another key."""
    task = await service.register(metadata={"retries": {"retries": 2}}, policy=ONCE_MORE)
    await service.create(task)
    first = await service.lease(task)
    await service.fail(first)
    second = await service.lease(task)
    await service.report(worker_service_pb2.Completion(token=second.token, abandoned=DRAINED))
    worker = await StreamWorker(service.stubs, task).connect()
    third = await worker.lease()
    await worker.succeed(third, 1)
    worker.close()
    assert [each.attempt for each in (first, second, third)] == [1, 2, 3]
    (key,) = {each.idempotency_key for each in (first, second, third)}
    assert len(key) == 32
    assert set(key) <= set("0123456789abcdef")
    await service.create(task)
    assert (await service.lease(task)).idempotency_key != key


async def test_a_name_that_is_given_again_has_another_key(service: Service) -> None:
    """Or what the second execution does outside would be taken for a repetition of the first."""
    task = await service.register(policy={"retention": "60s"})
    keys = []
    for _ in range(2):
        await service.create(task, name="order-1")
        keys.append((await service.run(task, 1)).idempotency_key)
        service.advance(61)
    assert len(set(keys)) == 2


async def test_a_body_knows_its_key(tmp_path: Path) -> None:
    """Also in a process of its own; outside a worker it is a stand-in."""
    with (
        lacewing.testing.server() as server,
        lacewing.testing.worker(server.address, [bodies.keyed], isolation="process", name="keyed"),
    ):
        async with Client(server.address) as client:
            first, second = await client.execute(bodies.keyed, str(tmp_path / "one"))
            assert first == second
            assert len(first) == 32
            assert (await client.execute(bodies.keyed, str(tmp_path / "two")))[0] != first
    assert current_attempt().idempotency_key == "local"


async def test_what_must_not_run_twice_is_not_repeated_after_a_timeout(service: Service) -> None:
    """Nobody knows how far the body was, so that no retry is made although some are left."""
    task = await service.register(metadata={"retries": {"retries": 5}, "timeout": "5s"}, policy={"idempotent": False})
    created = await service.create(task)
    await service.lease(task)
    service.advance(6)
    ended = await service.until(created, Execution.STATE_TIMED_OUT)
    assert (ended.attempt_count, ended.error.code) == (1, "AttemptTimeout")
    assert "not idempotent" in ended.error.message


async def test_what_must_not_run_twice_is_not_repeated_when_it_is_given_back(service: Service) -> None:
    """A worker that drains has begun it."""
    task = await service.register(metadata={"retries": {"retries": 5}}, policy={"idempotent": False})
    created = await service.create(task)
    lease = await service.lease(task)
    await service.report(worker_service_pb2.Completion(token=lease.token, abandoned=DRAINED))
    ended = await service.get(created)
    assert (ended.state, ended.error.code, ended.loss_count) == (Execution.STATE_FAILED, "LossesExhausted", 1)
    await service.no_lease(task)


async def test_a_body_may_ask_to_be_run_again(service: Service) -> None:
    """A recoverable error is the body's own word that nothing stands in the way of another attempt."""
    task = await service.register(metadata={"retries": {"retries": 1}}, policy={"idempotent": False, **ONCE_MORE})
    created = await service.create(task)
    await service.fail(await service.lease(task))
    await service.run(task, 1)
    assert (await service.get(created)).state == Execution.STATE_SUCCEEDED
