"""Graphs written in Python, run by a real server and a real worker: what comes out is what a plain call gives."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import lacewing
import lacewing.sync
from lacewing import testing
from lacewing.errors import TaskFailed
from lacewing.task import AnyTask
from lacewing.v1 import execution_pb2, graph_pb2
from sdk import graph_programs as programs


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    """A server of this module's own, with a worker that runs bodies in threads and in a child process."""
    with testing.server() as server, testing.worker(server.address, programs.ALL, isolation=None, slots=8):
        yield server.address


@pytest.fixture
async def client(address: str) -> AsyncIterator[lacewing.Client]:
    async with lacewing.Client(address) as client:
        yield client


@pytest.fixture(scope="module")
def blocking(address: str) -> Iterator[lacewing.sync.Client]:
    with lacewing.sync.Client(address) as client:
        yield client


async def test_a_workflow_is_executed_like_a_task(client: lacewing.Client) -> None:
    """By itself or by name, with inputs and outputs of the function; several outputs come back as they are returned."""
    result = await client.execute(programs.statistics, 3, labels={"a": 10, "b": 0})
    assert result == programs.statistics(3, {"a": 10, "b": 0})
    assert isinstance(result, programs.Statistics)
    named = await client.execute(programs.statistics.name, n=3, labels={"a": 10, "b": 0})
    assert named == {"total": result.total, "names": result.names}
    assert await client.execute(programs.soon, 4) == await programs.soon(4)


async def test_the_version_is_the_one_that_is_known_here(client: lacewing.Client) -> None:
    """The server derives the same version from a spec as the SDK, of tasks, dynamic tasks and workflows."""
    tasks: list[AnyTask] = [programs.add, programs.evaluate, programs.statistics, programs.soon]
    assert [each.id.version for each in await client.register(*tasks)] == [each.exact_version for each in tasks]


_PROGRAMS: st.SearchStrategy[dict[str, Any]] = st.recursive(
    st.integers(0, 6).map(lambda number: {"kind": "number", "parts": [number]}),
    lambda inner: st.one_of(
        st.builds(lambda *parts: {"kind": "add", "parts": list(parts)}, inner, inner),
        st.lists(inner, min_size=1, max_size=3).map(lambda parts: {"kind": "sum", "parts": parts}),
        st.lists(inner, min_size=1, max_size=3).map(lambda parts: {"kind": "map", "parts": parts}),
        st.builds(lambda *parts: {"kind": "if", "parts": list(parts)}, inner, inner),
        inner.map(lambda part: {"kind": "nested", "parts": [part]}),
    ),
    max_leaves=6,
)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(_PROGRAMS)
def test_a_graph_gives_what_a_plain_call_gives(blocking: lacewing.sync.Client, program: dict[str, Any]) -> None:
    """Any combination of calls, lists, maps, conditionals and nested dynamic tasks, decided by the input."""
    assert blocking.execute(programs.evaluate, program=program) == programs.evaluate(program)


async def test_elements_that_fail_are_none(client: lacewing.Client) -> None:
    """As long as enough succeed; else the workflow fails."""
    assert await client.execute(programs.halves, numbers=[2, 3, 4]) == programs.halves([2, 3, 4]) == [1, 2]
    with pytest.raises(TaskFailed):
        await client.execute(programs.halves, numbers=[1, 3, 4])


async def test_graphs_for_each_element(client: lacewing.Client) -> None:
    """An element may run a workflow, or a dynamic task."""
    assert await client.execute(programs.each_soon, numbers=[1, 2, 3]) == 15


async def test_a_branch_can_fail(client: lacewing.Client) -> None:
    """With its own message."""
    assert await client.execute(programs.checked, n=1) == 3
    with pytest.raises(TaskFailed, match="it is too large"):
        await client.execute(programs.checked, n=10)


async def test_a_node_overrides_its_task(client: lacewing.Client, tmp_path: Path) -> None:
    """A task without retries is tried again where a node says so."""
    handle = await client.submit(programs.retried, folder=str(tmp_path))
    assert await handle.result() == 7
    (node,) = (await handle.graph()).nodes
    assert (node.name, node.attempt_count, node.state) == ("again", 2, graph_pb2.NodeStatus.STATE_SUCCEEDED)


async def test_a_failure_node_is_told_why(client: lacewing.Client, tmp_path: Path) -> None:
    """It has run when the workflow has failed, with the inputs of that and the error."""
    with pytest.raises(TaskFailed, match="3 is odd"):
        await client.execute(programs.cleaned, folder=str(tmp_path), n=3)
    assert "3 is odd" in (tmp_path / "error").read_text()
    assert (tmp_path / "error").read_text().startswith("n0 ")


async def test_calls_wait_for_each_other_where_it_is_said(client: lacewing.Client, tmp_path: Path) -> None:
    """Although no value passes between them."""
    await client.execute(programs.ordered, folder=str(tmp_path))
    assert (tmp_path / "words").read_text() == "abc"


async def test_people_answer(client: lacewing.Client) -> None:
    """Agreement and a value from outside go into the graph."""
    handle = await client.submit(programs.asked, n=1)
    async with asyncio.timeout(20):
        async for seen in handle.watch(nodes=True):
            if any(node.kind == graph_pb2.NodeStatus.KIND_GATE for node in seen.nodes):
                break
    await handle.signal("number", 10)
    await handle.approve("agree")
    assert await handle.result(timeout=20) == 13


async def test_files_and_large_values_of_a_body_reach_its_tasks(client: lacewing.Client, tmp_path: Path) -> None:
    """They are stored when the body passes them on, also in a child process."""
    (tmp_path / "file").write_bytes(b"12345")
    assert await client.execute(programs.large_constants, path=str(tmp_path / "file")) == 300_005


async def test_parts_of_large_values(client: lacewing.Client) -> None:
    """Lists that are kept elsewhere are mapped and indexed like any other."""
    assert await client.execute(programs.large_lists, count=3) == programs.large_lists(3)


async def test_what_is_declared_elsewhere(client: lacewing.Client) -> None:
    """A reference runs what is registered last under its name; if nothing is, the graph does not hold."""
    assert await client.execute(programs.borrowing, n=5) == 6
    handle = await client.submit(programs.borrowing, n=0)
    with pytest.raises(TaskFailed, match="nowhere"):
        await handle.result()
    error = (await handle.status()).error
    assert (error.code, error.kind) == ("GraphInvalid", execution_pb2.TaskError.KIND_USER)
