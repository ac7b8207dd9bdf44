"""What a call is to servicers and to callers, whatever the transport."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any, cast

import grpc
import pytest
from google.rpc import status_pb2
from grpc_status import rpc_status

from lacewing_server.rpc.transport import Kind
from transport.service import both, giving, serving, status_of, taking, unary


async def echo(request: bytes, _context: Any) -> bytes:
    """Answers with what it was given."""
    return request


async def repeat(requests: AsyncIterator[bytes], _context: Any) -> AsyncIterator[bytes]:
    """Answers each request with itself."""
    async for request in requests:
        yield request


def _parse(data: bytes) -> list[str]:
    return data.decode().split()


def _serialize(words: list[str]) -> bytes:
    return "+".join(words).encode()


@pytest.mark.parametrize("data", [b"", b"x", b"large" * 600_000], ids=["empty", "small", "large"])
async def test_a_request_and_a_response(kind: Kind, data: bytes) -> None:
    async with serving(kind, {"Echo": unary(echo)}) as service:
        assert await service.unary("Echo")(data) == data


async def test_many_calls_at_a_time_are_answered_each_by_itself(kind: Kind) -> None:
    async with serving(kind, {"Echo": unary(echo)}) as service:
        method = service.unary("Echo")
        numbers = [str(number).encode() for number in range(500)]
        assert await asyncio.gather(*(method(number) for number in numbers)) == numbers


async def test_messages_are_parsed_and_serialized(kind: Kind) -> None:
    handlers = {
        "One": unary(echo, request_deserializer=_parse, response_serializer=_serialize),
        "Many": both(repeat, request_deserializer=_parse, response_serializer=_serialize),
    }
    async with serving(kind, handlers) as service:
        assert await service.unary("One")("a ö".encode()) == "a+ö".encode()
        assert [each async for each in service.both("Many")(iter((b"a b", b"c")))] == [b"a+b", b"c"]


async def test_the_deadline_is_told(kind: Kind) -> None:
    async def remaining(_request: bytes, context: Any) -> bytes:
        seconds = context.time_remaining()
        return b"none" if seconds is None else str(round(seconds)).encode()

    async with serving(kind, {"Remaining": unary(remaining)}) as service:
        assert await service.unary("Remaining")(b"") == b"none"
        assert 599 <= int(await service.unary("Remaining")(b"", timeout=600)) <= 602  # gRPC rounds it up


async def test_an_abort_has_code_details_and_trailers(kind: Kind) -> None:
    status: Any = rpc_status.to_status(status_pb2.Status(code=9, message="nö"))

    async def refuse(_request: bytes, context: Any) -> bytes:
        await context.abort_with_status(status)
        return b""

    async with serving(kind, {"Refuse": unary(refuse)}) as service:
        error = await status_of(service.unary("Refuse")(b""))
    assert error.code() == grpc.StatusCode.FAILED_PRECONDITION
    assert error.details() == "nö"
    found = rpc_status.from_call(cast("Any", error))
    assert found is not None
    assert found.message == "nö"


async def test_an_abort_after_responses_comes_after_them(kind: Kind) -> None:
    async def some(_request: bytes, context: Any) -> AsyncIterator[bytes]:
        yield b"1"
        yield b"2"
        await context.abort(grpc.StatusCode.ABORTED, "enough")

    async with serving(kind, {"Some": giving(some)}) as service:
        call = service.giving("Some")(b"")
        assert [await call.read(), await call.read()] == [b"1", b"2"]
        error = await status_of(call.read())
    assert (error.code(), error.details()) == (grpc.StatusCode.ABORTED, "enough")


async def test_a_handler_that_fails_fails_its_call_only(kind: Kind, caplog: pytest.LogCaptureFixture) -> None:
    async def fail(_request: bytes, _context: Any) -> bytes:
        raise RuntimeError("a fault")

    async def fail_after_one(_request: bytes, _context: Any) -> AsyncIterator[bytes]:
        yield b"1"
        raise RuntimeError("a fault")

    async with serving(kind, {"Fail": unary(fail), "Many": giving(fail_after_one), "Echo": unary(echo)}) as service:
        assert (await status_of(service.unary("Fail")(b""))).code() == grpc.StatusCode.UNKNOWN
        call = service.giving("Many")(b"")
        assert await call.read() == b"1"
        assert (await status_of(call.read())).code() == grpc.StatusCode.UNKNOWN
        assert await service.unary("Echo")(b"x") == b"x"
    assert caplog.text.count("a fault") >= 2


async def test_a_request_that_cannot_be_parsed_fails_its_call_only(kind: Kind) -> None:
    handlers = {
        "One": unary(echo, request_deserializer=_parse, response_serializer=_serialize),
        "Many": both(repeat, request_deserializer=_parse, response_serializer=_serialize),
    }
    async with serving(kind, handlers) as service:
        assert (await status_of(service.unary("One")(b"\xff"))).code() == grpc.StatusCode.UNKNOWN
        call = service.both("Many")(iter((b"x", b"\xff")))
        assert await call.read() == b"x"
        assert (await status_of(call.read())).code() == grpc.StatusCode.UNKNOWN
        assert await service.unary("One")(b"x") == b"x"


async def test_a_method_that_is_not_there(kind: Kind) -> None:
    async with serving(kind, {"Echo": unary(echo)}) as service:
        for call in (service.unary("Other")(b""), service.taking("Other")(iter((b"1", b"2")))):
            assert (await status_of(call)).code() == grpc.StatusCode.UNIMPLEMENTED
        other: Any = service.channel.unary_unary("/lacewing.other/Echo")
        assert (await status_of(other(b""))).code() == grpc.StatusCode.UNIMPLEMENTED


async def test_a_request_that_is_too_large_does_not_arrive(kind: Kind) -> None:
    called = []

    async def note(request: bytes, _context: Any) -> bytes:
        called.append(request)
        return b""

    async with serving(kind, {"Note": unary(note)}, max_receive_message_length=100) as service:
        assert (await status_of(service.unary("Note")(b"x" * 101))).code() == grpc.StatusCode.RESOURCE_EXHAUSTED
        await service.unary("Note")(b"x" * 100)
    assert called == [b"x" * 100]


async def test_streams_of_each_shape(kind: Kind) -> None:
    async def count(requests: AsyncIterator[bytes], _context: Any) -> bytes:
        return str(len([each async for each in requests])).encode()

    async def numbers(request: bytes, _context: Any) -> AsyncIterator[bytes]:
        for number in range(int(request)):
            yield str(number).encode()

    async def write(request: bytes, context: Any) -> None:
        for number in range(int(request)):
            await context.write(str(number).encode())

    wanted = [str(number).encode() for number in range(300)]
    handlers = {"Count": taking(count), "Numbers": giving(numbers), "Write": giving(write), "Repeat": both(repeat)}
    async with serving(kind, handlers) as service:
        assert await service.taking("Count")(iter(wanted)) == b"300"
        assert await service.taking("Count")(iter(())) == b"0"
        assert [each async for each in service.giving("Numbers")(b"300")] == wanted
        assert [each async for each in service.giving("Numbers")(b"0")] == []
        assert [each async for each in service.giving("Write")(b"300")] == wanted
        assert [each async for each in service.both("Repeat")(iter(wanted))] == wanted


async def test_a_stream_answers_while_it_is_open_and_after_the_last_request(kind: Kind) -> None:
    async def talk(requests: AsyncIterator[bytes], _context: Any) -> AsyncIterator[bytes]:
        async for request in requests:
            yield request
        yield b"goodbye"

    async with serving(kind, {"Talk": both(talk)}) as service:
        call = service.both("Talk")()
        for word in (b"a", b"b"):
            await call.write(word)
            assert await call.read() == word
        await call.done_writing()
        assert await call.read() == b"goodbye"
        assert await call.read() is grpc.aio.EOF
