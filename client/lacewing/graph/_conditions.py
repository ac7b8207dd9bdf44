"""Conditions: what is decided by promises when the graph runs."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, NoReturn

from lacewing.graph._errors import GraphBuildError, PromiseUsedAsValueError
from lacewing.types import ConversionError, converter_for, describe_type
from lacewing.v1 import types_pb2, workflow_pb2

if TYPE_CHECKING:
    from lacewing.graph._promise import Promise

_Comparison = workflow_pb2.ComparisonExpression
_Conjunction = workflow_pb2.ConjunctionExpression

_COMPARABLE: dict[int, type] = {
    types_pb2.SIMPLE_TYPE_INTEGER: int,
    types_pb2.SIMPLE_TYPE_FLOAT: float,
    types_pb2.SIMPLE_TYPE_STRING: str,
    types_pb2.SIMPLE_TYPE_BOOLEAN: bool,
    types_pb2.SIMPLE_TYPE_DATETIME: datetime,
    types_pb2.SIMPLE_TYPE_DURATION: timedelta,
}

Bind = Callable[["Promise"], str]
"""Makes a promise an input of the branch, and returns the name of that."""


class Condition:
    """What holds or does not when the graph runs: made by comparing a promise, joined with `&` and `|`.

    Attributes:
        words: How people write it.
    """

    def __init__(
        self,
        words: str,
        expression: Callable[[Bind], workflow_pb2.BooleanExpression],
        joined: tuple[_Conjunction.LogicalOperator.ValueType, list[Condition]] | None = None,
    ) -> None:
        self.words = words
        self._expression = expression
        self._joined = joined

    def expression(self, bind: Bind) -> workflow_pb2.BooleanExpression:
        """Return it as the graph says it."""
        return self._expression(bind)

    def __repr__(self) -> str:
        return f"<condition {self.words}>"

    def __and__(self, other: object) -> Condition:
        return self._join("&", _Conjunction.LOGICAL_OPERATOR_AND, other)

    def __or__(self, other: object) -> Condition:
        return self._join("|", _Conjunction.LOGICAL_OPERATOR_OR, other)

    def __bool__(self) -> NoReturn:
        raise PromiseUsedAsValueError(
            f"{self!r} cannot be tested by if, while, and, or, not, nor chained as in 1 < x < 3: it is only decided "
            "when the graph runs. Give it to conditional(...).if_(...), and join several with & and |, each in brackets"
        )

    def __invert__(self) -> NoReturn:
        raise PromiseUsedAsValueError(f"{self!r} cannot be inverted: compare the other way round")

    def _join(self, symbol: str, operator: _Conjunction.LogicalOperator.ValueType, other: object) -> Condition:
        right = condition_of(other)
        parts = [*self.parts(operator), *right.parts(operator)]
        words = f"({self.words}) {symbol} ({right.words})"
        return Condition(words, lambda bind: _balanced(operator, parts, bind), (operator, parts))

    def parts(self, operator: _Conjunction.LogicalOperator.ValueType) -> list[Condition]:
        """Return what it joins by an operator: itself alone, if it joins nothing by that one."""
        return self._joined[1] if self._joined is not None and self._joined[0] == operator else [self]


def _balanced(
    operator: _Conjunction.LogicalOperator.ValueType, parts: list[Condition], bind: Bind
) -> workflow_pb2.BooleanExpression:
    """Join conditions as a balanced tree: messages that nest more than 100 deep cannot be read."""
    if len(parts) == 1:
        return parts[0].expression(bind)
    middle = len(parts) // 2
    conjunction = _Conjunction(
        operator=operator,
        left_expression=_balanced(operator, parts[:middle], bind),
        right_expression=_balanced(operator, parts[middle:], bind),
    )
    return workflow_pb2.BooleanExpression(conjunction=conjunction)


def condition_of(value: object) -> Condition:
    """Return a condition: itself, or that a promise of a boolean is true.

    Raises:
        GraphBuildError: It is neither.
    """
    from lacewing.graph._promise import Promise  # noqa: PLC0415 promises are compared by this module

    if isinstance(value, Condition):
        return value
    if isinstance(value, Promise):
        return compared(value, _Comparison.OPERATOR_EQ, True)
    raise GraphBuildError(
        f"a condition compares promises, as in x > 3, and {value!r} is none: decide by a plain if what is known already"
    )


def compared(left: Promise, operator: _Comparison.Operator.ValueType, right: Any) -> Condition:
    """Return the condition that compares a promise with another one or a value.

    Raises:
        GraphBuildError: They are not of the same simple type.
    """
    from lacewing.graph._promise import Promise, name_of, type_of  # noqa: PLC0415 promises are compared by this module

    kind = _comparable(left, type_of(left))
    other = workflow_pb2.Operand()
    if isinstance(right, Promise):
        if _comparable(right, type_of(right)) != kind:
            raise GraphBuildError(f"{left!r} cannot be compared with {right!r}: they must be of the same type")
        words = name_of(right)
    else:
        try:
            other.scalar.CopyFrom(converter_for(_COMPARABLE[kind]).to_literal(right).scalar)
        except ConversionError as error:
            raise GraphBuildError(f"{left!r} cannot be compared with {right!r}: {error}") from error
        words = repr(right)

    def expression(bind: Bind) -> workflow_pb2.BooleanExpression:
        second = workflow_pb2.Operand(var=bind(right)) if isinstance(right, Promise) else other
        return workflow_pb2.BooleanExpression(
            comparison=_Comparison(
                operator=operator, left_value=workflow_pb2.Operand(var=bind(left)), right_value=second
            )
        )

    return Condition(f"{name_of(left)} {_SYMBOLS[operator]} {words}", expression)


_SYMBOLS = {
    _Comparison.OPERATOR_EQ: "==",
    _Comparison.OPERATOR_NEQ: "!=",
    _Comparison.OPERATOR_GT: ">",
    _Comparison.OPERATOR_GTE: ">=",
    _Comparison.OPERATOR_LT: "<",
    _Comparison.OPERATOR_LTE: "<=",
}


def _comparable(promise: Promise, literal_type: types_pb2.LiteralType) -> types_pb2.SimpleType.ValueType:
    if literal_type.WhichOneof("type") == "simple" and literal_type.simple in _COMPARABLE:
        return literal_type.simple
    raise GraphBuildError(
        f"{promise!r} cannot be compared: conditions are about numbers, texts, booleans, instants and spans of time, "
        f"not about {describe_type(literal_type)}. Decide in a task that gives a bool"
    )
