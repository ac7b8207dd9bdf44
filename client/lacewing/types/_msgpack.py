"""Records in their two encodings, msgpack and `google.protobuf.Struct`, as trees of plain Python objects.

Flyte SDKs write a dataclass, a model or an untyped dict as a `Binary` literal with the tag `msgpack`; older ones wrote
a `Struct`. Both become the same tree here: None, bool, int, float, str, bytes, list and dict.
"""

from __future__ import annotations

from typing import Any, assert_never

import msgpack  # type: ignore[import-untyped]  # It ships no stubs.
from google.protobuf import struct_pb2

from lacewing.types._problem import ConversionError
from lacewing.v1 import literals_pb2

ExtType = msgpack.ExtType
"""A value of a type that msgpack leaves to applications."""

Timestamp = msgpack.Timestamp
"""An instant in the type that msgpack itself defines for it."""

TAG = "msgpack"
"""The `Binary.tag` of a msgpack value."""

SAFE_INTEGER = 2**53
"""Up to here, either way, every integer is a double: what JSON numbers carry through any parser."""


def pack(value: object) -> bytes:
    """Return the msgpack encoding of a tree.

    Raises:
        ConversionError: It holds something msgpack cannot, such as an integer beyond 64 bits.
    """
    try:
        packed: bytes = msgpack.packb(value, use_bin_type=True)
    except (TypeError, ValueError, OverflowError) as error:
        raise ConversionError(f"cannot be encoded as msgpack: {error}") from error
    return packed


def unpack(data: bytes) -> Any:
    """Return the tree that msgpack bytes encode.

    Raises:
        ConversionError: The bytes are not one msgpack value.
    """
    try:
        return msgpack.unpackb(data, raw=False, strict_map_key=False)
    except (
        ValueError,
        TypeError,
        RecursionError,
    ) as error:  # What msgpack raises for bytes of hostile or broken senders.
        raise ConversionError(f"is not msgpack: {str(error) or type(error).__name__}") from error


def record_tree(literal: literals_pb2.Literal) -> Any:
    """Return the tree of a STRUCT literal, which must be a msgpack binary or a `Struct`."""
    if literal.scalar.HasField("generic"):
        return struct_tree(literal.scalar.generic)
    return unpack(literal.scalar.binary.value)


def is_record(literal: literals_pb2.Literal) -> bool:
    """Return whether a literal is a STRUCT in either encoding."""
    match literal.scalar.WhichOneof("value"):
        case "generic":
            return True
        case "binary":
            return literal.scalar.binary.tag == TAG
        case _:
            return False


def record_literal(tree: object) -> literals_pb2.Literal:
    """Return the STRUCT literal of a tree; see `fill_record`."""
    literal = literals_pb2.Literal()
    fill_record(literal, tree)
    return literal


def fill_record(literal: literals_pb2.Literal, tree: object) -> None:
    """Make an empty literal a STRUCT of a tree, as msgpack: it keeps integers exact, which a `Struct` cannot."""
    binary = literal.scalar.binary
    binary.value = pack(tree)
    binary.tag = TAG


def struct_tree(struct: struct_pb2.Struct) -> dict[str, Any]:
    """Return the tree of a `Struct`, its keys in order: that of a protobuf map is another in every process.

    JSON has one kind of number, so whole numbers up to 2^53 are read as integers.
    """
    return {key: _value_tree(struct.fields[key]) for key in sorted(struct.fields)}


def _value_tree(value: struct_pb2.Value) -> Any:
    match value.WhichOneof("kind"):
        case "null_value" | None:
            return None
        case "number_value":
            return whole(value.number_value)
        case "string_value":
            return value.string_value
        case "bool_value":
            return value.bool_value
        case "struct_value":
            return struct_tree(value.struct_value)
        case "list_value":
            return [_value_tree(element) for element in value.list_value.values]
        case other:
            assert_never(other)


def whole(number: float) -> int | float:
    """Return a JSON number as an integer if it is one that doubles carry exactly."""
    return int(number) if number.is_integer() and -SAFE_INTEGER <= number <= SAFE_INTEGER else number
