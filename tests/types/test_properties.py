from __future__ import annotations

import json
from typing import Any

from google.protobuf import struct_pb2
from hypothesis import assume, given, settings
from hypothesis import strategies as st

import type_strategies as make
from lacewing.types import (
    assignable,
    compile_checker,
    converter_for,
    digest_literal,
    explain_mismatch,
    literal_map_from_json,
    literal_map_to_json,
)
from lacewing.v1 import interface_pb2, literals_pb2, types_pb2


def one(literal_type: types_pb2.LiteralType) -> interface_pb2.VariableMap:
    return interface_pb2.VariableMap(variables={"x": interface_pb2.Variable(type=literal_type)})


@make.thorough
@given(make.definite_types().flatmap(lambda found: st.tuples(st.just(found), make.literals_of(found))))
def test_a_literal_of_a_type_checks_against_it(pair: tuple[types_pb2.LiteralType, literals_pb2.Literal]) -> None:
    """What is built to be a value of a type is accepted as one."""
    literal_type, literal = pair
    assert compile_checker(literal_type)(literal) == []


@make.thorough
@given(make.definite_types())
def test_every_type_fits_itself(literal_type: types_pb2.LiteralType) -> None:
    """Assignability is reflexive."""
    assert explain_mismatch(literal_type, literal_type) is None


@settings(make.thorough, max_examples=60)  # Drawing two types that fit takes most of the time of this folder.
@given(st.data())
def test_what_fits_as_a_type_fits_as_a_value(data: st.DataObject) -> None:
    """If a type fits another, every literal of the one checks as the other."""
    upstream = data.draw(make.definite_types(), label="upstream")
    downstream = data.draw(make.wider_types(upstream), label="downstream")
    assume(assignable(upstream, downstream))
    literal = data.draw(make.literals_of(upstream), label="literal")
    assert compile_checker(downstream)(literal) == []


@make.thorough
@given(make.definite_types().flatmap(lambda found: st.tuples(st.just(found), make.literals_of(found))))
def test_json_round_trip(pair: tuple[types_pb2.LiteralType, literals_pb2.Literal]) -> None:
    """A literal that went through JSON text is the same value."""
    literal_type, literal = pair
    given_map = literals_pb2.LiteralMap(literals={"x": literal})
    text = json.dumps(literal_map_to_json(given_map, one(literal_type)), allow_nan=False, sort_keys=True)
    back = literal_map_from_json(json.loads(text), one(literal_type))
    assert compile_checker(literal_type)(back.literals["x"]) == []
    assert json.dumps(literal_map_to_json(back, one(literal_type)), sort_keys=True) == text
    if "dataclass_type" not in str(literal_type):  # A record has more than one spelling of a span of time or a union.
        assert digest_literal(back.literals["x"]) == digest_literal(literal)


@make.thorough
@given(make.definite_types(unions=False).flatmap(lambda found: st.tuples(st.just(found), make.literals_of(found))))
def test_json_as_a_struct_is_the_same_as_json_as_text(
    pair: tuple[types_pb2.LiteralType, literals_pb2.Literal],
) -> None:
    """A `Struct`, whose numbers are all doubles, gives the literal that the text gives."""
    literal_type, literal = pair
    written = literal_map_to_json(literals_pb2.LiteralMap(literals={"x": literal}), one(literal_type))
    struct = struct_pb2.Struct()
    struct.update(written)
    from_struct = literal_map_from_json(struct, one(literal_type))
    from_text = literal_map_from_json(json.loads(json.dumps(written)), one(literal_type))
    assert digest_literal(from_struct.literals["x"]) == digest_literal(from_text.literals["x"])


def annotated_values(cases: st.SearchStrategy[make.Case]) -> st.SearchStrategy[tuple[Any, Any]]:
    return cases.flatmap(lambda case: st.tuples(st.just(case.annotation), case.values))


@make.thorough
@given(annotated_values(make.cases))
def test_python_round_trip(pair: tuple[Any, Any]) -> None:
    """A Python value becomes a literal of the type of its annotation, and comes back as the same value."""
    annotation, value = pair
    converter = converter_for(annotation)
    literal = converter.to_literal(value)
    assert compile_checker(converter.literal_type)(literal) == []
    back = converter.to_python(literals_pb2.Literal.FromString(literal.SerializeToString()))
    assert back == value
    assert type(back) is type(value)


@make.thorough
@given(annotated_values(make.typed_cases))
def test_python_through_json_round_trip(pair: tuple[Any, Any]) -> None:
    """A value written as JSON by its type, as another language would send it, is the same value in Python."""
    annotation, value = pair
    converter = converter_for(annotation)
    literals = literals_pb2.LiteralMap(literals={"x": converter.to_literal(value)})
    text = json.dumps(literal_map_to_json(literals, one(converter.literal_type)), allow_nan=False)
    back = literal_map_from_json(json.loads(text), one(converter.literal_type))
    assert converter.to_python(back.literals["x"]) == value
