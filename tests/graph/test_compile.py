"""What a graph must be: every problem at once, with the path of its field and the id of its node."""

from __future__ import annotations

from typing import Any

import pytest
from google.protobuf import json_format
from hypothesis import given, settings
from hypothesis import strategies as st

from graph.service import Json, bound, graph, node, number, promise
from lacewing.v1 import identifiers_pb2, interface_pb2, literals_pb2, task_pb2
from lacewing_server.domain.graph.bindings import resolve
from lacewing_server.domain.graph.compile import (
    CompiledGraph,
    GraphInvalidError,
    KnownTask,
    compile_graph,
    references,
)
from server.world import interface

OWN = identifiers_pb2.TaskId(project="p", domain="d", name="own", version="1")
INTEGERS: Json = {"collection_type": {"simple": "SIMPLE_TYPE_INTEGER"}}
TEXT: Json = {"scalar": {"primitive": {"string_value": "x"}}}


def spec(inputs: Json, outputs: Json, task_type: str = "raw", **more: Any) -> task_pb2.TaskSpec:
    """A spec in the form of JSON."""
    content = {"template": {"type": task_type, "interface": interface(inputs, outputs)}, **more}
    return json_format.ParseDict(content, task_pb2.TaskSpec())


RECORD: Json = {
    "simple": "SIMPLE_TYPE_STRUCT",
    "structure": {"dataclass_type": {"size": {"simple": "SIMPLE_TYPE_INTEGER"}}},
}
SPECS = {
    "step": spec({"n": "INTEGER"}, {"o0": "INTEGER"}),
    "text": spec({"n": "INTEGER"}, {"o0": "STRING"}),
    "record": spec({"n": "INTEGER"}, {"o0": RECORD}),
    "total": spec({"ns": INTEGERS}, {"o0": "INTEGER"}),
    "flow": spec({"n": "INTEGER"}, {"o0": "INTEGER"}, "workflow", graph=graph(node("x", "step"))),
    "lenient": spec(
        {"n": "INTEGER"},
        {"o0": "INTEGER"},
        default_inputs={"parameters": {"n": {"default": {"scalar": {"primitive": {"integer": 3}}}}}},
    ),
}


def compiled(content: Json, inputs: Json | None = None, outputs: Json | None = None) -> CompiledGraph:
    """Compiles a graph of a task that takes an integer ``n`` and gives one, unless said otherwise."""
    given = json_format.ParseDict(content, task_pb2.Graph())
    takes = {"n": "INTEGER"} if inputs is None else inputs
    own = json_format.ParseDict(
        interface(takes, {"o0": "INTEGER"} if outputs is None else outputs), interface_pb2.TypedInterface()
    )
    known = {}
    for reference in references(given, OWN):
        if reference.name in SPECS:
            task = identifiers_pb2.TaskId(project="p", domain="d", name=reference.name, version="7")
            known["p", "d", reference.name, reference.version] = KnownTask(task, SPECS[reference.name])
    return compile_graph(given, OWN, own, known)


def problems(content: Json, **interface: Json) -> dict[str, str]:
    """What is wrong with a graph: descriptions by path."""
    with pytest.raises(GraphInvalidError) as raised:
        compiled(content, **interface)
    return {each.field: each.description for each in raised.value.problems}


def element(node_id: str, task: str, /, *, array: Json | None = None, **inputs: Json) -> Json:
    """An array node."""
    inner = {"task_node": {"reference_id": {"name": task}}}
    content = {"node": inner, "is_original_sub_node_interface": True, **(array or {})}
    return {"id": node_id, "inputs": bound(**inputs), "array_node": content}


def choice(condition: Json, *, default: Json | None = None, then: Json | None = None) -> Json:
    """A branch with an input ``n``."""
    block = {"condition": condition, "then_node": then or node("then", "step")}
    if_else = {"case": block, **({"else_node": node("else", "step")} if default is None else default)}
    return {"id": "b", "inputs": bound(n=promise("start-node", "n")), "branch_node": {"if_else": if_else}}


def compares(left: Json, right: Json, operator: str = "OPERATOR_LT") -> Json:
    """A comparison."""
    return {"comparison": {"operator": operator, "left_value": left, "right_value": right}}


HOLDS = compares({"var": "n"}, number(3))
TARGETLESS: Json = {"id": "start-node"}
LIST_OF_PROMISES: Json = {"collection": {"bindings": [promise("a"), number(2)]}}


@pytest.mark.parametrize(
    "content",
    [
        graph(node("a", "step")),
        graph(node("a", "step"), node("b", "step", n=promise("a")), TARGETLESS, outputs={"o0": promise("b")}),
        graph(node("a", "step"), node("t", "total", ns=LIST_OF_PROMISES)),
        graph({**node("a", "lenient"), "inputs": []}),
        graph(
            node("a", "flow"),
            {"id": "w", "workflow_node": {"sub_workflow_ref": {"name": "flow"}}, "inputs": bound(n=number(1))},
        ),
        graph(
            {**node("a", "step"), "output_aliases": [{"var": "o0", "alias": "y"}]},
            node("b", "step", n=promise("a", "y")),
        ),
        graph(choice(HOLDS), node("c", "step", n=promise("b"))),
        graph(choice(HOLDS, default={"error": {"message": "no"}}), node("c", "step", n=promise("b"))),
        graph(element("m", "step", n={"collection": {"bindings": [number(1)]}}), node("t", "total", ns=promise("m"))),
        graph(
            node("r", "record"),
            node("a", "step", n={"promise": {**promise("r")["promise"], "attr_path": [{"string_value": "size"}]}}),
        ),
    ],
)
def test_what_holds_is_compiled(content: Json) -> None:
    """Every reference has a version then."""
    found = compiled(content).graph.workflow.nodes
    assert {each.task_node.reference_id.version for each in found if each.HasField("task_node")} <= {"7"}


N0 = "graph.workflow.nodes[0]"
N1 = "graph.workflow.nodes[1]"


@pytest.mark.parametrize(
    ("content", "path", "part"),
    [
        (graph(node("", "step"), outputs={"o0": number(1)}), f"{N0}.id", "required"),
        (graph(node("end-node", "step"), outputs={"o0": number(1)}), f"{N0}.id", "stands for"),
        (graph(node("a/b", "step"), outputs={"o0": number(1)}), f"{N0}.id", "without /"),
        (graph(node("a", "step"), node("a", "step")), f"{N1}.id", "unique"),
        (graph({"id": "a"}, outputs={"o0": number(1)}), N0, "has no target"),
        (graph(node("a", "nobody")), f"{N0}.task_node", "there is no task nobody"),
        (
            graph({"id": "a", "workflow_node": {"sub_workflow_ref": {"name": "step"}}, "inputs": bound(n=number(1))}),
            f"{N0}.workflow_node",
            "no workflow",
        ),
        (graph(node("a", "step", m=number(1))), f"{N0}.inputs[0].var", "no input m"),
        (graph(node("a", "step", m=number(1))), f"{N0}.inputs", "n is not bound"),
        (graph(node("a", "step", n=TEXT)), f"{N0}.inputs[0].binding.scalar", "expected INTEGER"),
        (
            graph(node("a", "text"), node("b", "step", n=promise("a"))),
            f"{N1}.inputs[0].binding.promise",
            "a.o0 does not fit",
        ),
        (graph(node("a", "step", n=promise("z"))), f"{N0}.inputs[0].binding.promise", "there is no node z"),
        (graph(node("a", "step", n=promise("start-node", "m"))), f"{N0}.inputs[0].binding.promise", "no input m"),
        (
            graph(node("a", "step"), node("b", "step", n=promise("a", "o00"))),
            f"{N1}.inputs[0].binding.promise",
            'did you mean "o0"',
        ),
        (graph(node("a", "step", n={})), f"{N0}.inputs[0].binding", "binds nothing"),
        (
            graph(node("a", "total", ns={"collection": {"bindings": [number(1), TEXT]}})),
            f"{N0}.inputs[0].binding.collection.bindings[1].scalar",
            "expected INTEGER",
        ),
        (graph(node("a", "step", n=LIST_OF_PROMISES)), f"{N0}.inputs[0].binding", "is a list"),
        (graph(node("a", "step"), outputs={}), "graph.workflow.outputs", "o0 is not bound"),
        (graph(node("a", "text")), "graph.workflow.outputs[0].binding.promise", "does not fit"),
        (graph(node("a", "step", after=("z",))), f"{N0}.upstream_node_ids[0]", "no node z"),
        (
            graph(node("a", "step", metadata={"retries": {"retries": 5000}})),
            f"{N0}.metadata.retries.retries",
            "at most",
        ),
        (
            graph(choice(compares({"var": "m"}, number(3)))),
            f"{N0}.branch_node.if_else.case.condition.comparison.left_value.var",
            "no input m",
        ),
        (
            graph(choice(compares({"var": "n"}, TEXT))),
            f"{N0}.branch_node.if_else.case.condition.comparison",
            "compares numbers with strings",
        ),
        (graph(choice({})), f"{N0}.branch_node.if_else.case.condition", "neither"),
        (
            graph(choice(HOLDS), node("c", "step", n=promise("then"))),
            f"{N1}.inputs[0].binding.promise",
            "inside of the branch b",
        ),
        (
            graph(choice(HOLDS, then=node("then", "step", n=TEXT))),
            f"{N0}.branch_node.if_else.case.then_node.inputs[0].binding.scalar",
            "node then",
        ),
        (graph(choice(HOLDS, default={})), f"{N0}.branch_node.if_else", "says not what happens"),
        (
            graph(element("m", "step", n=number(1)), outputs={"o0": number(1)}),
            f"{N0}.inputs[0].binding.scalar",
            "expected list of INTEGER",
        ),
        (
            graph(element("m", "step", array={"bound_inputs": ["k"]}, n={"collection": {}}), outputs={"o0": number(1)}),
            f"{N0}.array_node.bound_inputs[0]",
            "no input k",
        ),
        (
            graph(
                element("m", "step", array={"min_success_ratio": 2.0}, n={"collection": {}}), outputs={"o0": number(1)}
            ),
            f"{N0}.array_node.min_success_ratio",
            "from 0 to 1",
        ),
        (
            graph(
                element("m", "step", array={"is_original_sub_node_interface": False}, n={"collection": {}}),
                outputs={"o0": number(1)},
            ),
            f"{N0}.array_node.is_original_sub_node_interface",
            "must be true",
        ),
        (
            graph(
                element("m", "step", array={"min_successes": 1}, n={"collection": {}}),
                node("t", "total", ns=promise("m")),
            ),
            f"{N1}.inputs[0].binding.promise",
            "m.o0 does not fit",
        ),
        (graph({"id": "g", "gate_node": {}}, outputs={"o0": number(1)}), f"{N0}.gate_node", "waits for nothing"),
        (
            graph({"id": "g", "gate_node": {"sleep": {"duration": "-1s"}}}, outputs={"o0": number(1)}),
            f"{N0}.gate_node.sleep.duration",
            "from 0",
        ),
        (
            graph({"id": "g", "gate_node": {"approve": {}}}, outputs={"o0": number(1)}),
            f"{N0}.gate_node.approve.signal_id",
            "required",
        ),
        (
            graph(node("a", "step"), failure_node=node("f", "step", n=promise("a"))),
            "graph.workflow.failure_node.inputs",
            "may have failed",
        ),
        (
            {**graph(node("a", "step")), "tasks": [{"template": {"id": {"name": "t"}, "type": "raw"}}]},
            "graph.tasks[0].template.id.version",
            "required",
        ),
        (
            {**graph(node("a", "step")), "tasks": [{"template": {"id": {"name": "t", "version": "1"}}}]},
            "graph.tasks[0].template.type",
            "required",
        ),
    ],
)
def test_each_problem_is_told_with_its_place(content: Json, path: str, part: str) -> None:
    """The path is that of the field, and the description helps to correct it."""
    found = problems(content)
    assert path in found, found
    assert part in found[path]


def test_all_problems_are_told_at_once() -> None:
    """Nobody corrects a graph one problem at a time."""
    content = graph(node("a", "nobody"), node("b", "step", n=TEXT), node("b", "step", n=promise("z")), outputs={})
    assert len(problems(content)) == 5


def test_a_circle_is_shown() -> None:
    """By the nodes that wait for each other; others in their way are not."""
    content = graph(
        node("a", "step", n=promise("c")),
        node("b", "step", n=promise("a")),
        node("c", "step", n=promise("b")),
        node("d", "step", n=promise("c")),
    )
    found = problems(content)["graph.workflow.nodes"]
    assert "a -> c -> b -> a" in found
    assert "d" not in found.split("circle: ")[1]


def test_a_chain_may_be_long() -> None:
    """Its length costs no stack."""
    nodes = [node("n0", "step"), *(node(f"n{i}", "step", n=promise(f"n{i - 1}")) for i in range(1, 10_000))]
    assert len(compiled(graph(*nodes)).graph.workflow.nodes) == 10_000


def test_what_is_brought_along_comes_in_the_order_of_registration() -> None:
    """What is referred to first, whatever the order it is given in."""
    reference = {"name": "inner", "version": "1"}
    uses = {"id": "x", "task_node": {"reference_id": reference}, "inputs": bound(n=number(1))}
    shape = interface({"n": "INTEGER"}, {"o0": "INTEGER"})
    outer = {
        "template": {"id": {"name": "outer", "version": "1"}, "type": "workflow", "interface": shape},
        "graph": graph(uses),
    }
    inner = {"template": {"id": reference, "type": "raw", "interface": shape}}
    top = {"id": "t", "task_node": {"reference_id": {"name": "outer", "version": "1"}}, "inputs": bound(n=number(1))}
    found = compiled({**graph(top), "tasks": [outer, inner]})
    assert [each.name for each, _ in found.registrations] == ["inner", "outer"]
    wrong = json_format.MessageToDict(found.registrations[1][1], preserving_proto_field_name=True)
    wrong["graph"]["workflow"]["nodes"][0]["inputs"][0]["binding"] = TEXT
    told = problems({**graph(top), "tasks": [{**outer, "graph": wrong["graph"]}, inner]})
    assert "graph.tasks[0].graph.workflow.nodes[0].inputs[0].binding.scalar" in told


def test_workflows_do_not_run_each_other() -> None:
    """In a circle they would never end."""
    shape = interface({"n": "INTEGER"}, {"o0": "INTEGER"})

    def brought(name: str, other: str) -> Json:
        uses = {"id": "x", "task_node": {"reference_id": {"name": other, "version": "1"}}, "inputs": bound(n=number(1))}
        return {
            "template": {"id": {"name": name, "version": "1"}, "type": "workflow", "interface": shape},
            "graph": graph(uses),
        }

    content = {**graph(node("a", "step")), "tasks": [brought("x", "y"), brought("y", "x")]}
    assert "p/d/x@1 -> p/d/y@1 -> p/d/x@1" in problems(content)["graph.tasks"]


@st.composite
def acyclic(draw: st.DrawFn) -> list[list[int]]:
    """For each of some nodes, the nodes before it that it takes values from."""
    count = draw(st.integers(1, 12))
    return [draw(st.lists(st.integers(0, i - 1), max_size=3)) if i else [] for i in range(count)]


def of(edges: list[list[int]]) -> Json:
    """A graph with these edges."""
    nodes = [
        node(f"n{i}", "total", ns={"collection": {"bindings": [promise(f"n{each}") for each in takes] or [number(i)]}})
        for i, takes in enumerate(edges)
    ]
    return graph(*nodes)


@given(acyclic())
@settings(max_examples=60, deadline=None)
def test_whatever_has_an_order_is_compiled_and_its_values_fit(edges: list[list[int]]) -> None:
    """What is bound in a graph that holds is, once it is there, what the task takes."""
    nodes = compiled(of(edges)).graph.workflow.nodes
    variables = SPECS["total"].template.interface.inputs.variables
    seven = literals_pb2.Literal()
    seven.scalar.primitive.integer = 7
    for each, takes in zip(nodes, edges, strict=True):
        values = resolve(each.inputs, variables, lambda _node, _name: seven).literals["ns"].collection.literals
        assert len(values) == max(len(takes), 1)


@given(acyclic(), st.data())
@settings(max_examples=60, deadline=None)
def test_whatever_goes_back_is_a_circle(edges: list[list[int]], data: st.DataObject) -> None:
    """From a node to one that it comes from."""
    last = data.draw(st.integers(0, len(edges) - 1))
    reachable, waiting = {last}, [last]
    while waiting:
        for each in edges[waiting.pop()]:
            if each not in reachable:
                reachable.add(each)
                waiting.append(each)
    first = data.draw(st.sampled_from(sorted(reachable)))
    told = problems(of([*edges[:first], [*edges[first], last], *edges[first + 1 :]]))["graph.workflow.nodes"]
    circle = told.split("circle: ")[1].split(" -> ")
    assert circle[0] == circle[-1]
    assert f"n{first}" in circle or len(circle) >= 2
