"""Values that are each within their limit, and together over that of a message: they come in several."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest

from lacewing.v1 import execution_pb2, execution_service_pb2, worker_service_pb2
from server.world import Stubs, World, acquisition, connect, execution, interface, run_world

_BIG = "x" * (7 << 20)
_COUNT = 5
_OPTIONS = (("grpc.max_receive_message_length", 32 << 20),)


@pytest.fixture
def world() -> Iterator[World]:
    with run_world() as world:
        yield world


@pytest.fixture
async def stubs(world: World) -> AsyncIterator[Stubs]:
    async with connect(world.server.address, *_OPTIONS) as stubs:
        await stubs.register("big", template={"interface": interface({"s": "STRING"}, {"s": "STRING"})})
        yield stubs


async def _create(stubs: Stubs) -> None:
    for _ in range(_COUNT):
        await stubs.create("big", inputs_json={"s": _BIG})


async def _work(stubs: Stubs) -> Any:
    work = stubs.workers.Work(timeout=50)
    hello = worker_service_pb2.Hello(worker="w")
    hello.offer.task_types.append("raw")
    await work.write(worker_service_pb2.WorkRequest(hello=hello, credit=_COUNT))
    return work


async def test_leases_of_big_inputs_come_in_several_messages(stubs: Stubs) -> None:
    """A worker with credit for all of them gets all of them, one after the other."""
    await _create(stubs)
    work = await _work(stubs)
    tokens: set[bytes] = set()
    while len(tokens) < _COUNT:
        for lease in (await work.read()).leases:
            assert len(lease.inputs.literals["s"].scalar.primitive.string_value) == len(_BIG)
            tokens.add(lease.token)
    work.cancel()


async def test_a_unary_worker_gets_as_many_as_fit(stubs: Stubs) -> None:
    """What does not fit into one answer stays in the queue, for the next call."""
    await _create(stubs)
    tokens: set[bytes] = set()
    while len(tokens) < _COUNT:
        response = await stubs.workers.AcquireLeases(acquisition("big", max_leases=_COUNT), timeout=20)
        assert response.leases
        assert all(lease.attempt == 1 for lease in response.leases)
        tokens |= {lease.token for lease in response.leases}


async def test_pages_end_before_they_are_too_big(stubs: Stubs) -> None:
    """A page with whole values holds as many executions as fit."""
    await _create(stubs)
    names: list[str] = []
    token = ""
    while True:
        request = execution_service_pb2.ListExecutionsRequest(view=execution_pb2.EXECUTION_VIEW_FULL, page_token=token)
        response = await stubs.executions.ListExecutions(request, timeout=20)
        assert all(
            len(each.inputs.literals["s"].scalar.primitive.string_value) == len(_BIG) for each in response.executions
        )
        names += [each.id.name for each in response.executions]
        if not (token := response.next_page_token):
            break
    assert len(set(names)) == len(names) == _COUNT


async def test_outcomes_of_a_stream_come_in_several_messages(stubs: Stubs) -> None:
    """Big outcomes that become known together, such as hits in the cache, are split."""
    metadata = {"discoverable": True, "discoveryVersion": "1"}
    types = interface({"n": "INTEGER"}, {"s": "STRING"})
    await stubs.register("hit", template={"interface": types, "metadata": metadata})
    await stubs.create("hit")
    done = worker_service_pb2.Completion(token=(await stubs.lease("hit")).token)
    done.outputs.literals["s"].scalar.primitive.string_value = _BIG
    await stubs.workers.CompleteLeases(worker_service_pb2.CompleteLeasesRequest(completions=[done]))
    message = execution_service_pb2.ExecuteStreamRequest()
    for tag in range(_COUNT):
        message.items.add(tag=tag, request=execution("hit"))
    tags: set[int] = set()
    async for response in stubs.executions.ExecuteStream(iter([message]), timeout=50):
        tags |= {outcome.tag for outcome in response.outcomes if outcome.HasField("execution")}
    assert len(tags) == _COUNT
