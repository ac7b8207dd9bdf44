"""Promises: what can be done with them while the graph is built, and what they say to everything else."""

from __future__ import annotations

import copy
import math
import operator
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import lacewing
from lacewing.graph import GraphBuildError, Promise, PromiseAttributeError, PromiseUsedAsValueError
from sdk.graph_tasks import add, configure, note, split


def promised(make: Callable[[], Any]) -> Any:
    """Returns what a call gives in a body."""
    kept: list[Any] = []

    @lacewing.workflow
    def body() -> None:
        kept.append(make())

    _ = body.spec
    return kept[0]


@pytest.mark.parametrize(
    ("use", "words"),
    [
        (bool, "conditional"),
        (lambda promise: promise and 1, "conditional"),
        (lambda promise: not promise, "conditional"),
        (list, "map_task"),
        (lambda promise: [*promise], "map_task"),
        (len, "map_task"),
        (str, "text"),
        (lambda promise: f"{promise}", "text"),
        (lambda promise: f"{promise:>5}", "text"),
        (lambda promise: "%s" % promise, "text"),  # noqa: UP031 that is what is tested
        (int, "made an int"),
        (float, "made a float"),
        (range, "made an int"),
        (lambda promise: [1, 2][promise], "made an int"),
        (lambda promise: 1 in promise, "searched"),
        (lambda promise: promise + 1, "calculated with"),
        (lambda promise: 1 - promise, "calculated with"),
        (lambda promise: promise * promise, "calculated with"),
        (lambda promise: 2**promise, "calculated with"),
        (lambda promise: divmod(7, promise), "calculated with"),
        (operator.neg, "calculated with"),
        (abs, "calculated with"),
        (round, "calculated with"),
        (math.floor, "calculated with"),
        (lambda promise: ~promise, "Compare it with False"),
        (lambda promise: promise(3), "called"),
        (lambda promise: promise in [1, 2], "decided when"),
    ],
)
def test_a_promise_is_no_value(use: Callable[[Any], object], words: str) -> None:
    """Whatever needs the value now is an error that says what to do instead."""
    promise = promised(lambda: add(1))
    with pytest.raises(PromiseUsedAsValueError, match=words):
        use(promise)
    with pytest.raises(TypeError):
        use(promise)


def test_what_a_promise_shows() -> None:
    """It tells where the value comes from and its type, and is always there for logs and debuggers."""
    config = promised(lambda: configure(1.0))
    assert repr(config) == "<promise of n0.o0, STRUCT>"
    assert repr(config.limits["a b"]) == "<promise of n0.o0.limits['a b'], INTEGER>"
    assert repr(config.names[3]) == "<promise of n0.o0.names[3], STRING>"
    assert f"{config.rate!r}" == "<promise of n0.o0.rate, FLOAT>"


@pytest.mark.parametrize(
    ("use", "words"),
    [
        (lambda config: config.ratio, r"has no field 'ratio'; it has limits, names, rate"),
        (lambda config: config["ratio"], "has no field 'ratio'"),
        (lambda config: config.rate.real, "only records have fields"),
        (lambda config: config.names.first, r"elements of a list are reached as promise\[0\]"),
        (lambda config: config.limits.low, r'reached as promise\["key"\]'),
        (lambda config: config.names["x"], "indexed by a number, not by 'x'"),
        (lambda config: config.names[-1], "indexed from 0, not by -1"),
        (lambda config: config.names[True], "indexed by a number"),
        (lambda config: config.names[1:2], "indexed by a number"),
        (lambda config: config.names[config.limits["low"]], "cannot be indexed by a promise"),
        (lambda config: config.limits[0], "cannot be indexed by 0"),
        (lambda config: config.rate["x"], "only records have fields"),
    ],
)
def test_a_wrong_way_into_a_value_is_refused_at_once(use: Callable[[Any], object], words: str) -> None:
    """The type is known, so that a wrong attribute or index is an error where it stands."""
    with pytest.raises(GraphBuildError, match=words):
        use(promised(lambda: configure(1.0)))


def test_unknown_attributes_are_attribute_errors() -> None:
    """So that hasattr and getattr with a default work as ever; protocols of Python ask for names too."""
    config = promised(lambda: configure(1.0))
    assert hasattr(config, "rate")
    assert not hasattr(config, "ratio")
    assert getattr(config, "ratio", None) is None
    assert not hasattr(config, "__array__")
    with pytest.raises(PromiseAttributeError):
        _ = config.ratio


def test_a_dict_without_types_has_no_known_fields() -> None:
    """Of a plain dict nobody knows what is in it."""

    def tree_of(n: int) -> dict[str, Any]:
        return {"n": n}

    tree = lacewing.task(name="tree")(tree_of)
    with pytest.raises(GraphBuildError, match="nobody knows its fields here"):
        promised(lambda: tree(1)["n"])


def test_an_optional_value_has_no_fields() -> None:
    """It may be None; a task can tell."""

    def maybe_of(n: int) -> list[int] | None:
        return [n] if n else None

    maybe = lacewing.task(name="maybe")(maybe_of)
    with pytest.raises(GraphBuildError, match="one of several types"):
        promised(lambda: maybe(1)["n"])  # type: ignore[index, call-overload] # that is what is tested


_PATHS = st.lists(st.integers(0, 100) | st.text(min_size=1, max_size=5), min_size=1, max_size=6)


@given(_PATHS)
def test_any_path_is_known_by_its_types(path: list[int | str]) -> None:
    """Indexes of lists and keys of dicts, however deep, lead to a promise with exactly that path and the inner type."""
    annotation: Any = int
    for step in reversed(path):
        annotation = list[annotation] if isinstance(step, int) else dict[str, annotation]

    def give() -> None:
        raise NotImplementedError

    give.__annotations__["return"] = annotation
    giving = lacewing.task(name="give")(give)
    kept: list[Any] = []

    @lacewing.workflow
    def reach() -> int:
        value: Any = giving()
        for step in path:
            value = value[step]
        kept.append(value)
        result: int = value
        return result

    (binding,) = reach.spec.graph.workflow.outputs
    attributes = binding.binding.promise.attr_path
    assert [each.int_value if each.HasField("int_value") else each.string_value for each in attributes] == path
    assert isinstance(kept[0], Promise)
    assert repr(kept[0]).endswith(", INTEGER>")


def test_several_outputs_and_none() -> None:
    """Several outputs are a tuple like any other; what stands for no value cannot decide anything."""
    parts = promised(lambda: split(7))
    assert len(parts) == 2
    assert [type(part) for part in parts] == [Promise, Promise]
    nothing = promised(lambda: note("a"))
    assert repr(nothing) == "<nothing, of node n0>"
    with pytest.raises(PromiseUsedAsValueError):
        bool(nothing)


def test_copies_of_promises_are_the_same() -> None:
    """A record that is taken apart or copied keeps the promises in it."""
    promise = promised(lambda: add(1))
    copied = copy.deepcopy({"a": [promise]})
    assert copied["a"][0] is promise


def test_promises_are_told_apart_by_identity() -> None:
    """They can be keys, although == gives a condition."""
    first, second = promised(lambda: (add(1), add(2)))
    assert {first: "a", second: "b"}[first] == "a"
