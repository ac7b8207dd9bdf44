"""The SDK against a real server with a real store, and a real worker that runs bodies in threads."""

from __future__ import annotations

import asyncio
import threading
import uuid
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

import pytest

import lacewing
import lacewing.sync
import lacewing.testing
from lacewing import errors
from lacewing.task import AnyTask
from lacewing.v1 import execution_pb2, project_pb2

Execution = execution_pb2.Execution


@dataclass
class Order:
    """What is ordered."""

    item: str
    count: int = 1


class Stats(NamedTuple):
    """Two outputs with names."""

    low: int
    high: int


_failures: dict[str, int] = {}
_computed: list[int] = []
_gate = threading.Event()


@lacewing.task(timeout=60)
def add(a: int, b: int = 2) -> int:
    """Adds two numbers."""
    return a + b


@lacewing.task(timeout=60)
async def describe(order: Order) -> str:
    """Describes an order."""
    return f"{order.count} x {order.item}"


@lacewing.task(timeout=60)
def stats(values: list[int]) -> Stats:
    """Finds the bounds."""
    return Stats(min(values), max(values))


@lacewing.task(timeout=60, cache=True)
def square(a: int) -> int:
    """Squares, and notes that it did."""
    _computed.append(a)
    return a * a


@lacewing.task(timeout=60, retries=2, backoff=lacewing.Backoff(initial=0))
def flaky(key: str, failures: int) -> int:
    """Fails so often, then tells which attempt it is."""
    _failures[key] = _failures.get(key, 0) + 1
    if _failures[key] <= failures:
        raise lacewing.RecoverableError("not yet", code="NotYet")
    return lacewing.current_attempt().attempt


@lacewing.task(timeout=60, retries=5)
def broken(why: str) -> None:
    """Fails for good, because of something."""
    try:
        _failures[why]
    except KeyError as error:
        raise lacewing.NonRecoverableError("it is broken", code="Broken") from error


@lacewing.task(timeout=60)
def gated() -> str:
    """Waits until the test opens the gate."""
    lacewing.current_attempt().report_progress(0.5, "waiting")
    _gate.wait(30)
    return "open"


@lacewing.task(timeout=60, queue="nobody")
def waiting() -> None:
    """Is in a queue that no worker serves."""


TASKS: list[AnyTask] = [add, describe, stats, square, flaky, broken, gated]


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    with lacewing.testing.server() as server, lacewing.testing.worker(server.address, TASKS, slots=8):
        yield server.address


@pytest.fixture
async def client(address: str) -> AsyncIterator[lacewing.Client]:
    _gate.clear()
    async with lacewing.Client(address) as client:
        yield client
    _gate.set()


async def test_results_are_what_the_function_returns(client: lacewing.Client) -> None:
    """Of sync and async functions, with defaults, records and several outputs; as the local call."""
    assert await client.execute(add, 40) == 42
    assert await client.execute(describe, order=Order("apple", 3)) == "3 x apple"
    assert await client.execute(stats, [3, 1, 2]) == Stats(1, 3)


async def test_a_task_is_executed_by_its_name(client: lacewing.Client) -> None:
    """Without its function: values are plain."""
    assert await client.execute(add.name, a=40) == 42
    assert await client.execute(describe.name, order={"item": "pear"}) == "1 x pear"
    assert await client.execute(stats.name, values=[3, 1]) == {"low": 1, "high": 3}
    with pytest.raises(errors.InputsInvalid) as raised:
        await client.execute(describe.name, order={"item": 1})
    assert "inputs.order.item" in [violation.field for violation in raised.value.violations]


async def test_what_is_not_registered_is_not_found(client: lacewing.Client) -> None:
    """With its own error, whichever way it is executed."""
    missing = lacewing.task(name="missing")(add.function)
    with pytest.raises(errors.TaskNotFound):
        await client.execute(missing, 1)
    with pytest.raises(errors.TaskNotFound):
        await client.execute("missing", a=1)
    with pytest.raises(errors.TaskVersionNotFound):
        await client.execute(f"{add.name}@nothing", a=1)


async def test_many_are_executed(client: lacewing.Client) -> None:
    """In order, over one stream."""
    results = [result async for result in client.map(add, ({"a": number, "b": 1} for number in range(300)))]
    assert results == list(range(1, 301))


async def test_a_recoverable_error_is_tried_again(client: lacewing.Client) -> None:
    """As often as the task says; each attempt can be looked at."""
    handle = await client.submit(flaky, key=uuid.uuid4().hex, failures=2)
    assert await handle.result(timeout=20) == 3
    attempts = [attempt async for attempt in handle.attempts()]
    assert [attempt.error.code for attempt in attempts] == ["NotYet", "NotYet", ""]
    with pytest.raises(errors.TaskFailed) as raised:
        await client.execute(flaky, key=uuid.uuid4().hex, failures=3)
    assert (raised.value.code, raised.value.execution.failure_count) == ("NotYet", 3)


async def test_an_error_that_is_not_recoverable_ends_the_execution(client: lacewing.Client) -> None:
    """At once, with the remote stack trace, and with what led to it as the cause."""
    with pytest.raises(errors.TaskFailed) as raised:
        await client.execute(broken, "flux")
    assert raised.value.execution.attempt_count == 1
    assert raised.value.code == "Broken"
    assert "in broken" in str(raised.value)
    assert isinstance(raised.value.__cause__, errors.RemoteError)
    assert raised.value.__cause__.code == "KeyError"


async def test_results_are_memoized_as_declared(client: lacewing.Client) -> None:
    """A hit runs nothing; the mode of a request is obeyed; the cache can be looked at and evicted."""
    number = uuid.uuid4().int % 10**9
    assert await client.execute(square, number) == await client.execute(square, number) == number * number
    assert _computed.count(number) == 1
    refreshing = client.with_options(cache_mode=execution_pb2.CACHE_MODE_REFRESH)
    await refreshing.execute(square, number)
    assert _computed.count(number) == 2
    assert (await client.cache_stats(square)).entry_count >= 1  # Hits of the last second may not be counted yet.
    entries = [entry async for entry in client.cache_entries(square)]
    assert (await client.cache_entry(entries[0].key)).outputs.literals
    assert await client.evict_cache(key=entries[0].key) == 1
    assert await client.evict_cache(square) == len(entries) - 1
    only = client.with_options(cache_mode=execution_pb2.CACHE_MODE_ONLY)
    with pytest.raises(errors.CacheEntryNotFound):
        await only.execute(square, number)


async def test_an_execution_can_be_watched(client: lacewing.Client) -> None:
    """From its first state to its last."""
    handle = await client.submit(gated)
    states = []
    async for execution in handle.watch():
        states.append(execution.state)
        if execution.state == Execution.STATE_RUNNING:
            _gate.set()
    assert states[-1] == Execution.STATE_SUCCEEDED
    assert set(states) <= {Execution.STATE_QUEUED, Execution.STATE_RUNNING, Execution.STATE_SUCCEEDED}
    assert await handle.result() == "open"


async def test_an_execution_can_be_cancelled(client: lacewing.Client) -> None:
    """With a reason, which is the message of the error; cancelling twice is no error."""
    await client.register(waiting)
    handle = await client.submit(waiting)
    assert (await handle.status()).state == Execution.STATE_QUEUED
    assert (await handle.cancel("not needed")).state == Execution.STATE_CANCELLED
    assert (await handle.cancel()).state == Execution.STATE_CANCELLED
    with pytest.raises(errors.TaskCancelled, match="not needed"):
        await handle.result()


async def test_a_wait_that_is_over_leaves_the_execution(client: lacewing.Client) -> None:
    """It goes on, and can be found by its labels."""
    await client.register(waiting)
    label = uuid.uuid4().hex
    with pytest.raises(errors.WaitTimedOut):
        await client.with_options(timeout=0.05, labels={"test": label}).execute(waiting)
    (left,) = [execution async for execution in client.list(labels={"test": label})]
    assert left.state == Execution.STATE_QUEUED
    assert (await client.cancel(left.id)).state == Execution.STATE_CANCELLED


async def test_a_deadline_ends_an_execution_that_waits(client: lacewing.Client) -> None:
    """The deadline of the options bounds all of it."""
    await client.register(waiting)
    with pytest.raises(errors.TaskTimedOut) as raised:
        await client.with_options(deadline=0.05).execute(waiting)
    assert raised.value.code == "DeadlineExceeded"


async def test_a_caller_that_is_cancelled_cancels_if_asked(client: lacewing.Client) -> None:
    """With `cancel_on_disconnect`."""
    await client.register(waiting)
    label = uuid.uuid4().hex
    impatient = client.with_options(cancel_on_disconnect=True, labels={"test": label})
    call = asyncio.create_task(impatient.execute(waiting))
    while not (found := [each async for each in client.list(labels={"test": label})]):
        await asyncio.sleep(0.01)
    call.cancel()
    async for execution in client.handle(found[0].id, waiting).watch():
        state = execution.state
    assert state == Execution.STATE_CANCELLED


async def test_a_name_gives_the_execution_that_exists(client: lacewing.Client) -> None:
    """The same request again is the same execution; another one is a conflict."""
    named = client.with_options(name="x" + uuid.uuid4().hex)
    first, again = await named.submit(add, 1), await named.submit(add, 1)
    assert first.id == again.id
    with pytest.raises(errors.ExecutionConflict):
        await named.submit(add, 2)


async def test_a_request_id_gives_the_execution_that_exists(client: lacewing.Client) -> None:
    """As a name does, without naming the execution."""
    repeated = client.with_options(request_id=uuid.uuid4().hex)
    first, again = await repeated.submit(add, 1), await repeated.submit(add, 1)
    assert first.id == again.id
    with pytest.raises(errors.ExecutionConflict):
        await repeated.submit(add, 2)


async def test_registering_says_what_is_registered(client: lacewing.Client) -> None:
    """Equal specs are one version; a version never changes."""
    first, again = (await client.register(add))[0], (await client.register(add))[0]
    assert first == again
    assert (await client.get_task(add)).task_version == first
    fixed = lacewing.task(name="fixed", version="1", timeout=60)(add.function)
    changed = lacewing.task(name="fixed", version="1", timeout=61)(add.function)
    await client.register(fixed)
    with pytest.raises(errors.TaskVersionConflict) as raised:
        await client.register(changed)
    assert any("timeout" in violation.field for violation in raised.value.violations)


async def test_tasks_can_be_listed_and_archived(client: lacewing.Client) -> None:
    """An archived task takes no executions, until it is restored."""
    shelved = lacewing.task(name="shelved", timeout=60)(add.function)
    (version,) = await client.register(shelved)
    assert [task.id.name async for task in client.list_tasks(name_prefix="shel")] == ["shelved"]
    assert [each async for each in client.list_task_versions(shelved)] == [version]
    await client.archive_task(shelved)
    assert [task async for task in client.list_tasks(name_prefix="shel")] == []
    with pytest.raises(errors.TaskArchived):
        await client.execute(shelved, 1)
    await client.restore_task(shelved)
    assert [task.id.name async for task in client.list_tasks(name_prefix="shel")] == ["shelved"]


async def test_executions_can_be_listed(client: lacewing.Client) -> None:
    """By task, state, label and time; the views tell how much of each."""
    began = datetime.now(UTC) - timedelta(seconds=1)
    label = uuid.uuid4().hex
    handle = await client.with_options(labels={"test": label}).submit(add, 1)
    await handle.result()
    (found,) = [
        execution
        async for execution in client.list(
            task=add.name, states=[Execution.STATE_SUCCEEDED], labels={"test": label}, created_after=began
        )
    ]
    assert found.id == handle.id
    assert not found.HasField("inputs")
    assert (await client.get(handle.id.name)).inputs.literals["a"].scalar.primitive.integer == 1
    assert [each async for each in client.list(labels={"test": label}, created_before=began)] == []
    assert len([each async for each in client.list(limit=1)]) == 1
    with pytest.raises(errors.ExecutionNotFound):
        await client.get("xnothing")


async def test_workers_and_projects_can_be_listed(client: lacewing.Client) -> None:
    """And projects can be created and archived."""
    # A server tells the others of its workers every few moments.
    while not (workers := [worker async for worker in client.workers()]):
        await asyncio.sleep(0.02)
    (worker,) = workers
    assert add.name in worker.offer.task_names
    assert (await client.get_project()).id == "default"
    assert next(iter(await client.domains())).id == "development"
    project = "p" + uuid.uuid4().hex[:8]
    await client.create_project(project_pb2.Project(id=project, display_name="Shop"))
    with pytest.raises(errors.ProjectAlreadyExists):
        await client.create_project(project_pb2.Project(id=project))
    await client.update_project(project_pb2.Project(id=project, state=project_pb2.Project.STATE_ARCHIVED))
    assert project not in [each.id async for each in client.projects()]
    assert project in [each.id async for each in client.projects(include_archived=True)]


def test_the_blocking_client_does_the_same(address: str) -> None:
    """As a script would use it."""
    with lacewing.sync.Client(address) as client:
        assert client.execute(add, 1) == 3
        assert list(client.map(describe, [{"order": Order("fig")}])) == ["1 x fig"]
        handle = client.submit(add, 1)
        assert handle.result(timeout=20) == 3
        assert [execution.state for execution in handle.watch()] == [Execution.STATE_SUCCEEDED]
        with pytest.raises(errors.TaskNotFound):
            client.execute("missing", a=1)
