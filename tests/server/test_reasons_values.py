"""Values that do not fit, however deep: each place is named by its path, alone or in a batch, and nothing is stored."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
from google.protobuf import json_format
from google.protobuf.message import Message

import type_strategies as make
from lacewing.v1 import execution_pb2, execution_service_pb2, literals_pb2, worker_service_pb2
from server.contract import Refusal, read_request_error, refusal_of
from server.world import Stubs, World, connect, execution, interface, registration, run_world

_INTEGER, _FLOAT, _STRING = make.simple("INTEGER"), make.simple("FLOAT"), make.simple("STRING")
_ITEM = make.record_of({"rate": _FLOAT, "tags": make.list_of(_STRING)}, required=["rate"])
_CONFIG = make.record_of({"items": make.list_of(_ITEM), "mode": make.enum_of("fast", "slow")}, required=["items"])
_INPUTS = {
    "config": _CONFIG,
    "count": _INTEGER,
    "labels": make.map_of(_INTEGER),
    "both": make.union_of(_INTEGER, _STRING),
}


def _json(message: Message) -> dict[str, Any]:
    return json_format.MessageToDict(message)


@pytest.fixture(scope="module")
def world() -> Iterator[World]:
    with run_world() as world:
        yield world


@pytest.fixture
async def stubs(world: World) -> AsyncIterator[Stubs]:
    async with connect(world.server.address) as stubs:
        types = {name: _json(each) for name, each in _INPUTS.items()}
        await stubs.register("deep", template={"interface": interface(types, {"out": _json(_CONFIG)})})
        yield stubs


async def _outcome(stubs: Stubs, *requests: execution_service_pb2.ExecuteRequest) -> list[Any]:
    """Sends requests over one stream, and gives their outcomes in the order of the requests."""
    message = execution_service_pb2.ExecuteStreamRequest()
    for tag, request in enumerate(requests):
        message.items.add(tag=tag, request=request)
    outcomes = {}
    async for response in stubs.executions.ExecuteStream(iter([message]), timeout=20):
        outcomes.update({outcome.tag: outcome for outcome in response.outcomes})
    return [outcomes[tag] for tag in range(len(requests))]


GOOD: dict[str, Any] = {
    "config": {"items": [{"rate": 0.5, "tags": ["a"]}], "mode": "fast"},
    "count": 1,
    "labels": {"a": 1},
    "both": "text",
}
BAD: list[tuple[dict[str, Any], dict[str, str]]] = [
    (
        {"config": {"items": [{"rate": 0.5}] * 3 + [{"rate": "0.1"}], "mode": "fast"}},
        {"inputs.config.items[3].rate": "expected FLOAT"},
    ),
    ({"config": {"items": [{"rate": 1.5, "tags": ["a", 5]}]}}, {"inputs.config.items[0].tags[1]": "expected STRING"}),
    ({"config": {"items": [{}], "mode": "fast"}}, {"inputs.config.items[0].rate": "is missing"}),
    ({"config": {"items": [], "mode": "fsat"}}, {"inputs.config.mode": '"fast"'}),
    ({"count": 1.5}, {"inputs.count": "expected INTEGER"}),
    ({"count": 2.0**53 + 2}, {"inputs.count": "string"}),
    ({"count": "9223372036854775808"}, {"inputs.count": "64"}),
    ({"count": None}, {"inputs.count": "expected INTEGER"}),
    ({"labels": {"a b": "x", "c": 2}}, {'inputs.labels["a b"]': "expected INTEGER"}),
    ({"both": [1]}, {"inputs.both": ""}),
    ({"cuont": 1, "zzz": 2}, {"inputs.cuont": 'did you mean "count"?', "inputs.zzz": "known: "}),
]


@pytest.mark.parametrize(("changes", "expected"), BAD, ids=lambda each: str(each)[:60])
async def test_wrong_inputs_are_named_by_their_paths(
    stubs: Stubs, world: World, changes: dict[str, Any], expected: dict[str, str]
) -> None:
    """Inputs as JSON are refused with the path of each place, the same by a call and in a stream."""
    request = execution("deep", inputs_json=GOOD | changes)
    before = world.contents()
    refusal = await refusal_of(stubs.executions.Execute(request, timeout=20))
    assert refusal.reason == "INPUTS_INVALID"
    assert refusal.metadata == {"task": "default/development/deep@1"}
    assert refusal.violations.keys() == expected.keys()
    for path, text in expected.items():
        assert text in refusal.violations[path]
    outcomes = await _outcome(stubs, request)
    assert read_request_error(outcomes[0].error) == refusal
    assert world.contents() == before


async def test_missing_inputs_are_named(stubs: Stubs, world: World) -> None:
    """Every input without a default has to be given, as JSON or as literals."""
    before = world.contents()
    for request in (execution("deep", inputs_json={}), execution("deep", inputs={})):
        refusal = await refusal_of(stubs.executions.Execute(request, timeout=20))
        assert refusal.violations == dict.fromkeys(
            ("inputs.both", "inputs.config", "inputs.count", "inputs.labels"), "is missing"
        )
    assert world.contents() == before


async def test_a_flood_of_unknown_inputs_is_refused_at_once(stubs: Stubs) -> None:
    """Not every one of a hundred thousand names is compared with what is known: enough is enough."""
    request = execution("deep", inputs_json=GOOD | {f"config{index}": 1 for index in range(100_000)})
    refusal = await refusal_of(stubs.executions.Execute(request, timeout=20))
    assert refusal.reason == "INPUTS_INVALID"
    assert int(refusal.metadata["omitted"]) < 1_000
    inputs: dict[str, Any] = {"literals": {f"config{index}": {"scalar": {}} for index in range(100_000)}}
    refusal = await refusal_of(stubs.executions.Execute(execution("deep", inputs=inputs), timeout=20))
    assert int(refusal.metadata["omitted"]) < 1_000
    long = await refusal_of(stubs.executions.Execute(execution("deep", inputs_json={"c" * 4_000_000: 1}), timeout=20))
    assert long.reason == "INPUTS_INVALID"


async def test_wrong_outputs_fail_the_execution_with_their_paths(stubs: Stubs) -> None:
    """A worker without a stream learns what does not fit; the execution has failed, and nothing is memoized."""
    metadata = {"discoverable": True, "discoveryVersion": "1", "retries": {"retries": 5}}
    outputs = interface({}, {"out": _json(_CONFIG), "n": "INTEGER"})
    await stubs.register("wrong", template={"interface": outputs, "metadata": metadata})
    created = await stubs.create("wrong", inputs_json={})
    lease = await stubs.lease("wrong")
    completion = worker_service_pb2.Completion(token=lease.token)
    completion.outputs.literals["n"].scalar.primitive.boolean = True
    completion.outputs.literals["m"].scalar.primitive.integer = 1
    request = worker_service_pb2.CompleteLeasesRequest(completions=[completion])
    refusal = read_request_error((await stubs.workers.CompleteLeases(request)).results[0].error)
    _check_wrong_outputs(refusal, created)
    read = execution_service_pb2.GetExecutionRequest(id=created.id)
    failed = (await stubs.executions.GetExecution(read)).execution
    assert failed.state == execution_pb2.Execution.STATE_FAILED
    assert failed.error.code == "OutputsInvalid"
    assert failed.attempt_count == 1
    only = execution("wrong", inputs_json={}, cache_mode="CACHE_MODE_ONLY")
    assert (await refusal_of(stubs.executions.Execute(only))).reason == "CACHE_ENTRY_NOT_FOUND"


async def test_wrong_outputs_are_told_on_the_work_stream_too(stubs: Stubs) -> None:
    """The stream of a worker answers the completion with the same refusal, and goes on."""
    outputs = interface({}, {"out": _json(_CONFIG), "n": "INTEGER"})
    await stubs.register("wrong-stream", template={"interface": outputs})
    created = await stubs.create("wrong-stream", inputs_json={})
    work = stubs.workers.Work(timeout=20)
    offer = worker_service_pb2.Offer(task_types=["raw"], task_names=["wrong-stream"])
    await work.write(worker_service_pb2.WorkRequest(hello={"worker": "w", "offer": offer}, credit=1))  # type: ignore[arg-type] # as JSON
    while not (response := await work.read()).leases:
        pass
    completion = worker_service_pb2.Completion(token=response.leases[0].token)
    completion.outputs.literals["n"].scalar.primitive.boolean = True
    completion.outputs.literals["m"].scalar.primitive.integer = 1
    await work.write(worker_service_pb2.WorkRequest(completions=[completion]))
    response = await work.read()
    assert response.results[0].token == completion.token
    _check_wrong_outputs(read_request_error(response.results[0].error), created)
    await stubs.create("wrong-stream", inputs_json={})
    await work.write(worker_service_pb2.WorkRequest(credit=1))
    completion.token = (await work.read()).leases[0].token
    await work.write(worker_service_pb2.WorkRequest(completions=[completion]))
    await work.read()
    work.cancel()


def _check_wrong_outputs(refusal: Refusal, created: execution_pb2.Execution) -> None:
    assert refusal.reason == "OUTPUTS_INVALID"
    assert refusal.metadata["execution"] == f"default/development/{created.id.name}"
    assert refusal.violations.keys() == {"outputs.n", "outputs.m", "outputs.out"}
    assert "no output has this name" in refusal.violations["outputs.m"]
    assert refusal.violations["outputs.out"] == "is missing"


async def test_a_conflict_lists_every_field_that_differs(stubs: Stubs, world: World) -> None:
    """Other types, retries and policies are each named with both values; a description is no difference."""
    await stubs.register("differ", description="one")
    again = await stubs.tasks.RegisterTask(registration("differ", description="two"))
    assert not again.created
    other = registration(
        "differ",
        template={
            "interface": interface({"n": "FLOAT", "m": "INTEGER"}, {}),
            "metadata": {"timeout": "5s"},
            "custom": {"a": {"b": [1]}},
        },
        policy={"max_queued": 0, "cache": {"scope": "SCOPE_PROJECT"}},
    )
    before = world.contents()
    refusal = await refusal_of(stubs.tasks.RegisterTask(other))
    assert refusal.reason == "TASK_VERSION_CONFLICT"
    assert refusal.violations == {
        "spec.template.metadata.timeout.seconds": "is 5, registered is 0",
        "spec.template.interface.inputs.variables.m": "is set, registered is not set",
        "spec.template.interface.inputs.variables.n.type.simple": (
            "is SIMPLE_TYPE_FLOAT, registered is SIMPLE_TYPE_INTEGER"
        ),
        "spec.template.interface.outputs.variables.o0": "is not set, registered is set",
        "spec.template.custom.fields.a": "is set, registered is not set",
        "spec.policy.cache.scope": "is SCOPE_PROJECT, registered is SCOPE_UNSPECIFIED",
        "spec.policy.max_queued": "is 0, registered is not set",
    }
    other.validate_only = True
    assert (await refusal_of(stubs.tasks.RegisterTask(other))).violations == refusal.violations
    assert world.contents() == before


async def test_values_over_their_limit_are_refused(stubs: Stubs, world: World) -> None:
    """The refusal says which value, how many bytes it has and how many it may have."""
    await stubs.register("text", template={"interface": interface({"s": "STRING"}, {"s": "STRING"})})
    request = execution("text", inputs_json={"s": "x" * (8 << 20)})
    before = world.contents()
    refusal = await refusal_of(stubs.executions.Execute(request, timeout=20))
    literals = literals_pb2.LiteralMap()
    literals.literals["s"].scalar.primitive.string_value = "x" * (8 << 20)
    assert refusal.metadata == {"field": "inputs", "bytes": str(literals.ByteSize()), "limit": str(8 << 20)}
    assert read_request_error((await _outcome(stubs, request))[0].error) == refusal
    assert world.contents() == before
    created = await stubs.create("text", inputs_json={"s": "x"})
    completion = worker_service_pb2.Completion(token=(await stubs.lease("text")).token)
    completion.outputs.literals["s"].scalar.primitive.string_value = "x" * (8 << 20)
    response = await stubs.workers.CompleteLeases(worker_service_pb2.CompleteLeasesRequest(completions=[completion]))
    refusal = read_request_error(response.results[0].error)
    assert refusal.metadata["field"] == "outputs"
    read = execution_service_pb2.GetExecutionRequest(id=created.id)
    assert (await stubs.executions.GetExecution(read)).execution.error.code == "OutputsInvalid"


async def test_one_bad_request_of_a_stream_does_not_harm_the_others(stubs: Stubs, world: World) -> None:
    """Each request of a batch has its own outcome: the same refusal as that of a call, or its execution."""
    bad = [
        execution("deep", inputs_json=GOOD | {"count": "x"}),
        execution("deeep", inputs_json=GOOD),
        execution("deep", name="No", inputs_json=GOOD),
        execution("deep", task={"name": "deep", "version": "9"}, inputs_json=GOOD),
        execution("deep", task={"name": "deep", "domain": "moon"}, inputs_json=GOOD),
        execution("deep", task={"name": "deep", "project": "none"}, inputs_json=GOOD),
        execution_service_pb2.ExecuteRequest(),
    ]
    before = world.contents()
    refusals = [await refusal_of(stubs.executions.Execute(request, timeout=20)) for request in bad]
    assert [each.reason for each in refusals] == [
        "INPUTS_INVALID",
        "TASK_NOT_FOUND",
        "FIELD_INVALID",
        "TASK_VERSION_NOT_FOUND",
        "DOMAIN_NOT_FOUND",
        "PROJECT_NOT_FOUND",
        "FIELD_INVALID",
    ]
    assert [read_request_error(each.error) for each in await _outcome(stubs, *bad)] == refusals
    assert world.contents() == before
    good = execution("deep", inputs_json=GOOD, wait_timeout="0s")
    outcomes = await _outcome(stubs, *bad, good)
    assert outcomes[-1].execution.state == execution_pb2.Execution.STATE_QUEUED


async def test_equal_inputs_are_no_conflict_whatever_their_form(stubs: Stubs) -> None:
    """A request id may be repeated with the same inputs in another order, as literals, or with a default spelt out."""
    defaults = {"parameters": {"n": {"default": {"scalar": {"primitive": {"integer": "5"}}}}}}
    types = {"config": _json(_CONFIG), "f": "FLOAT", "n": "INTEGER"}
    await stubs.register("again", template={"interface": interface(types, {})}, default_inputs=defaults)
    config = {"items": [{"rate": 0.5, "tags": []}], "mode": "fast"}
    inputs: dict[str, Any] = {"config": config, "f": "NaN"}
    first = await stubs.create("again", request_id="r", inputs_json=inputs)
    config_again = dict(reversed(config.items()))
    again = await stubs.create("again", request_id="r", inputs_json={"f": "NaN", "n": 5, "config": config_again})
    assert again.id == first.id
    typed = _json(first.inputs)
    assert (await stubs.create("again", request_id="r", inputs=typed)).id == first.id
    other = execution("again", request_id="r", inputs_json=inputs | {"n": 6})
    assert (await refusal_of(stubs.executions.Execute(other))).reason == "EXECUTION_CONFLICT"
