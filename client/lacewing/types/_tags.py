"""The names of converters that SDKs note in `TypeStructure.tag` of the variants of a union.

They are those of Flyte's Python SDK, so that either reads the unions of the other.
"""

from __future__ import annotations

from collections.abc import Mapping

from lacewing.v1 import types_pb2

SIMPLE_TAGS: Mapping[int, str] = {
    types_pb2.SIMPLE_TYPE_NONE: "none",
    types_pb2.SIMPLE_TYPE_INTEGER: "int",
    types_pb2.SIMPLE_TYPE_FLOAT: "float",
    types_pb2.SIMPLE_TYPE_STRING: "str",
    types_pb2.SIMPLE_TYPE_BOOLEAN: "bool",
    types_pb2.SIMPLE_TYPE_DATETIME: "datetime",
    types_pb2.SIMPLE_TYPE_DURATION: "timedelta",
    types_pb2.SIMPLE_TYPE_BINARY: "bytes",
}
"""The tag of the Python type that a simple type maps to."""

LIST_TAG = "Typed List"
MAP_TAG = "Typed Dict"
ENUM_TAG = "DefaultEnumTransformer"
RECORD_TAG = "Object-Dataclass-Transformer"
MODEL_TAG = "Pydantic Transformer"
