"""How values flow: what bindings promise, and what they come to. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

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

    def under(self, step: str) -> BindingError:
        """The same, seen from one step further out."""
        return BindingError(step + self.path, self.message)


def promises_of(bindings: Iterable[bindings_pb2.Binding]) -> list[bindings_pb2.OutputReference]:
    """Every promise in bindings."""
    found: list[bindings_pb2.OutputReference] = []
    for binding in bindings:
        data = binding.binding
        if not data.HasField("scalar"):
            _collect(data, found)
    return found


def _collect(data: bindings_pb2.BindingData, found: list[bindings_pb2.OutputReference]) -> None:
    kind = data.WhichOneof("value")
    if kind == "promise":
        found.append(data.promise)
    elif kind == "collection":
        for each in data.collection.bindings:
            _collect(each, found)
    elif kind == "map":
        for each in data.map.bindings.values():
            _collect(each, found)


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
    literals = resolved.literals
    for binding in bindings:
        name, data = binding.var, binding.binding
        literal = literals[name]
        if data.HasField("scalar"):  # nearly all
            literal.scalar.CopyFrom(data.scalar)
            continue
        variable = variables.get(name)
        literal_type = variable.type if variable is not None else None
        try:
            has_path = _put(literal, data, literal_type, give)
        except BindingError as error:
            raise error.under(name) from error
        if literal_type is not None and has_path:
            for problem in compile_checker(literal_type)(literal):
                raise BindingError(name + problem.path, problem.message)
    return resolved


def _put(
    literal: literals_pb2.Literal,
    data: bindings_pb2.BindingData,
    literal_type: types_pb2.LiteralType | None,
    give: Give,
) -> bool:
    """Makes an empty literal what a binding comes to.

    Returns:
        Whether its type was not known for certain when the graph was compiled: that of what a record holds.
    """
    kind = data.WhichOneof("value")
    if kind == "promise":
        promise = data.promise
        given = give(promise.node_id, promise.var)
        if not promise.attr_path:
            literal.CopyFrom(given)
            return False
        try:
            literal.CopyFrom(literal_at(given, path_of(promise), literal_type))
        except ConversionError as error:
            raise BindingError("", str(error)) from error
        return True
    has_path = False
    if kind == "scalar":
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
        literals = literal.collection.literals
        for index, each in enumerate(data.collection.bindings):
            try:
                has_path |= _put(literals.add(), each, element_type, give)
            except BindingError as error:
                raise error.under(f"[{index}]") from error
    elif kind == "map":
        literal.map.SetInParent()
        value_type = (
            literal_type.map_value_type
            if literal_type is not None and literal_type.HasField("map_value_type")
            else None
        )
        for name, each in data.map.bindings.items():
            try:
                has_path |= _put(literal.map.literals[name], each, value_type, give)
            except BindingError as error:
                raise error.under(f"[{name!r}]") from error
    return has_path
