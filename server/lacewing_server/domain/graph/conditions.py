"""Whether the condition of a branch holds. Pure."""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping
from typing import Any, Final

from lacewing.v1 import literals_pb2, workflow_pb2

_Comparison = workflow_pb2.ComparisonExpression
_OPERATORS: Final[Mapping[int, Callable[[Any, Any], bool]]] = {
    _Comparison.OPERATOR_EQ: operator.eq,
    _Comparison.OPERATOR_NEQ: operator.ne,
    _Comparison.OPERATOR_GT: operator.gt,
    _Comparison.OPERATOR_GTE: operator.ge,
    _Comparison.OPERATOR_LT: operator.lt,
    _Comparison.OPERATOR_LTE: operator.le,
}


class ConditionError(Exception):
    """A condition cannot be judged: what is compared cannot be."""


def holds(expression: workflow_pb2.BooleanExpression, inputs: Mapping[str, literals_pb2.Literal]) -> bool:
    """Judges a condition.

    Args:
        expression: The condition.
        inputs: The inputs of the branch node by name.

    Raises:
        ConditionError: It compares what cannot be compared.
    """
    if expression.HasField("conjunction"):
        both = expression.conjunction
        left = holds(both.left_expression, inputs)
        if both.operator == workflow_pb2.ConjunctionExpression.LOGICAL_OPERATOR_AND:
            return left and holds(both.right_expression, inputs)
        return left or holds(both.right_expression, inputs)
    comparison = expression.comparison
    left_value, right_value = _value(comparison.left_value, inputs), _value(comparison.right_value, inputs)
    if not _comparable(left_value, right_value, comparison.operator):
        names = [_name(left_value), _name(right_value)]
        raise ConditionError(f"cannot compare {names[0]} with {names[1]}")
    return _OPERATORS[comparison.operator](left_value, right_value)


def _value(operand: workflow_pb2.Operand, inputs: Mapping[str, literals_pb2.Literal]) -> Any:
    kind = operand.WhichOneof("val")
    if kind == "primitive":
        return _primitive(operand.primitive)
    if kind == "scalar":
        return _scalar(operand.scalar)
    if operand.var not in inputs:
        raise ConditionError(f"the branch has no input {operand.var!r}")
    literal = inputs[operand.var]
    if not literal.HasField("scalar"):
        raise ConditionError(f"the input {operand.var!r} is neither number, string, boolean nor time")
    return _scalar(literal.scalar)


def _scalar(scalar: literals_pb2.Scalar) -> Any:
    if scalar.HasField("union"):
        return _scalar(scalar.union.value.scalar)
    if scalar.HasField("none_type"):
        return None
    if not scalar.HasField("primitive"):
        raise ConditionError("what is compared must be a number, a string, a boolean, a time or nothing")
    return _primitive(scalar.primitive)


def _primitive(primitive: literals_pb2.Primitive) -> Any:
    kind = primitive.WhichOneof("value")
    if kind == "datetime":
        return (kind, primitive.datetime.seconds, primitive.datetime.nanos)
    if kind == "duration":
        return (kind, primitive.duration.seconds, primitive.duration.nanos)
    return getattr(primitive, kind) if kind is not None else None


def _comparable(left: Any, right: Any, how: int) -> bool:
    if left is None or right is None:
        return how in {_Comparison.OPERATOR_EQ, _Comparison.OPERATOR_NEQ}
    if isinstance(left, bool) or isinstance(right, bool):
        return type(left) is type(right)
    if isinstance(left, int | float) and isinstance(right, int | float):
        return True
    return type(left) is type(right) and (not isinstance(left, tuple) or left[0] == right[0])


def _name(value: Any) -> str:
    if isinstance(value, tuple):
        return str(value[0])
    return "nothing" if value is None else type(value).__name__
