"""Calls of tasks in the body of a workflow: the nodes they make, and where the values come from."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import lacewing
from lacewing._tracing import tracing
from lacewing.graph import GraphBuildError, Promise
from lacewing.types import derived_version, digest_spec
from sdk.graph_tasks import (
    Config,
    Split,
    add,
    add_soon,
    configure,
    graph,
    inputs,
    labelled,
    nodes,
    note,
    outputs,
    pair,
    say,
    split,
    total,
    use,
)


def test_calls_make_nodes() -> None:
    """Each call is a node in the order of calls, with promises for what others give, and with defaults bound."""

    @lacewing.workflow
    def twice(n: int) -> int:
        return add(add(n), b=5)

    first, second = nodes(twice)
    assert (first.id, inputs(first)) == ("n0", {"a": "in.n", "b": "2"})
    assert (second.id, inputs(second)) == ("n1", {"a": "n0.o0", "b": "5"})
    assert outputs(twice) == {"o0": "n1.o0"}


def test_tasks_come_along_once_with_their_promises() -> None:
    """What is called is in the graph as it would be registered, under its exact version."""
    careful = lacewing.task(name="careful", retries=7, cache=True)(add.function)

    @lacewing.workflow
    def several(n: int) -> int:
        return careful(careful(add(n), 1), 1)

    tasks = graph(several).tasks
    assert [(task.template.id.name, task.template.id.version) for task in tasks] == [
        (add.name, add.exact_version),
        ("careful", careful.exact_version),
    ]
    assert tasks[1].template.metadata.retries.retries == 7
    assert [node.task_node.reference_id.name for node in nodes(several)] == [add.name, "careful", "careful"]
    assert add.exact_version == derived_version(digest_spec(add.spec)) == derived_version(digest_spec(tasks[0]))


def test_promises_inside_lists_and_dicts() -> None:
    """A list or dict may hold promises and values; where several types are possible, the variant is said."""

    @lacewing.workflow
    def mixed(n: int) -> int:
        summed = total([1, n, add(n)])
        return labelled({"a": summed, "b": 3}, numbers=[n, 4])

    _, summed, last = nodes(mixed)
    assert inputs(summed) == {"numbers": "[1, in.n, n0.o0]"}
    assert inputs(last) == {"labels": "{a: n1.o0, b: 3}", "numbers": "[in.n, 4]"}
    assert last.inputs[0].binding.union.target_type.HasField("map_value_type")
    assert last.inputs[1].binding.union.target_type.HasField("collection_type")


_TREES = st.recursive(st.integers(0, 9) | st.none(), lambda inner: st.lists(inner, max_size=4), max_leaves=12).filter(
    lambda tree: isinstance(tree, list)
)


def _depth(tree: Any) -> int:
    return 1 + max(map(_depth, tree), default=0) if isinstance(tree, list) else 0


def _fill(tree: Any, depth: int, promise: int | None) -> Any:
    """Returns a tree whose leaves are all at one depth, with a promise for each None."""
    if depth == 0:
        return promise if tree is None else tree
    return [_fill(part, depth - 1, promise) for part in (tree if isinstance(tree, list) else [tree])]


@given(_TREES)
def test_nested_lists_keep_their_shape(tree: list[Any]) -> None:
    """Whatever the nesting, the binding of a list has each value and promise where it was."""
    depth = _depth(tree)
    annotation: Any = int
    for _ in range(depth):
        annotation = list[annotation]

    def take(numbers: Any) -> int:
        raise NotImplementedError

    take.__annotations__["numbers"] = annotation
    taking = lacewing.task(name="take")(take)

    @lacewing.workflow
    def nested(n: int) -> int:
        return taking(_fill(tree, depth, n))

    def words(part: Any) -> str:
        if isinstance(part, list):
            return f"[{', '.join(map(words, part))}]"
        return "in.n" if part is None else str(part)

    assert inputs(nodes(nested)[0]) == {"numbers": words(_fill(tree, depth, None))}


def test_parts_of_what_is_promised() -> None:
    """Fields, elements and values of dicts are reached by attributes and indexes, with their types."""

    @lacewing.workflow
    def parts(rate: float) -> int:
        config = configure(rate)
        say(config.names[1])
        return add(config.limits["low"])

    _, said, added = nodes(parts)
    assert inputs(said) == {"text": "n0.o0.names.1"}
    assert inputs(added) == {"a": "n0.o0.limits.low", "b": "2"}


def test_several_outputs_come_as_the_function_returns_them() -> None:
    """A NamedTuple of promises is unpacked, read by name, and returned; a tuple too."""

    @lacewing.workflow
    def forward(n: int) -> Split:
        parts = split(n)
        whole, rest = split(parts.whole)
        number, text = pair(rest)
        say(text)
        assert isinstance(parts, Split)
        return Split(add(whole, number), parts.rest)

    assert [inputs(node) for node in nodes(forward)[1:4]] == [{"n": "n0.whole"}, {"n": "n1.rest"}, {"text": "n2.o1"}]
    assert outputs(forward) == {"whole": "n4.o0", "rest": "n0.rest"}

    @lacewing.workflow
    def same(n: int) -> Split:
        return split(n)

    assert outputs(same) == {"whole": "n0.whole", "rest": "n0.rest"}


def test_constants_may_be_returned() -> None:
    """Outputs are promises or values."""

    @lacewing.workflow
    def constant(n: int) -> tuple[int, str, int]:
        note("hi")
        return 7, "x", n

    assert outputs(constant) == {"o0": "7", "o1": "x", "o2": "in.n"}


def test_nothing_is_returned_of_nothing() -> None:
    """What a call gives that returns nothing may be returned where nothing is."""

    @lacewing.workflow
    def silent() -> None:
        return note("hi")

    assert (outputs(silent), len(nodes(silent))) == ({}, 1)


def test_order_without_values() -> None:
    """`>>` and in_order let nodes wait for others, once each; several outputs and no output stand for their node."""

    @lacewing.workflow
    def ordered(n: int) -> None:
        first = note("first")
        second = split(n)
        third = note("third")
        lacewing.in_order(first, second, third)
        first >> second >> third  # type: ignore[operator] # promises can do it

    assert [list(node.upstream_node_ids) for node in nodes(ordered)] == [[], ["n0"], ["n1"]]


def test_overrides_are_of_the_node() -> None:
    """What a node says instead of its task is in its metadata, by the method or by the function."""

    @lacewing.workflow
    def overridden(n: int) -> int:
        first: Any = add(n)
        parts = lacewing.with_overrides(split(first.with_overrides(name="sum", retries=3)), timeout=1.5)
        return lacewing.with_overrides(
            add(parts.whole), cache=False, cache_version="2", cache_serialize=True, config={"gpu": "1"}
        )

    first, second, third = (node.metadata for node in nodes(overridden))
    assert (first.name, first.retries.retries, first.HasField("cacheable")) == ("sum", 3, False)
    assert second.timeout.ToTimedelta() == timedelta(seconds=1.5)
    assert (third.HasField("cacheable"), third.cacheable, third.cache_version) == (True, False, "2")
    assert (third.cache_serializable, dict(third.config)) == (True, {"gpu": "1"})


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        ({"retries": 0}, "ValueError: retries of a node are at least 1"),
        ({"timeout": 0}, "ValueError: timeout is positive"),
        ({"retrys": 1}, "TypeError: a node has no 'retrys'"),
    ],
)
def test_overrides_have_bounds(overrides: dict[str, Any], words: str) -> None:
    """What cannot be overridden is refused."""

    @lacewing.workflow
    def wrong() -> int:
        return lacewing.with_overrides(add(1), **overrides)

    with pytest.raises(GraphBuildError, match=words):
        _ = wrong.spec


def _refused(body: Any, words: str) -> None:
    with pytest.raises(GraphBuildError, match=words):
        _ = lacewing.workflow(body).spec


def test_what_does_not_fit_is_refused_at_the_call() -> None:
    """Arguments are checked when the call is made, values and promises, with what is wrong."""

    def promise(n: int) -> int:
        return add(say("a"))  # type: ignore[arg-type] # that is what is tested

    def value() -> int:
        return add("a")  # type: ignore[arg-type] # that is what is tested

    def inside(n: int) -> int:
        return total([n, say("a")])  # type: ignore[list-item] # that is what is tested

    def in_record(rate: float) -> str:
        return use(Config(rate, [], {}))

    def all_of_it(n: int) -> int:
        return add(split(n))  # type: ignore[arg-type] # that is what is tested

    def nothing() -> str:
        return say(note("a"))  # type: ignore[arg-type] # that is what is tested

    def result(n: int) -> str:
        return add(n)  # type: ignore[return-value] # that is what is tested

    def short(n: int) -> tuple[int, int]:
        return (add(n),)  # type: ignore[return-value] # that is what is tested

    _refused(promise, r"add: a takes INTEGER, not <promise of n0\.o0, STRING>")
    _refused(value, "add: a: expected int, got str")
    _refused(inside, r"total: numbers\[1\] takes INTEGER, not <promise of n0\.o0, STRING>")
    _refused(in_record, "make the record in a task")
    _refused(all_of_it, "takes one value, and got all that a call gives")
    _refused(nothing, "got all that a call gives: <nothing, of node n0>")
    _refused(result, "takes STRING, not")
    _refused(short, "does not fit its annotation")


def test_arguments_are_those_of_the_function() -> None:
    """A missing or unknown argument is an error as in any call."""

    @lacewing.workflow
    def missing() -> int:
        return add()  # type: ignore[call-arg] # that is what is tested

    with pytest.raises(GraphBuildError, match="TypeError: missing a required argument: 'a'"):
        _ = missing.spec


def test_promises_do_not_leave_their_graph() -> None:
    """A promise that was kept from another body is refused, of a node and of an input."""
    kept: list[Any] = []

    @lacewing.workflow
    def keep(n: int) -> int:
        kept.extend([n, add(n)])
        return add(n)

    _ = keep.spec
    for promise in kept:
        _refused(_body_with(promise), "was used outside of it")


def _body_with(promise: Any) -> Any:
    """Returns a body that uses a promise of another one."""

    def body() -> int:
        return add(promise)

    return body


def test_overrides_need_nodes() -> None:
    """Inputs of the graph are of no node, by the method or by the function."""

    def a_method(n: int) -> int:
        promise: Any = n
        return add(promise.with_overrides(name="x"))

    def a_function(n: int) -> int:
        return add(lacewing.with_overrides(n, name="x"))

    _refused(a_method, "with_overrides takes what a call of a task gave, not <promise of n")
    _refused(a_function, "with_overrides takes what a call of a task gave, not <promise of n")


def test_ordering_needs_nodes() -> None:
    """Inputs of the graph and plain values are of no node."""

    def an_input(n: int) -> None:
        lacewing.in_order(n, note("a"))

    def a_value() -> None:
        lacewing.in_order(note("a"), 3)

    _refused(an_input, ">> takes what a call of a task gave")
    _refused(a_value, "not 3")


async def test_asynchronous_bodies() -> None:
    """A body that is `async def` awaits what asynchronous tasks give, on a running event loop too."""

    @lacewing.workflow
    async def awaiting(n: int) -> int:
        return await add_soon(await add_soon(n, 1), add(n))

    assert [inputs(node) for node in nodes(awaiting)][-1] == {"a": "n0.o0", "b": "n1.o0"}
    assert await awaiting(1) == 5


async def test_promises_of_asynchronous_tasks_are_gathered() -> None:
    """What waits for several tasks gets their promises, several outputs too."""

    @lacewing.task
    async def divide(a: int, b: int) -> Split:
        return Split(*divmod(a, b))

    @lacewing.dynamic
    async def gathering(n: int) -> int:
        first, parts = await asyncio.gather(add_soon(n, 1), divide(n, 2))
        return await add_soon(first, parts.rest)

    trace = gathering.trace(lambda task: task.id(), lambda converter, value: converter.to_literal(value))
    with tracing(trace):
        result = await gathering.function(5)
    graph = gathering.finish(trace, result)
    assert inputs(graph.workflow.nodes[2]) == {"a": "n0.o0", "b": "n1.rest"}
    assert await gathering(5) == 7


def test_a_reference_stands_for_a_task_elsewhere() -> None:
    """It is referred to by its identity, does not come along, and is checked by the annotations here."""

    @lacewing.reference_task("go.area", version="v7", project="geo")
    def area(width: float, height: float) -> float:
        return width * height

    @lacewing.workflow
    def measure(width: float) -> float:
        return area(width, 2.0)

    (node,) = nodes(measure)
    reference = node.task_node.reference_id
    assert (reference.project, reference.name, reference.version) == ("geo", "go.area", "v7")
    assert not graph(measure).tasks
    assert area(2.0, 3.0) == 6.0
    with pytest.raises(GraphBuildError, match="registered elsewhere"):
        _ = area.spec


def test_tasks_of_one_name_and_version_must_be_the_same() -> None:
    """Otherwise one of them would be run for the other."""
    one = lacewing.task(name="same", version="1")(add.function)
    other = lacewing.task(name="same", version="1", retries=1)(add.function)
    _refused(_body_calling(one, other), "two tasks that are both same@1")


def _body_calling(one: Any, other: Any) -> Any:
    """Returns a body that calls two tasks."""

    def body() -> int:
        result: int = one(other(1))
        return result

    return body


def test_ten_thousand_calls_are_quick_enough() -> None:
    """The body of a large graph takes time in proportion to its calls, and its graph stays small."""

    @lacewing.workflow
    def wide(n: int) -> None:
        for index in range(10_000):
            add(n, index)

    assert len(nodes(wide)) == 10_000
    assert len(graph(wide).tasks) == 1
    assert graph(wide).ByteSize() < 10_000 * 160


def test_a_promise_is_no_task_result() -> None:
    """Where no graph is built, calls give values."""
    assert not isinstance(add(1), Promise)
    assert add(1) == 3
