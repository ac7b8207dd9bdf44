"""Types and values in a few words, for messages to people."""

from __future__ import annotations

import json
from typing import assert_never

from google.protobuf import duration_pb2, timestamp_pb2

from lacewing.types._problem import quoted_list
from lacewing.v1 import literals_pb2, types_pb2

_MAX_SHOWN = 60
"""Longer strings are cut in messages."""


def describe_type(literal_type: types_pb2.LiteralType) -> str:  # noqa: PLR0911 one arm per kind of type
    """Return a type in words: `INTEGER`, `list of STRING`, `union of INTEGER, NONE`, `one of "red", "green"`."""
    match literal_type.WhichOneof("type"):
        case "simple":
            return simple_name(literal_type.simple)
        case "schema":
            return "SCHEMA"
        case "collection_type":
            return f"list of {describe_type(literal_type.collection_type)}"
        case "map_value_type":
            return f"map of {describe_type(literal_type.map_value_type)}"
        case "blob":
            return _describe_blob_type(literal_type.blob)
        case "enum_type":
            return f"one of {quoted_list(literal_type.enum_type.values)}"
        case "structured_dataset_type":
            return " ".join(filter(None, ["STRUCTURED DATASET", literal_type.structured_dataset_type.format]))
        case "union_type":
            return f"union of {', '.join(describe_type(variant) for variant in literal_type.union_type.variants)}"
        case None:
            return "no type"
        case other:
            assert_never(other)


def simple_name(simple: types_pb2.SimpleType.ValueType) -> str:
    """Return `INTEGER` for `SIMPLE_TYPE_INTEGER`, and the number of a value that this version does not know."""
    if simple not in types_pb2.SimpleType.values():
        return f"simple type {simple}"
    return types_pb2.SimpleType.Name(simple).removeprefix("SIMPLE_TYPE_")


def _describe_blob_type(blob: types_pb2.BlobType) -> str:
    multipart = blob.dimensionality == types_pb2.BlobType.BLOB_DIMENSIONALITY_MULTIPART
    return " ".join(filter(None, ["MULTIPART BLOB" if multipart else "BLOB", blob.format]))


def describe_literal(literal: literals_pb2.Literal) -> str:
    """Return a literal in words, its kind first: `STRING "0.1"`, `a list of 3`."""
    match literal.WhichOneof("value"):
        case "scalar":
            return _describe_scalar(literal.scalar)
        case "collection":
            return f"a list of {len(literal.collection.literals)}"
        case "map":
            return f"a map of {len(literal.map.literals)}"
        case "offloaded_metadata":
            offloaded = literal.offloaded_metadata
            return f"{describe_type(offloaded.inferred_type)} offloaded to {offloaded.uri}"
        case None:
            return "a literal without a value"
        case other:
            assert_never(other)


def _describe_scalar(scalar: literals_pb2.Scalar) -> str:  # noqa: PLR0911 one arm per kind of scalar
    match scalar.WhichOneof("value"):
        case "primitive":
            return _describe_primitive(scalar.primitive)
        case "blob":
            return f"{_describe_blob_type(scalar.blob.metadata.type)} {scalar.blob.uri}"
        case "binary":
            kind = "STRUCT" if scalar.binary.tag == "msgpack" else "BINARY"
            return f"{kind} of {len(scalar.binary.value)} bytes"
        case "schema":
            return f"SCHEMA {scalar.schema.uri}"
        case "none_type":
            return "NONE"
        case "error":
            return f"ERROR {shortened(scalar.error.message)}"
        case "generic":
            return f"STRUCT of {len(scalar.generic.fields)} fields"
        case "structured_dataset":
            return f"STRUCTURED DATASET {scalar.structured_dataset.uri}"
        case "union":
            return f"a union of {describe_literal(scalar.union.value)}"
        case None:
            return "a scalar without a value"
        case other:
            assert_never(other)


def _describe_primitive(primitive: literals_pb2.Primitive) -> str:  # noqa: PLR0911 one arm per kind of primitive
    match primitive.WhichOneof("value"):
        case "integer":
            return f"INTEGER {primitive.integer}"
        case "float_value":
            return f"FLOAT {primitive.float_value}"
        case "string_value":
            return f"STRING {shortened(primitive.string_value)}"
        case "boolean":
            return f"BOOLEAN {str(primitive.boolean).lower()}"
        case "datetime":
            return f"DATETIME {_describe_time(primitive.datetime)}"
        case "duration":
            return f"DURATION {_describe_time(primitive.duration)}"
        case None:
            return "a primitive without a value"
        case other:
            assert_never(other)


def _describe_time(time: timestamp_pb2.Timestamp | duration_pb2.Duration) -> str:
    try:
        return time.ToJsonString()
    except ValueError:  # Out of range, and to be shown for that very reason.
        return f"of {time.seconds} s and {time.nanos} ns"


def describe_value(value: object) -> str:  # noqa: PLR0911 one arm per kind of value
    """Return a value as it comes from JSON or msgpack in words, with the names that literals have."""
    match value:
        case None:
            return "NONE"
        case bool():
            return f"BOOLEAN {str(value).lower()}"
        case int():
            return f"INTEGER {value}" if value.bit_length() <= 200 else "an enormous INTEGER"  # noqa: PLR2004 60 digits
        case float():
            return f"FLOAT {value}"
        case str():
            return f"STRING {shortened(value)}"
        case bytes():
            return f"BINARY of {len(value)} bytes"
        case list():
            return f"a list of {len(value)}"
        case dict():
            return f"a map of {len(value)}"
        case _:
            return f"a {type(value).__name__}"


def shortened(text: str) -> str:
    """Return a string in double quotes, cut after 60 characters."""
    cut = text if len(text) <= _MAX_SHOWN else text[:_MAX_SHOWN] + "…"
    return json.dumps(cut, ensure_ascii=False)
