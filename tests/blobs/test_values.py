"""Large inputs and outputs of tasks, with a real worker, in child processes and in threads."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest

import lacewing
import lacewing.sync
from blobs import bodies, wire
from blobs.conftest import Place
from lacewing import errors, testing
from lacewing.types import digest_literal
from lacewing.v1 import execution_pb2, execution_service_pb2, identifiers_pb2, literals_pb2
from server.contract import refusal_of
from server.world import connect

LARGE = 300_000
Status = execution_pb2.CacheInfo


@pytest.fixture(scope="module", params=["process", "thread"])
def worker(place: Place, request: pytest.FixtureRequest) -> Iterator[None]:
    """A worker that runs bodies in child processes, and one that runs them in threads."""
    with testing.worker(place.server.address, bodies.ALL, isolation=request.param, slots=2):
        yield


@pytest.fixture
async def client(place: Place, worker: None) -> AsyncIterator[lacewing.Client]:
    async with lacewing.Client(place.server.address) as client:
        yield client


async def executed(client: lacewing.Client, task: Any, **inputs: Any) -> execution_pb2.Execution:
    """Executes a task, and returns the execution as it ended, with what was sent as inputs and outputs."""
    handle = await client.submit(task, **inputs)
    return await handle.wait(30)


async def test_large_values_come_and_go_like_small_ones(client: lacewing.Client) -> None:
    """Bytes, text and lists over the limit are taken and given as they are, by bodies of every kind."""
    content = os.urandom(LARGE)
    assert await client.execute(bodies.reverse, content) == content[::-1]
    assert await client.execute(bodies.reverse_soon, content) == content[::-1]
    assert await client.execute(bodies.shout, "grün" * LARGE) == "GRÜN" * LARGE
    assert await client.execute(bodies.double, list(range(20_000))) == list(range(0, 40_000, 2))
    assert await client.execute(bodies.reverse, b"small") == b"llams"


async def test_a_task_that_is_only_named_takes_and_gives_them_too(client: lacewing.Client) -> None:
    """Plain values are offloaded and fetched as well."""
    assert await client.execute("blobs.shout", text="x" * LARGE) == "X" * LARGE


def test_the_blocking_client_takes_and_gives_them_too(place: Place, worker: None) -> None:
    """It is the same client in another thread."""
    with lacewing.sync.Client(place.server.address) as client:
        assert client.execute(bodies.shout, text="y" * LARGE) == "Y" * LARGE


async def test_only_a_reference_is_sent(client: lacewing.Client, place: Place) -> None:
    """The execution holds URI, size, type and identity of what was offloaded, not its content, which is a literal."""
    content = os.urandom(LARGE)
    execution = await executed(client, bodies.reverse, content=content)
    literal = execution.inputs.literals["content"]
    assert execution.ByteSize() < 2_000
    assert literal.offloaded_metadata.uri.startswith("lacewing://sha256/")
    variables = bodies.reverse.interface.typed_interface.inputs.variables
    assert literal.offloaded_metadata.inferred_type == variables["content"].type
    async with connect(place.server.address) as stubs:
        stored = await wire.download(stubs, literal.offloaded_metadata.uri.rpartition("/")[2])
    assert len(stored) == literal.offloaded_metadata.size_bytes
    value = literals_pb2.Literal.FromString(stored)
    assert value.scalar.binary.value == content
    assert literal.hash == f"v1:{digest_literal(value).hex()}"


async def test_equal_content_hits_the_cache(client: lacewing.Client, tmp_path: Path) -> None:
    """The second execution with equal large inputs is a hit, and its outputs are the blob of the first."""
    marker, content = str(tmp_path / "ran"), os.urandom(LARGE)
    first = await executed(client, bodies.reverse, content=content, marker=marker)
    second = await executed(client, bodies.reverse, content=bytes(content), marker=marker)
    assert (first.cache.status, second.cache.status) == (Status.STATUS_POPULATED, Status.STATUS_HIT)
    assert second.outputs == first.outputs
    assert Path(marker).read_text() == "x"
    assert await client.execute(bodies.reverse, content, marker) == content[::-1]


async def test_the_order_of_keys_does_not_matter_to_the_cache(client: lacewing.Client, tmp_path: Path) -> None:
    """A large record is the same whatever the order of its keys, although its blobs differ."""
    record = {f"key{number}": number for number in range(20_000)}
    first = await executed(client, bodies.keys, record=record, marker=str(tmp_path / "ran"))
    second = await executed(client, bodies.keys, record=dict(reversed(record.items())), marker=str(tmp_path / "ran"))
    assert first.inputs.literals["record"].HasField("offloaded_metadata")
    assert second.cache.status == Status.STATUS_HIT


@pytest.mark.parametrize("is_recorded", [False, True])
async def test_an_entry_whose_blob_is_gone_is_a_miss(
    client: lacewing.Client, place: Place, tmp_path: Path, is_recorded: object
) -> None:
    """The task runs again, the entry is filled again, and nobody sees an error; whether or not a hit is recorded."""
    marker, content = str(tmp_path / "ran"), os.urandom(LARGE)
    first = await executed(client, bodies.reverse, content=content, marker=marker)
    place.remove(first.outputs.literals["o0"].offloaded_metadata.uri.rpartition("/")[2])
    only = client.with_options(cache_mode=execution_pb2.CACHE_MODE_ONLY)
    with pytest.raises(errors.CacheEntryNotFound):
        await only.execute(bodies.reverse, content, marker)
    if is_recorded:
        second = await executed(client, bodies.reverse, content=content, marker=marker)
        assert second.cache.status == Status.STATUS_POPULATED
    else:
        assert await client.execute(bodies.reverse, content, marker) == content[::-1]
    assert Path(marker).read_text() == "xx"
    third = await executed(client, bodies.reverse, content=content, marker=marker)
    assert third.cache.status == Status.STATUS_HIT


async def test_an_input_that_is_gone_before_the_request_is_refused(client: lacewing.Client, place: Place) -> None:
    """Nothing is created for a reference to a blob that the server does not have."""
    execution = await executed(client, bodies.reverse, content=os.urandom(LARGE))
    place.remove(execution.inputs.literals["content"].offloaded_metadata.uri.rpartition("/")[2])
    async with connect(place.server.address) as stubs:
        request = execution_service_pb2.ExecuteRequest(
            task=identifiers_pb2.TaskId(name="blobs.reverse"), inputs=execution.inputs
        )
        refusal = await refusal_of(stubs.executions.Execute(request))
    assert refusal.reason == "BLOB_NOT_FOUND"
