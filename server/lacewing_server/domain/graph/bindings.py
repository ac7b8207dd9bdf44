"""How values flow: what bindings promise, and what they come to. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping

from lacewing.types import ConversionError, compile_checker, literal_at
from lacewing.v1 import bindings_pb2, interface_pb2, literals_pb2, types_pb2

Give = Callable[[str, str], literals_pb2.Literal]
"""Gives an output of a node by the id of the node, which is empty for the inputs of the graph, and the name."""


class BindingError(Exception):
    """A binding does not come to a value.

    Attributes:
        path: Where in the bindings, as ``x[2]``.
        message: What is wrong, for a person.
    """

    def __init__(self, path: str, message: str) -> None:
        super().__init__(f"{path}: {message}")
        self.path = path
        self.message = message


def promises_of(bindings: Iterable[bindings_pb2.Binding]) -> Iterator[bindings_pb2.OutputReference]:
    """Every promise in bindings."""
    for binding in bindings:
        if not binding.binding.HasField("scalar"):
            yield from _promises(binding.binding)


def _promises(data: bindings_pb2.BindingData) -> Iterator[bindings_pb2.OutputReference]:
    kind = data.WhichOneof("value")
    if kind == "promise":
        yield data.promise
    elif kind == "collection":
        for each in data.collection.bindings:
            yield from _promises(each)
    elif kind == "map":
        for each in data.map.bindings.values():
            yield from _promises(each)


def path_of(promise: bindings_pb2.OutputReference) -> list[str | int]:
    """The steps of a promise's way into a value."""
    return [step.string_value if step.HasField("string_value") else step.int_value for step in promise.attr_path]


def resolve(
    bindings: Iterable[bindings_pb2.Binding], variables: Mapping[str, interface_pb2.Variable], give: Give
) -> literals_pb2.LiteralMap:
    """Puts values in the place of promises.

    Args:
        bindings: What is bound.
        variables: The types of what it is bound to; what is not among them is taken as it is.
        give: Gives what is promised.

    Raises:
        BindingError: A way into a value leads nowhere, or a value is not of its variable's type.
    """
    resolved = literals_pb2.LiteralMap()
    for binding in bindings:
        variable = variables.get(binding.var)
        literal_type = variable.type if variable is not None else None
        literal = resolved.literals[binding.var]
        _put(literal, binding.binding, literal_type, give, binding.var)
        if literal_type is not None and _has_path(binding.binding):
            for problem in compile_checker(literal_type)(literal):
                raise BindingError(binding.var + problem.path, problem.message)
    return resolved


def _has_path(data: bindings_pb2.BindingData) -> bool:
    """Whether a type was not known for certain when the graph was compiled: that of what a record holds."""
    return not data.HasField("scalar") and any(promise.attr_path for promise in _promises(data))


def _put(
    literal: literals_pb2.Literal,
    data: bindings_pb2.BindingData,
    literal_type: types_pb2.LiteralType | None,
    give: Give,
    path: str,
) -> None:
    kind = data.WhichOneof("value")
    if kind == "promise":
        given = give(data.promise.node_id, data.promise.var)
        if data.promise.attr_path:
            try:
                given = literal_at(given, path_of(data.promise), literal_type)
            except ConversionError as error:
                raise BindingError(path, str(error)) from error
        literal.CopyFrom(given)
    elif kind == "scalar":
        literal.scalar.CopyFrom(data.scalar)
    elif kind == "offloaded_metadata":
        literal.offloaded_metadata.CopyFrom(data.offloaded_metadata)
    elif kind == "collection":
        literal.collection.SetInParent()
        element_type = (
            literal_type.collection_type
            if literal_type is not None and literal_type.HasField("collection_type")
            else None
        )
        for index, each in enumerate(data.collection.bindings):
            _put(literal.collection.literals.add(), each, element_type, give, f"{path}[{index}]")
    elif kind == "map":
        literal.map.SetInParent()
        value_type = (
            literal_type.map_value_type
            if literal_type is not None and literal_type.HasField("map_value_type")
            else None
        )
        for name, each in data.map.bindings.items():
            _put(literal.map.literals[name], each, value_type, give, f"{path}[{name!r}]")
