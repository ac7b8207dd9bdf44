"""Whether values of one type may be handed to a variable of another, and which variant of a union they take.

The rule is Flyte's, chosen by the downstream type:

    downstream          accepts
    ----------          -------
    simple              the same simple type. INTEGER does not fit FLOAT: not every integer is a double
    STRING              also any enum
    STRUCT              STRUCT; if both name their fields (`structure.dataclass_type`), each upstream field must exist
                        downstream and fit, and each downstream field must be there unless it may be left out
    enum                an enum with the same values in the same order; STRING
    list, map           a list, a map whose elements fit; an element type of NONE fits any
    blob                a blob of the same dimensionality and of the same format, or if either format is empty
    schema              a schema, or a structured dataset of format parquet or none, with at least its columns
    structured dataset  the same the other way round, formats compared without case; NONE
    union               a type that fits its closest variant, see `closest_variant`

A union fits whatever each of its variants fits. Tags (`structure.tag`) tell apart simple types and enums that are
otherwise the same: two that have different ones do not fit.

In some places the upstream type says less than the downstream type asks: a STRING for an enum, a STRUCT without fields
for one with fields, a blob or a table without format or columns for one with, a list of NONE for any list. These pairs
fit, and the value is checked when it arrives. Everywhere else, `assignable(a, b)` implies that every literal of `a` is
one of `b`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import assert_never

from lacewing.types._describe import describe_type
from lacewing.types._digest import canonical_type
from lacewing.types._problem import quoted_list
from lacewing.v1 import types_pb2

_TABLE_FORMATS = ("", "parquet")
"""Formats of a structured dataset that a schema can stand for."""

_COLUMN_TYPES: Mapping[int, types_pb2.SimpleType.ValueType] = {
    types_pb2.SchemaType.SchemaColumn.SCHEMA_COLUMN_TYPE_INTEGER: types_pb2.SIMPLE_TYPE_INTEGER,
    types_pb2.SchemaType.SchemaColumn.SCHEMA_COLUMN_TYPE_FLOAT: types_pb2.SIMPLE_TYPE_FLOAT,
    types_pb2.SchemaType.SchemaColumn.SCHEMA_COLUMN_TYPE_STRING: types_pb2.SIMPLE_TYPE_STRING,
    types_pb2.SchemaType.SchemaColumn.SCHEMA_COLUMN_TYPE_BOOLEAN: types_pb2.SIMPLE_TYPE_BOOLEAN,
    types_pb2.SchemaType.SchemaColumn.SCHEMA_COLUMN_TYPE_DATETIME: types_pb2.SIMPLE_TYPE_DATETIME,
    types_pb2.SchemaType.SchemaColumn.SCHEMA_COLUMN_TYPE_DURATION: types_pb2.SIMPLE_TYPE_DURATION,
}


def assignable(upstream: types_pb2.LiteralType, downstream: types_pb2.LiteralType) -> bool:
    """Return whether a value of the type `upstream` may be handed to a variable of the type `downstream`."""
    return explain_mismatch(upstream, downstream) is None


def explain_mismatch(  # noqa: PLR0911 one arm per kind of type
    upstream: types_pb2.LiteralType, downstream: types_pb2.LiteralType
) -> str | None:
    """Return why a value of `upstream` may not be handed to a variable of `downstream`, or None if it may."""
    if upstream.WhichOneof("type") is None or downstream.WhichOneof("type") is None:
        return "a type without a kind fits nothing"
    if upstream.WhichOneof("type") == "union_type":
        return _from_union(upstream, downstream)
    match downstream.WhichOneof("type"):
        case "simple":
            return _to_simple(upstream, downstream)
        case "enum_type":
            return _to_enum(upstream, downstream)
        case "collection_type":
            return _to_container(upstream, downstream, "collection_type", "elements")
        case "map_value_type":
            return _to_container(upstream, downstream, "map_value_type", "values")
        case "blob":
            return _to_blob(upstream, downstream)
        case "schema" | "structured_dataset_type":
            return _to_table(upstream, downstream)
        case "union_type":
            variant = closest_variant(upstream, downstream.union_type.variants)
            return variant if isinstance(variant, str) else None
        case None:
            return _mismatch(upstream, downstream)
        case other:
            assert_never(other)


def closest_variant(upstream: types_pb2.LiteralType, variants: Sequence[types_pb2.LiteralType]) -> int | str:
    """Return the index of the variant that a value of a type belongs to, or why there is no such variant.

    It is the only variant that the type fits. If it fits several, the one that is the same type wins; failing that,
    the one that is the same type apart from its tag, metadata and annotations. Otherwise the choice is ambiguous, and
    none is made.
    """
    fitting = [index for index, variant in enumerate(variants) if explain_mismatch(upstream, variant) is None]
    if len(fitting) > 1:
        fitting = (
            [index for index in fitting if variants[index] == upstream]
            or [index for index in fitting if _essence(variants[index]) == _essence(upstream)]
            or fitting
        )
    if len(fitting) == 1:
        return fitting[0]
    if not fitting:
        return f"{describe_type(upstream)} is none of {_names(variants)}"
    return f"{describe_type(upstream)} is ambiguous: it fits {_names(variants[index] for index in fitting)}"


def variant_names(variants: Sequence[types_pb2.LiteralType]) -> list[str]:
    """Return a name for each variant of a union: the tags if all differ, else the types in words, else numbers."""
    for names in (
        [variant.structure.tag for variant in variants],
        [describe_type(variant) for variant in variants],
    ):
        if all(names) and len(set(names)) == len(names):
            return names
    return [str(index) for index in range(len(variants))]


def optional_fields(literal_type: types_pb2.LiteralType) -> frozenset[str]:
    """Return the fields of a STRUCT type that a value may leave out.

    The JSON Schema in `metadata` says it by its keyword `required`. Without a schema every field is required.
    """
    fields = literal_type.structure.dataclass_type
    schema = literal_type.metadata.fields
    if "type" not in schema or schema["type"].string_value != "object":
        return frozenset()
    required = {name.string_value for name in schema["required"].list_value.values} if "required" in schema else ()
    return frozenset(name for name in fields if name not in required)


def admits_none(literal_type: types_pb2.LiteralType) -> bool:
    """Return whether a variable of the type may be given nothing: NONE, or a union with such a variant."""
    match literal_type.WhichOneof("type"):
        case "simple":
            return literal_type.simple == types_pb2.SIMPLE_TYPE_NONE
        case "union_type":
            return any(admits_none(variant) for variant in literal_type.union_type.variants)
        case _:
            return False


def _essence(literal_type: types_pb2.LiteralType) -> bytes:
    return canonical_type(literal_type, tags=False)


def _names(types: Iterable[types_pb2.LiteralType]) -> str:
    def name(literal_type: types_pb2.LiteralType) -> str:
        tag = literal_type.structure.tag
        return f'{describe_type(literal_type)} (tag "{tag}")' if tag else describe_type(literal_type)

    return ", ".join(map(name, types))


def _mismatch(upstream: types_pb2.LiteralType, downstream: types_pb2.LiteralType) -> str:
    return f"{describe_type(upstream)} does not fit {describe_type(downstream)}"


def _from_union(upstream: types_pb2.LiteralType, downstream: types_pb2.LiteralType) -> str | None:
    if not upstream.union_type.variants:
        return "a union without variants fits nothing"
    if upstream == downstream:
        return None
    for variant in upstream.union_type.variants:
        reason = explain_mismatch(variant, downstream)
        if reason is not None:
            return f"a variant of the union does not fit: {reason}"
    return None


def _tag_conflict(upstream: types_pb2.LiteralType, downstream: types_pb2.LiteralType) -> str | None:
    ours, theirs = upstream.structure.tag, downstream.structure.tag
    if ours and theirs and ours != theirs:
        return f'{describe_type(upstream)} with the tag "{ours}" does not fit one with the tag "{theirs}"'
    return None


def _to_simple(upstream: types_pb2.LiteralType, downstream: types_pb2.LiteralType) -> str | None:
    simple = downstream.simple
    if upstream.WhichOneof("type") == "enum_type" and simple == types_pb2.SIMPLE_TYPE_STRING:
        return None
    if upstream.WhichOneof("type") != "simple" or upstream.simple != simple:
        return _mismatch(upstream, downstream)
    if simple == types_pb2.SIMPLE_TYPE_NONE:
        return None
    if simple == types_pb2.SIMPLE_TYPE_STRUCT:
        return _tag_conflict(upstream, downstream) or _to_record(upstream, downstream)
    return _tag_conflict(upstream, downstream)


def _to_record(upstream: types_pb2.LiteralType, downstream: types_pb2.LiteralType) -> str | None:
    ours, theirs = upstream.structure.dataclass_type, downstream.structure.dataclass_type
    if not ours or not theirs:
        return None
    extra = sorted(name for name in ours if name not in theirs)
    if extra:
        return f"the record has fields that are not asked for: {quoted_list(extra)}"
    maybe_missing = optional_fields(upstream)
    may_be_missing = optional_fields(downstream)
    for name in sorted(theirs):
        if name in ours:
            reason = explain_mismatch(ours[name], theirs[name])
            if reason is not None:
                return f'the field "{name}" of the record does not fit: {reason}'
        if (name not in ours or name in maybe_missing) and name not in may_be_missing and not admits_none(theirs[name]):
            return f'the field "{name}" of the record may be missing'
    return None


def _to_enum(upstream: types_pb2.LiteralType, downstream: types_pb2.LiteralType) -> str | None:
    match upstream.WhichOneof("type"):
        case "simple" if upstream.simple == types_pb2.SIMPLE_TYPE_STRING:
            return _tag_conflict(upstream, downstream)
        case "enum_type" if list(upstream.enum_type.values) == list(downstream.enum_type.values):
            return _tag_conflict(upstream, downstream)
        case _:
            return _mismatch(upstream, downstream)


def _to_container(
    upstream: types_pb2.LiteralType, downstream: types_pb2.LiteralType, kind: str, parts: str
) -> str | None:
    if upstream.WhichOneof("type") != kind:
        return _mismatch(upstream, downstream)
    part: types_pb2.LiteralType = getattr(upstream, kind)
    if part.WhichOneof("type") == "simple" and part.simple == types_pb2.SIMPLE_TYPE_NONE:
        return None
    reason = explain_mismatch(part, getattr(downstream, kind))
    return None if reason is None else f"the {parts} do not fit: {reason}"


def _to_blob(upstream: types_pb2.LiteralType, downstream: types_pb2.LiteralType) -> str | None:
    if upstream.WhichOneof("type") != "blob":
        return _mismatch(upstream, downstream)
    ours, theirs = upstream.blob, downstream.blob
    if ours.dimensionality != theirs.dimensionality or not _formats_fit(ours.format, theirs.format):
        return _mismatch(upstream, downstream)
    return None


def _formats_fit(upstream: str, downstream: str) -> bool:
    return not upstream or not downstream or upstream == downstream


def _to_table(upstream: types_pb2.LiteralType, downstream: types_pb2.LiteralType) -> str | None:
    to_schema = downstream.WhichOneof("type") == "schema"
    match upstream.WhichOneof("type"):
        case "simple" if upstream.simple == types_pb2.SIMPLE_TYPE_NONE and not to_schema:
            return None
        case "schema":
            formats_fit = to_schema or downstream.structured_dataset_type.format.lower() in _TABLE_FORMATS
        case "structured_dataset_type" if to_schema:
            formats_fit = upstream.structured_dataset_type.format.lower() in _TABLE_FORMATS
        case "structured_dataset_type":
            ours, theirs = upstream.structured_dataset_type, downstream.structured_dataset_type
            formats_fit = _formats_fit(ours.format.lower(), theirs.format.lower())
        case _:
            formats_fit = False
    return (
        _columns_mismatch(_columns(upstream), _columns(downstream)) if formats_fit else _mismatch(upstream, downstream)
    )


def _columns(table: types_pb2.LiteralType) -> dict[str, types_pb2.LiteralType]:
    if table.WhichOneof("type") == "schema":
        return {
            column.name: types_pb2.LiteralType(simple=_COLUMN_TYPES[column.type])
            for column in table.schema.columns
            if column.type in _COLUMN_TYPES
        }
    return {column.name: column.literal_type for column in table.structured_dataset_type.columns}


def _columns_mismatch(
    upstream: Mapping[str, types_pb2.LiteralType], downstream: Mapping[str, types_pb2.LiteralType]
) -> str | None:
    if not upstream or not downstream:
        return None
    for name, asked in downstream.items():
        if name not in upstream:
            return f'the table has no column "{name}"'
        reason = explain_mismatch(upstream[name], asked)
        if reason is not None:
            return f'the column "{name}" of the table does not fit: {reason}'
    return None
