"""Names and request ids make creation safe to repeat."""

from __future__ import annotations

import asyncio

import pytest

from engine.service import Execution, Service, Status, value
from lacewing.v1 import execution_service_pb2
from server.contract import refusal_of
from server.world import connect, execution

KEYS = pytest.mark.parametrize("key", ["name", "request_id"])


def creation(task: str, **request: object) -> execution_service_pb2.CreateExecutionRequest:
    """A request to create."""
    return execution_service_pb2.CreateExecutionRequest(request=execution(task, **request))


@KEYS
async def test_a_repeated_request_gives_the_execution_that_exists(service: Service, key: str) -> None:
    """While it is queued, while it runs, and after its end; the answer says that it was there."""
    task = await service.register()
    request = creation(task, **{key: f"the-{key[:4]}"})
    first = await service.stubs.executions.CreateExecution(request)
    assert not first.replayed
    lease = None
    for stage in ("queued", "running", "ended"):
        if stage == "running":
            lease = await service.lease(task)
        elif stage == "ended":
            assert lease is not None
            await service.succeed(lease, 5)
        again = await service.stubs.executions.CreateExecution(request)
        assert again.replayed
        assert again.execution.id == first.execution.id
        assert again.execution.state == (await service.get(first.execution)).state
    await service.no_lease(task)


@KEYS
async def test_the_same_key_for_something_else_is_a_conflict(service: Service, key: str) -> None:
    """Other inputs, or another version of the task: refused, and nothing is stored."""
    task = await service.register(version="a")
    await service.register(version="b", description="another one", policy={"max_losses": 1})
    request = creation(task, **{key: f"a-{key[:4]}"})
    request.request.task.version = "a"
    await service.stubs.executions.CreateExecution(request)
    before = service.world.contents()
    other_inputs = creation(task, **{key: f"a-{key[:4]}", "inputs_json": {"n": 2}})
    other_inputs.request.task.version = "a"
    other_version = execution_service_pb2.CreateExecutionRequest()
    other_version.CopyFrom(request)
    other_version.request.task.version = "b"
    for each in (other_inputs, other_version):
        assert (await refusal_of(service.stubs.executions.CreateExecution(each))).reason == "EXECUTION_CONFLICT"
    assert service.world.contents() == before


@KEYS
async def test_many_clients_that_ask_at_once_get_one_execution(service: Service, key: str) -> None:
    """Of twenty requests over four connections one creates; the body runs once, and all learn the outcome."""
    task = await service.register()
    request = execution(task, **{key: f"one-{key[:4]}", "wait_timeout": "10s"})
    async with (
        connect(service.world.server.address) as second,
        connect(service.world.server.address) as third,
        connect(service.world.server.address) as fourth,
    ):
        stubs = [service.stubs, second, third, fourth]
        calls = [stubs[number % 4].executions.Execute(request) for number in range(20)]
        await service.run(task, 5)
        answers = [(await call).execution for call in calls]
    assert len({each.id.name for each in answers}) == 1
    assert {value(each) for each in answers} == {5}
    await service.no_lease(task)


async def test_conflicting_clients_that_ask_at_once(service: Service) -> None:
    """One wins, and the others are refused; never is one answered with the inputs of another."""
    task = await service.register()
    calls = [
        service.stubs.executions.CreateExecution(creation(task, name="contested", inputs_json={"n": n}))
        for n in range(8)
    ]
    answers = await asyncio.gather(*calls, return_exceptions=True)
    (winner,) = [each for each in answers if isinstance(each, execution_service_pb2.CreateExecutionResponse)]
    lease = await service.lease(task)
    assert lease.inputs == winner.execution.inputs
    await service.no_lease(task)


async def test_a_repeated_request_after_a_hit(service: Service) -> None:
    """A named hit is recorded and found again; one with a request id asks the cache again."""
    task = await service.register_cached()
    await service.create(task)
    await service.run(task, 5)
    named = await service.execute(task, name="named-hit")
    assert named.cache.status == Status.STATUS_HIT
    again = await service.stubs.executions.CreateExecution(creation(task, name="named-hit"))
    assert again.replayed
    assert (again.execution.id, value(again.execution)) == (named.id, 5)
    conflict = await refusal_of(service.execute(task, name="named-hit", inputs_json={"n": 2}))
    assert conflict.reason == "EXECUTION_CONFLICT"
    for _ in range(2):
        hit = await service.execute(task, request_id="hit-id")
        assert (hit.cache.status, value(hit)) == (Status.STATUS_HIT, 5)
        assert not hit.HasField("id")


async def test_a_name_is_free_again_after_the_retention(service: Service) -> None:
    """It is remembered exactly as long as its execution can be read."""
    task = await service.register(policy={"retention": "60s"})
    created = await service.create(task, name="again")
    await service.run(task, 5)
    service.advance(61)
    again = await service.stubs.executions.CreateExecution(creation(task, name="again", inputs_json={"n": 2}))
    assert not again.replayed
    assert again.execution.id == created.id
    assert again.execution.state == Execution.STATE_QUEUED
    lease = await service.lease(task)
    assert lease.attempt == 1
    await service.no_lease(task)


async def test_names_live_in_their_domain(service: Service) -> None:
    """The same name in another domain is another execution."""
    task = await service.register()
    await service.register(domain="production")
    first = creation(task, name="everywhere")
    second = creation(task, name="everywhere", inputs_json={"n": 2})
    second.request.task.domain = "production"
    for request in (first, second):
        assert not (await service.stubs.executions.CreateExecution(request)).replayed
