"""Branches, arrays and gates."""

from __future__ import annotations

from typing import Any

import pytest

from engine.service import Execution, value
from graph.service import GraphService, Json, bound, graph, node, number, promise
from lacewing.v1 import execution_service_pb2, literals_pb2
from server.contract import refusal_of
from server.world import completion

SUCCEEDED, FAILED, RUNNING = Execution.STATE_SUCCEEDED, Execution.STATE_FAILED, Execution.STATE_RUNNING
INTEGERS = {"collection_type": {"simple": "SIMPLE_TYPE_INTEGER"}}
MAYBE_INTEGERS = {
    "collection_type": {"union_type": {"variants": [{"simple": "SIMPLE_TYPE_INTEGER"}, {"simple": "SIMPLE_TYPE_NONE"}]}}
}


def compared(operator: str, than: int) -> Json:
    """Whether the branch's input ``n`` compares so."""
    right = {"scalar": {"primitive": {"integer": than}}}
    return {"comparison": {"operator": operator, "left_value": {"var": "n"}, "right_value": right}}


def branch(node_id: str, *cases: tuple[Json, Json], otherwise: Json) -> Json:
    """A node that chooses by the input ``n`` of the graph."""
    blocks = [{"condition": condition, "then_node": then} for condition, then in cases]
    if_else = {"case": blocks[0], "other": blocks[1:], **otherwise}
    return {"id": node_id, "inputs": bound(n=promise("start-node", "n")), "branch_node": {"if_else": if_else}}


async def choosing(service: GraphService, **otherwise: Any) -> tuple[str, str]:
    """A workflow that runs `low` below 10, `middle` below 20, else as said; and the task of these nodes."""
    task = await service.register()
    given = promise("start-node", "n")
    cases = (
        (compared("OPERATOR_LT", 10), node("low", task, n=given)),
        (compared("OPERATOR_LT", 20), node("middle", task, n=given)),
    )
    chosen = otherwise or {"else_node": node("high", task, n=given)}
    content = graph(branch("choice", *cases, otherwise=chosen), node("after", task, n=promise("choice")))
    return await service.workflow(content), task


@pytest.mark.parametrize(("n", "chosen"), [(5, "low"), (15, "middle"), (25, "high")])
async def test_a_branch_runs_one_node(service: GraphService, n: int, chosen: str) -> None:
    """Its outputs are those of the branch; the others are skipped."""
    name, task = await choosing(service)
    created = await service.create(name, inputs_json={"n": n})
    await service.run(task, 100 + n)
    last = await service.run(task, 1)
    assert last.inputs.literals["n"].scalar.primitive.integer == 100 + n
    assert (await service.wait(created)).state == SUCCEEDED
    skipped = {each: "SKIPPED" for each in ("low", "middle", "high") if each != chosen}
    assert await service.states(created) == {
        "choice": "SUCCEEDED",
        chosen: "SUCCEEDED",
        "after": "SUCCEEDED",
        **skipped,
    }


async def test_a_branch_may_fail_where_nothing_holds(service: GraphService) -> None:
    """With the error that the graph gives for that."""
    name, task = await choosing(service, error={"message": "n is too large"})
    ended = await service.execute(name, inputs_json={"n": 99})
    assert (ended.state, ended.error.code) == (FAILED, "NodeFailed")
    assert "n is too large" in ended.error.message
    assert set((await service.states(ended)).values()) == {"FAILED", "SKIPPED"}
    await service.no_lease(task)


def array(node_id: str, task: str, /, *, array_node: Json | None = None, **inputs: Json) -> Json:
    """A node that runs a task for each element of its lists."""
    inner = {"id": f"{node_id}-each", "task_node": {"reference_id": {"name": task}}}
    content = {"node": inner, "is_original_sub_node_interface": True, **(array_node or {})}
    return {"id": node_id, "inputs": bound(**inputs), "array_node": content}


async def mapping(service: GraphService, outputs: Any = INTEGERS, **array_node: Any) -> tuple[str, str]:
    """A workflow that maps a task over its list ``ns``, and that task."""
    task = await service.register()
    content = graph(array("map", task, array_node=array_node, n=promise("start-node", "ns")))
    return await service.workflow(content, inputs={"ns": INTEGERS}, outputs={"o0": outputs}), task


def values(of: Execution) -> list[int | None]:
    """The elements of the output."""
    return [
        None if each.scalar.HasField("none_type") else each.scalar.primitive.integer
        for each in of.outputs.literals["o0"].collection.literals
    ]


async def test_an_array_runs_a_task_for_each_element(service: GraphService) -> None:
    """The outputs come in the order of the elements, whatever the order of their ends."""
    name, task = await mapping(service)
    created = await service.create(name, inputs_json={"ns": [3, 1, 2]})
    leases = [await service.lease(task) for _ in range(3)]
    for lease in reversed(leases):
        await service.succeed(lease, 10 * lease.inputs.literals["n"].scalar.primitive.integer)
    assert values(await service.wait(created)) == [30, 10, 20]
    nodes = await service.nodes(created)
    assert list(nodes) == ["map", "map/0", "map/1", "map/2"]
    assert nodes["map"].element_count == 3


async def test_an_array_of_nothing_gives_nothing(service: GraphService) -> None:
    """No element runs."""
    name, _ = await mapping(service)
    ended = await service.execute(name, inputs_json={"ns": []})
    assert (ended.state, values(ended)) == (SUCCEEDED, [])


async def test_what_an_array_says_counts_for_its_elements(service: GraphService) -> None:
    """Where its inner node says nothing."""
    task = await service.register(policy={"backoff": {"initial": "0s"}})
    patient = array("map", task, n=promise("start-node", "ns"))
    patient["metadata"] = {"retries": {"retries": 1}, "timeout": "77s"}
    patient["array_node"]["node"]["metadata"] = {"timeout": "66s"}
    name = await service.workflow(graph(patient), inputs={"ns": INTEGERS}, outputs={"o0": INTEGERS})
    created = await service.create(name, inputs_json={"ns": [1]})
    lease = await service.lease(task)
    assert lease.attempt_timeout.ToSeconds() == 66
    await service.fail(lease)
    await service.run(task, 5)
    assert values(await service.wait(created)) == [5]


async def test_at_most_so_many_elements_run_at_a_time(service: GraphService) -> None:
    """Of an array, by its own parallelism."""
    name, task = await mapping(service, parallelism=1)
    created = await service.create(name, inputs_json={"ns": [1, 2]})
    lease = await service.lease(task)
    await service.no_lease(task)
    await service.succeed(lease, 1)
    await service.run(task, 2)
    assert values(await service.wait(created)) == [1, 2]


async def test_elements_may_fail_within_the_ratio(service: GraphService) -> None:
    """What failed is nothing in the list."""
    name, task = await mapping(service, outputs=MAYBE_INTEGERS, min_success_ratio=0.5)
    created = await service.create(name, inputs_json={"ns": [1, 2]})
    first, second = await service.lease(task), await service.lease(task)
    await service.fail(first, recoverable=False)
    await service.succeed(second, 7)
    ended = await service.wait(created)
    assert (ended.state, sorted(values(ended), key=str)) == (SUCCEEDED, [7, None])


async def test_an_array_fails_as_soon_as_too_few_can_succeed(service: GraphService) -> None:
    """What still runs of it is cancelled."""
    name, task = await mapping(service, outputs=MAYBE_INTEGERS, min_successes=2)
    created = await service.create(name, inputs_json={"ns": [1, 2, 3]})
    leases = [await service.lease(task) for _ in range(3)]
    for lease in leases[:2]:
        await service.fail(lease, recoverable=False)
    ended = await service.wait(created)
    assert (ended.state, ended.error.code, ended.error.cause.code) == (FAILED, "NodeFailed", "Oops")
    assert "2 of 3 elements failed" in ended.error.message
    states = list((await service.states(created)).values())
    assert sorted(states) == ["CANCELLED", "FAILED", "FAILED", "FAILED"]


async def test_lists_must_be_equally_long(service: GraphService) -> None:
    """That is known only when they are."""
    task = await service.register(template={"interface": two_numbers()})
    content = graph(array("map", task, a=promise("start-node", "xs"), b=promise("start-node", "ys")))
    name = await service.workflow(content, inputs={"xs": INTEGERS, "ys": INTEGERS}, outputs={"o0": INTEGERS})
    ended = await service.execute(name, inputs_json={"xs": [1, 2], "ys": [1]})
    assert ended.state == FAILED
    assert "equally long: xs" not in ended.error.message
    assert "a has 2, b has 1" in ended.error.message


def two_numbers() -> Json:
    """The interface of a task that takes two numbers and gives one."""
    simple = {"type": {"simple": "SIMPLE_TYPE_INTEGER"}}
    return {"inputs": {"variables": {"a": simple, "b": simple}}, "outputs": {"variables": {"o0": simple}}}


async def test_bound_inputs_reach_every_element(service: GraphService) -> None:
    """They are not taken element by element."""
    task = await service.register(template={"interface": two_numbers()})
    content = graph(array("map", task, array_node={"bound_inputs": ["b"]}, a=promise("start-node", "xs"), b=number(9)))
    name = await service.workflow(content, inputs={"xs": INTEGERS}, outputs={"o0": INTEGERS})
    created = await service.create(name, inputs_json={"xs": [1, 2]})
    for _ in range(2):
        lease = await service.run(task, 1)
        assert lease.inputs.literals["b"].scalar.primitive.integer == 9
    assert (await service.wait(created)).state == SUCCEEDED


def approval() -> Json:
    """A gate that lets the input of the graph through if somebody agrees."""
    inputs = bound(n=promise("start-node", "n"))
    return {"id": "gate", "inputs": inputs, "gate_node": {"approve": {"signal_id": "release"}}}


async def test_a_gate_waits_for_approval(service: GraphService) -> None:
    """Then its inputs are its outputs."""
    task = await service.register()
    name = await service.workflow(graph(approval(), node("a", task, n=promise("gate", "n"))))
    created = await service.create(name, inputs_json={"n": 6})
    await service.until_nodes(created, lambda states: states["gate"] == "RUNNING")
    assert "release" in (await service.nodes(created))["gate"].state_reason
    await service.signal(created, "release", True)
    await service.signal(created, "release", True)  # the same answer again
    lease = await service.run(task, 1)
    assert lease.inputs.literals["n"].scalar.primitive.integer == 6
    assert (await service.wait(created)).state == SUCCEEDED


async def test_a_gate_that_is_refused_fails(service: GraphService) -> None:
    """By the user's doing, with a code of its own."""
    created = await service.create(await service.workflow(graph(approval(), outputs={"o0": promise("gate", "n")})))
    await service.signal(created, "release", False)
    ended = await service.wait(created)
    assert (ended.state, ended.error.code) == (FAILED, "GateRejected")


async def test_a_gate_that_was_refused_asks_again(service: GraphService) -> None:
    """An execution that repeats what failed does not take over the refusal, but the answers that were followed."""
    second = approval() | {"id": "second", "inputs": bound(n=promise("gate", "n"))}
    second["gate_node"] = {"approve": {"signal_id": "again"}}
    content = graph(approval(), second, outputs={"o0": promise("second", "n")})
    created = await service.create(await service.workflow(content), inputs_json={"n": 6})
    await service.signal(created, "release", True)
    await service.signal(created, "again", False)
    assert (await service.wait(created)).error.code == "GateRejected"
    again = await service.retry(created, failed_only=True)
    await service.until_nodes(again, lambda states: states["second"] == "RUNNING")
    await service.signal(again, "again", True)
    ended = await service.wait(again)
    assert (ended.state, value(ended)) == (SUCCEEDED, 6)


async def test_a_gate_is_answered_before_it_is_reached(service: GraphService) -> None:
    """The answer waits for it; and it is a value of the type that the gate takes."""
    task = await service.register()
    condition = {"signal_id": "level", "type": {"simple": "SIMPLE_TYPE_INTEGER"}, "output_variable_name": "level"}
    gate = {"id": "gate", "gate_node": {"signal": condition}, "upstream_node_ids": ["a"]}
    content = graph(node("a", task), gate, outputs={"o0": promise("gate", "level")})
    created = await service.create(await service.workflow(content))
    with_text = execution_service_pb2.SignalExecutionRequest(id=created.id, signal_id="level")
    with_text.value.scalar.primitive.string_value = "high"
    refusal = await refusal_of(service.stubs.executions.SignalExecution(with_text))
    assert set(refusal.violations) == {"value"}
    await service.signal(created, "level", "12345678901234567")
    await service.run(task, 1)
    assert value(await service.wait(created)) == 12345678901234567


async def test_a_gate_sleeps(service: GraphService) -> None:
    """For its time, and gives nothing."""
    task = await service.register()
    gate = {"id": "gate", "gate_node": {"sleep": {"duration": "0.03s"}}}
    created = await service.create(await service.workflow(graph(gate, node("a", task, after=("gate",)))))
    await service.run(task, 1)
    assert (await service.wait(created)).state == SUCCEEDED
    slept = (await service.nodes(created))["gate"]
    assert slept.end_time.ToMilliseconds() - slept.create_time.ToMilliseconds() >= 30


async def test_records_are_looked_into(service: GraphService) -> None:
    """The way of a promise goes into lists, maps and records, and what it finds has the type of the variable."""
    record = {"simple": "SIMPLE_TYPE_STRUCT"}
    giver = await service.register(
        "giver", template={"interface": {"outputs": {"variables": {"o0": {"type": record}}}}}
    )
    task = await service.register()
    inner = promise("r")
    inner["promise"]["attr_path"] = [{"string_value": "rows"}, {"int_value": 1}, {"string_value": "size"}]
    first = node("r", giver)
    first["inputs"] = []
    created = await service.create(await service.workflow(graph(first, node("a", task, n=inner))))
    lease = await service.lease(giver)
    given = completion(lease.token)
    tree = {"rows": [{"size": 1}, {"size": 2}]}
    literal = literals_pb2.Literal()
    literal.scalar.generic.update(tree)
    given.outputs.literals["o0"].CopyFrom(literal)
    await service.report(given)
    second = await service.run(task, 1)
    assert second.inputs.literals["n"].scalar.primitive.integer == 2
    assert (await service.wait(created)).state == SUCCEEDED


async def test_a_list_in_a_record_is_mapped(service: GraphService) -> None:
    """What a record holds has no type of its own: it has that of what it is bound to."""
    record = {"simple": "SIMPLE_TYPE_STRUCT", "structure": {"dataclass_type": {"xs": INTEGERS}}}
    giver = await service.register(
        "giver", template={"interface": {"outputs": {"variables": {"o0": {"type": record}}}}}
    )
    task = await service.register()
    inner = promise("r")
    inner["promise"]["attr_path"] = [{"string_value": "xs"}]
    first = node("r", giver)
    first["inputs"] = []
    name = await service.workflow(graph(first, array("map", task, n=inner)), outputs={"o0": INTEGERS})
    created = await service.create(name)
    given = completion((await service.lease(giver)).token)
    literal = literals_pb2.Literal()
    literal.scalar.generic.update({"xs": [1, 2]})
    given.outputs.literals["o0"].CopyFrom(literal)
    await service.report(given)
    for _ in range(2):
        await service.run(task, 5)
    assert values(await service.wait(created)) == [5, 5]
