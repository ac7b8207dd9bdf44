"""Tasks that are only named: plain values, by an interface that is fetched."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import NamedTuple

import pytest

import lacewing
from lacewing import errors
from lacewing.v1 import errors_pb2, execution_pb2, execution_service_pb2
from sdk.execute_server import ExecuteServer, TaskServer, serving, succeed


@lacewing.task(name="same", version="1")
def same(a: list[float]) -> list[float]:
    """Returns what it is given."""
    return a


@pytest.fixture
async def server() -> ExecuteServer:
    return ExecuteServer()  # type: ignore[abstract] # it serves what is tested


@pytest.fixture
async def tasks(server: ExecuteServer) -> TaskServer:
    tasks = TaskServer(same.spec)  # type: ignore[abstract] # it serves what is tested

    def answer(request: execution_service_pb2.ExecuteRequest) -> execution_pb2.Execution:
        execution = succeed(request)
        execution.task.version = request.task.version or tasks.latest
        return execution

    server.answer = answer
    return tasks


@pytest.fixture
async def client(server: ExecuteServer, tasks: TaskServer) -> AsyncIterator[lacewing.Client]:
    async with serving(server, tasks=tasks) as port, lacewing.Client(f"127.0.0.1:{port}", project="shop") as client:
        yield client


async def test_a_task_is_executed_by_name_with_plain_values(client: lacewing.Client, tasks: TaskServer) -> None:
    """Its interface is fetched once, whatever is executed then."""
    assert await client.execute("same", a=[1, 2.5]) == [1.0, 2.5]
    assert await client.execute("same", a=[]) == []
    assert tasks.asked == [""]


async def test_a_version_can_be_named(client: lacewing.Client, server: ExecuteServer, tasks: TaskServer) -> None:
    """By `name@version`; project and domain are those of the client."""
    assert await client.execute("same@7", a=[1]) == [1.0]
    assert tasks.asked == ["7"]
    assert (server.requests[0].task.project, server.requests[0].task.version) == ("shop", "7")


async def test_the_interface_follows_what_is_registered_last(client: lacewing.Client, tasks: TaskServer) -> None:
    """A result says which version ran; the interface of a version that is new to the client is fetched."""
    await client.execute("same", a=[1])
    tasks.latest = "2"
    await client.execute("same", a=[1])
    await client.execute("same", a=[1])
    assert tasks.asked == ["", "2"]


async def test_inputs_that_do_not_fit_are_refused_before_they_are_sent(
    client: lacewing.Client, server: ExecuteServer, tasks: TaskServer
) -> None:
    """With the path of each place; and the interface is looked up anew for the next call."""
    with pytest.raises(errors.InputsInvalid) as raised:
        await client.execute("same", a=[1, "x"])
    assert [violation.field for violation in raised.value.violations] == ["inputs.a[1]"]
    assert not server.requests
    await client.execute("same", a=[1])
    assert tasks.asked == ["", ""]


async def test_a_refusal_by_the_server_refreshes_the_interface(
    client: lacewing.Client, server: ExecuteServer, tasks: TaskServer
) -> None:
    """A version registered since may want other inputs."""
    answer = server.answer
    await client.execute("same", a=[1])
    server.answer = lambda request: errors_pb2.RequestError(code=3, reason=errors_pb2.ERROR_REASON_INPUTS_INVALID)
    with pytest.raises(errors.InputsInvalid):
        await client.execute("same", a=[1])
    server.answer = answer
    await client.execute("same", a=[1])
    assert tasks.asked == ["", ""]


class Pair(NamedTuple):
    """Two outputs with names."""

    low: int
    high: int


async def test_outputs_with_names_are_a_dict(client: lacewing.Client, server: ExecuteServer, tasks: TaskServer) -> None:
    """And a task without outputs gives None."""

    @lacewing.task(name="pair")
    def pair() -> Pair:
        return Pair(1, 2)

    @lacewing.task(name="nothing")
    def nothing() -> None:
        pass

    tasks.spec = pair.spec
    ended = execution_pb2.Execution(state=execution_pb2.Execution.STATE_SUCCEEDED)
    ended.outputs.CopyFrom(pair.interface.outputs_to_literals(pair()))
    server.answer = lambda request: ended
    assert await client.execute("pair") == {"low": 1, "high": 2}
    tasks.spec = nothing.spec
    ended.ClearField("outputs")
    assert await client.execute("nothing") is None


async def test_inputs_of_a_named_task_have_names(client: lacewing.Client) -> None:
    """Positions mean nothing without the function."""
    with pytest.raises(TypeError, match="given by name"):
        await client.execute("same", [1])  # type: ignore[call-overload] # on purpose
