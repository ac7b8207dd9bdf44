"""Handles: waiting, watching, and outages meanwhile."""

from __future__ import annotations

from collections.abc import AsyncIterator

import grpc
import pytest

import lacewing
from lacewing import errors
from lacewing.v1 import execution_pb2
from sdk.execute_server import ExecuteServer, serving

Execution = execution_pb2.Execution


@lacewing.task(name="same")
def same(a: int) -> int:
    """Returns what it is given."""
    return a


@pytest.fixture
async def server() -> ExecuteServer:
    return ExecuteServer()  # type: ignore[abstract] # it serves what is tested


@pytest.fixture
async def client(server: ExecuteServer) -> AsyncIterator[lacewing.Client]:
    async with serving(server) as port, lacewing.Client(f"127.0.0.1:{port}") as client:
        yield client


def succeeded(value: int) -> Execution:
    return Execution(state=Execution.STATE_SUCCEEDED, outputs=same.interface.outputs_to_literals(value), revision=9)


async def test_a_handle_waits_for_the_result(client: lacewing.Client, server: ExecuteServer) -> None:
    """One long poll follows the other until the execution has ended."""
    server.wait_answers = [Execution(state=Execution.STATE_RUNNING), succeeded(7)]
    handle = await client.submit(same, a=7)
    assert await handle.result() == 7
    assert handle.id.name == "x" + server.requests[0].request_id
    assert [wait.id for wait in server.waits] == [handle.id] * 2


async def test_an_outage_while_waiting_is_waited_out(client: lacewing.Client, server: ExecuteServer) -> None:
    """Longer ones than gRPC itself repeats a call for."""
    server.wait_answers = [grpc.StatusCode.UNAVAILABLE] * 5 + [succeeded(7)]
    handle = await client.submit(same, a=7)
    assert await handle.result() == 7


async def test_what_is_no_outage_is_an_error_at_once(client: lacewing.Client, server: ExecuteServer) -> None:
    """Such as a lack of rights."""
    server.wait_answers = [grpc.StatusCode.PERMISSION_DENIED]
    handle = await client.submit(same, a=7)
    with pytest.raises(errors.CallFailed, match="PERMISSION_DENIED"):
        await handle.result()


async def test_waiting_ends_in_time(client: lacewing.Client, server: ExecuteServer) -> None:
    """The execution goes on, and the handle can be asked again."""
    handle = await client.submit(same, a=7)
    with pytest.raises(errors.WaitTimedOut, match="is still RUNNING"):
        await handle.result(timeout=0.02)
    server.wait_answers = [succeeded(7)]
    assert await handle.result(timeout=1) == 7


async def test_a_task_that_failed_is_an_error_of_the_result(client: lacewing.Client, server: ExecuteServer) -> None:
    """And not of the waiting."""
    failed = Execution(state=Execution.STATE_FAILED)
    failed.error.code = "ValueError"
    server.wait_answers = [failed, failed]
    handle = await client.submit(same, a=7)
    assert (await handle.wait()).state == Execution.STATE_FAILED
    with pytest.raises(errors.TaskFailed) as raised:
        await handle.result()
    assert raised.value.code == "ValueError"


async def test_a_broken_watch_is_resumed_where_it_was(client: lacewing.Client, server: ExecuteServer) -> None:
    """Each revision is seen once, in order, whatever the connection does."""
    server.revisions = [Execution(state=Execution.STATE_RUNNING, revision=number) for number in range(1, 5)]
    server.revisions.append(Execution(state=Execution.STATE_SUCCEEDED, revision=5))
    handle = await client.submit(same, a=7)
    assert [execution.revision async for execution in handle.watch()] == [1, 2, 3, 4, 5]
    assert server.watches == [0, 1, 2, 3]


async def test_a_handle_can_be_had_again(client: lacewing.Client, server: ExecuteServer) -> None:
    """By the identity of the execution and its task."""
    server.wait_answers = [succeeded(7)]
    handle = client.handle("shop/production/x1", same)
    assert await handle.result() == 7
    place = server.waits[0].id
    assert (place.project, place.domain, place.name) == ("shop", "production", "x1")
    with pytest.raises(ValueError, match='an execution is "name" or "project/domain/name"'):
        client.handle("shop/x1", same)
