"""A worker that is not Python: plain JavaScript, written from the protos alone, whose tasks decide on graphs."""

from __future__ import annotations

import asyncio
import re
import selectors
import shutil
import signal
import subprocess
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

import lacewing
from lacewing import testing
from lacewing.errors import GraphNotFound
from lacewing.v1 import execution_pb2, graph_pb2

_FOLDER = Path(__file__).parent / "node"
_LEASE_SECONDS = 1.0
NodeStatus = graph_pb2.NodeStatus


def _node() -> str:
    """The program; skips the tests where it is not there, which CI does not take for a pass."""
    found = shutil.which("node")
    if found is None:
        pytest.skip("there is no node here (Debian: apt install nodejs npm)")
    if not (_FOLDER / "node_modules" / ".installed").exists():
        pytest.skip("the packages of the worker are not there (make test installs them, if there is npm)")
    return found


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    """A server of this module's own, whose leases are short."""
    with testing.server(lease_duration=_LEASE_SECONDS, heartbeat_interval=_LEASE_SECONDS / 4) as server:
        yield server.address


@pytest.fixture(scope="module")
def process(address: str) -> Iterator[subprocess.Popen[str]]:
    """The worker, connected."""
    command = [_node(), str(_FOLDER / "words.js"), address]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        with selectors.DefaultSelector() as selector:
            selector.register(process.stdout, selectors.EVENT_READ)
            line = process.stdout.readline() if selector.select(30) else ""
        try:
            assert line == "ready\n", process.communicate(timeout=1)[1]
            yield process
        finally:
            process.kill()


@pytest.fixture
async def client(address: str, process: subprocess.Popen[str]) -> AsyncIterator[lacewing.Client]:
    assert process.poll() is None
    async with lacewing.Client(address).with_options(timeout=20) as client:
        yield client


@pytest.mark.parametrize("lines", [1, 7, 300])
async def test_a_graph_is_as_wide_as_its_input_says(client: lacewing.Client, lines: int) -> None:
    """One node for each line, one that joins, and the result that one computes by hand."""
    text = "\n".join(f"Constructor and word{chr(97 + number % 26)}, and again" for number in range(lines))
    handle = await client.submit("words.count", text=text)
    assert await handle.result() == {"counts": dict(Counter(re.findall(r"[a-z]+", text.lower())))}
    nodes = {node.path: node for node in (await handle.graph()).nodes}
    assert set(nodes) == {"join", *(f"line-{number}" for number in range(lines))}
    assert {node.state for node in nodes.values()} == {NodeStatus.STATE_SUCCEEDED}
    assert {node.task.name for path, node in nodes.items() if path != "join"} == {"words.count_line"}
    assert sorted(nodes["join"].upstream_node_ids) == sorted(set(nodes) - {"join"})


async def test_a_body_may_do_without_a_graph(client: lacewing.Client) -> None:
    """The same task gives outputs for one input and a graph for another."""
    handle = await client.submit("words.count", text=" \n")
    assert await handle.result() == {"counts": {}}
    with pytest.raises(GraphNotFound):
        await handle.graph()


async def test_heartbeats_keep_what_it_runs(client: lacewing.Client, tmp_path: Path) -> None:
    """A body that takes longer than a lease lives is not given to another worker."""
    path = tmp_path / "text"
    handle = await client.submit("words.read", path=str(path))

    async def connected_seconds() -> float:
        """How long after its connection the worker sent something; the list comes a little later than the worker."""
        seen = [each.seen_time.ToSeconds() - each.connect_time.ToSeconds() async for each in client.workers()]
        return seen[0] if seen else 0

    before = await connected_seconds()
    while await connected_seconds() < before + 2 * _LEASE_SECONDS:
        await asyncio.sleep(0.02)
    path.write_text("here it is")
    assert await handle.result() == {"text": "here it is"}
    execution = await handle.status()
    assert (execution.attempt_count, execution.loss_count) == (1, 0)


async def test_what_a_body_throws_is_its_error(client: lacewing.Client, tmp_path: Path) -> None:
    """With the name, the message and the stack of JavaScript."""
    handle = await client.submit("words.read", path=str(tmp_path))
    execution = await handle.wait()
    assert execution.state == execution_pb2.Execution.STATE_FAILED
    assert (execution.error.kind, execution.error.code) == (execution_pb2.TaskError.KIND_USER, "Error")
    assert "EISDIR" in execution.error.message


async def test_it_drains(client: lacewing.Client, process: subprocess.Popen[str], tmp_path: Path) -> None:
    """Told to end, it finishes what it runs, and goes without a word. The last of these tests."""
    path = tmp_path / "text"
    handle = await client.submit("words.read", path=str(path))
    while (await handle.status()).state != execution_pb2.Execution.STATE_RUNNING:
        await asyncio.sleep(0.02)
    process.send_signal(signal.SIGTERM)
    while not [each async for each in client.workers() if each.draining]:
        await asyncio.sleep(0.02)
    path.write_text("the end")
    assert await handle.result() == {"text": "the end"}
    _, errors = process.communicate(timeout=20)
    assert (process.returncode, errors) == (0, "")
