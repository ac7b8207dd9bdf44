"""Whether what is bound fits what it is bound to. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

from lacewing.types import ConversionError, compile_checker, describe_type, explain_mismatch, type_at
from lacewing.v1 import bindings_pb2, literals_pb2, types_pb2
from lacewing_server.domain.graph.bindings import path_of
from lacewing_server.domain.graph.hints import Nearest
from lacewing_server.domain.graph.signatures import Type, any_of, declared_type

Report = Callable[[str, str], None]
"""Takes a problem: the path of a field, and what is wrong there."""
Outputs = Callable[[bindings_pb2.OutputReference], Type]
"""The type of what is promised; raises `ConversionError` if there is no such thing."""

Checker = Callable[[literals_pb2.Literal], Iterable[tuple[str, str]]]
"""Finds what is wrong with a value of a type: where, and what."""


class BindingCheck:
    """Checks bindings; what is the same for many is looked at once."""

    def __init__(self, outputs: Outputs, nearest: Nearest) -> None:
        self._outputs = outputs
        self._nearest = nearest
        # By the objects that types are, which these keep: all nodes of a task have the same.
        self._mismatches: dict[tuple[int, int], tuple[Type, Type, str | None]] = {}
        self._checkers: dict[int, tuple[Type, Checker]] = {}

    def all(
        self,
        bindings: Iterable[bindings_pb2.Binding],
        inputs: Mapping[str, Type] | None,
        path: str,
        report: Report,
        *,
        what: str,
    ) -> set[str]:
        """Checks bindings of variables.

        Args:
            bindings: The bindings.
            inputs: The variables and their types; None if there may be any.
            path: Where the bindings are.
            report: Is told of each problem.
            what: What a variable is called: input or output.

        Returns:
            The variables that are bound.
        """
        seen: set[str] = set()
        for index, binding in enumerate(bindings):
            name = binding.var
            if not name:
                report(f"{path}[{index}].var", f"names no {what}")
            elif name in seen:
                report(f"{path}[{index}].var", f"the {what} {name} is bound twice")
            elif inputs is not None and name not in inputs:
                report(f"{path}[{index}].var", f"there is no {what} {name}{self._nearest(name, inputs)}")
            else:
                expected = inputs[name] if inputs is not None else None
                self.one(binding.binding, expected, f"{path}[{index}].binding", report)
            seen.add(name)
        return seen

    def one(self, data: bindings_pb2.BindingData, expected: Type, path: str, report: Report) -> None:
        """Checks one binding."""
        kind = data.WhichOneof("value")
        if kind is None:
            report(path, "binds nothing: a value or a promise must be set")
        elif kind == "promise":
            self._promise(data.promise, expected, f"{path}.promise", report)
        elif kind == "collection":
            element = _inside(expected, "collection_type")
            if isinstance(element, str):
                report(path, f"is a list, but {element}")
                return
            for index, each in enumerate(data.collection.bindings):
                self.one(each, element, f"{path}.collection.bindings[{index}]", report)
        elif kind == "map":
            value = _inside(expected, "map_value_type")
            if isinstance(value, str):
                report(path, f"is a map, but {value}")
                return
            for name in sorted(data.map.bindings):
                self.one(data.map.bindings[name], value, f'{path}.map.bindings["{name}"]', report)
        elif expected is not None:
            literal = literals_pb2.Literal()
            if kind == "scalar":
                literal.scalar.CopyFrom(data.scalar)
            else:
                literal.offloaded_metadata.CopyFrom(data.offloaded_metadata)
            for inner, message in self._misfits(literal, expected):
                report(f"{path}.{kind}{inner}", message)

    def _promise(self, promise: bindings_pb2.OutputReference, expected: Type, path: str, report: Report) -> None:
        steps = promise.attr_path
        for index, step in enumerate(steps):
            if step.WhichOneof("value") is None:
                report(f"{path}.attr_path[{index}]", "goes nowhere: a name or an index must be set")
                return
        try:
            found = self._outputs(promise)
            if steps:
                found = type_at(found, path_of(promise))
        except ConversionError as error:
            report(path, str(error))
            return
        if found is not None and expected is not None and (why := self._mismatch(found, expected)) is not None:
            report(path, f"{shown(promise)} does not fit: {why}")

    def type_of(self, data: bindings_pb2.BindingData) -> Type:
        """The type of what is bound, as far as it is known; problems are told of by `one`."""
        kind = data.WhichOneof("value")
        if kind == "promise":
            try:
                return type_at(self._outputs(data.promise), path_of(data.promise))
            except ConversionError:
                return None
        if kind == "collection":
            element = any_of(self.type_of(each) for each in data.collection.bindings)
            return types_pb2.LiteralType(collection_type=element) if element is not None else None
        if kind == "map":
            value = any_of(self.type_of(each) for each in data.map.bindings.values())
            return types_pb2.LiteralType(map_value_type=value) if value is not None else None
        return declared_type(data)

    def _mismatch(self, found: types_pb2.LiteralType, expected: types_pb2.LiteralType) -> str | None:
        known = self._mismatches.get((id(found), id(expected)))
        if known is None:
            known = found, expected, explain_mismatch(found, expected)
            self._mismatches[id(found), id(expected)] = known
        return known[2]

    def _misfits(self, literal: literals_pb2.Literal, expected: types_pb2.LiteralType) -> Iterable[tuple[str, str]]:
        known = self._checkers.get(id(expected))
        if known is None:
            known = self._checkers[id(expected)] = expected, compile_checker(expected)
        return known[1](literal)


def shown(promise: bindings_pb2.OutputReference) -> str:
    """A promise, for people."""
    steps = "".join(f"[{step!r}]" for step in path_of(promise))
    return f"{promise.node_id}.{promise.var}{steps}" if promise.node_id else f"the input {promise.var}{steps}"


def _inside(expected: Type, kind: str) -> Type | str:
    """The type of what a list or map holds; or why there can be none, as text."""
    if expected is None:
        return None
    if expected.HasField("union_type"):
        fitting = [each for each in expected.union_type.variants if each.WhichOneof("type") == kind]
        if len(fitting) == 1:
            return _inside(fitting[0], kind)
        return None if fitting else f"{describe_type(expected)} is expected"
    if expected.WhichOneof("type") != kind:
        return f"{describe_type(expected)} is expected"
    return expected.collection_type if kind == "collection_type" else expected.map_value_type
