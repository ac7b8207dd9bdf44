"""Conditionals: branch nodes, their conditions, and the same choice made by plain calls."""

from __future__ import annotations

import functools
import operator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

import lacewing
from lacewing.errors import NonRecoverableError
from lacewing.graph import GraphBuildError, PromiseUsedAsValueError, conditional
from lacewing.v1 import task_pb2, workflow_pb2
from sdk.graph_tasks import Split, add, configure, graph, inputs, nodes, note, outputs, pair, say, split

Comparison = workflow_pb2.ComparisonExpression


def words(expression: workflow_pb2.BooleanExpression) -> str:
    """Returns a condition as it is written."""
    if expression.HasField("conjunction"):
        joined = expression.conjunction
        symbol = ("&", "|")[joined.operator]
        return f"({words(joined.left_expression)} {symbol} {words(joined.right_expression)})"
    compared = expression.comparison
    symbol = ("==", "!=", ">", ">=", "<", "<=")[compared.operator]
    return f"{_operand(compared.left_value)} {symbol} {_operand(compared.right_value)}"


def _operand(operand: workflow_pb2.Operand) -> str:
    if operand.HasField("var"):
        return operand.var
    primitive = operand.scalar.primitive
    value = getattr(primitive, primitive.WhichOneof("value") or "integer")
    return str(value.ToMilliseconds() if hasattr(value, "ToMilliseconds") else value)


@lacewing.workflow
def choose(n: int, *, flag: bool) -> int:
    """Chooses."""
    doubled = add(n, n)
    return (
        conditional("size")
        .if_((doubled > 9) & (flag | (n != 3)))
        .then(add, doubled, b=100)
        .elif_(n == doubled)
        .then(add, 0, b=0)
        .else_()
        .then(add, n)
    )


def test_a_conditional_is_one_node() -> None:
    """Its calls are inside of it, and none of them beside it; its conditions are about its inputs."""
    first, branch = nodes(choose)
    assert (first.id, branch.id, branch.metadata.name) == ("n0", "n1", "size")
    assert inputs(branch) == {"n0.o0": "n0.o0", "flag": "in.flag", "n": "in.n"}
    block = branch.branch_node.if_else
    assert words(block.case.condition) == "(n0.o0 > 9 & (flag == True | n != 3))"
    assert [words(other.condition) for other in block.other] == ["n == n0.o0"]
    assert inputs(block.case.then_node) == {"a": "n0.o0", "b": "100"}
    assert inputs(block.else_node) == {"a": "in.n", "b": "2"}
    ids = [block.case.then_node.id, block.other[0].then_node.id, block.else_node.id]
    assert ids == ["n2", "n3", "n4"]
    assert outputs(choose) == {"o0": "n1.o0"}
    assert [task.template.id.name for task in graph(choose).tasks] == [add.name]


@pytest.mark.parametrize(("n", "flag", "result"), [(5, True, 110), (3, False, 5), (0, False, 0), (2, True, 4)])
def test_called_like_a_function_it_chooses_at_once(n: int, result: int, *, flag: bool) -> None:
    """Only the chosen call runs."""
    assert choose(n, flag=flag) == result


def test_it_can_fail() -> None:
    """Without a choice the branch fails with its message, in a graph and in a plain call."""

    @lacewing.workflow
    def small(n: int) -> int:
        return conditional("small").if_(n < 10).then(add, n).else_().fail("too large")

    error = nodes(small)[0].branch_node.if_else.error
    assert (error.failed_node_id, error.message) == ("n0", "too large")
    assert small(1) == 3
    with pytest.raises(NonRecoverableError, match="too large"):
        small(10)


def test_all_simple_types_compare() -> None:
    """Numbers, texts, booleans, instants and spans of time; an int is a float where one is promised."""
    then = datetime(2026, 1, 1, tzinfo=UTC)

    @lacewing.workflow
    def compare(i: int, f: float, s: str, d: datetime, t: timedelta, *, b: bool) -> int:
        conditions = [i >= 3, f < 2, s == "x", b != False, d <= then, t > timedelta(seconds=1), 3 < i, i == i]  # noqa: E712, PLR0124, SIM300 what promises make of it
        condition = functools.reduce(operator.and_, conditions)
        return conditional("all").if_(condition).then(add, i).else_().fail("no")

    block = nodes(compare)[0].branch_node.if_else
    assert words(block.case.condition) == (
        "(((i >= 3 & f < 2.0) & (s == x & b != False)) & ((d <= 1767225600000 & t > 1000) & (i > 3 & i == i)))"
    )


def test_many_conditions_stay_shallow() -> None:
    """A thousand joined conditions can still be parsed."""

    @lacewing.workflow
    def many(n: int) -> int:
        condition: Any = n == 0
        for number in range(1, 1000):
            condition = condition | (n == number)
        return conditional("many").if_(condition).then(add, n).else_().fail("no")

    assert task_pb2.TaskSpec.FromString(many.spec.SerializeToString()) == many.spec


def test_conditionals_nest() -> None:
    """A branch may be a conditional, through a function that makes it."""

    @lacewing.workflow
    def nested(n: int) -> int:
        def inner(m: int) -> int:
            return conditional("inner").if_(m > 5).then(add, m).else_().then(add, m, 1)

        return conditional("outer").if_(n > 0).then(inner, n).else_().then(lambda: add(0, 0))

    (outer,) = nodes(nested)
    inner = outer.branch_node.if_else.case.then_node
    assert (outer.id, inner.id, inner.WhichOneof("target")) == ("n0", "n1", "branch_node")
    assert [nested(n) for n in (9, 1, -1)] == [11, 2, 0]


def test_several_outputs_of_branches() -> None:
    """The conditional gives the outputs of its calls in the same form; if one gives none, it gives none."""

    @lacewing.workflow
    def parts(n: int) -> Split:
        given = conditional("parts").if_(n > 0).then(split, n).else_().then(split, 0)
        assert isinstance(given, Split)
        given >> note("then")  # type: ignore[operator] # promises can do it
        return Split(given.rest, given.whole)

    assert outputs(parts) == {"whole": "n0.rest", "rest": "n0.whole"}
    assert list(nodes(parts)[1].upstream_node_ids) == ["n0"]

    @lacewing.workflow
    def maybe(n: int) -> None:
        given: Any = conditional("maybe").if_(n > 0).then(add, n).else_().then(note, "none")
        given >> note("then")

    assert list(nodes(maybe)[1].upstream_node_ids) == ["n0"]


def _refused(body: Any, match: str, kind: type[Exception] = GraphBuildError) -> None:
    with pytest.raises(kind, match=match):
        _ = lacewing.workflow(body).spec


def test_what_is_wrong_with_conditions() -> None:
    """Conditions that cannot be, and what to write instead."""

    def chained(n: int) -> int:
        return conditional("x").if_(1 < n < 3).then(add, n).else_().fail("no")

    def python_and(n: int) -> int:
        return conditional("x").if_(n > 1 and n < 3).then(add, n).else_().fail("no")

    def types(n: int) -> int:
        return conditional("x").if_(n > "a").then(add, n).else_().fail("no")  # type: ignore[operator] # refused

    def fraction(n: int) -> int:
        return conditional("x").if_(n > 1.5).then(add, n).else_().fail("no")

    def promises(n: int, text: str) -> int:
        return conditional("x").if_(n == text).then(add, n).else_().fail("no")  # type: ignore[comparison-overlap] # refused

    def record(rate: float) -> int:
        config: Any = configure(rate)
        return conditional("x").if_(config == config).then(add, 1).else_().fail("no")  # noqa: PLR0124 of promises

    def number(n: int) -> int:
        return conditional("x").if_(n).then(add, n).else_().fail("no")  # type: ignore[arg-type] # refused

    def known(n: int) -> int:
        return conditional("x").if_(True).then(add, n).else_().fail("no")

    def inverted(n: int) -> int:
        return conditional("x").if_(~(n == 1)).then(add, 1).else_().fail("no")  # type: ignore[arg-type] # refused

    _refused(chained, "chained as in 1 < x < 3", PromiseUsedAsValueError)
    _refused(python_and, "join several with & and |", PromiseUsedAsValueError)
    _refused(types, "cannot be compared with 'a'")
    _refused(fraction, r"cannot be compared with 1\.5")
    _refused(promises, "must be of the same type")
    _refused(record, "not about STRUCT. Decide in a task that gives a bool")
    _refused(number, "cannot be compared with True")
    _refused(known, "which is known already: decide by a plain if")
    _refused(inverted, "compare the other way round", PromiseUsedAsValueError)


def test_what_is_wrong_with_branches() -> None:
    """A branch is one call, given as a function and its inputs; every conditional has an end."""

    def called(n: int) -> int:
        return conditional("x").if_(n > 1).then(add(n)).else_().fail("no")  # type: ignore[arg-type] # refused

    def two(n: int) -> int:
        return conditional("x").if_(n > 1).then(lambda: add(add(n))).else_().fail("no")

    def none(n: int) -> int:
        return conditional("x").if_(n > 1).then(lambda: n).else_().fail("no")

    def part(n: int) -> int:
        return conditional("x").if_(n > 1).then(lambda: split(n).whole).else_().fail("no")

    def open_(n: int) -> int:
        conditional("half").if_(n > 1).then(add, n)
        return add(n)

    def types(n: int) -> object:
        return conditional("x").if_(n > 1).then(add, n).else_().then(say, "a")

    def names(n: int) -> object:
        return conditional("x").if_(n > 1).then(split, n).else_().then(pair, n)

    def leaked(n: int) -> int:
        inner: list[int] = []

        def keep() -> int:
            inner.append(add(n))
            return inner[0]

        conditional("x").if_(n > 1).then(keep).else_().fail("no")
        return add(inner[0])

    _refused(called, "then\\(\\) takes a function and its inputs")
    _refused(two, "must be one call and give all that it gives, and it makes 2 nodes")
    _refused(none, "makes 0 nodes")
    _refused(part, "give all that it gives")
    _refused(open_, "conditional 'half' has no else_")
    types.__annotations__["return"] = names.__annotations__["return"] = int
    _refused(types, "give different types as o0: INTEGER, STRING")
    _refused(names, "give different outputs: whole, rest; o0, o1")
    _refused(leaked, "node n1 is inside a branch")


def test_a_plain_choice_needs_booleans() -> None:
    """A number is no decision."""
    with pytest.raises(TypeError, match="decided by a bool, not by 1"):
        conditional("x").if_(1).then(add, 1)  # type: ignore[arg-type] # that is what is tested
