from __future__ import annotations

import contextlib
import json
from dataclasses import dataclass
from typing import Any

import msgpack  # type: ignore[import-untyped]  # It ships no stubs.
import pytest

import type_strategies as make
from lacewing.types import (
    ConversionError,
    InterfaceChecker,
    converter_for,
    digest_literal_map,
    literal_map_from_json,
    literal_map_to_json,
)
from lacewing.v1 import interface_pb2, literals_pb2

TREE = interface_pb2.VariableMap(variables={"x": interface_pb2.Variable(type=make.simple("STRUCT"))})


@dataclass
class Point:
    """A record."""

    x: int


def packed(data: bytes) -> literals_pb2.LiteralMap:
    literal = make.scalar(binary=literals_pb2.Binary(value=data, tag="msgpack"))
    return literals_pb2.LiteralMap(literals={"x": literal})


@pytest.mark.parametrize("depth", [101, 400, 1000, 100_000])
def test_deep_records_are_refused_and_not_a_stack_overflow(depth: int) -> None:
    """A record of any depth passes as opaque, has a digest, and is refused where it would have to be JSON."""
    literals = packed(b"\x91" * depth + b"\xc0")
    assert InterfaceChecker(TREE).check(literals) == []
    assert len(digest_literal_map(literals)) == 32
    with pytest.raises(ConversionError, match=r"nests more than 100 deep|is not msgpack"):
        literal_map_to_json(literals, TREE)


def test_deep_json_is_refused() -> None:
    """An object that nests over 100 deep is refused with its place."""
    value: dict[str, Any] = {}
    for _ in range(300):
        value = {"a": value}
    with pytest.raises(ConversionError, match=r"inputs\.x: nests more than 100 deep"):
        literal_map_from_json({"x": value}, TREE)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\xc1",
        b"\x91",
        b"\xa2\xff\xff",
        b"\xdf\xff\xff\xff\xff",
        b"\x81\x91\x01\x01",
        msgpack.packb(msgpack.ExtType(7, b"x")),
        msgpack.packb({"t": msgpack.Timestamp(1, 2), 1.5: [None]}),
        b"\x01\x02",
    ],
)
def test_any_bytes_are_answered(data: bytes) -> None:
    """Bytes that claim to be a record are never more than a refusal, and always have a digest."""
    literals = packed(data)
    assert len(digest_literal_map(literals)) == 32
    with contextlib.suppress(ConversionError):
        json.dumps(literal_map_to_json(literals, TREE), allow_nan=False)
    with pytest.raises(ConversionError):
        converter_for(Point).to_python(literals.literals["x"])


def test_an_enormous_integer_is_refused_without_being_printed() -> None:
    """A number of many digits in JSON is refused in a short message."""
    integer = interface_pb2.VariableMap(variables={"x": interface_pb2.Variable(type=make.simple("INTEGER"))})
    with pytest.raises(ConversionError) as caught:
        literal_map_from_json({"x": 10**5000}, integer)
    assert str(caught.value) == "inputs.x: expected INTEGER, got one that does not fit 64 bits"
    floating = interface_pb2.VariableMap(variables={"x": interface_pb2.Variable(type=make.simple("FLOAT"))})
    with pytest.raises(ConversionError, match="too large"):
        literal_map_from_json({"x": 10**5000}, floating)
    text = interface_pb2.VariableMap(variables={"x": interface_pb2.Variable(type=make.simple("STRING"))})
    with pytest.raises(ConversionError, match="an enormous INTEGER"):
        literal_map_from_json({"x": 10**5000}, text)
    with pytest.raises(ConversionError, match="expected str, got int"):
        converter_for(str).to_literal(10**5000)


def test_a_lone_surrogate_is_refused() -> None:
    r"""JSON can spell half a character ("\ud800"), which no message can hold."""
    text = interface_pb2.VariableMap(
        variables={
            "x": interface_pb2.Variable(type=make.simple("STRING")),
            "m": interface_pb2.Variable(type=make.map_of(make.simple("INTEGER"))),
            "t": interface_pb2.Variable(type=make.simple("STRUCT")),
        }
    )
    half = json.loads('"\\ud800"')
    with pytest.raises(ConversionError) as caught:
        literal_map_from_json({"x": half, "m": {half: 1}, "t": {"a": half}}, text)
    assert len(caught.value.problems) == 3
    with pytest.raises(ConversionError, match="lone surrogate"):
        converter_for(str).to_literal(half)
