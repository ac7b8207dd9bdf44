"""Types compiled into what checks and converts their values."""

from __future__ import annotations

from collections.abc import Mapping
from typing import assert_never

from lacewing.types._codecs._base import PRIMITIVE_TYPES, Arm, Codec, Form
from lacewing.types._codecs._containers import ListCodec, MapCodec, each_item, each_value
from lacewing.types._codecs._opaque import OpaqueCodec
from lacewing.types._codecs._record import RecordCodec, TreeCodec
from lacewing.types._codecs._simple import (
    BooleanCodec,
    EnumCodec,
    FloatCodec,
    IntegerCodec,
    NoneCodec,
    StringCodec,
    in_int64,
    unicode_text,
)
from lacewing.types._codecs._stored import BinaryCodec, BlobCodec, ErrorCodec, TableCodec
from lacewing.types._codecs._temporal import EPOCH, NANOS, DatetimeCodec, DurationCodec, duration_of_nanos
from lacewing.types._codecs._union import UnionCodec
from lacewing.types._describe import simple_name
from lacewing.types._problem import ConversionError, Gathering, field_segment, index_segment
from lacewing.v1 import types_pb2

__all__ = [
    "EPOCH",
    "NANOS",
    "PRIMITIVE_TYPES",
    "Arm",
    "Codec",
    "Form",
    "ListCodec",
    "MapCodec",
    "OpaqueCodec",
    "RecordCodec",
    "TreeCodec",
    "UnionCodec",
    "compile_type",
    "duration_of_nanos",
    "each_item",
    "each_value",
    "in_int64",
    "unicode_text",
]

_SIMPLE: Mapping[int, type[Codec]] = {
    types_pb2.SIMPLE_TYPE_NONE: NoneCodec,
    types_pb2.SIMPLE_TYPE_INTEGER: IntegerCodec,
    types_pb2.SIMPLE_TYPE_FLOAT: FloatCodec,
    types_pb2.SIMPLE_TYPE_STRING: StringCodec,
    types_pb2.SIMPLE_TYPE_BOOLEAN: BooleanCodec,
    types_pb2.SIMPLE_TYPE_DATETIME: DatetimeCodec,
    types_pb2.SIMPLE_TYPE_DURATION: DurationCodec,
    types_pb2.SIMPLE_TYPE_BINARY: BinaryCodec,
    types_pb2.SIMPLE_TYPE_ERROR: ErrorCodec,
    types_pb2.SIMPLE_TYPE_STRUCT: TreeCodec,
}


def compile_type(literal_type: types_pb2.LiteralType) -> Codec:  # noqa: PLR0911 one arm per kind of type
    """Compile a type. The message must not be changed afterwards.

    Raises:
        ConversionError: It is not a type: no kind is set, an enum has no values or a union no variants, a simple type
            is unknown. Paths lead to the place inside the type.
    """
    match literal_type.WhichOneof("type"):
        case "simple":
            return _compile_simple(literal_type)
        case "schema" | "structured_dataset_type":
            return TableCodec(literal_type)
        case "collection_type":
            return ListCodec(literal_type, _compile_part(literal_type.collection_type, ".collection_type"))
        case "map_value_type":
            return MapCodec(literal_type, _compile_part(literal_type.map_value_type, ".map_value_type"))
        case "blob":
            return BlobCodec(literal_type)
        case "enum_type":
            if not literal_type.enum_type.values:
                raise ConversionError("the enum type has no values")
            return EnumCodec(literal_type)
        case "union_type":
            if not literal_type.union_type.variants:
                raise ConversionError("the union type has no variants")
            variants = {
                f".union_type.variants{index_segment(index)}": variant
                for index, variant in enumerate(literal_type.union_type.variants)
            }
            return UnionCodec(literal_type, list(_compile_parts(variants).values()), compile_type)
        case None:
            raise ConversionError("the type has no kind: none of simple, collection_type, ... is set")
        case other:
            assert_never(other)


def _compile_simple(literal_type: types_pb2.LiteralType) -> Codec:
    if literal_type.simple == types_pb2.SIMPLE_TYPE_STRUCT and literal_type.structure.dataclass_type:
        fields = literal_type.structure.dataclass_type
        names = sorted(fields)  # Problems are told in the same order in every process.
        codecs = _compile_parts({f".structure.dataclass_type{field_segment(name)}": fields[name] for name in names})
        return RecordCodec(literal_type, dict(zip(names, codecs.values(), strict=True)))
    try:
        return _SIMPLE[literal_type.simple](literal_type)
    except KeyError:
        raise ConversionError(f"{simple_name(literal_type.simple)} is unknown to this version") from None


def _compile_part(part: types_pb2.LiteralType, segment: str) -> Codec:
    try:
        return compile_type(part)
    except ConversionError as error:
        raise error.under(segment) from None


def _compile_parts(parts: Mapping[str, types_pb2.LiteralType]) -> dict[str, Codec]:
    compiled: dict[str, Codec] = {}
    gathering = Gathering()
    for segment, part in parts.items():
        try:
            compiled[segment] = compile_type(part)
        except ConversionError as error:
            gathering.add(segment, error)
    gathering.finish()
    return compiled
