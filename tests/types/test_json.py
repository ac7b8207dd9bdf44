from __future__ import annotations

import base64
import math
from typing import Any

import msgpack  # type: ignore[import-untyped]  # It ships no stubs.
import pytest
from google.protobuf import struct_pb2

import type_strategies as make
from lacewing.types import ConversionError, InterfaceChecker, literal_map_from_json, literal_map_to_json
from lacewing.v1 import interface_pb2, literals_pb2, types_pb2

INTEGER, FLOAT, STRING, BOOLEAN = (make.simple(kind) for kind in ("INTEGER", "FLOAT", "STRING", "BOOLEAN"))
DATETIME, DURATION, BINARY, NONE = (make.simple(kind) for kind in ("DATETIME", "DURATION", "BINARY", "NONE"))
STRUCT = make.simple("STRUCT")


def variables(**types: types_pb2.LiteralType) -> interface_pb2.VariableMap:
    return interface_pb2.VariableMap(
        variables={name: interface_pb2.Variable(type=literal_type) for name, literal_type in types.items()}
    )


def read(literal_type: types_pb2.LiteralType, value: Any) -> literals_pb2.Literal:
    declared = variables(x=literal_type)
    literals = literal_map_from_json({"x": value}, declared)
    assert InterfaceChecker(declared).check(literals) == []
    return literals.literals["x"]


def write(literal_type: types_pb2.LiteralType, literal: literals_pb2.Literal) -> Any:
    return literal_map_to_json(literals_pb2.LiteralMap(literals={"x": literal}), variables(x=literal_type))["x"]


def refusal(literal_type: types_pb2.LiteralType, value: Any) -> str:
    with pytest.raises(ConversionError) as caught:
        literal_map_from_json({"x": value}, variables(x=literal_type))
    return str(caught.value)


@pytest.mark.parametrize(
    ("value", "number"),
    [
        (7, 7),
        (7.0, 7),
        (-0.0, 0),
        ("9007199254740993", 2**53 + 1),
        (2**63 - 1, 2**63 - 1),
        (str(-(2**63)), -(2**63)),
        (float(2**53), 2**53),
        (float(-(2**53)), -(2**53)),
    ],
)
def test_integers_are_exact(value: Any, number: int) -> None:
    """Whole numbers are read as they are, doubles up to 2^53, and digits in a string up to 64 bits."""
    assert read(INTEGER, value) == make.primitive(integer=number)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (float(2**53 + 2), "give it as a string"),
        (0.5, "expected INTEGER, got FLOAT 0.5"),
        (math.inf, "expected INTEGER"),
        (math.nan, "expected INTEGER"),
        (True, "expected INTEGER, got BOOLEAN true"),
        ("seven", 'expected INTEGER, got STRING "seven"'),
        ("7.0", "expected INTEGER"),
        ("", "expected INTEGER"),
        ("\N{ARABIC-INDIC DIGIT SEVEN}", "expected INTEGER"),
        pytest.param("9" * 5000, "expected INTEGER", id="many digits"),
        (2**63, "does not fit 64 bits"),
        (str(2**63), "does not fit 64 bits"),
        pytest.param(10**5000, "does not fit 64 bits", id="enormous"),
        (None, "expected INTEGER, got NONE"),
    ],
)
def test_what_is_not_an_exact_integer_is_refused(value: Any, message: str) -> None:
    """Nothing is rounded, and a double beyond 2^53 is answered with what to send instead."""
    assert refusal(INTEGER, value).startswith("inputs.x: ")
    assert message in refusal(INTEGER, value)


@pytest.mark.parametrize("number", [2**53, -(2**53)])
def test_integers_up_to_2_53_are_written_as_numbers(number: int) -> None:
    """Every JSON parser reads these exactly."""
    assert write(INTEGER, make.primitive(integer=number)) == number


@pytest.mark.parametrize("number", [2**53 + 1, -(2**53) - 1, 2**63 - 1, -(2**63)])
def test_integers_beyond_2_53_are_written_as_strings(number: int) -> None:
    """A parser that holds numbers as doubles would change them."""
    assert write(INTEGER, make.primitive(integer=number)) == str(number)


@pytest.mark.parametrize(
    ("value", "number"), [(0.1, 0.1), (3, 3.0), ("Infinity", math.inf), ("-Infinity", -math.inf), (-0.0, -0.0)]
)
def test_floats(value: Any, number: float) -> None:
    """Numbers, whole ones too, and the names of the infinities."""
    literal = read(FLOAT, value)
    assert literal == make.primitive(float_value=number)
    assert write(FLOAT, literal) == (value if isinstance(value, str) else number)


def test_not_a_number_goes_by_name() -> None:
    """JSON has no word for it, so a string does."""
    literal = read(FLOAT, "NaN")
    assert math.isnan(literal.scalar.primitive.float_value)
    assert write(FLOAT, literal) == "NaN"


@pytest.mark.parametrize("value", [True, "0.1", "nan", None, [], pytest.param(10**400, id="enormous")])
def test_what_is_not_a_float_is_refused(value: Any) -> None:
    """A number in a string is a string, a flag is no number, and no number is rounded to infinity."""
    assert "inputs.x: expected FLOAT" in refusal(FLOAT, value)


@pytest.mark.parametrize(
    ("text", "seconds", "nanos", "written"),
    [
        ("1970-01-01T00:00:00Z", 0, 0, "1970-01-01T00:00:00Z"),
        ("2024-05-01T14:00:00.123456789+02:00", 1_714_564_800, 123_456_789, "2024-05-01T12:00:00.123456789Z"),
        ("1969-12-31T23:59:59.5z", -1, 500_000_000, "1969-12-31T23:59:59.500Z"),
        ("0001-01-01T00:00:00Z", -62_135_596_800, 0, "0001-01-01T00:00:00Z"),
        ("9999-12-31T23:59:59.999999999Z", 253_402_300_799, 999_999_999, "9999-12-31T23:59:59.999999999Z"),
    ],
)
def test_instants_keep_their_nanoseconds(text: str, seconds: int, nanos: int, written: str) -> None:
    """RFC 3339 text with any offset is an instant, and is written in UTC."""
    literal = read(DATETIME, text)
    assert literal.scalar.primitive.datetime.seconds == seconds
    assert literal.scalar.primitive.datetime.nanos == nanos
    assert write(DATETIME, literal) == written


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("2024-05-01T12:00:00", 'without an offset; end it with "Z"'),
        ("2024-02-30T12:00:00Z", "day"),
        ("0001-01-01T00:00:00+01:00", "expected DATETIME"),
        ("9999-12-31T23:59:59-01:00", "expected DATETIME"),
        ("yesterday", 'got STRING "yesterday"'),
        (1_714_564_800, "got INTEGER 1714564800"),
    ],
)
def test_what_is_not_an_instant_is_refused(value: Any, message: str) -> None:
    """Local times, impossible days and years beyond the range all say what is wrong."""
    found = refusal(DATETIME, value)
    assert found.startswith("inputs.x: ")
    assert message in found


@pytest.mark.parametrize(
    ("text", "seconds", "nanos", "written"),
    [
        ("1.5s", 1, 500_000_000, "1.500s"),
        ("-0.000000001s", 0, -1, "-0.000000001s"),
        ("315576000000s", 315_576_000_000, 0, "315576000000s"),
        ("0s", 0, 0, "0s"),
    ],
)
def test_spans_of_time_keep_their_nanoseconds(text: str, seconds: int, nanos: int, written: str) -> None:
    """Seconds with up to nine digits of fraction, either way."""
    literal = read(DURATION, text)
    assert literal.scalar.primitive.duration.seconds == seconds
    assert literal.scalar.primitive.duration.nanos == nanos
    assert write(DURATION, literal) == written


@pytest.mark.parametrize("value", ["1.5", "s", "PT1S", 1.5, "315576000001s", "1.0000000001s"])
def test_what_is_not_a_span_of_time_is_refused(value: Any) -> None:
    """A number without a unit could be anything, and no digit is dropped."""
    assert "inputs.x: expected DURATION" in refusal(DURATION, value)


def test_bytes_are_base64() -> None:
    """Bytes travel as base64 text, and come back the same."""
    data = bytes(range(256))
    text = base64.b64encode(data).decode()
    literal = read(BINARY, text)
    assert literal.scalar.binary == literals_pb2.Binary(value=data)
    assert write(BINARY, literal) == text


def test_a_tag_of_bytes_is_kept() -> None:
    """Bytes in a known encoding say so beside them."""
    written = {"value": "AQI=", "tag": "avro"}
    literal = read(BINARY, written)
    assert literal.scalar.binary == literals_pb2.Binary(value=b"\1\2", tag="avro")
    assert write(BINARY, literal) == written


@pytest.mark.parametrize("value", ["a", "a*==", [1, 2], 5])
def test_what_is_not_base64_is_refused(value: Any) -> None:
    """No character is skipped."""
    assert "inputs.x: expected BINARY" in refusal(BINARY, value)


def test_enums_are_checked() -> None:
    """Only the strings of the set are values; the message lists them."""
    colors = make.enum_of("red", "green")
    assert read(colors, "red") == make.primitive(string_value="red")
    assert refusal(colors, "blue") == 'inputs.x: expected one of "red", "green", got STRING "blue"'


def test_nothing_is_null() -> None:
    """NONE is null, and null only."""
    literal = read(NONE, None)
    assert literal == make.scalar(none_type=literals_pb2.Void())
    assert write(NONE, literal) is None
    assert "expected NONE" in refusal(NONE, 0)


def test_booleans_and_strings_are_not_converted() -> None:
    """Neither is guessed from what looks like it."""
    assert read(BOOLEAN, value=True) == make.primitive(boolean=True)
    assert "got INTEGER 1" in refusal(BOOLEAN, 1)
    assert "got INTEGER 1" in refusal(STRING, 1)
    assert "a lone surrogate" in refusal(STRING, "\ud800")


def test_blobs_are_uris() -> None:
    """A blob gets the format and dimensionality of its type; another format is written beside the URI."""
    blob_type = make.blob_of("csv")
    literal = read(blob_type, {"uri": "s3://bucket/a.csv"})
    assert literal.scalar.blob.uri == "s3://bucket/a.csv"
    assert literal.scalar.blob.metadata.type == blob_type.blob
    assert write(blob_type, literal) == {"uri": "s3://bucket/a.csv"}
    anything = make.blob_of("")
    assert write(anything, read(anything, {"uri": "u", "format": "png"})) == {"uri": "u", "format": "png"}


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("s3://bucket/a.csv", 'inputs.x: expected BLOB csv, got STRING "s3://bucket/a.csv"; give it as {"uri": "..."}'),
        ({"url": "u"}, 'inputs.x.url: no field has this name; did you mean "uri"?'),
        ({"uri": ""}, "inputs.x: the URI is empty"),
        ({"uri": 5}, "inputs.x.uri: expected STRING"),
    ],
)
def test_what_is_not_a_blob_is_refused(value: Any, message: str) -> None:
    """The message shows how a blob is given."""
    assert refusal(make.blob_of("csv"), value) == message


def test_tables_are_uris() -> None:
    """Structured datasets and schemas are named by where they are."""
    dataset_type = make.dataset_of("parquet", {"a": INTEGER})
    dataset = read(dataset_type, {"uri": "s3://table"})
    assert dataset.scalar.structured_dataset.metadata.structured_dataset_type == dataset_type.structured_dataset_type
    assert write(dataset_type, dataset) == {"uri": "s3://table"}
    schema_type = types_pb2.LiteralType(schema=types_pb2.SchemaType())
    schema = read(schema_type, {"uri": "s3://table"})
    assert schema.scalar.schema.uri == "s3://table"
    assert write(schema_type, schema) == {"uri": "s3://table"}


def union_arm(literal: literals_pb2.Literal) -> tuple[types_pb2.LiteralType, literals_pb2.Literal]:
    return literal.scalar.union.type, literal.scalar.union.value


@pytest.mark.parametrize(
    ("value", "variant", "expected"),
    [
        (None, NONE, make.scalar(none_type=literals_pb2.Void())),
        (True, BOOLEAN, make.primitive(boolean=True)),
        (5, INTEGER, make.primitive(integer=5)),
        (5.0, INTEGER, make.primitive(integer=5)),
        (0.5, FLOAT, make.primitive(float_value=0.5)),
        ("5", STRING, make.primitive(string_value="5")),
        ("NaN", STRING, make.primitive(string_value="NaN")),
    ],
)
def test_a_bare_value_finds_its_variant(
    value: Any, variant: types_pb2.LiteralType, expected: literals_pb2.Literal
) -> None:
    """Null is nothing, a whole number an integer before a float, and a string a string before a number."""
    for variants in ([FLOAT, STRING, INTEGER, BOOLEAN, NONE], [NONE, BOOLEAN, INTEGER, STRING, FLOAT]):
        assert union_arm(read(make.union_of(*variants), value)) == (variant, expected)


def test_a_bare_value_that_several_variants_take_has_to_say_which() -> None:
    """Nothing is guessed between a string and an instant; the message shows how to choose, and choosing works."""
    either = make.union_of(STRING, DATETIME)
    text = "2024-05-01T12:00:00Z"
    assert refusal(either, text) == (
        f'inputs.x: STRING "{text}" may be any of "STRING", "DATETIME"; say which: {{"type": "STRING", "value": ...}}'
    )
    chosen = {"type": "DATETIME", "value": text}
    literal = read(either, chosen)
    assert union_arm(literal)[0] == DATETIME
    assert write(either, literal) == chosen
    assert write(either, read(either, "tomorrow")) == "tomorrow"


def test_a_float_that_is_whole_stays_a_float_in_a_union() -> None:
    """It would be read back as the integer, so its variant is written."""
    either = make.union_of(INTEGER, FLOAT)
    whole = make.scalar(union=literals_pb2.Union(value=make.primitive(float_value=5), type=FLOAT))
    written = write(either, whole)
    assert written == {"type": "FLOAT", "value": 5.0}
    assert read(either, written) == whole


def test_an_optional_value_tells_what_is_wrong_with_it() -> None:
    """Where only one variant is something, its complaint is the message."""
    optional = make.union_of(make.list_of(INTEGER), NONE)
    assert refusal(optional, [1, "x"]) == 'inputs.x[1]: expected INTEGER, got STRING "x"'
    several = make.union_of(make.list_of(INTEGER), STRING, NONE)
    assert refusal(several, 5) == "inputs.x: expected union of list of INTEGER, STRING, NONE, got INTEGER 5"


def test_a_record_becomes_msgpack_by_the_types_of_its_fields() -> None:
    """Integers stay integers, whatever JSON writes them as, and bytes are bytes."""
    record = make.record_of({"count": INTEGER, "rate": FLOAT, "data": BINARY, "tags": make.list_of(STRING)})
    value = {"count": "9007199254740993", "rate": 1, "data": "AQI=", "tags": ["a"]}
    literal = read(record, value)
    assert literal.scalar.binary.tag == "msgpack"
    unpacked = msgpack.unpackb(literal.scalar.binary.value)
    assert unpacked == {"count": 2**53 + 1, "rate": 1.0, "data": b"\1\2", "tags": ["a"]}
    assert type(unpacked["rate"]) is float
    assert write(record, literal) == {"count": "9007199254740993", "rate": 1.0, "data": "AQI=", "tags": ["a"]}


def test_a_record_without_named_fields_keeps_what_json_says() -> None:
    """Whole numbers are integers in it, and it comes back equal."""
    value = {"a": [1, 2.5, None, True, {"b": "ü"}], "c": {}}
    literal = read(STRUCT, {"a": [1.0, 2.5, None, True, {"b": "ü"}], "c": {}})
    assert write(STRUCT, literal) == value
    assert type(write(STRUCT, literal)["a"][0]) is int
    assert "expected STRUCT" in refusal(STRUCT, [])


def test_a_struct_literal_of_another_sdk_is_written_too() -> None:
    """The older encoding of records reads the same."""
    generic = struct_pb2.Struct()
    generic.update({"a": 1, "b": [True, None]})
    assert write(STRUCT, make.scalar(generic=generic)) == {"a": 1, "b": [True, None]}


def test_nested_values_and_paths() -> None:
    """Every problem of every input is reported, each with where it is."""
    declared = variables(
        config=make.record_of({"items": make.list_of(make.record_of({"rate": FLOAT}))}),
        labels=make.map_of(INTEGER),
        count=INTEGER,
    )
    with pytest.raises(ConversionError) as caught:
        literal_map_from_json(
            {
                "config": {"items": [{"rate": 1}, {"rate": "0.1"}, {}, {"rate": 2, "ratio": 3}]},
                "labels": {"fine": 1, "a b": 0.5},
                "cuont": 5,
            },
            declared,
        )
    assert list(map(str, caught.value.problems)) == [
        'inputs.config.items[1].rate: expected FLOAT, got STRING "0.1"',
        "inputs.config.items[2].rate: is missing",
        'inputs.config.items[3].ratio: no field has this name; did you mean "rate"?',
        'inputs.labels["a b"]: expected INTEGER, got FLOAT 0.5',
        'inputs.cuont: no input has this name; did you mean "count"?',
    ]


def test_only_so_many_problems_are_shown() -> None:
    """After twenty, the text only counts the rest."""
    with pytest.raises(ConversionError) as caught:
        literal_map_from_json({"x": ["no"] * 30}, variables(x=make.list_of(INTEGER)), root="outputs")
    assert [problem.path for problem in caught.value.problems] == [f"outputs.x[{index}]" for index in range(30)]
    lines = str(caught.value).splitlines()
    assert len(lines) == 21
    assert lines[0].startswith("outputs.x[0]: ")
    assert lines[-1] == "and 10 more"


def test_missing_inputs_are_left_to_the_checker() -> None:
    """Converting does not know what may be left out."""
    declared = variables(x=INTEGER, y=STRING)
    literals = literal_map_from_json({"x": 1}, declared)
    assert list(literals.literals) == ["x"]
    assert list(map(str, InterfaceChecker(declared).check(literals))) == ["inputs.y: is missing"]


def test_a_protobuf_struct_is_read_like_json() -> None:
    """Its numbers are all doubles, so whole ones are integers where integers are asked for."""
    struct = struct_pb2.Struct()
    struct.update({"count": 3, "rate": 3, "names": ["a"], "nothing": None})
    declared = variables(count=INTEGER, rate=FLOAT, names=make.list_of(STRING), nothing=NONE)
    assert literal_map_to_json(literal_map_from_json(struct, declared), declared) == {
        "count": 3,
        "rate": 3.0,
        "names": ["a"],
        "nothing": None,
    }


def test_a_literal_of_another_type_is_not_written() -> None:
    """What is stored is checked against its type before a person reads it."""
    with pytest.raises(ConversionError, match=r'^outputs\.x: expected INTEGER, got STRING "a"$'):
        write(INTEGER, make.primitive(string_value="a"))


def test_an_offloaded_literal_is_written_as_where_it_is() -> None:
    """The value itself is not fetched."""
    offloaded = literals_pb2.LiteralOffloadedMetadata(uri="s3://big", size_bytes=2**40, inferred_type=INTEGER)
    written = write(INTEGER, literals_pb2.Literal(offloaded_metadata=offloaded))
    assert written == {"offloaded_uri": "s3://big", "size_bytes": "1099511627776"}
