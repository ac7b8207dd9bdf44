from __future__ import annotations

import base64
import json
import random
from pathlib import Path
from typing import Any

import msgpack  # type: ignore[import-untyped]  # It ships no stubs.
import pytest
from google.protobuf import json_format
from google.protobuf.message import Message
from hypothesis import assume, given
from hypothesis import strategies as st

import type_strategies as make
from lacewing.types import digest_interface, digest_literal, digest_literal_map, digest_message
from lacewing.types._digest import canonical_literal
from lacewing.v1 import interface_pb2, literals_pb2, task_pb2, types_pb2

VECTORS: list[dict[str, Any]] = json.loads(
    (Path(__file__).parent.parent / "vectors" / "digest.json").read_text(encoding="utf-8")
)


@pytest.mark.parametrize("vector", VECTORS, ids=lambda vector: vector["name"])
def test_vector(vector: dict[str, Any]) -> None:
    """The digest of each vector is as published, from its wire bytes and from its JSON."""
    from_wire = literals_pb2.LiteralMap.FromString(base64.b64decode(vector["wire"]))
    from_json = json_format.ParseDict(vector["literal_map"], literals_pb2.LiteralMap())
    assert digest_literal_map(from_wire).hex() == vector["digest"]
    assert digest_literal_map(from_json).hex() == vector["digest"]
    if vector.get("canonical_literal"):
        assert canonical_literal(from_wire.literals["x"]).hex() == vector["canonical_literal"]


def reencoded(message: Message, rng: random.Random) -> bytes:
    """Return other wire bytes of the same message: fields and map entries in random order, an unknown field inside."""
    chunks = [b"\xc0\x3e\x01"]  # Field 1000, which no message has.
    for field, value in message.ListFields():
        if field.message_type is not None and field.message_type.GetOptions().map_entry:
            chunks.extend(_entry(field, message, key, rng) for key in value)
        elif field.message_type is not None:
            chunks.append(
                b"".join(
                    _delimited(field.number, reencoded(item, rng)) for item in (value if field.is_repeated else [value])
                )
            )
        else:
            alone = type(message)()
            if field.is_repeated:
                getattr(alone, field.name).extend(value)
            else:
                setattr(alone, field.name, value)
            chunks.append(alone.SerializeToString())
    rng.shuffle(chunks)
    return b"".join(chunks)


def _entry(field: Any, message: Message, key: Any, rng: random.Random) -> bytes:
    _, value_field = field.message_type.fields
    value = getattr(message, field.name)[key]
    parts = [_delimited(1, key.encode())]
    if value_field.message_type is not None:
        parts.append(_delimited(2, reencoded(value, rng)))
    else:
        parts.append(_delimited(2, value.encode()))
    rng.shuffle(parts)
    return _delimited(field.number, b"".join(parts))


def _delimited(number: int, data: bytes) -> bytes:
    return _varint(number << 3 | 2) + _varint(len(data)) + data


def _varint(value: int) -> bytes:
    out = bytearray()
    while value > 127:
        out.append(value & 127 | 128)
        value >>= 7
    out.append(value)
    return bytes(out)


typed_literals = make.definite_types().flatmap(lambda found: st.tuples(st.just(found), make.literals_of(found)))


@make.thorough
@given(typed_literals, st.randoms(use_true_random=False))
def test_wire_encoding_has_no_effect(
    pair: tuple[types_pb2.LiteralType, literals_pb2.Literal], rng: random.Random
) -> None:
    """The order of fields and of map entries on the wire, and unknown fields, have no effect on any digest."""
    literal_type, literal = pair
    again = literals_pb2.Literal.FromString(reencoded(literal, rng))
    assert digest_literal(again) == digest_literal(literal)
    assert digest_message(again) == digest_message(literal)
    interface = interface_pb2.TypedInterface(
        inputs=interface_pb2.VariableMap(
            variables={"a": interface_pb2.Variable(type=literal_type), "b": interface_pb2.Variable(type=literal_type)}
        )
    )
    same = interface_pb2.TypedInterface.FromString(reencoded(interface, rng))
    assert digest_interface(same) == digest_interface(interface)
    assert digest_message(same) == digest_message(interface)


@make.thorough
@given(make.trees, st.randoms(use_true_random=False))
def test_the_order_of_keys_in_a_record_has_no_effect(tree: dict[str, Any], rng: random.Random) -> None:
    """Records that hold the same have the same digest, however their keys are ordered at any level."""

    def shuffled(value: Any) -> Any:
        if isinstance(value, dict):
            entries = [(key, shuffled(part)) for key, part in value.items()]
            rng.shuffle(entries)
            return dict(entries)
        return [shuffled(part) for part in value] if isinstance(value, list) else value

    assert digest_literal(record(tree)) == digest_literal(record(shuffled(tree)))


@make.thorough
@given(typed_literals, typed_literals)
def test_different_values_have_different_digests(
    left: tuple[types_pb2.LiteralType, literals_pb2.Literal], right: tuple[types_pb2.LiteralType, literals_pb2.Literal]
) -> None:
    """Literals that differ in what they mean differ in their digest."""
    assume("union" not in str(left[1]) and "union" not in str(right[1]))
    same = normal_form(left[1]) == normal_form(right[1])
    assert (digest_literal(left[1]) == digest_literal(right[1])) == same


def normal_form(literal: literals_pb2.Literal) -> str:
    """Return the text of a literal after what the digest is to ignore was made equal, another way than the digest."""
    if literal.scalar.primitive.WhichOneof("value") == "float_value":
        number = literal.scalar.primitive.float_value
        return "nan" if number != number else f"float {number + 0.0!r}"  # noqa: PLR0124 only NaN differs from itself
    if literal.WhichOneof("value") == "collection":
        return f"list {[normal_form(item) for item in literal.collection.literals]}"
    if literal.WhichOneof("value") == "map":
        return f"map {sorted((key, normal_form(item)) for key, item in literal.map.literals.items())}"
    if literal.scalar.binary.tag == "msgpack":
        return f"record {normal_tree(msgpack.unpackb(literal.scalar.binary.value))}"
    return literal.SerializeToString(deterministic=True).hex()


def normal_tree(tree: Any) -> Any:
    """Return a tree with its keys in order and its numbers with their classes."""
    match tree:
        case dict():
            return sorted((key, normal_tree(value)) for key, value in tree.items())
        case list():
            return [normal_tree(value) for value in tree]
        case float():
            return f"float {tree + 0.0!r}"
        case _:
            return repr(tree)


def record(value: Any) -> literals_pb2.Literal:
    return make.scalar(binary=literals_pb2.Binary(value=msgpack.packb(value), tag="msgpack"))


def test_ignored_names_take_no_part() -> None:
    """The digest of a map without an input is that of the map in which it is ignored."""
    with_both = literals_pb2.LiteralMap(literals={"a": make.primitive(integer=1), "seed": make.primitive(integer=2)})
    without = literals_pb2.LiteralMap(literals={"a": make.primitive(integer=1)})
    assert digest_literal_map(with_both, ignore=["seed", "other"]) == digest_literal_map(without)
    assert digest_literal_map(with_both) != digest_literal_map(without)


def test_notes_of_the_producer_take_no_part() -> None:
    """`Literal.metadata` does not change what a literal is."""
    noted = make.primitive(integer=1)
    noted.metadata["by"] = "me"
    assert digest_literal(noted) == digest_literal(make.primitive(integer=1))


def test_a_hash_is_not_a_string() -> None:
    """A literal with a hash differs from the string of the same letters, and equals any literal with that hash."""
    left, right = make.primitive(integer=1), make.primitive(string_value="other")
    left.hash = right.hash = "abc"
    assert digest_literal(left) == digest_literal(right)
    assert digest_literal(left) != digest_literal(make.primitive(string_value="abc"))


@pytest.mark.parametrize("depth", [100, 101, 5000])
def test_hostile_records_have_a_digest(depth: int) -> None:
    """Bytes that nest deeper than anything reasonable are digested as bytes, and not refused by a stack overflow."""
    deep = make.scalar(binary=literals_pb2.Binary(value=b"\x91" * depth + b"\xc0", tag="msgpack"))
    assert canonical_literal(deep)[:1] == (b"r" if depth == 100 else b"y")
    assert len(digest_literal(deep)) == 32


def test_interface_leaves_out_what_decides_nothing() -> None:
    """Descriptions, metadata and annotations have no effect; tags, and annotations meant for cache keys, have."""

    def interface(**changes: Any) -> interface_pb2.TypedInterface:
        literal_type = make.list_of(make.simple("INTEGER"))
        inner = literal_type.collection_type
        if "metadata" in changes:
            inner.metadata.update({"note": changes["metadata"]})
        if "annotation" in changes:
            inner.annotation.annotations.update({changes["annotation"]: 1})
        if "tag" in changes:
            inner.structure.tag = changes["tag"]
        variable = interface_pb2.Variable(type=literal_type, description=changes.get("description", ""))
        return interface_pb2.TypedInterface(inputs=interface_pb2.VariableMap(variables={"x": variable}))

    plain = digest_interface(interface())
    assert digest_interface(interface(description="d", metadata="m", annotation="a")) == plain
    assert digest_interface(interface(tag="t")) != plain
    assert digest_interface(interface(annotation="cache-key-metadata")) != plain


def test_no_inputs_and_empty_inputs_are_the_same() -> None:
    """An interface with an empty map of variables says what one without says."""
    empty = interface_pb2.TypedInterface(inputs=interface_pb2.VariableMap(), outputs=interface_pb2.VariableMap())
    assert digest_interface(empty) == digest_interface(interface_pb2.TypedInterface())


def test_presence_counts_in_messages() -> None:
    """A message that is set to nothing may mean something else than one that is not set; an empty interface not."""
    spec = task_pb2.TaskSpec()
    present = task_pb2.TaskSpec(policy=task_pb2.TaskPolicy())
    assert digest_message(present) != digest_message(spec)
    assert digest_message(task_pb2.TaskSpec(default_inputs=interface_pb2.ParameterMap())) == digest_message(spec)


def test_fields_of_messages_can_be_ignored() -> None:
    """Fields are ignored by their full name, at any depth."""
    left = task_pb2.TaskSpec(description="one")
    left.template.type = "python-task"
    right = task_pb2.TaskSpec()
    right.template.type = "python-task"
    assert digest_message(left) != digest_message(right)
    assert digest_message(left, ignore=["lacewing.v1.TaskSpec.description"]) == digest_message(right)
    assert digest_message(left, ignore=["lacewing.v1.TaskTemplate.type"]) != digest_message(right)


def test_kinds_of_digests_are_apart() -> None:
    """The digest of a literal map is never that of the literal that holds it, or of it as a message."""
    literals = literals_pb2.LiteralMap()
    digests = {
        digest_literal_map(literals),
        digest_literal(literals_pb2.Literal(map=literals)),
        digest_message(literals),
        digest_interface(interface_pb2.TypedInterface()),
    }
    assert len(digests) == 4
