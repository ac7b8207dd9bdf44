"""Reading executions: watching, waiting, listing, and how long they can be read."""

from __future__ import annotations

import asyncio
import time

import grpc
import pytest
from google.protobuf.message import Message

from engine.service import Execution, Service, eventually, value
from lacewing.v1 import execution_service_pb2, identifiers_pb2, task_service_pb2
from lacewing_server.domain import identity
from lacewing_server.engine import paging
from server.contract import refusal_of
from server.world import execution, interface

QUEUED, RUNNING, SUCCEEDED = Execution.STATE_QUEUED, Execution.STATE_RUNNING, Execution.STATE_SUCCEEDED
WatchRequest = execution_service_pb2.WatchExecutionRequest
ListRequest = execution_service_pb2.ListExecutionsRequest
BIG = 20_000


# --- watching


async def test_a_watch_shows_every_state_until_the_end(service: Service) -> None:
    """QUEUED, RUNNING, QUEUED again, RUNNING, SUCCEEDED; each with a higher revision; then the stream ends."""
    task = await service.register(metadata={"retries": {"retries": 1}}, policy={"backoff": {"initial": "0s"}})
    created = await service.create(task)
    watch = service.stubs.executions.WatchExecution(WatchRequest(id=created.id))
    seen = [(await watch.read()).execution]
    lease = await service.lease(task)
    seen.append((await watch.read()).execution)
    await service.fail(lease)
    seen.append((await watch.read()).execution)
    lease = await service.lease(task)
    seen.append((await watch.read()).execution)
    await service.succeed(lease, 5)
    seen.append((await watch.read()).execution)
    assert await watch.read() is grpc.aio.EOF
    assert [each.state for each in seen] == [QUEUED, RUNNING, QUEUED, RUNNING, SUCCEEDED]
    revisions = [each.revision for each in seen]
    assert revisions == sorted(set(revisions))
    assert value(seen[-1]) == 5


async def test_a_watch_resumes_from_a_revision(service: Service) -> None:
    """What was seen is left out; what is newer comes at once; the end always comes."""
    task = await service.register()
    created = await service.create(task)
    lease = await service.lease(task)
    running = await service.get(created)
    older = service.stubs.executions.WatchExecution(WatchRequest(id=created.id, after_revision=created.revision))
    assert (await older.read()).execution == running
    newest = service.stubs.executions.WatchExecution(WatchRequest(id=created.id, after_revision=running.revision))
    reading = asyncio.create_task(newest.read())
    await service.succeed(lease, 5)
    assert (await reading).execution.state == SUCCEEDED
    ended = await service.get(created)
    for revision in (ended.revision, ended.revision + 7):
        after = service.stubs.executions.WatchExecution(WatchRequest(id=created.id, after_revision=revision))
        assert (await after.read()).execution == ended
        assert await after.read() is grpc.aio.EOF
    older.cancel()


async def test_many_watch_one_execution(service: Service) -> None:
    """Each sees the end."""
    task = await service.register()
    created = await service.create(task)
    watches = [service.stubs.executions.WatchExecution(WatchRequest(id=created.id)) for _ in range(10)]
    for each in watches:
        assert (await each.read()).execution.state == QUEUED
    await service.run(task, 5)
    for watch in watches:
        state = QUEUED
        while (response := await watch.read()) is not grpc.aio.EOF:
            state = response.execution.state
        assert state == SUCCEEDED


async def test_watching_what_is_not_there_is_refused(service: Service) -> None:
    """With the reason that Get gives."""
    request = WatchRequest()
    request.id.name = "never-was"
    assert (await refusal_of(service.stubs.executions.WatchExecution(request).read())).reason == "EXECUTION_NOT_FOUND"


# --- waiting


async def test_a_wait_returns_when_its_time_is_over(service: Service) -> None:
    """The execution as it is then, not an error; and a wait of nothing returns at once."""
    task = await service.register()
    created = await service.create(task)
    for seconds in (0, 0.05):
        began = time.monotonic()
        assert (await service.wait(created, seconds)).state == QUEUED
        assert seconds <= time.monotonic() - began < 5


async def test_a_wait_ends_before_the_deadline_of_the_call(service: Service) -> None:
    """Without ``wait_timeout`` the deadline of the call bounds it, and the answer still comes."""
    task = await service.register()
    created = await service.create(task)
    request = execution_service_pb2.WaitExecutionRequest(id=created.id)
    response = await service.stubs.executions.WaitExecution(request, timeout=1)
    assert response.execution.state == QUEUED
    response = await service.stubs.executions.Execute(execution(task), timeout=1)
    assert response.execution.state == QUEUED
    assert response.execution.HasField("id")


async def test_a_wait_returns_with_the_end(service: Service) -> None:
    """As soon as it is there; and at once if it was there before."""
    task = await service.register()
    created = await service.create(task)
    waiting = asyncio.create_task(service.wait(created, 10))
    await service.run(task, 5)
    assert value(await waiting) == 5
    assert value(await service.wait(created, 10)) == 5


@pytest.mark.parametrize("how", ["outputs", "timeout"])
async def test_who_waits_gets_what_who_reads_gets(service: Service, how: str) -> None:
    """The execution that a caller is woken with is the stored one, big inputs and revision included."""
    task = await service.register(
        metadata={"timeout": "20s"},
        template={"interface": _interface()},
    )
    waiting = asyncio.create_task(service.execute(task, inputs_json={"n": 1, "pad": "x" * BIG}))
    lease = await service.lease(task, lease_duration="3600s")
    if how == "outputs":
        await service.succeed(lease, 5)
    else:
        service.advance(21)
    executed = await waiting
    assert executed == await service.get(executed)
    assert len(executed.inputs.literals["pad"].scalar.primitive.string_value) == BIG


async def test_an_execution_that_vanishes_while_waited_for_is_not_found(service: Service) -> None:
    """Its retention passed before anybody looked: the wait ends with a refusal, not never."""
    task = await service.register(policy={"retention": "60s"})
    created = await service.create(task)
    waiting = asyncio.create_task(service.wait(created, 30))
    watch = service.stubs.executions.WatchExecution(WatchRequest(id=created.id))
    assert (await watch.read()).execution.state == QUEUED
    service.world.store.delete(b"lw:{0}:x:" + _id_of(created))
    assert (await refusal_of(waiting)).reason == "EXECUTION_NOT_FOUND"
    assert (await refusal_of(watch.read())).reason == "EXECUTION_NOT_FOUND"


# --- listing


async def names(service: Service, request: ListRequest) -> list[str]:
    """All pages of a list."""
    found: list[str] = []
    while True:
        page = await service.stubs.executions.ListExecutions(request)
        found += [each.id.name for each in page.executions]
        request.page_token = page.next_page_token
        if not page.next_page_token:
            return found


async def test_lists_filter_by_all_that_is_given(service: Service) -> None:
    """Task, version, state, labels and time; last created first."""
    task = await service.register(version="a")
    first = await service.create(task, labels={"team": "blue", "run": "1"})
    await service.run(task, 5)
    await service.register(version="b", description="another one", policy={"max_losses": 1})
    service.advance(60)
    second = await service.create(task, labels={"team": "blue"})
    third = await service.create(task)
    newest = (await service.get(second)).create_time
    one, two, three = first.id.name, second.id.name, third.id.name
    cases: list[tuple[ListRequest, list[str]]] = [
        (ListRequest(task_name=task), [three, two, one]),
        (ListRequest(task_name=task, task_version="a"), [one]),
        (ListRequest(task_name=task, states=[SUCCEEDED]), [one]),
        (ListRequest(task_name=task, states=[QUEUED, RUNNING]), [three, two]),
        (ListRequest(task_name=task, labels={"team": "blue"}), [two, one]),
        (ListRequest(task_name=task, labels={"team": "blue", "run": "1"}), [one]),
        (ListRequest(task_name=task, labels={"team": "red"}), []),
        (ListRequest(task_name=task, created_before=newest), [one]),
        (ListRequest(task_name=task, created_after=newest), [three, two]),
        (ListRequest(task_name="unknown"), []),
    ]
    for request, expected in cases:
        assert await names(service, request) == expected
        request.page_token, request.page_size = "", 1
        assert await names(service, request) == expected, "the same in pages of one"


async def test_pages_are_stable_while_executions_come(service: Service) -> None:
    """What is created between two pages neither shifts the next page nor repeats an item."""
    task = await service.register()
    created = [await service.create(task) for _ in range(9)]
    request = ListRequest(task_name=task, page_size=2)
    found: list[str] = []
    while True:
        page = await service.stubs.executions.ListExecutions(request)
        found += [each.id.name for each in page.executions]
        for _ in range(3):
            await service.create(task)
        request.page_token = page.next_page_token
        if not page.next_page_token:
            break
    assert found == [each.id.name for each in reversed(created)]


async def test_pages_are_stable_while_executions_go(service: Service) -> None:
    """What expires between two pages is left out, and nothing else is."""
    task = await service.register()
    created = [await service.create(task) for _ in range(8)]
    request = ListRequest(task_name=task, page_size=3)
    page = await service.stubs.executions.ListExecutions(request)
    assert [each.id.name for each in page.executions] == [each.id.name for each in created[:4:-1]]
    for number in (7, 5, 4):
        service.world.store.delete(b"lw:{0}:x:" + _id_of(created[number]))
    request.page_token = page.next_page_token
    assert await names(service, request) == [created[number].id.name for number in (3, 2, 1, 0)]


async def test_pages_of_versions_are_stable_while_versions_come(service: Service) -> None:
    """A version that is registered between two pages neither shifts the next page nor repeats a version."""
    for number in range(1, 8):
        task = await service.register(version=f"v{number}", policy={"max_losses": number})
    request = task_service_pb2.ListTaskVersionsRequest(id=identifiers_pb2.TaskId(name=task), page_size=2)
    found: list[str] = []
    while True:
        page = await service.stubs.tasks.ListTaskVersions(request)
        found += [each.id.version for each in page.task_versions]
        await service.register(version=f"late{len(found)}", policy={"max_losses": 100 + len(found)})
        request.page_token = page.next_page_token
        if not page.next_page_token:
            break
    assert found == [f"v{number}" for number in range(7, 0, -1)]


async def test_executions_of_one_moment_are_each_listed_once(service: Service) -> None:
    """Many are created within the same millisecond; pages of any size show each of them."""
    task = await service.register()
    created = await asyncio.gather(*(service.create(task) for _ in range(60)))
    expected = {each.id.name for each in created}
    for size in (1, 7, 60, 500):
        found = await names(service, ListRequest(task_name=task, page_size=size))
        assert len(found) == len(expected)
        assert set(found) == expected


async def test_a_position_that_is_no_position_is_refused(service: Service) -> None:
    """A token whose fingerprint fits and whose content does not is malformed, not a fault of the server."""
    task = await service.register()
    for _ in range(2):
        await service.create(task)
    for content in ("abc", "-5", 5, "x" * 100, "1-zz"):
        request = ListRequest(task_name=task, page_size=1, page_token=_token(ListRequest(task_name=task), content))
        assert (await refusal_of(service.stubs.executions.ListExecutions(request))).reason == "PAGE_TOKEN_INVALID"
    attempts = execution_service_pb2.ListAttemptsRequest()
    attempts.id.name = (await service.create(task)).id.name
    for position in ("abc", -5):
        attempts.page_token = _token(attempts, position)
        assert (await refusal_of(service.stubs.executions.ListAttempts(attempts))).reason == "PAGE_TOKEN_INVALID"


# --- retention


async def test_everything_of_a_finished_execution_expires_together(service: Service) -> None:
    """Record, inputs, attempts and, within seconds, its place in the lists; before that all can be read."""
    task = await service.register(policy={"retention": "60s"}, template={"interface": _interface()})
    before = set(service.world.contents())
    created = await service.create(task, inputs_json={"n": 1, "pad": "x" * BIG})
    await service.fail(await service.lease(task))
    ended = await service.get(created)
    assert ended.expire_time.ToMilliseconds() - ended.end_time.ToMilliseconds() == 60_000
    service.advance(59)
    assert len((await service.get(created)).inputs.literals["pad"].scalar.primitive.string_value) == BIG
    assert len(await service.attempts(created)) == 1
    service.advance(2)
    request = execution_service_pb2.GetExecutionRequest(id=created.id)
    assert (await refusal_of(service.stubs.executions.GetExecution(request))).reason == "EXECUTION_NOT_FOUND"

    async def is_forgotten() -> bool:
        left = set(service.world.contents()) - before
        indexes = [service.world.store.zscore(key, _id_of(created)) for key in service.world.store.scan_iter("*ix:*")]
        return not [key for key in left if _id_of(created) in key] and indexes.count(None) == len(indexes)

    await eventually(is_forgotten)


async def test_what_has_not_ended_does_not_expire(service: Service) -> None:
    """The retention begins with the end."""
    task = await service.register(policy={"retention": "60s"})
    created = await service.create(task)
    service.advance(1000)
    assert (await service.get(created)).state == QUEUED
    await service.run(task, 5)
    assert value(await service.get(created)) == 5


def _interface() -> dict[str, object]:
    return interface({"n": "INTEGER", "pad": "STRING"}, {"o0": "INTEGER"})


def _id_of(of: Execution) -> bytes:
    return identity.execution_id_of(of.id.project, of.id.domain, of.id.name)


def _token(request: Message, position: str | int) -> str:
    return paging.encode_token(paging.fingerprint(request), position)
