from __future__ import annotations

import pytest

import type_strategies as make
from lacewing.types import admits_none, assignable, closest_variant, explain_mismatch
from lacewing.types._assign import variant_names
from lacewing.v1 import types_pb2

INTEGER = make.simple("INTEGER")
FLOAT = make.simple("FLOAT")
STRING = make.simple("STRING")
BOOLEAN = make.simple("BOOLEAN")
NONE = make.simple("NONE")
STRUCT = make.simple("STRUCT")
BINARY = make.simple("BINARY")
SINGLE, MULTIPART = 0, 1


def tagged(literal_type: types_pb2.LiteralType, tag: str) -> types_pb2.LiteralType:
    copy = types_pb2.LiteralType()
    copy.CopyFrom(literal_type)
    copy.structure.tag = tag
    return copy


def schema_of(
    *columns: tuple[str, types_pb2.SchemaType.SchemaColumn.SchemaColumnType.ValueType],
) -> types_pb2.LiteralType:
    column = types_pb2.SchemaType.SchemaColumn
    return types_pb2.LiteralType(
        schema=types_pb2.SchemaType(columns=[column(name=name, type=kind) for name, kind in columns])
    )


INTEGERS = types_pb2.SchemaType.SchemaColumn.SCHEMA_COLUMN_TYPE_INTEGER
FLOATS = types_pb2.SchemaType.SchemaColumn.SCHEMA_COLUMN_TYPE_FLOAT

FITTING = {
    "an integer for an integer": (INTEGER, INTEGER),
    "any enum for a string": (make.enum_of("red", "green"), STRING),
    "a string for an enum, checked when the value arrives": (STRING, make.enum_of("red", "green")),
    "an enum for the same enum": (make.enum_of("red", "green"), make.enum_of("red", "green")),
    "a list for a list": (make.list_of(INTEGER), make.list_of(INTEGER)),
    "an empty list for any list": (make.list_of(NONE), make.list_of(make.list_of(STRING))),
    "an empty map for any map": (make.map_of(NONE), make.map_of(STRING)),
    "an enum inside for a string inside": (make.map_of(make.enum_of("a")), make.map_of(STRING)),
    "a blob of a format for a blob of any": (make.blob_of("csv"), make.blob_of("")),
    "a blob of any format for a blob of one": (make.blob_of(""), make.blob_of("csv")),
    "a directory for a directory": (make.blob_of("csv", MULTIPART), make.blob_of("csv", MULTIPART)),
    "a dataset whose format differs in case": (make.dataset_of("parquet", {}), make.dataset_of("PARQUET", {})),
    "a dataset with more columns": (
        make.dataset_of("parquet", {"a": INTEGER, "b": STRING}),
        make.dataset_of("parquet", {"b": STRING}),
    ),
    "a dataset without columns for one with": (make.dataset_of("csv", {}), make.dataset_of("csv", {"a": INTEGER})),
    "nothing for a dataset": (NONE, make.dataset_of("parquet", {"a": INTEGER})),
    "a schema for a dataset of parquet": (
        schema_of(("a", INTEGERS)),
        make.dataset_of("parquet", {"a": INTEGER}),
    ),
    "a dataset of parquet for a schema": (make.dataset_of("Parquet", {"a": INTEGER}), schema_of(("a", INTEGERS))),
    "an untyped struct for a record": (STRUCT, make.record_of({"a": INTEGER})),
    "a record for an untyped struct": (make.record_of({"a": INTEGER}), STRUCT),
    "a record for one that asks for less than it allows": (
        make.record_of({"a": INTEGER}),
        make.record_of({"a": INTEGER, "b": STRING}, required=["a"]),
    ),
    "a record for one whose other field admits none": (
        make.record_of({"a": INTEGER}),
        make.record_of({"a": INTEGER, "b": make.union_of(STRING, NONE)}),
    ),
    "a union of one variant for that variant": (make.union_of(INTEGER), INTEGER),
    "a union for a wider one in another order": (
        make.union_of(INTEGER, STRING),
        make.union_of(STRING, NONE, INTEGER),
    ),
    "a variant for a union": (NONE, make.union_of(INTEGER, NONE)),
    "the exact variant although another accepts it too": (STRING, make.union_of(make.enum_of("a"), STRING)),
    "the variant of the same tag": (tagged(STRING, "a"), make.union_of(tagged(STRING, "a"), tagged(STRING, "b"))),
    "a type without a tag for one with": (INTEGER, tagged(INTEGER, "int")),
    "a type with a tag for one without": (tagged(INTEGER, "int"), INTEGER),
}

MISFITS = {
    "not every integer is a double": (INTEGER, FLOAT, "INTEGER does not fit FLOAT"),
    "a float for an integer": (FLOAT, INTEGER, "FLOAT does not fit INTEGER"),
    "a string for bytes": (STRING, BINARY, "STRING does not fit BINARY"),
    "nothing for a string": (NONE, STRING, "NONE does not fit STRING"),
    "anything for nothing": (STRING, NONE, "STRING does not fit NONE"),
    "a struct for a map": (STRUCT, make.map_of(STRING), "STRUCT does not fit map of STRING"),
    "enums of other order": (
        make.enum_of("a", "b"),
        make.enum_of("b", "a"),
        'one of "a", "b" does not fit one of "b", "a"',
    ),
    "an integer for an enum": (INTEGER, make.enum_of("a"), 'INTEGER does not fit one of "a"'),
    "a list of other elements": (
        make.list_of(make.list_of(INTEGER)),
        make.list_of(make.list_of(FLOAT)),
        "the elements do not fit: the elements do not fit: INTEGER does not fit FLOAT",
    ),
    "a map of other values": (
        make.map_of(INTEGER),
        make.map_of(STRING),
        "the values do not fit: INTEGER does not fit STRING",
    ),
    "a list for a map": (make.list_of(INTEGER), make.map_of(INTEGER), "list of INTEGER does not fit map of INTEGER"),
    "a blob of another format": (make.blob_of("csv"), make.blob_of("png"), "BLOB csv does not fit BLOB png"),
    "a file for a directory": (
        make.blob_of("csv", SINGLE),
        make.blob_of("csv", MULTIPART),
        "BLOB csv does not fit MULTIPART BLOB csv",
    ),
    "a dataset of another format": (
        make.dataset_of("parquet", {}),
        make.dataset_of("csv", {}),
        "STRUCTURED DATASET parquet does not fit STRUCTURED DATASET csv",
    ),
    "a dataset that lacks a column": (
        make.dataset_of("parquet", {"a": INTEGER}),
        make.dataset_of("parquet", {"a": INTEGER, "b": STRING}),
        'the table has no column "b"',
    ),
    "a dataset with a column of another type": (
        make.dataset_of("parquet", {"a": INTEGER}),
        make.dataset_of("parquet", {"a": FLOAT}),
        'the column "a" of the table does not fit: INTEGER does not fit FLOAT',
    ),
    "a schema with a column of another type": (
        schema_of(("a", FLOATS)),
        schema_of(("a", INTEGERS)),
        'the column "a" of the table does not fit: FLOAT does not fit INTEGER',
    ),
    "a dataset of csv for a schema": (
        make.dataset_of("csv", {}),
        schema_of(),
        "STRUCTURED DATASET csv does not fit SCHEMA",
    ),
    "nothing for a schema": (NONE, schema_of(), "NONE does not fit SCHEMA"),
    "a record with a field of another type": (
        make.record_of({"a": INTEGER}),
        make.record_of({"a": STRING}),
        'the field "a" of the record does not fit: INTEGER does not fit STRING',
    ),
    "a record with a field too many": (
        make.record_of({"a": INTEGER, "b": STRING}),
        make.record_of({"a": INTEGER}),
        'the record has fields that are not asked for: "b"',
    ),
    "a record that lacks a field": (
        make.record_of({"a": INTEGER}),
        make.record_of({"a": INTEGER, "b": STRING}),
        'the field "b" of the record may be missing',
    ),
    "a record that may leave out a field": (
        make.record_of({"a": INTEGER}, required=[]),
        make.record_of({"a": INTEGER}),
        'the field "a" of the record may be missing',
    ),
    "a variant that the other union lacks": (
        make.union_of(INTEGER, FLOAT),
        make.union_of(INTEGER, STRING),
        "a variant of the union does not fit: FLOAT is none of INTEGER, STRING",
    ),
    "a union for one of its variants": (
        make.union_of(INTEGER, NONE),
        INTEGER,
        "a variant of the union does not fit: NONE does not fit INTEGER",
    ),
    "no variant": (BOOLEAN, make.union_of(INTEGER, STRING), "BOOLEAN is none of INTEGER, STRING"),
    "more than one variant": (
        STRING,
        make.union_of(make.enum_of("a"), INTEGER, make.enum_of("b")),
        'STRING is ambiguous: it fits one of "a", one of "b"',
    ),
    "more than one variant, apart from tags": (
        STRING,
        make.union_of(tagged(STRING, "a"), tagged(STRING, "b")),
        'STRING is ambiguous: it fits STRING (tag "a"), STRING (tag "b")',
    ),
    "another tag": (
        tagged(STRING, "a"),
        tagged(STRING, "b"),
        'STRING with the tag "a" does not fit one with the tag "b"',
    ),
    "a union of nothing": (make.union_of(), INTEGER, "a union without variants fits nothing"),
    "no type": (types_pb2.LiteralType(), INTEGER, "a type without a kind fits nothing"),
    "for no type": (INTEGER, types_pb2.LiteralType(), "a type without a kind fits nothing"),
}


@pytest.mark.parametrize(("upstream", "downstream"), FITTING.values(), ids=FITTING.keys())
def test_fits(upstream: types_pb2.LiteralType, downstream: types_pb2.LiteralType) -> None:
    """A type that may be handed to another gives no reason against it."""
    assert explain_mismatch(upstream, downstream) is None
    assert assignable(upstream, downstream)


@pytest.mark.parametrize(("upstream", "downstream", "reason"), MISFITS.values(), ids=MISFITS.keys())
def test_does_not_fit(upstream: types_pb2.LiteralType, downstream: types_pb2.LiteralType, reason: str) -> None:
    """A type that may not be handed to another is refused with words that name both and the place inside them."""
    assert explain_mismatch(upstream, downstream) == reason
    assert not assignable(upstream, downstream)


def test_metadata_and_annotations_do_not_decide() -> None:
    """What a type carries besides its kind, structure and required fields has no say in what fits."""
    annotated = types_pb2.LiteralType(simple=types_pb2.SIMPLE_TYPE_INTEGER)
    annotated.metadata.update({"unit": "metre"})
    annotated.annotation.annotations.update({"owner": "team"})
    assert assignable(annotated, INTEGER)
    assert assignable(INTEGER, annotated)


def test_a_reason_cuts_a_long_enum_short() -> None:
    """An enum of very many values does not fill the message."""
    reason = explain_mismatch(INTEGER, make.enum_of(*(f"value{number}" for number in range(1000))))
    assert reason is not None
    assert reason.endswith('"value9" and 990 more')


def test_closest_variant_prefers_the_same_type() -> None:
    """Of several variants that accept a type, the one that is the same type is meant."""
    assert closest_variant(STRING, [make.enum_of("a"), STRING]) == 1
    assert closest_variant(tagged(STRING, "b"), [tagged(STRING, "a"), STRING]) == 1
    assert closest_variant(INTEGER, [STRING, FLOAT]) == "INTEGER is none of STRING, FLOAT"


def test_variants_are_named_by_what_tells_them_apart() -> None:
    """Variants are called by their tags, else by their types, else by their numbers."""
    assert variant_names([tagged(STRING, "path"), tagged(STRING, "text")]) == ["path", "text"]
    assert variant_names([tagged(STRING, "path"), INTEGER]) == ["STRING", "INTEGER"]
    assert variant_names([STRUCT, STRUCT]) == ["0", "1"]


@pytest.mark.parametrize(
    ("literal_type", "admitted"),
    [
        (NONE, True),
        (make.union_of(INTEGER, NONE), True),
        (make.union_of(INTEGER, make.union_of(STRING, NONE)), True),
        (make.union_of(INTEGER, STRING), False),
        (INTEGER, False),
        (make.list_of(NONE), False),
        (types_pb2.LiteralType(), False),
    ],
)
def test_only_none_and_unions_with_it_admit_none(literal_type: types_pb2.LiteralType, *, admitted: bool) -> None:
    """A variable may be left out if its type is NONE or has such a variant, however deep in unions."""
    assert admits_none(literal_type) is admitted
