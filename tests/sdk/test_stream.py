"""Executions over one stream: batches, one writer, and streams that break."""

from __future__ import annotations

import asyncio
import gc
import time
from collections.abc import AsyncIterator, Iterator

import grpc
import pytest

import lacewing
from lacewing import errors
from lacewing.v1 import errors_pb2, execution_pb2, execution_service_pb2
from sdk.execute_server import ExecuteServer, serving, succeed


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


async def test_what_is_executed_at_once_is_sent_at_once(client: lacewing.Client, server: ExecuteServer) -> None:
    """A thousand concurrent calls go out in a few messages over one stream, each with a request id of its own."""
    results = await asyncio.gather(*(client.execute(same, a=number) for number in range(1000)))
    assert results == list(range(1000))
    assert server.streams == 1
    assert len(server.messages) < 10
    assert len({request.request_id for request in server.requests}) == 1000


async def test_a_message_has_at_most_a_thousand_requests(client: lacewing.Client, server: ExecuteServer) -> None:
    """More are split."""
    await asyncio.gather(*(client.execute(same, a=number) for number in range(2500)))
    assert max(server.messages) == 1000
    assert sum(server.messages) == 2500


async def test_a_message_has_a_bounded_size(
    client: lacewing.Client, server: ExecuteServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Large requests go out in several messages, so that none is over the limit of the transport."""
    monkeypatch.setenv("LACEWING_INLINE_LIMIT", str(1 << 30))

    @lacewing.task(name="length")
    def length(a: str) -> str:
        return a

    text = "x" * 1024 * 1024
    await asyncio.gather(*(client.execute(length, a=text) for _ in range(12)))
    assert max(server.messages) <= 4
    assert server.streams == 1


async def test_what_queues_while_a_message_is_on_its_way_is_the_next_message(
    client: lacewing.Client, server: ExecuteServer
) -> None:
    """Calls that come one after the other, in any pattern, all are sent, by one writer and on one stream."""

    async def call(number: int) -> int:
        for _ in range(number % 7):
            await asyncio.sleep(0)
        return await client.execute(same, a=number)

    assert await asyncio.gather(*map(call, range(300))) == list(range(300))
    assert server.streams == 1
    assert sum(server.messages) == 300


async def test_single_calls_do_not_wait_for_company(client: lacewing.Client, server: ExecuteServer) -> None:
    """One call is one message, sent at once."""
    assert await client.execute(same, 7) == 7
    assert await client.execute(same, 8) == 8
    assert server.messages == [1, 1]


async def test_a_broken_stream_is_replaced_and_what_is_unanswered_sent_again(
    client: lacewing.Client, server: ExecuteServer
) -> None:
    """Callers do not notice; what is sent again has the same request id, so that nothing runs twice."""
    server.break_after = [1, 1]
    results = await asyncio.gather(*(client.execute(same, a=number) for number in range(50)))
    assert results == list(range(50))
    assert server.streams == 3
    assert len(server.requests) == 150
    assert len({request.request_id for request in server.requests}) == 50


async def test_an_answered_request_is_not_sent_again(client: lacewing.Client, server: ExecuteServer) -> None:
    """Only what is unanswered is."""
    server.break_after = [2]
    assert await client.execute(same, a=1) == 1
    assert await client.execute(same, a=2) == 2
    assert [request.inputs.literals["a"].scalar.primitive.integer for request in server.requests] == [1, 2, 2]


async def test_a_server_that_restarts_is_found_again(server: ExecuteServer) -> None:
    """A call that is under way when its server goes away is answered by the next one."""
    server.answer = lambda request: None
    async with serving(server) as port:
        client = lacewing.Client(f"127.0.0.1:{port}")
        first = asyncio.create_task(client.execute(same, a=1))
        await server.arrived.wait()
    server.answer = succeed
    async with client, serving(server, port):
        assert await first == 1
        assert server.streams >= 2


async def test_a_stream_that_is_refused_fails_its_requests(client: lacewing.Client, server: ExecuteServer) -> None:
    """What repeating does not cure is the error of every call that waits; the next call tries anew."""
    server.refuse = grpc.StatusCode.UNAUTHENTICATED
    calls = [client.execute(same, a=1), client.execute(same, a=2)]
    results = await asyncio.gather(*calls, return_exceptions=True)
    assert [type(result) for result in results] == [errors.CallFailed] * 2
    server.refuse = None
    assert await client.execute(same, a=3) == 3


async def test_without_a_server_calls_fail_after_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    """A server that never answered is given up early: most likely the address is wrong."""
    monkeypatch.setattr("lacewing._stream.FIRST_PATIENCE", 0.1)
    async with lacewing.Client("127.0.0.1:1") as client:
        with pytest.raises(errors.ServerUnavailable):
            await client.execute(same, a=1)


async def test_a_refusal_is_the_error_of_one_call(client: lacewing.Client, server: ExecuteServer) -> None:
    """The others have their results."""
    refusal = errors_pb2.RequestError(code=5, reason=errors_pb2.ERROR_REASON_TASK_NOT_FOUND, message="no")
    server.answer = lambda request: (
        refusal if request.inputs.literals["a"].scalar.primitive.integer == 1 else succeed(request)
    )
    results = await asyncio.gather(*(client.execute(same, a=number) for number in range(3)), return_exceptions=True)
    assert isinstance(results[1], errors.TaskNotFound)
    assert [results[0], results[2]] == [0, 2]


async def test_what_is_refused_for_a_moment_is_tried_again(client: lacewing.Client, server: ExecuteServer) -> None:
    """UNAVAILABLE with a delay is waited out, under a new tag and the same request id."""
    refusal = errors_pb2.RequestError(code=14, reason=errors_pb2.ERROR_REASON_STORE_UNAVAILABLE, message="wait")
    refusal.retry_delay.nanos = 10_000_000
    answers: Iterator[errors_pb2.RequestError] = iter([refusal, refusal])
    server.answer = lambda request: next(answers, None) or succeed(request)
    assert await client.execute(same, a=1) == 1
    assert len(server.requests) == 3
    assert len({request.request_id for request in server.requests}) == 1


async def test_what_stays_refused_is_an_error(client: lacewing.Client, server: ExecuteServer) -> None:
    """After four tries."""
    refusal = errors_pb2.RequestError(code=14, reason=errors_pb2.ERROR_REASON_STORE_UNAVAILABLE, message="wait")
    refusal.retry_delay.nanos = 1_000_000
    server.answer = lambda request: refusal
    with pytest.raises(errors.StoreUnavailable):
        await client.execute(same, a=1)
    assert len(server.requests) == 4


async def test_a_caller_that_goes_away_disturbs_nobody(client: lacewing.Client, server: ExecuteServer) -> None:
    """Its answer is dropped, the stream goes on."""
    server.pause.clear()
    gone = asyncio.create_task(client.execute(same, a=1))
    await asyncio.sleep(0.01)
    gone.cancel()
    server.pause.set()
    assert await client.execute(same, a=2) == 2
    assert server.streams == 1


async def test_a_closed_client_fails_what_is_under_way(server: ExecuteServer) -> None:
    """Nobody waits for ever."""
    server.answer = lambda request: None
    async with serving(server) as port:
        async with lacewing.Client(f"127.0.0.1:{port}") as client:
            waiting = asyncio.create_task(client.execute(same, a=1))
            await server.arrived.wait()
        with pytest.raises(errors.CallFailed, match="the client is closed"):
            await waiting
        with pytest.raises(errors.CallFailed, match="the client is closed"):
            await client.execute(same, a=1)


async def test_an_execution_that_has_not_ended_in_time_goes_on(client: lacewing.Client, server: ExecuteServer) -> None:
    """The timeout of the options is the server's wait; what it answers unfinished is no result."""
    running = execution_pb2.Execution(state=execution_pb2.Execution.STATE_RUNNING)
    server.answer = lambda request: running
    with pytest.raises(errors.WaitTimedOut, match="is still RUNNING"):
        await client.with_options(timeout=0.25).execute(same, a=1)
    assert server.requests[0].wait_timeout.ToTimedelta().total_seconds() == 0.25


async def test_options_are_those_of_the_request(client: lacewing.Client, server: ExecuteServer) -> None:
    """A derived client shares the connection and adds its options to those it is derived from."""
    derived = client.with_options(labels={"team": "a"}, deadline=2).with_options(
        cache_mode=execution_pb2.CACHE_MODE_REFRESH, name="once"
    )
    await derived.execute(same, a=1)
    await client.execute(same, a=1)
    first, second = server.requests
    assert (dict(first.labels), first.deadline.seconds, first.name) == ({"team": "a"}, 2, "once")
    assert first.cache_mode == execution_pb2.CACHE_MODE_REFRESH
    assert not second.labels
    assert server.streams == 1


async def test_cancel_on_disconnect_reaches_the_server(client: lacewing.Client, server: ExecuteServer) -> None:
    """Such a request is a call of its own, whose cancellation the server sees."""
    server.answer = lambda request: None
    waiting = asyncio.create_task(client.with_options(cancel_on_disconnect=True).execute(same, a=1))
    await server.arrived.wait()
    assert server.requests[0].cancel_on_disconnect
    waiting.cancel()
    await asyncio.wait_for(server.cancelled.wait(), 5)


async def test_map_keeps_its_window(client: lacewing.Client, server: ExecuteServer) -> None:
    """Inputs are taken only as results are: at most `concurrency` are under way."""
    taken: list[int] = []

    def inputs() -> Iterator[dict[str, int]]:
        for number in range(100):
            taken.append(number)
            yield {"a": number}

    results = []
    async for result in client.map(same, inputs(), concurrency=10):
        results.append(result)
        assert len(taken) <= len(results) + 10
    assert results == list(range(100))


async def test_map_without_order_yields_what_is_known(client: lacewing.Client, server: ExecuteServer) -> None:
    """A result that is long in coming does not hold up the others."""
    server.answer = lambda request: (
        None if request.inputs.literals["a"].scalar.primitive.integer == 0 else succeed(request)
    )
    results = client.map(same, ({"a": number} for number in range(20)), ordered=False, concurrency=5)
    assert {await anext(results) for _ in range(19)} == set(range(1, 20))


async def test_map_yields_errors_if_asked(client: lacewing.Client, server: ExecuteServer) -> None:
    """In their place; inputs that do not fit as well. Else the first one is raised."""
    inputs: list[dict[str, object]] = [{"a": 1}, {"a": "x"}, {"a": 3}]
    first, second, third = [result async for result in client.map(same, inputs, return_exceptions=True)]
    assert isinstance(second, errors.InputsInvalid)
    assert second.violations[0].field == "inputs.a"
    assert (first, third) == (1, 3)
    results = client.map(same, inputs)
    assert await anext(results) == 1
    with pytest.raises(errors.InputsInvalid):
        await anext(results)


async def test_an_item_costs_the_client_little(client: lacewing.Client, server: ExecuteServer) -> None:
    """The client spends tens of microseconds on an item, besides the transport. The bound is one against accidents."""
    stream = client._stream
    request = execution_service_pb2.ExecuteRequest(task=same.id(), request_id="r")
    began = time.process_time()
    futures = [stream.submit(request.SerializeToString()) for _ in range(2000)]
    spent = time.process_time() - began
    await asyncio.gather(*futures)
    assert spent / 2000 < 200e-6


async def test_a_server_that_hangs_does_not_hold_its_callers(
    client: lacewing.Client, server: ExecuteServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is not answered some time after its timeout is given up by the client; the stream goes on."""
    monkeypatch.setattr("lacewing._stream.GRACE", 0.01)
    server.answer = lambda request: None
    with pytest.raises(errors.DeadlineExceeded, match="did not answer in time"):
        await client.with_options(timeout=0.01).execute(same, a=1)
    server.answer = succeed
    assert await client.with_options(timeout=5).execute(same, a=2) == 2
    assert server.streams == 1


async def test_a_client_closed_before_its_first_use_stays_closed() -> None:
    """Whatever is called, and however often it is closed."""
    client = lacewing.Client("127.0.0.1:1")
    await client.close()
    await client.close()
    with pytest.raises(errors.CallFailed, match="the client is closed"):
        await client.execute(same, a=1)
    with pytest.raises(errors.CallFailed, match="the client is closed"):
        await client.get("x")


async def test_outputs_that_do_not_fit_the_function_are_an_error_of_one_call(
    client: lacewing.Client, server: ExecuteServer
) -> None:
    """Another version may have run than the one that is here; a map goes on after it."""

    def answer(request: execution_service_pb2.ExecuteRequest) -> execution_pb2.Execution:
        execution = succeed(request)
        if request.inputs.literals["a"].scalar.primitive.integer == 1:
            execution.outputs.literals["o0"].scalar.primitive.string_value = "one"
        return execution

    server.answer = answer
    inputs = [{"a": number} for number in range(3)]
    results = [result async for result in client.map(same, inputs, return_exceptions=True)]
    assert (results[0], results[2]) == (0, 2)
    assert isinstance(results[1], errors.OutputsInvalid)
    assert results[1].violations[0].field == "outputs.o0"


async def test_map_takes_inputs_that_come_slowly(client: lacewing.Client, server: ExecuteServer) -> None:
    """From an async iterable; results are yielded while the next inputs are still to come."""
    results: asyncio.Queue[int] = asyncio.Queue()

    async def inputs() -> AsyncIterator[dict[str, int]]:
        yield {"a": 0}
        # Each input is made of the result before.
        for _ in range(3):
            yield {"a": await results.get() + 1}

    seen = []
    async for result in client.map(same, inputs()):
        seen.append(result)
        results.put_nowait(result)
    assert seen == [0, 1, 2, 3]


async def test_what_the_inputs_raise_ends_a_map(client: lacewing.Client, server: ExecuteServer) -> None:
    """After the results of the inputs before."""

    def inputs() -> Iterator[dict[str, int]]:
        yield {"a": 1}
        yield {"a": 2}
        raise OSError("no more")

    results = client.map(same, inputs())
    assert [await anext(results), await anext(results)] == [1, 2]
    with pytest.raises(OSError, match="no more"):
        await anext(results)


@pytest.mark.parametrize("ordered", [True, False])
async def test_a_map_that_ends_early_leaves_nothing_behind(server: ExecuteServer, *, ordered: bool) -> None:
    """Neither a task nor errors that asyncio complains of."""
    complaints: list[object] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: complaints.append(context))
    refusal = errors_pb2.RequestError(code=5, reason=errors_pb2.ERROR_REASON_TASK_NOT_FOUND, message="no")
    server.answer = lambda request: refusal
    inputs = ({"a": number} for number in range(50))
    async with serving(server) as port, lacewing.Client(f"127.0.0.1:{port}") as client:
        with pytest.raises(errors.TaskNotFound):
            async for _ in client.map(same, inputs, concurrency=10, ordered=ordered):
                pass
        assert "lacewing map inputs" not in {each.get_name() for each in asyncio.all_tasks()}
    gc.collect()
    assert complaints == []
