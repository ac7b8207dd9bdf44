"""The difference of literals: nothing where they mean the same, and the very places where they do not."""

from __future__ import annotations

from typing import Any

import msgpack  # type: ignore[import-untyped]  # It ships no stubs.
import pytest
from google.protobuf import struct_pb2
from hypothesis import given
from hypothesis import strategies as st

import type_strategies as make
from lacewing.types import digest_literal_map, literal_map_differences
from lacewing.v1 import literals_pb2

LiteralMap = literals_pb2.LiteralMap

literals = make.definite_types().flatmap(make.literals_of)
hashed = st.builds(lambda literal, text: literals_pb2.Literal(scalar=literal.scalar, hash=text), literals, make.names)
records = make.trees.map(lambda tree: make.scalar(binary=literals_pb2.Binary(value=msgpack.packb(tree), tag="msgpack")))
odd = st.sampled_from(
    [
        literals_pb2.Literal(),
        make.scalar(),
        make.scalar(binary=literals_pb2.Binary(value=b"\xc1", tag="msgpack")),
        make.scalar(binary=literals_pb2.Binary(value=msgpack.packb({1: "a", 1.5: "b", b"1": "c"}), tag="msgpack")),
        make.scalar(binary=literals_pb2.Binary(value=msgpack.packb({1.0: "a"}), tag="msgpack")),
        make.scalar(generic=struct_pb2.Struct(fields={"a": struct_pb2.Value(number_value=1)})),
    ]
)
maps = st.dictionaries(make.identifiers, literals | records | hashed | odd, max_size=3).map(
    lambda each: LiteralMap(literals=each)
)


def record(tree: Any) -> literals_pb2.Literal:
    return make.scalar(binary=literals_pb2.Binary(value=msgpack.packb(tree), tag="msgpack"))


def differences(before: Any, after: Any) -> list[str]:
    first, second = (LiteralMap(literals={"o0": each}) for each in (before, after))
    return [str(each) for each in literal_map_differences(first, second)]


@make.thorough
@given(maps)
def test_nothing_differs_from_itself(literals: LiteralMap) -> None:
    """Also after a trip over the wire."""
    assert not list(literal_map_differences(literals, literals))
    assert not list(literal_map_differences(literals, LiteralMap.FromString(literals.SerializeToString())))


@make.thorough
@given(maps, maps)
def test_differences_and_digests_agree(before: LiteralMap, after: LiteralMap) -> None:
    """There is a difference exactly if the digests differ, in both directions alike; it shows two texts, bounded."""
    found = list(literal_map_differences(before, after))
    assert bool(found) == (digest_literal_map(before) != digest_literal_map(after))
    for each in found:
        assert each.path.startswith("outputs")
        assert each.before != each.after
        assert max(len(each.before), len(each.after)) <= 200
        assert len(each.path) <= 256
    back = list(literal_map_differences(after, before))
    assert [(each.path, each.after, each.before) for each in back] == [tuple(each) for each in found]


@make.thorough
@given(literals | records | odd, st.data())
def test_one_change_is_found_where_it_is(literal: literals_pb2.Literal, data: st.DataObject) -> None:
    """Of a list with one changed element exactly that element is shown."""
    other = make.primitive(string_value="another one")
    count = data.draw(st.integers(1, 4))
    at = data.draw(st.integers(0, count - 1))
    items = [literal] * count
    before = literals_pb2.Literal(collection=literals_pb2.LiteralCollection(literals=items))
    items[at] = other
    after = literals_pb2.Literal(collection=literals_pb2.LiteralCollection(literals=items))
    if digest_literal_map(LiteralMap(literals={"x": literal})) != digest_literal_map(LiteralMap(literals={"x": other})):
        (found,) = literal_map_differences(LiteralMap(literals={"x": before}), LiteralMap(literals={"x": after}))
        assert found.path == f"outputs.x[{at}]"


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        (make.primitive(integer=1), make.primitive(integer=2), "outputs.o0: INTEGER 1 ≠ INTEGER 2"),
        (make.primitive(integer=1), make.primitive(float_value=1), "outputs.o0: INTEGER 1 ≠ FLOAT 1.0"),
        (make.primitive(string_value="a"), make.scalar(none_type={}), 'outputs.o0: STRING "a" ≠ NONE'),
        (
            record({"items": [{"rate": 1}, {"rate": 1.5}]}),
            record({"items": [{"rate": 1}, {"rate": 1.7}]}),
            "outputs.o0.items[1].rate: FLOAT 1.5 ≠ FLOAT 1.7",
        ),
        (record({"a": 1}), record({"a": 1, "b c": [2]}), 'outputs.o0["b c"]: nothing ≠ a list of 1'),
        (record([1, 2]), record([1]), "outputs.o0[1]: INTEGER 2 ≠ nothing"),
        (
            make.primitive(string_value="x" * 1000 + "left"),
            make.primitive(string_value="x" * 1000 + "right"),
            f"outputs.o0: STRING of 1004: '…{'x' * 24}left' ≠ STRING of 1005: '…{'x' * 24}right'",
        ),
    ],
)
def test_what_a_difference_says(before: Any, after: Any, expected: str) -> None:
    """The path in the manner of all paths, and both values in words; of long texts the part where they differ."""
    assert differences(before, after) == [expected]


def test_what_is_not_shown_is_told_apart_by_its_digest() -> None:
    """Opaque bytes of equal length differ in their fingerprints."""
    pair = [make.scalar(binary=literals_pb2.Binary(value=value)) for value in (b"one", b"two")]
    (found,) = differences(*pair)
    assert found.count("BINARY of 3 bytes (sha256 ") == 2


def test_equal_meaning_in_two_encodings_is_no_difference() -> None:
    """A record as msgpack and as `Struct`, and a negative zero."""
    struct = struct_pb2.Struct()
    struct.update({"a": [1, "b"]})
    assert not differences(record({"a": [1, "b"]}), make.scalar(generic=struct))
    assert not differences(make.primitive(float_value=0.0), make.primitive(float_value=-0.0))
