"""Ways into values: an element of a list, a value of a map, a field of a record."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from lacewing.types._codecs import Form, compile_type
from lacewing.types._describe import describe_type
from lacewing.types._msgpack import is_record, record_literal, record_tree
from lacewing.types._problem import ConversionError, unknown_name
from lacewing.v1 import literals_pb2, types_pb2


def literal_at(
    literal: literals_pb2.Literal, path: Sequence[str | int], literal_type: types_pb2.LiteralType | None
) -> literals_pb2.Literal:
    """Return what is found in a literal at the end of a path.

    Args:
        literal: Where the path begins.
        path: Its steps: the index of an element, counted from 0, or the name of a value or field.
        literal_type: The type of what is found. What a record holds has no type of its own; if None, numbers, strings
            and booleans are taken for what they are, and anything else for a record.

    Raises:
        ConversionError: The path leads nowhere, or what it leads to is not of the type.
    """
    for position, step in enumerate(path):
        while literal.scalar.HasField("union"):
            literal = literal.scalar.union.value
        if literal.HasField("collection") and isinstance(step, int):
            elements = literal.collection.literals
            if not 0 <= step < len(elements):
                raise ConversionError(f"there is no element {step} in a list of {len(elements)}")
            literal = elements[step]
        elif literal.HasField("map") and isinstance(step, str):
            if step not in literal.map.literals:
                raise ConversionError(f"there is no value {step!r} in the map")
            literal = literal.map.literals[step]
        elif is_record(literal):
            return _literal_of(_within(record_tree(literal), path[position:]), literal_type)
        elif literal.HasField("offloaded_metadata"):
            raise ConversionError(f"cannot look for {step!r} in a value that is kept in a store")
        else:
            raise ConversionError(f"cannot look for {step!r} in a value that is no list, map or record")
    return literal


def _within(tree: Any, path: Sequence[str | int]) -> Any:
    for step in path:
        if isinstance(tree, list) and isinstance(step, int):
            if not 0 <= step < len(tree):
                raise ConversionError(f"there is no element {step} in a list of {len(tree)}")
            tree = tree[step]
        elif isinstance(tree, dict) and step in tree:
            tree = tree[step]
        else:
            raise ConversionError(f"there is no {step!r} in the record")
    return tree


def _literal_of(tree: Any, literal_type: types_pb2.LiteralType | None) -> literals_pb2.Literal:
    if literal_type is not None:
        codec = compile_type(literal_type)
        return codec.to_literal(codec.read(tree, Form.MSGPACK))
    literal = literals_pb2.Literal()
    match tree:
        case None:
            literal.scalar.none_type.SetInParent()
        case bool():
            literal.scalar.primitive.boolean = tree
        case int():
            literal.scalar.primitive.integer = tree
        case float():
            literal.scalar.primitive.float_value = tree
        case str():
            literal.scalar.primitive.string_value = tree
        case _:
            return record_literal(tree)
    return literal


def type_at(literal_type: types_pb2.LiteralType | None, path: Sequence[str | int]) -> types_pb2.LiteralType | None:
    """Return the type of what is found at the end of a path, or None if that is known only when a value is there.

    Raises:
        ConversionError: The path leads nowhere in any value of the type.
    """
    for step in path:
        if literal_type is None:
            return None
        kind = literal_type.WhichOneof("type")
        if kind == "collection_type" and isinstance(step, int) and step >= 0:
            literal_type = literal_type.collection_type
        elif kind == "map_value_type" and isinstance(step, str):
            literal_type = literal_type.map_value_type
        elif kind == "simple" and literal_type.simple == types_pb2.SIMPLE_TYPE_STRUCT:
            fields = literal_type.structure.dataclass_type
            if not fields:
                return None
            if not isinstance(step, str) or step not in fields:
                raise ConversionError(unknown_name("field", str(step), fields))
            literal_type = fields[step]
        elif kind == "union_type":
            return None
        else:
            raise ConversionError(f"cannot look for {step!r} in {describe_type(literal_type)}")
    return literal_type
