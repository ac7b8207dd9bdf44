"""Whether the conditions of a branch compare what can be compared. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from lacewing.types import describe_type
from lacewing.v1 import literals_pb2, types_pb2, workflow_pb2
from lacewing_server.domain.graph.binding_check import Report
from lacewing_server.domain.graph.hints import Nearest
from lacewing_server.domain.graph.signatures import Type, of_scalar

_Comparison = workflow_pb2.ComparisonExpression
_EQUALITY: Final = frozenset({_Comparison.OPERATOR_EQ, _Comparison.OPERATOR_NEQ})
_NOTHING: Final = "nothing"
_GROUPS: Final[Mapping[int, str]] = {
    types_pb2.SIMPLE_TYPE_INTEGER: "numbers",
    types_pb2.SIMPLE_TYPE_FLOAT: "numbers",
    types_pb2.SIMPLE_TYPE_STRING: "strings",
    types_pb2.SIMPLE_TYPE_BOOLEAN: "booleans",
    types_pb2.SIMPLE_TYPE_DATETIME: "times",
    types_pb2.SIMPLE_TYPE_DURATION: "durations",
    types_pb2.SIMPLE_TYPE_NONE: _NOTHING,
}
"""Simple types whose values can be compared with each other."""


def check_condition(
    expression: workflow_pb2.BooleanExpression, inputs: Mapping[str, Type], path: str, report: Report, nearest: Nearest
) -> None:
    """Checks a condition against the inputs of its branch."""
    waiting = [(expression, path)]
    while waiting:
        each, place = waiting.pop()
        kind = each.WhichOneof("expr")
        if kind is None:
            report(place, "holds neither a comparison nor a conjunction")
        elif kind == "conjunction":
            both = each.conjunction
            if both.operator not in workflow_pb2.ConjunctionExpression.LogicalOperator.values():
                report(f"{place}.conjunction.operator", f"must be a known operator, got {both.operator}")
            waiting += [
                (both.right_expression, f"{place}.conjunction.right_expression"),
                (both.left_expression, f"{place}.conjunction.left_expression"),
            ]
        else:
            _check_comparison(each.comparison, inputs, f"{place}.comparison", report, nearest)


def _check_comparison(
    comparison: workflow_pb2.ComparisonExpression,
    inputs: Mapping[str, Type],
    path: str,
    report: Report,
    nearest: Nearest,
) -> None:
    if comparison.operator not in _Comparison.Operator.values():
        report(f"{path}.operator", f"must be a known operator, got {comparison.operator}")
    left = _groups(comparison.left_value, inputs, f"{path}.left_value", report, nearest)
    right = _groups(comparison.right_value, inputs, f"{path}.right_value", report, nearest)
    if left is None or right is None:
        return
    if comparison.operator in _EQUALITY and _NOTHING in left | right:
        return
    if not (left - {_NOTHING}) & (right - {_NOTHING}):
        report(path, f"compares {' or '.join(sorted(left))} with {' or '.join(sorted(right))}")


def _groups(
    operand: workflow_pb2.Operand, inputs: Mapping[str, Type], path: str, report: Report, nearest: Nearest
) -> set[str] | None:
    """What an operand may be; None if that is not known, or a problem was told of."""
    kind = operand.WhichOneof("val")
    if kind is None:
        report(path, "holds no value")
        return None
    if kind != "var":
        scalar = operand.scalar if kind == "scalar" else literals_pb2.Scalar(primitive=operand.primitive)
        constant = of_scalar(scalar)
        if constant is None:
            report(path, "is no number, string, boolean, time or nothing: it cannot be compared")
            return None
        return _groups_of(constant, path, report)
    if operand.var not in inputs:
        report(f"{path}.var", f"the branch has no input {operand.var}{nearest(operand.var, inputs)}")
        return None
    return _groups_of(inputs[operand.var], path, report)


def _groups_of(literal_type: Type, path: str, report: Report) -> set[str] | None:
    if literal_type is None:
        return None
    kind = literal_type.WhichOneof("type")
    if kind == "simple" and literal_type.simple in _GROUPS:
        return {_GROUPS[literal_type.simple]}
    if kind == "enum_type":
        return {"strings"}
    if kind == "union_type":
        groups: set[str] = set()
        for variant in literal_type.union_type.variants:
            found = _groups_of(variant, path, report)
            if found is None:
                return None
            groups |= found
        return groups
    report(path, f"{describe_type(literal_type)} cannot be compared")
    return None
