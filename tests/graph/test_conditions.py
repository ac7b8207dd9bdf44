"""Whether conditions hold."""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lacewing.v1 import literals_pb2, workflow_pb2
from lacewing_server.domain.graph.conditions import ConditionError, holds
from type_strategies import int64s, primitive, scalar, texts

Comparison = workflow_pb2.ComparisonExpression
Conjunction = workflow_pb2.ConjunctionExpression
Expression = workflow_pb2.BooleanExpression
OPERATORS: dict[int, Callable[[Any, Any], bool]] = {
    Comparison.OPERATOR_EQ: operator.eq,
    Comparison.OPERATOR_NEQ: operator.ne,
    Comparison.OPERATOR_GT: operator.gt,
    Comparison.OPERATOR_GTE: operator.ge,
    Comparison.OPERATOR_LT: operator.lt,
    Comparison.OPERATOR_LTE: operator.le,
}
NOTHING = scalar(none_type=literals_pb2.Void())
PAIRS = (
    st.tuples(st.just("integer"), int64s, int64s)
    | st.tuples(st.just("float_value"), st.floats(allow_nan=False), st.floats(allow_nan=False))
    | st.tuples(st.just("string_value"), texts, texts)
    | st.tuples(st.just("boolean"), st.booleans(), st.booleans())
)


def compared(how: int) -> Expression:
    """The input ``a`` compared with the input ``b``."""
    operands = {"left_value": workflow_pb2.Operand(var="a"), "right_value": workflow_pb2.Operand(var="b")}
    return Expression(comparison=Comparison(operator=how, **operands))  # type: ignore[arg-type] # any of the table


@given(PAIRS, st.sampled_from(sorted(OPERATORS)))
def test_values_are_compared_as_python_does(pair: tuple[str, Any, Any], how: int) -> None:
    """Numbers, strings and booleans."""
    kind, left, right = pair
    inputs = {"a": primitive(**{kind: left}), "b": primitive(**{kind: right})}
    assert holds(compared(how), inputs) == OPERATORS[how](left, right)


@given(left=st.booleans(), right=st.booleans())
def test_conditions_are_joined(*, left: bool, right: bool) -> None:
    """By and, and by or."""

    def known(*, value: bool) -> Expression:
        return compared(Comparison.OPERATOR_EQ if value else Comparison.OPERATOR_NEQ)

    inputs = {"a": primitive(integer=1), "b": primitive(integer=1)}
    for how, expected in (
        (Conjunction.LOGICAL_OPERATOR_AND, left and right),
        (Conjunction.LOGICAL_OPERATOR_OR, left or right),
    ):
        both = Conjunction(operator=how, left_expression=known(value=left), right_expression=known(value=right))
        assert holds(Expression(conjunction=both), inputs) == expected


def test_nothing_is_equal_to_nothing_only() -> None:
    """And has no order."""
    assert holds(compared(Comparison.OPERATOR_EQ), {"a": NOTHING, "b": NOTHING})
    assert holds(compared(Comparison.OPERATOR_NEQ), {"a": NOTHING, "b": primitive(integer=0)})
    with pytest.raises(ConditionError, match="cannot compare nothing with int"):
        holds(compared(Comparison.OPERATOR_LT), {"a": NOTHING, "b": primitive(integer=0)})


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        ({"a": primitive(integer=1), "b": primitive(string_value="1")}, "cannot compare int with str"),
        ({"a": primitive(integer=1), "b": primitive(boolean=True)}, "cannot compare int with bool"),
        ({"a": primitive(integer=1)}, "no input 'b'"),
        ({"a": literals_pb2.Literal(collection={}), "b": primitive(integer=1)}, "'a' is neither number"),  # type: ignore[arg-type] # as a dict
    ],
)
def test_what_cannot_be_compared_is_refused(inputs: dict[str, literals_pb2.Literal], message: str) -> None:
    """Rather than decided somehow."""
    with pytest.raises(ConditionError, match=message):
        holds(compared(Comparison.OPERATOR_EQ), inputs)
