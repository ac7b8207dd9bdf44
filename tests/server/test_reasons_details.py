"""The form of refusals: what they say fits into every client's trailers, and a batch says the same as a status."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from typing import Any

import grpc
import pytest
from grpc.aio import AioRpcError, Metadata
from hypothesis import given
from hypothesis import strategies as st

from lacewing.v1 import errors_pb2
from lacewing_server.domain.errors import DomainError, Violation
from lacewing_server.rpc.status import to_grpc_status, to_request_error
from server.contract import details_of, refusal_of, refusal_of_stream
from server.world import Stubs, World, connect, execution, interface, run_world

_texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=3_000) | st.sampled_from(
    ["😀" * 1_024, "é" * 1_024, "%" * 1_024, "\n" * 1_024, "a" * 1_025]
)
_violations = st.lists(st.builds(Violation, _texts, _texts), max_size=30)


@pytest.fixture(scope="module")
def world() -> Iterator[World]:
    with run_world() as world:
        yield world


@pytest.fixture
async def stubs(world: World) -> AsyncIterator[Stubs]:
    async with connect(world.server.address) as stubs:
        yield stubs


@given(_texts, st.dictionaries(st.sampled_from(["task", "execution", "latest"]), _texts), _violations)
def test_every_refusal_fits_and_is_the_same_in_a_batch(
    message: str, metadata: Mapping[str, str], violations: Sequence[Violation]
) -> None:
    """Whatever is to be said, the details stay under 4 KiB and all trailers under 8 KiB; a batch says the same."""
    reason = errors_pb2.ERROR_REASON_STORE_UNAVAILABLE
    error = DomainError(reason, message, metadata=metadata, violations=violations, retry_seconds=0.0015)
    status = to_grpc_status(error)
    raised = AioRpcError(status.code, Metadata(), Metadata(*status.trailing_metadata), details=status.details)
    found = details_of(raised)  # checks the sizes
    batch = to_request_error(error)
    assert found.message == batch.message
    assert found.metadata == dict(batch.metadata)
    assert found.retry == 0.002
    assert len(batch.violations) + int(found.metadata.get("omitted", 0)) == len(violations)
    assert batch.message == message or batch.message.endswith("…")
    for key, value in metadata.items():
        assert found.metadata[key] == value or found.metadata[key].endswith("…")
    for shown, given_violation in zip(batch.violations, violations, strict=False):
        assert shown.field == given_violation.field or shown.field.endswith("…")


async def test_the_longest_names_are_told_whole(stubs: Stubs) -> None:
    """The metadata of a refusal holds even the longest valid name, in any script, and the nearest one."""
    known = "😀" * 254 + "a"
    await stubs.register(known, version="ᚠ" * 255)
    missing = await refusal_of(stubs.executions.Execute(execution("😀" * 254 + "b")))
    assert missing.metadata == {"task": "default/development/" + "😀" * 254 + "b", "nearest": known}
    request = execution(known, task={"name": known, "version": "ᚢ" * 255})
    other = await refusal_of(stubs.executions.Execute(request))
    assert other.metadata == {"task": f"default/development/{known}@{'ᚢ' * 255}", "latest": "ᚠ" * 255}


@pytest.mark.parametrize(("count", "omitted"), [(20, None), (21, "1"), (150, "130"), (100_000, "180")])
async def test_many_violations_are_counted(stubs: Stubs, count: int, omitted: str | None) -> None:
    """Twenty places are named, the others are counted, up to where a long value is not examined any further."""
    many = {"collectionType": {"simple": "SIMPLE_TYPE_INTEGER"}}
    await stubs.register("many", template={"interface": interface({"xs": many}, {})})
    refusal = await refusal_of(stubs.executions.Execute(execution("many", inputs_json={"xs": ["no"] * count})))
    assert list(refusal.violations) == [f"inputs.xs[{index}]" for index in range(20)]
    assert refusal.metadata.get("omitted") == omitted
    typed = execution("many", inputs={"literals": {"xs": {"collection": {"literals": [_text("no")] * count}}}})
    assert (await refusal_of(stubs.executions.Execute(typed))).violations == refusal.violations


async def test_long_paths_are_cut_and_show_it(stubs: Stubs) -> None:
    """Paths through keys of any length and script stay within the details."""
    record = {"mapValueType": {"simple": "SIMPLE_TYPE_INTEGER"}}
    await stubs.register("paths", template={"interface": interface({"m": record}, {})})
    inputs = {"m": {f"{index:02}" + "ключ" * 100: "no" for index in range(25)}}
    refusal = await refusal_of(stubs.executions.Execute(execution("paths", inputs_json=inputs)))
    assert 5 <= len(refusal.violations) < 20
    assert len(refusal.violations) + int(refusal.metadata["omitted"]) == 25
    assert all(path.startswith('inputs.m["') and path.endswith("…") for path in refusal.violations)


async def test_what_grpc_refuses_by_itself_has_no_details(stubs: Stubs) -> None:
    """A message over the limit of 32 MiB, and a method that does not exist, are refused by gRPC itself."""
    request = execution("big", inputs_json={"s": "x" * (33 << 20)})
    with pytest.raises(AioRpcError) as raised:
        await stubs.executions.Execute(request)
    assert raised.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert "larger than max" in (raised.value.details() or "")
    fly: Any = stubs.channel.unary_unary("/lacewing.v1.ExecutionService/Fly")
    with pytest.raises(AioRpcError) as raised:
        await fly(b"")
    assert raised.value.code() is grpc.StatusCode.UNIMPLEMENTED


@pytest.mark.parametrize(
    ("method", "kind"),
    [
        ("ExecutionService/Execute", "unary_unary"),
        ("CacheService/GetCacheStats", "unary_unary"),
        ("ExecutionService/WatchExecution", "unary_stream"),
        ("ExecutionService/ExecuteStream", "stream_stream"),
        ("WorkerService/Work", "stream_stream"),
    ],
)
async def test_bytes_that_are_no_message_are_refused(stubs: Stubs, method: str, kind: str, world: World) -> None:
    """What cannot be parsed is a fault of the client, and is told so."""
    call: Any = getattr(stubs.channel, kind)(f"/lacewing.v1.{method}")
    garbage = b"\xff\xff garbage"
    before = world.contents()
    if kind == "unary_unary":
        refusal = await refusal_of(call(garbage))
    elif kind == "unary_stream":
        refusal = await refusal_of(call(garbage).read())
    else:
        refusal = await refusal_of_stream(call(), garbage)
    assert refusal.reason == "FIELD_INVALID"
    assert "cannot be read" in refusal.message
    assert world.contents() == before
    assert "Traceback" not in world.server.log


def _text(value: str) -> dict[str, object]:
    return {"scalar": {"primitive": {"stringValue": value}}}
