"""Executions through the wire: a real server with a real Valkey, a worker of the SDK, and the SDK's client."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator

import pytest

import lacewing
from lacewing import testing
from lacewing.task import AnyTask
from lacewing.v1 import execution_pb2
from lacewing.worker import Worker

_runs: list[int] = []


@lacewing.task(name="double", cache=True, isolation="thread")
async def double(n: int) -> int:
    """Doubles a number, and notes that it ran."""
    _runs.append(n)
    return 2 * n


@lacewing.task(name="third-time-lucky", isolation="thread", retries=2, backoff=lacewing.Backoff(initial=0.01))
async def third_time_lucky(n: int) -> int:
    """Fails twice."""
    if lacewing.current_attempt().attempt < 3:
        raise ValueError(f"not at attempt {lacewing.current_attempt().attempt}")
    return n


@lacewing.task(name="slow-once", isolation="thread", retries=1, timeout=0.2, backoff=lacewing.Backoff(initial=0.01))
async def slow_once() -> str:
    """Outlives its timeout at the first attempt."""
    if lacewing.current_attempt().attempt == 1:
        await asyncio.Event().wait()
    return "in time"


@lacewing.task(name="for-ever", isolation="thread")
async def for_ever() -> None:
    """Never ends by itself."""
    await asyncio.Event().wait()


@lacewing.task(name="refuses", isolation="thread", retries=5)
async def refuses() -> None:
    """Fails for good."""
    raise lacewing.NonRecoverableError("no")


TASKS: list[AnyTask] = [double, third_time_lucky, slow_once, for_ever, refuses]


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    """A server of this module's own."""
    with testing.server() as server:
        yield server.address


@pytest.fixture
async def client(address: str) -> AsyncIterator[lacewing.Client]:
    """A client, and a worker that serves its tasks."""
    worker = Worker(address, TASKS)
    serving = asyncio.create_task(worker.run())
    async with lacewing.Client(address) as client:
        await client.register(*TASKS)
        yield client
    worker.drain()
    await serving


async def test_second_call_is_answered_from_the_cache(client: lacewing.Client) -> None:
    """A memoized task runs once for equal inputs."""
    _runs.clear()
    assert await client.execute(double, n=21) == 42
    assert await client.execute(double, n=21) == 42
    assert _runs == [21]


async def test_failed_attempts_are_retried_as_often_as_declared(client: lacewing.Client) -> None:
    """Two failures and a success are three attempts, each kept with its error."""
    handle = await client.submit(third_time_lucky, n=7)
    assert await handle.result() == 7
    attempts = [attempt async for attempt in handle.attempts()]
    assert [attempt.number for attempt in attempts] == [1, 2, 3]
    assert [attempt.error.code for attempt in attempts] == ["ValueError", "ValueError", ""]


async def test_timed_out_attempt_is_retried(client: lacewing.Client) -> None:
    """A timeout counts as a failure, and the next attempt may succeed."""
    handle = await client.submit(slow_once)
    assert await handle.result() == "in time"
    attempts = [attempt async for attempt in handle.attempts()]
    assert attempts[0].state == execution_pb2.Attempt.STATE_TIMED_OUT


async def test_non_recoverable_error_ends_the_execution_at_once(client: lacewing.Client) -> None:
    """Retries do not apply to an error that says they are of no use."""
    handle = await client.submit(refuses)
    with pytest.raises(lacewing.TaskFailed, match="no"):
        await handle.result()
    assert len([attempt async for attempt in handle.attempts()]) == 1


async def test_cancelling_stops_the_body_and_may_be_repeated(client: lacewing.Client) -> None:
    """A running execution is CANCELLED when the call returns; a second call changes nothing."""
    handle = await client.submit(for_ever)
    await handle.cancel("enough")
    await handle.cancel("again")
    with pytest.raises(lacewing.TaskCancelled, match="enough"):
        await handle.result()


async def test_wrong_input_is_refused_with_its_path(client: lacewing.Client) -> None:
    """Nothing is stored for inputs that do not fit."""
    with pytest.raises(lacewing.errors.InputsInvalid) as raised:
        await client.execute("double", n="many")
    assert "inputs.n" in str(raised.value)


async def test_unknown_task_names_the_nearest(client: lacewing.Client) -> None:
    """A misspelt name is answered with the one that was meant."""
    with pytest.raises(lacewing.errors.TaskNotFound, match='did you mean "double"'):
        await client.execute("doubel", n=1)


async def test_many_executions_run_over_one_stream(client: lacewing.Client) -> None:
    """Results come in the order of the inputs."""
    results = [result async for result in client.map(double, [{"n": n} for n in range(300)])]
    assert results == [2 * n for n in range(300)]
