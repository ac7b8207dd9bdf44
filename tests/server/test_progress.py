"""What a body reports of itself while it runs, as callers see it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator

import pytest

import lacewing
from lacewing import testing
from lacewing.v1 import execution_pb2
from lacewing.worker import Worker

_steps: dict[str, asyncio.Event] = {}


@lacewing.task(name="reporting", isolation="thread", retries=1, backoff=lacewing.Backoff(initial=0), timeout=60)
async def reporting(key: str, fails: bool = False) -> str:  # noqa: FBT001, FBT002 it is a task
    """Reports that it is half done and waits; if it is to fail, only at its first attempt."""
    if lacewing.current_attempt().attempt == 1:
        lacewing.current_attempt().report_progress(0.5, "half")
    await _steps[key].wait()
    if fails and lacewing.current_attempt().attempt == 1:
        _steps[key] = asyncio.Event()
        raise ValueError("again")
    return "done"


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    """A server of this module's own."""
    with testing.server() as server:
        yield server.address


@pytest.fixture
async def client(address: str) -> AsyncIterator[lacewing.Client]:
    """A client, and a worker on the same loop."""
    worker = Worker(address, [reporting])
    serving = asyncio.create_task(worker.run())
    async with lacewing.Client(address) as client:
        await client.register(reporting)
        yield client
    worker.drain()
    await serving


async def test_progress_is_watched_and_read(client: lacewing.Client) -> None:
    """A watch hears of it without a change of the execution; after the end it is gone."""
    _steps["watched"] = asyncio.Event()
    handle = await client.submit(reporting, "watched")
    seen: list[execution_pb2.Execution] = []
    async for execution in handle.watch():
        seen.append(execution)
        if execution.HasField("progress"):
            assert (execution.progress.fraction, execution.progress.message) == (0.5, "half")
            assert (await client.get(handle.id)).progress == execution.progress
            assert [each.progress async for each in client.list(task="reporting", limit=1)] == [execution.progress]
            _steps["watched"].set()
    assert [each.HasField("progress") for each in seen][-2:] == [True, False]
    assert seen[-1].state == execution_pb2.Execution.STATE_SUCCEEDED
    revisions = [each.revision for each in seen]
    assert revisions == sorted(revisions)


async def test_progress_is_that_of_the_running_attempt(client: lacewing.Client) -> None:
    """What an earlier attempt had reported is not shown for the next one."""
    _steps["again"] = first = asyncio.Event()
    handle = await client.submit(reporting, "again", fails=True)
    shown: set[tuple[int, bool]] = set()
    async for execution in handle.watch():
        if execution.state == execution_pb2.Execution.STATE_RUNNING:
            shown.add((execution.attempt_count, execution.HasField("progress")))
        if execution.HasField("progress"):
            first.set()
        if execution.attempt_count == 2 and _steps["again"] is not first:
            _steps["again"].set()
    assert (1, True) in shown
    assert (2, True) not in shown
    assert await handle.result() == "done"
