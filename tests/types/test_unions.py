from __future__ import annotations

import msgpack  # type: ignore[import-untyped]  # It ships no stubs.
import pytest

import type_strategies as make
from lacewing.types import compile_checker, converter_for, digest_literal
from lacewing.types._codecs import compile_type
from lacewing.v1 import literals_pb2, types_pb2

INTEGER, STRING, NONE = make.simple("INTEGER"), make.simple("STRING"), make.simple("NONE")
DURATION = make.simple("DURATION")


def blob(blob_format: str) -> literals_pb2.Literal:
    metadata = literals_pb2.BlobMetadata(type=make.blob_of(blob_format).blob)
    return make.scalar(blob=literals_pb2.Blob(uri="s3://b", metadata=metadata))


def union(value: literals_pb2.Literal, declared: types_pb2.LiteralType) -> literals_pb2.Literal:
    return make.scalar(union=literals_pb2.Union(value=value, type=declared))


def test_the_types_that_senders_declare_are_not_remembered_without_bound() -> None:
    """A sender that declares ever new types for a union makes no checker grow."""
    codec = compile_type(make.union_of(make.blob_of(""), NONE))
    for index in range(200):
        codec.check(union(blob(f"f{index}"), make.blob_of(f"f{index}")))
    assert len(vars(codec)["_known"]) <= 64


def test_a_union_inside_a_union_belongs_to_the_variants_one_by_one() -> None:
    """A literal that declares a union takes the variant of the value inside it."""
    inner = make.union_of(INTEGER, NONE)
    literal = union(union(make.primitive(integer=1), INTEGER), inner)
    assert compile_checker(make.union_of(STRING, INTEGER, NONE))(literal) == []
    assert [str(problem) for problem in compile_checker(make.union_of(STRING, NONE))(literal)] == [
        "the union literal declares a type that is not asked for: INTEGER is none of STRING, NONE"
    ]


def test_a_union_literal_of_another_sdk_needs_no_tags() -> None:
    """A variant declared without a tag, as other languages write it, is found by its type."""
    converter = converter_for(int | str | None)
    assert converter.to_python(union(make.primitive(integer=1), INTEGER)) == 1
    assert converter.to_python(union(make.primitive(string_value="x"), STRING)) == "x"


@pytest.mark.parametrize("value", [1, "x", None])
def test_a_bare_value_is_the_value_of_the_union(value: object) -> None:
    """A value sent bare is read as the value in its union, and has the same digest, so the same cache entry."""
    converter = converter_for(int | str | None)
    wrapped = converter.to_literal(value)
    bare = wrapped.scalar.union.value
    assert converter.to_python(bare) == value
    assert digest_literal(bare) == digest_literal(wrapped)


def test_different_variants_have_different_digests() -> None:
    """The text of an enum and the same text as a string are different values."""
    converter = converter_for(make.Color | str)
    assert digest_literal(converter.to_literal(make.Color.RED)) != digest_literal(converter.to_literal("red"))


def test_a_bare_string_is_a_string_before_it_is_an_enum() -> None:
    """The variant of the simple type of a bare value comes before others it would fit, whatever their order."""
    assert converter_for(make.Color | str).to_python(make.primitive(string_value="red")) == "red"
    assert converter_for(make.Color | int).to_python(make.primitive(string_value="red")) is make.Color.RED


@pytest.mark.parametrize("written", [1.5, "1.5s", "PT1.5S", "P0DT0H0M1.5S"])
def test_spans_of_time_as_other_sdks_write_them(written: object) -> None:
    """Inside a record a span of time is read in each form that an SDK writes."""
    packed = literals_pb2.Binary(value=msgpack.packb({"d": written}), tag="msgpack")
    plain = compile_type(make.record_of({"d": DURATION})).from_literal(make.scalar(binary=packed))
    assert (plain["d"].seconds, plain["d"].nanos) == (1, 500_000_000)


@pytest.mark.parametrize("written", ["P", "PT", "P1DT", "1.5", "1,5s", "PT1.5", "P9999999999999D", True, float("nan")])
def test_what_is_no_span_of_time(written: object) -> None:
    """Inside a record, too, a span of time has to be one."""
    packed = literals_pb2.Binary(value=msgpack.packb({"d": written}), tag="msgpack")
    problems = compile_checker(make.record_of({"d": DURATION}))(make.scalar(binary=packed))
    assert [problem.path for problem in problems] == [".d"]
