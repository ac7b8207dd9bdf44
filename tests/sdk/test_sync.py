"""The blocking facade."""

from __future__ import annotations

import asyncio
import inspect
import threading
from collections.abc import Callable
from typing import TypeVar

import pytest

import lacewing
import lacewing.sync
from lacewing import errors
from lacewing.v1 import execution_pb2
from sdk.execute_server import ExecuteServer, serving

Result = TypeVar("Result")
Execution = execution_pb2.Execution


@lacewing.task(name="same")
def same(a: int) -> int:
    """Returns what it is given."""
    return a


async def blocking(server: ExecuteServer, use: Callable[[lacewing.sync.Client], Result]) -> Result:
    """Uses a client in a thread, while the server runs on this loop."""

    def run(port: int) -> Result:
        with lacewing.sync.Client(f"127.0.0.1:{port}") as client:
            return use(client)

    async with serving(server) as port:
        return await asyncio.to_thread(run, port)


@pytest.fixture
async def server() -> ExecuteServer:
    return ExecuteServer()  # type: ignore[abstract] # it serves what is tested


@pytest.mark.parametrize("name", ["Client", "Handle"])
def test_it_has_every_method_of_the_async_one(name: str) -> None:
    """With the same parameters, by name and kind."""
    ours, theirs = getattr(lacewing.sync, name), getattr(lacewing, name)
    own_to_async = {"channel", "executions"}
    public = {each for each in dir(theirs) if not each.startswith("_")} - own_to_async
    assert public <= set(dir(ours))
    for method in public - {"map"}:
        given, wanted = (inspect.signature(getattr(kind, method)) for kind in (ours, theirs))
        assert [(each.name, each.kind) for each in given.parameters.values()] == [
            (each.name, each.kind) for each in wanted.parameters.values()
        ], method


async def test_it_executes_and_maps(server: ExecuteServer) -> None:
    """As the async client does, over one stream."""
    assert await blocking(server, lambda client: client.execute(same, 7)) == 7
    assert await blocking(server, lambda client: list(client.map(same, [{"a": 1}, {"a": 2}]))) == [1, 2]


async def test_errors_are_raised_in_the_calling_thread(server: ExecuteServer) -> None:
    """And are the same."""
    with pytest.raises(errors.InputsInvalid):
        await blocking(server, lambda client: client.execute(same, a="x"))  # type: ignore[call-overload] # on purpose


async def test_a_handle_blocks(server: ExecuteServer) -> None:
    """Until the result is known; a watch is an iterator."""
    server.wait_answers = [
        Execution(state=Execution.STATE_SUCCEEDED, outputs=same.interface.outputs_to_literals(7), revision=1)
    ]
    server.revisions = list(server.wait_answers)  # type: ignore[arg-type] # they are executions all
    assert await blocking(server, lambda client: client.submit(same, 7).result()) == 7
    watched = await blocking(server, lambda client: list(client.submit(same, 7).watch()))
    assert [execution.revision for execution in watched] == [1]


async def test_an_iteration_may_end_early(server: ExecuteServer) -> None:
    """The rest is dropped, and the client goes on."""

    def use(client: lacewing.sync.Client) -> int:
        results = client.map(same, ({"a": number} for number in range(1000)), concurrency=10)
        first = next(results)
        del results
        return first + client.execute(same, 5)

    assert await blocking(server, use) == 5


async def test_options_are_shared_with_the_connection(server: ExecuteServer) -> None:
    """A derived client uses the same stream."""
    result = await blocking(
        server, lambda client: client.execute(same, 1) + client.with_options(labels={"team": "a"}).execute(same, 2)
    )
    assert result == 3
    assert [dict(request.labels) for request in server.requests] == [{}, {"team": "a"}]
    assert server.streams == 1


async def test_closing_ends_the_thread(server: ExecuteServer) -> None:
    """Nothing is left behind."""
    await blocking(server, lambda client: client.execute(same, 1))
    assert "lacewing-client" not in {thread.name for thread in threading.enumerate()}


async def test_a_closed_client_says_so(server: ExecuteServer) -> None:
    """Closing again does nothing, what is called later fails, and an iteration that was left open ends in silence."""

    def use(client: lacewing.sync.Client) -> None:
        results = client.map(same, ({"a": number} for number in range(1000)), concurrency=3)
        assert next(results) == 0
        client.close()
        client.close()
        with pytest.raises(errors.CallFailed, match="the client is closed"):
            client.execute(same, 1)
        del results

    await blocking(server, use)


async def test_closing_frees_whoever_still_waits_in_another_thread(server: ExecuteServer) -> None:
    """Its call fails; it does not wait for a loop that has ended."""
    loop = asyncio.get_running_loop()
    outcomes: list[BaseException] = []

    def use(client: lacewing.sync.Client) -> None:
        handle = client.submit(same, 7)

        def wait() -> None:
            try:
                handle.result()
            except BaseException as error:  # noqa: BLE001 any end of the wait will do
                outcomes.append(error)

        waiting = threading.Thread(target=wait)
        waiting.start()
        asyncio.run_coroutine_threadsafe(server.waiting.wait(), loop).result(5)
        client.close()
        waiting.join(5)

    await blocking(server, use)
    assert len(outcomes) == 1
