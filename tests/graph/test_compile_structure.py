"""What a graph must be as a whole: who may wait for whom, and what nodes give that do not run a task."""

from __future__ import annotations

import re
from collections.abc import Iterable

import pytest

from graph.service import Json, bound, graph, node, number, promise
from graph.test_compile import HOLDS, LIST_OF_PROMISES, N0, N1, TEXT, choice, compares, compiled, problems
from lacewing_server.domain import limits

BLOCK = f"{N0}.branch_node.if_else"


def approval(node_id: str, signal: str = "", **inputs: Json) -> Json:
    """A gate that waits until somebody agrees."""
    return {"id": node_id, "inputs": bound(**inputs), "gate_node": {"approve": {"signal_id": signal or node_id}}}


def aliased(node_id: str, **aliases: str) -> Json:
    """A node that gives its outputs under other names."""
    return {**node(node_id, "step"), "output_aliases": [{"var": var, "alias": each} for var, each in aliases.items()]}


@pytest.mark.parametrize(
    ("content", "path", "part"),
    [
        (graph(node("a", "step"), {}, outputs={"o0": number(1)}), f"{N1}.id", "required"),
        (
            graph(node("a", "step", n=promise("end-node", "n"))),
            f"{N0}.inputs[0].binding.promise",
            "there is no node end-node",
        ),
        (
            graph(choice(HOLDS, default={"else_node": node("else", "step", after=("then",))})),
            f"{BLOCK}.else_node.upstream_node_ids[0]",
            "node else: node then is inside of the branch b",
        ),
        (
            graph(choice(HOLDS), node("c", "step", after=("then",))),
            f"{N1}.upstream_node_ids[0]",
            "node c: node then is inside of the branch b",
        ),
        (
            graph(node("a", "step"), failure_node=node("f", "step", after=("a",))),
            "graph.workflow.failure_node.upstream_node_ids[0]",
            "node f: waits for no other node",
        ),
        (graph(node("a", "step"), failure_node=node("a", "step")), "graph.workflow.failure_node.id", "unique"),
        *(
            (
                graph(
                    node("r", "record"),
                    node("a", "step", n={"promise": {**promise("r")["promise"], "attr_path": [step]}}),
                ),
                f"{N1}.inputs[0].binding.promise{place}",
                part,
            )
            for step, place, part in (
                ({}, ".attr_path[0]", "goes nowhere"),
                ({"int_value": 0}, "", "no field has this name"),
                ({"string_value": "sizes"}, "", 'did you mean "size"'),
            )
        ),
        (graph(aliased("a", o="y")), f"{N0}.output_aliases[0].var", 'node a: gives no output o; did you mean "o0"?'),
        (graph(aliased("a", o0="")), f"{N0}.output_aliases[0].alias", "must be set"),
        (
            graph(aliased("a", o0="y")),
            "graph.workflow.outputs[0].binding.promise",
            "node a gives no output o0; known: y",
        ),
        (
            graph(approval("g", "s"), approval("h", "s"), outputs={"o0": number(1)}),
            f"{N1}.gate_node.approve.signal_id",
            "node h: s is the signal of node g too",
        ),
        (
            graph(approval("g", n=TEXT), node("a", "step", n=promise("g", "n"))),
            f"{N1}.inputs[0].binding.promise",
            "STRING does not fit INTEGER",
        ),
        (
            graph(
                approval("g", ns={"collection": {"bindings": [number(1), TEXT]}}),
                node("t", "total", ns=promise("g", "ns")),
            ),
            f"{N1}.inputs[0].binding.promise",
            "STRING does not fit INTEGER",
        ),
        (
            graph(choice(compares({"var": "n"}, {"primitive": {}}))),
            f"{BLOCK}.case.condition.comparison.right_value",
            "cannot be compared",
        ),
        (
            graph(choice(compares({"var": "n"}, {"scalar": {"blob": {"uri": "s3://x"}}}))),
            f"{BLOCK}.case.condition.comparison.right_value",
            "cannot be compared",
        ),
        (
            {
                **graph(node("a", "step")),
                "tasks": [
                    {
                        "template": {
                            "id": {"name": "t", "version": "1"},
                            "type": "raw",
                            "custom": {"x": "y" * limits.SPEC_MAX_BYTES},
                        }
                    }
                ],
            },
            "graph.tasks[0]",
            "are allowed",
        ),
    ],
)
def test_each_problem_is_told_with_its_place(content: Json, path: str, part: str) -> None:
    """The path is that of the field, and the description names the node."""
    found = problems(content)
    assert path in found, found
    assert part in found[path]


def test_what_is_approved_has_the_type_of_what_is_bound() -> None:
    """Lists too, whose elements come from several places."""
    content = graph(
        node("a", "step"),
        approval("g", ns=LIST_OF_PROMISES, none={"collection": {}}),
        node("t", "total", ns=promise("g", "ns")),
        node("u", "total", ns=promise("g", "none")),
    )
    assert len(compiled(content).graph.workflow.nodes) == 4


def test_every_alternative_of_a_branch_fits_what_its_output_is_bound_to() -> None:
    """Which of them it is going to be, nobody knows."""
    either = choice(HOLDS, then=node("then", "text"))
    found = problems(graph(either, node("c", "step", n=promise("b"))))
    assert list(found) == [f"{N1}.inputs[0].binding.promise"]
    assert "STRING does not fit INTEGER" in found[f"{N1}.inputs[0].binding.promise"]
    some = choice(HOLDS, then=aliased("then", o0="y"))
    assert "node b gives no output o0" in problems(graph(some))["graph.workflow.outputs[0].binding.promise"]


def test_names_of_outputs_can_be_exchanged() -> None:
    """An alias may be the name of an output only if that has another one itself."""
    two = {"simple": "SIMPLE_TYPE_INTEGER"}
    brought = {
        "template": {
            "id": {"name": "two", "version": "1"},
            "type": "raw",
            "interface": {"outputs": {"variables": {"o0": {"type": two}, "o1": {"type": two}}}},
        }
    }

    def content(**aliases: str) -> Json:
        target = {"task_node": {"reference_id": {"name": "two", "version": "1"}}}
        names = [{"var": var, "alias": each} for var, each in aliases.items()]
        return {**graph({"id": "a", **target, "output_aliases": names}), "tasks": [brought]}

    assert compiled(content(o0="o1", o1="o0")).registrations
    assert "another output" in problems(content(o1="o0"))[f"{N0}.output_aliases[0].alias"]


@pytest.mark.parametrize(
    ("nodes", "circle"),
    [
        ([node("a", "step", n=promise("a"))], ["a"]),
        ([choice(HOLDS, then=node("then", "step", n=promise("b")))], ["b", "then"]),
        (
            [choice(HOLDS, then=node("then", "step", n=promise("a"))), node("a", "step", after=("b",))],
            ["a", "b", "then"],
        ),
    ],
)
def test_a_circle_may_go_through_a_branch(nodes: Iterable[Json], circle: list[str]) -> None:
    """A branch waits for what is inside of it, and what is inside for what it takes."""
    told = problems(graph(*nodes, outputs={"o0": number(1)}))["graph.workflow.nodes"]
    names = told.split("circle: ")[1].split(" -> ")
    assert names[0] == names[-1]
    assert sorted(names[1:]) == circle


CACHED: Json = {"cacheable": True}


@pytest.mark.parametrize(
    ("metadata", "policy", "path"),
    [
        (CACHED, {}, "cache_version"),
        (CACHED | {"cache_version": ""}, {}, "cache_version"),
        (CACHED | {"cache_version": "1"}, {"idempotent": False}, "cacheable"),
        (CACHED | {"cache_version": "1"}, {"idempotent": True}, None),
        ({"cacheable": False}, {"idempotent": False}, None),
    ],
)
def test_a_node_memoizes_only_what_can_be(metadata: Json, policy: Json, path: str | None) -> None:
    """As registration asks it of tasks; in arrays too."""
    reference = {"name": "own", "version": "1"}
    target = {"task_node": {"reference_id": reference}, "metadata": metadata}
    array = {"node": target, "is_original_sub_node_interface": True}
    nodes = [{"id": "a", **target}, {"id": "m", "array_node": array}]
    tasks = [{"template": {"id": reference, "type": "raw"}, "policy": policy}]
    content = {**graph(*nodes, outputs={"o0": number(1)}), "tasks": tasks}
    if path is None:
        assert compiled(content).registrations
    else:
        found = problems(content)
        assert found[f"{N0}.metadata.{path}"].startswith("node a: ")
        assert found[f"{N1}.array_node.node.metadata.{path}"].startswith("node m: ")


def test_hints_are_given_for_the_problems_that_are_shown() -> None:
    """Looking for the nearest of many names for each of many others would take minutes."""
    nodes = [node(f"node{i}", "step", n=promise(f"nod{i}")) for i in range(100)]
    found = list(problems(graph(*nodes)).values())
    assert all(re.search("did you mean", each) for each in found[: limits.VIOLATIONS_MAX])
    assert not any(re.search("did you mean", each) for each in found[limits.VIOLATIONS_MAX :])
    assert len(found) == 100
