"""Map tasks: array nodes, and the same done by plain calls."""

from __future__ import annotations

import functools
from typing import Any

import pytest

import lacewing
from lacewing.graph import GraphBuildError, map_task
from lacewing.types import describe_type
from sdk.graph_tasks import Split, add, add_soon, graph, inputs, labelled, nodes, note, outputs, say, split, total


@lacewing.task
def numbers(n: int) -> list[int]:
    return list(range(n))


@lacewing.task
def picky(n: int) -> int:
    if n % 2:
        raise ValueError(f"{n} is odd")
    return n


@lacewing.task
def count(values: list[int | None]) -> int:
    return sum(value is not None for value in values)


def test_a_map_is_one_array_node() -> None:
    """Lists are mapped, by promise or by value; everything else is bound whole."""

    @lacewing.workflow
    def mapped(n: int) -> list[int]:
        first = map_task(add, concurrency=4)(a=numbers(n), b=n)
        return map_task(add)(first, [1, n, 3])

    _, first, second = nodes(mapped)
    array = first.array_node
    assert inputs(first) == {"a": "n0.o0", "b": "in.n"}
    assert (list(array.bound_inputs), array.parallelism, array.WhichOneof("success_criteria")) == (["b"], 4, None)
    assert array.is_original_sub_node_interface.value
    assert array.node.task_node.reference_id.name == add.name
    assert not array.node.inputs
    assert not second.array_node.HasField("parallelism")
    assert (list(second.array_node.bound_inputs), inputs(second)) == ([], {"a": "n1.o0", "b": "[1, in.n, 3]"})
    assert outputs(mapped) == {"o0": "n2.o0"}
    assert len(graph(mapped).tasks) == 2


def test_bound_inputs() -> None:
    """What functools.partial sets is bound, lists too; so is a list for an input that takes lists, and a default."""

    @lacewing.workflow
    def bound(n: int) -> list[int]:
        map_task(functools.partial(labelled, {"a": n}))(numbers=[1, 2])
        map_task(total)([[1, n], [2]])
        map_task(functools.partial(labelled, numbers=[n]))(labels=[{"a": 1}, None])
        return map_task(add)([n])

    one, two, three, four = nodes(bound)
    assert (list(one.array_node.bound_inputs), inputs(one)) == (
        ["labels"],
        {"labels": "{a: in.n}", "numbers": "[1, 2]"},
    )
    assert (list(two.array_node.bound_inputs), inputs(two)) == ([], {"numbers": "[[1, in.n], [2]]"})
    assert list(three.array_node.bound_inputs) == ["numbers"]
    assert (list(four.array_node.bound_inputs), inputs(four)) == (["b"], {"a": "[in.n]", "b": "2"})


def test_a_list_of_lists_is_mapped_and_a_list_is_bound() -> None:
    """Where the task takes a list itself, the type of what is given decides."""

    @lacewing.task
    def pick(values: list[int], index: int) -> int:
        return values[index]

    @lacewing.workflow
    def picked(n: int) -> list[int]:
        some = numbers(n)
        map_task(pick)([some, [1]], index=[0, 0])
        return map_task(pick)(some, some)

    _, lists, one = nodes(picked)
    assert list(lists.array_node.bound_inputs) == []
    assert (list(one.array_node.bound_inputs), inputs(one)) == (["values"], {"index": "n0.o0", "values": "n0.o0"})
    assert map_task(pick)([[5], [6]], index=[0, 0]) == [5, 6]
    assert map_task(pick)([5, 6], index=[1, 0]) == [6, 5]


def test_elements_may_fail() -> None:
    """With a success criterion the outputs may be None, which the type of the promise says."""

    @lacewing.workflow
    def some(n: int) -> int:
        ratio = map_task(picky, min_success_ratio=0.5)(numbers(n))
        least: Any = map_task(picky, min_successes=2)(numbers(n))
        assert repr(ratio).endswith("list of union of INTEGER, NONE>")
        count(least)
        return count(ratio)

    arrays = [node.array_node for node in nodes(some) if node.HasField("array_node")]
    assert [array.WhichOneof("success_criteria") for array in arrays] == ["min_success_ratio", "min_successes"]
    assert (arrays[0].min_success_ratio, arrays[1].min_successes) == (0.5, 2)

    @lacewing.workflow
    def strict(n: int) -> int:
        return total(map_task(picky, min_successes=1)(numbers(n)))  # type: ignore[arg-type] # that is what is tested

    with pytest.raises(GraphBuildError, match="numbers takes list of INTEGER, not <promise of n1"):
        _ = strict.spec


def test_several_outputs_are_lists() -> None:
    """Of a task with several outputs a map gives a list of each, in the same form."""

    @lacewing.workflow
    def split_all(n: int) -> list[int]:
        parts: Any = map_task(split)(numbers(n))
        assert isinstance(parts, Split)
        return parts.rest  # type: ignore[return-value] # it holds lists

    assert outputs(split_all) == {"o0": "n1.rest"}
    assert split_all(12) == [*range(10), 0, 1]


def test_overrides_of_a_map_are_those_of_its_elements() -> None:
    """Only the name is that of the array."""

    @lacewing.workflow
    def overridden(n: int) -> list[int]:
        return lacewing.with_overrides(map_task(add)([n]), name="sums", retries=2)

    (node,) = nodes(overridden)
    assert (node.metadata.name, node.metadata.retries.retries) == ("sums", 0)
    assert node.array_node.node.metadata.retries.retries == 2


def test_workflows_are_mapped() -> None:
    """An element can be an execution of a workflow."""

    @lacewing.workflow
    def inner(n: int) -> int:
        return add(n)

    @lacewing.workflow
    def mapped(n: int) -> list[int]:
        return map_task(inner)([n, 1])

    (node,) = nodes(mapped)
    assert node.array_node.node.task_node.reference_id.version == inner.exact_version
    assert [task.template.id.name for task in graph(mapped).tasks] == [add.name, inner.name]
    assert mapped(3) == [5, 3]


def test_a_map_in_a_branch() -> None:
    """It is one node like any call."""

    @lacewing.workflow
    def branched(n: int) -> list[int]:
        return lacewing.conditional("x").if_(n > 1).then(map_task(add), [n, 1]).else_().then(numbers, n)

    (node,) = nodes(branched)
    assert node.branch_node.if_else.case.then_node.WhichOneof("target") == "array_node"
    assert branched(2) == [4, 3]


async def test_plain_calls() -> None:
    """Where no graph is built, the elements run one after the other, or together if they are asynchronous."""
    assert map_task(add)([1, 2, 3], b=10) == [11, 12, 13]
    assert map_task(functools.partial(add, 5))(b=[1, 2]) == [6, 7]
    assert map_task(add)([]) == []
    assert await map_task(add_soon)([1, 2], 3) == [4, 5]
    assert map_task(note)(["a", "b"]) is None
    assert map_task(picky, min_success_ratio=0.6)([1, 2, 4]) == [None, 2, 4]
    assert map_task(picky, min_successes=2)([1, 2, 4]) == [None, 2, 4]
    for criteria in ({}, {"min_success_ratio": 0.7}, {"min_successes": 3}):
        with pytest.raises(ValueError, match="1 is odd"):
            map_task(picky, **criteria)([1, 2, 4])


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"concurrency": -1}, "concurrency is at least 0"),
        ({"min_success_ratio": 1.5}, "from 0 to 1"),
        ({"min_successes": -1}, "at least 0"),
        ({"min_successes": 1, "min_success_ratio": 0.5}, "not both"),
    ],
)
def test_options_have_bounds(options: dict[str, Any], words: str) -> None:
    """Numbers out of bounds are refused at once."""
    with pytest.raises(ValueError, match=words):
        map_task(add, **options)


def test_only_tasks_are_mapped() -> None:
    """A plain function has no interface."""
    for function in (add.function, functools.partial(len)):
        with pytest.raises(TypeError, match="map_task runs a @task, @dynamic or @workflow function"):
            map_task(function)  # type: ignore[arg-type] # that is what is tested


def test_what_is_wrong_with_lists() -> None:
    """Nothing to map, lists that are not equally long, and elements that do not fit."""

    def no_list(n: int) -> list[int]:
        return map_task(add)(n)

    def lengths(n: int) -> list[int]:
        return map_task(add)([1, n], [1])

    def element(n: int) -> list[int]:
        return map_task(add)([1, "a"])

    def promise(n: int) -> list[int]:
        return map_task(add)([1, say("a")])

    for body, words in (
        (no_list, "no list of what"),
        (lengths, "not equally long: a has 2, b has 1"),
        (element, r"\[1\]: expected int, got str"),
        (promise, r"a\[1\] takes INTEGER, not <promise"),
    ):
        with pytest.raises(GraphBuildError, match=words):
            _ = lacewing.workflow(body).spec
    with pytest.raises(GraphBuildError, match="not equally long"):
        map_task(add)([1, 2], [1])


def test_types_of_unions_with_none_stay_as_they_are() -> None:
    """What may be None already is no other type when elements may fail."""

    def maybe_of(n: int) -> int | str | None:
        return n or None

    def either_of(n: int) -> int | str:
        return n

    maybe, either = lacewing.task(name="maybe")(maybe_of), lacewing.task(name="either")(either_of)
    kept: list[Any] = []

    @lacewing.workflow
    def unions() -> None:
        kept.extend(map_task(each, min_successes=0)([1]) for each in (maybe, either))

    _ = unions.spec
    assert [repr(each).partition(", ")[2] for each in kept] == [
        "list of union of INTEGER, STRING, NONE>",
        "list of union of INTEGER, STRING, NONE>",
    ]
    assert describe_type(maybe.interface.outputs["o0"].literal_type) == "union of INTEGER, STRING, NONE"
