"""Conditionals: one of several calls, chosen by promises when the graph runs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Generic, Never, ParamSpec, Protocol, TypeAlias, TypeVar

from lacewing.errors import NonRecoverableError
from lacewing.graph._conditions import Condition, condition_of
from lacewing.graph._errors import GraphBuildError
from lacewing.graph._node import NodeHandle, OfNode, node_of
from lacewing.graph._promise import Promise, name_of, path_of, refer
from lacewing.graph._trace import Trace, common_type, current_trace
from lacewing.types import describe_type
from lacewing.v1 import bindings_pb2, literals_pb2, types_pb2, workflow_pb2

_Parameters = ParamSpec("_Parameters")
_Result = TypeVar("_Result")
_Other = TypeVar("_Other")


def conditional(name: str) -> Conditional:
    """Begin a choice between calls: `conditional("size").if_(n > 9).then(large, n=n).else_().then(small, n=n)`.

    The function and its inputs are given apart, so that only the call that is chosen runs. It gives what the chosen
    call gives; all must give outputs of the same names and types. Where no graph is built, it is a plain choice by
    booleans.

    A body is one call. Several together are a workflow or a dynamic task of their own.

    Args:
        name: What people see.
    """
    trace = current_trace()
    return Conditional(_LocalChoice(name) if trace is None else _TracedChoice(name, trace))


class Conditional:
    """A choice that has begun."""

    def __init__(self, choice: _Choice) -> None:
        self._choice = choice

    def if_(self, condition: bool) -> Case[Never]:  # noqa: FBT001 it is a Condition where a graph is built
        """Say when the first call is chosen: by a comparison of promises, several joined with `&` and `|`."""
        return Case(self._choice, condition)


class Case(Generic[_Result]):
    """A condition that waits for its call."""

    def __init__(self, choice: _Choice, condition: object) -> None:
        self._choice = choice
        self._condition = condition

    def then(
        self, function: Callable[_Parameters, _Other], /, *args: _Parameters.args, **inputs: _Parameters.kwargs
    ) -> Then[_Result | _Other]:
        """Say what is called if the condition holds and none before does: a task or another function of this package.

        Args:
            function: What is called. It makes one node.
            *args: Its inputs, by position.
            **inputs: Its inputs, by name.
        """
        self._choice.case(self._condition, _call(function, args, inputs))
        return Then(self._choice)


class Then(Generic[_Result]):
    """A choice with at least one call."""

    def __init__(self, choice: _Choice) -> None:
        self._choice = choice

    def elif_(self, condition: bool) -> Case[_Result]:  # noqa: FBT001 as of `if_`
        """Say when the next call is chosen, if none before is."""
        return Case(self._choice, condition)

    def else_(self) -> Else[_Result]:
        """Say what happens if no condition holds. Every choice ends so."""
        return Else(self._choice)


class Else(Generic[_Result]):
    """The end of a choice."""

    def __init__(self, choice: _Choice) -> None:
        self._choice = choice

    def then(
        self, function: Callable[_Parameters, _Other], /, *args: _Parameters.args, **inputs: _Parameters.kwargs
    ) -> _Result | _Other:
        """Say what is called if no condition holds; return what the chosen call gives."""
        result: _Result | _Other = self._choice.otherwise(_call(function, args, inputs))
        return result

    def fail(self, message: str) -> _Result:
        """Say that the choice fails with a message if no condition holds; return what the chosen call gives."""
        result: _Result = self._choice.otherwise(message)
        return result


_Call: TypeAlias = Callable[[], Any]


def _call(function: Callable[..., Any], args: tuple[Any, ...], inputs: dict[str, Any]) -> _Call:
    if isinstance(function, OfNode):
        raise GraphBuildError(
            f"then() takes a function and its inputs, as in then(add, a=1), not what a call gave: {function!r}; "
            "the call would run whatever is chosen"
        )
    return lambda: function(*args, **inputs)


class _Choice(Protocol):
    def case(self, condition: object, call: _Call) -> None:
        """Take a condition and its call."""

    def otherwise(self, last: _Call | str) -> Any:
        """Take what happens if no condition holds, and return what the choice gives."""


class _LocalChoice:
    """A choice made here and now."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._chosen: _Call | None = None

    def case(self, condition: object, call: _Call) -> None:
        if not isinstance(condition, bool):
            raise TypeError(f"conditional {self._name!r} is decided by a bool, not by {condition!r}")
        if condition and self._chosen is None:
            self._chosen = call

    def otherwise(self, last: _Call | str) -> Any:
        if self._chosen is not None:
            return self._chosen()
        if isinstance(last, str):
            raise NonRecoverableError(last)
        return last()


class _TracedChoice:
    """A choice that is noted as a node."""

    def __init__(self, name: str, trace: Trace) -> None:
        self._name = name
        self._trace = trace
        self._node = workflow_pb2.Node(id=trace.new_id(), metadata=workflow_pb2.NodeMetadata(name=name))
        self._operands: dict[str, bindings_pb2.Binding] = {}
        self._blocks: list[workflow_pb2.IfBlock] = []
        self._bodies: list[tuple[NodeHandle, Any]] = []
        trace.open_conditionals[self] = name

    def case(self, condition: object, call: _Call) -> None:
        if isinstance(condition, bool):
            raise GraphBuildError(
                f"conditional {self._name!r} is given {condition!r}, which is known already: decide by a plain if"
            )
        expression = self._expression(condition_of(condition))
        self._blocks.append(workflow_pb2.IfBlock(condition=expression, then_node=self._body(call)))

    def otherwise(self, last: _Call | str) -> Any:
        if self not in self._trace.open_conditionals:
            raise GraphBuildError(f"conditional {self._name!r} has ended before")
        block = self._node.branch_node.if_else
        block.case.CopyFrom(self._blocks[0])
        block.other.extend(self._blocks[1:])
        if isinstance(last, str):
            block.error.CopyFrom(literals_pb2.Error(failed_node_id=self._node.id, message=last))
        else:
            block.else_node.CopyFrom(self._body(last))
        self._node.inputs.extend(self._operands.values())
        del self._trace.open_conditionals[self]
        for inner, _ in self._bodies:
            inner.is_closed = True
        return self._promised(self._trace.add(self._node, self._outputs()))

    def _expression(self, condition: Condition) -> workflow_pb2.BooleanExpression:
        def bind(promise: Promise) -> str:
            name = name_of(promise)
            if name not in self._operands:
                operand = bindings_pb2.Binding(var=name)
                refer(operand.binding.promise, promise, self._trace)
                self._operands[name] = operand
            return name

        return condition.expression(bind)

    def _body(self, call: _Call) -> workflow_pb2.Node:
        with self._trace.branch_body() as made:
            given = call()
        is_one = len(made) == 1 and isinstance(given, OfNode) and node_of(given) is made[0]
        if not is_one or (isinstance(given, Promise) and (path_of(given) or len(made[0].outputs) > 1)):
            raise GraphBuildError(
                f"a branch of conditional {self._name!r} must be one call and give all that it gives, and it makes "
                f"{len(made)} nodes. Put several calls into a @workflow or @dynamic function, and call that"
            )
        self._bodies.append((made[0], given))
        return made[0].node

    def _outputs(self) -> dict[str, types_pb2.LiteralType]:
        """Return what the branch gives: what all of its nodes give; nothing if one of them gives nothing."""
        alternatives = [handle.outputs for handle, _ in self._bodies]
        if not all(alternatives):
            return {}
        first, *others = alternatives
        if any(other.keys() != first.keys() for other in others):
            names = "; ".join(", ".join(each) for each in alternatives)
            raise GraphBuildError(f"the branches of conditional {self._name!r} give different outputs: {names}")
        return {name: self._common(name, [each[name] for each in alternatives]) for name in first}

    def _common(self, name: str, kinds: list[types_pb2.LiteralType]) -> types_pb2.LiteralType:
        common = common_type(kinds)
        if common is None:
            words = ", ".join(dict.fromkeys(map(describe_type, kinds)))
            raise GraphBuildError(f"the branches of conditional {self._name!r} give different types as {name}: {words}")
        return common

    def _promised(self, handle: NodeHandle) -> Any:
        given = next((given for _, given in self._bodies), None)
        if not isinstance(given, tuple):
            return self._trace.promises(handle)
        return self._trace.promises(handle, lambda outputs: tuple.__new__(type(given), outputs.values()))
