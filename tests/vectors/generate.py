"""Writes the vectors that pin digests and assignability for other languages: `python tests/vectors/generate.py`.

Cases may be added. If a case changes, so do the keys of caches, which takes a new prefix (`v2:`) and not a new file.
"""

from __future__ import annotations

import base64
import json
import math
import sys
from pathlib import Path
from typing import Any

import msgpack  # type: ignore[import-untyped]  # It ships no stubs.
from google.protobuf import json_format, struct_pb2
from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp

FOLDER = Path(__file__).parent
sys.path.insert(0, str(FOLDER.parent))

import type_strategies as make  # noqa: E402 it lies beside the folder
from lacewing.types import digest_literal, digest_literal_map, explain_mismatch  # noqa: E402 as above
from lacewing.types._digest import canonical_literal  # noqa: E402 as above
from lacewing.v1 import literals_pb2, types_pb2  # noqa: E402 as above

Literal = literals_pb2.Literal


def record(value: Any) -> Literal:
    """Return a msgpack record."""
    return make.scalar(binary=literals_pb2.Binary(value=msgpack.packb(value), tag="msgpack"))


def generic(value: dict[str, Any]) -> Literal:
    """Return a `Struct` record."""
    struct = struct_pb2.Struct()
    struct.update(value)
    return make.scalar(generic=struct)


def union(value: Literal, literal_type: types_pb2.LiteralType, tag: str = "") -> Literal:
    """Return a union literal."""
    declared = types_pb2.LiteralType()
    declared.CopyFrom(literal_type)
    if tag:
        declared.structure.tag = tag
    return make.scalar(union=literals_pb2.Union(value=value, type=declared))


def list_of(*items: Literal) -> Literal:
    """Return a list literal."""
    return Literal(collection=literals_pb2.LiteralCollection(literals=items))


def map_of(**values: Literal) -> Literal:
    """Return a map literal."""
    return Literal(map=literals_pb2.LiteralMap(literals=values))


def hashed(literal: Literal, text: str) -> Literal:
    """Return a literal with a hash of its own."""
    literal.hash = text
    return literal


def dataset() -> Literal:
    """Return a table."""
    dataset_type = make.dataset_of("parquet", {"id": make.simple("INTEGER")}).structured_dataset_type
    metadata = literals_pb2.StructuredDatasetMetadata(structured_dataset_type=dataset_type)
    return make.scalar(structured_dataset=literals_pb2.StructuredDataset(uri="s3://b/t", metadata=metadata))


def literal_cases() -> dict[str, Literal]:
    """Return literals by what they show."""
    number = make.primitive(integer=5)
    blob_type = make.blob_of("csv", 1).blob
    offloaded = literals_pb2.LiteralOffloadedMetadata(
        uri="s3://b/k", size_bytes=12, inferred_type=make.list_of(make.simple("STRING"))
    )
    return {
        "none": make.scalar(none_type=literals_pb2.Void()),
        "integer": number,
        "integer zero": make.primitive(integer=0),
        "integer least": make.primitive(integer=-(2**63)),
        "float": make.primitive(float_value=1.5),
        "float zero": make.primitive(float_value=0.0),
        "float minus zero is zero": make.primitive(float_value=-0.0),
        "float not a number": make.primitive(float_value=math.nan),
        "float infinity": make.primitive(float_value=math.inf),
        "string": make.primitive(string_value="grün 🦋"),
        "string of 4096 bytes": make.primitive(string_value="a" * 4096),
        "string of 4097 bytes is digested first": make.primitive(string_value="a" * 4097),
        "true": make.primitive(boolean=True),
        "false": make.primitive(boolean=False),
        "instant": make.primitive(datetime=Timestamp(seconds=-1, nanos=999_999_999)),
        "span of time": make.primitive(duration=Duration(seconds=-1, nanos=-500_000_000)),
        "bytes": make.scalar(binary=literals_pb2.Binary(value=b"\x00\xff")),
        "bytes with a tag": make.scalar(binary=literals_pb2.Binary(value=b"\x00\xff", tag="avro")),
        "record": record({"b": 1, "a": [1.0, None, True, "x", b"y", -0.0], "ä": {"z": 1, "y": 2**64 - 1}}),
        "record with keys in another order": record(
            {"ä": {"y": 2**64 - 1, "z": 1}, "a": [1.0, None, True, "x", b"y", 0.0], "b": 1}
        ),
        "record as a Struct: whole numbers are integers": generic({"n": 3.0, "x": 1.5, "big": 2.0**60}),
        "the same record as msgpack": record({"n": 3, "x": 1.5, "big": 2.0**60}),
        "record with keys that are not strings": record({2: "two", "2": "text", b"2": "bytes", None: 0}),
        "record that is not msgpack is opaque": make.scalar(binary=literals_pb2.Binary(value=b"\xc1", tag="msgpack")),
        "blob": make.scalar(blob=literals_pb2.Blob(uri="s3://b/d", metadata=literals_pb2.BlobMetadata(type=blob_type))),
        "table": dataset(),
        "schema": make.scalar(schema=literals_pb2.Schema(uri="s3://b/s")),
        "error": make.scalar(error=literals_pb2.Error(failed_node_id="n0", message="no")),
        "union of a simple type is its value": union(number, make.simple("INTEGER"), "int"),
        "union with a tag of its own": union(number, make.simple("INTEGER"), "UserId"),
        "union of a list": union(list_of(number), make.list_of(make.simple("INTEGER")), "Typed List"),
        "list": list_of(number, make.primitive(string_value="5")),
        "list empty": list_of(),
        "map": map_of(b=number, a=list_of(), ab=number),
        "hash stands for the value": hashed(make.primitive(integer=6), "abc"),
        "offloaded": Literal(offloaded_metadata=offloaded),
        # The identity that `literals.proto` asks for: here that of the string "large", whatever the URI.
        "offloaded with the digest of its value": hashed(
            Literal(offloaded_metadata=offloaded), f"v1:{digest_literal(make.primitive(string_value='large')).hex()}"
        ),
        "no value": Literal(),
    }


def digest_vectors() -> list[dict[str, Any]]:
    """Return one vector per case: the literal as the only entry `x` of a map."""
    vectors = []
    for name, literal in literal_cases().items():
        literals = literals_pb2.LiteralMap(literals={"x": literal})
        canonical = canonical_literal(literal)
        vectors.append(
            {
                "name": name,
                "literal_map": json_format.MessageToDict(literals),
                "wire": base64.b64encode(literals.SerializeToString(deterministic=True)).decode(),
                "canonical_literal": canonical.hex() if len(canonical) < 400 else None,
                "digest": digest_literal_map(literals).hex(),
            }
        )
    empty = literals_pb2.LiteralMap()
    vectors.append({"name": "empty map", "literal_map": {}, "wire": "", "digest": digest_literal_map(empty).hex()})
    return vectors


def tagged(literal_type: types_pb2.LiteralType, tag: str) -> types_pb2.LiteralType:
    """Return a type with a tag."""
    result = types_pb2.LiteralType()
    result.CopyFrom(literal_type)
    result.structure.tag = tag
    return result


def assignable_cases() -> list[tuple[str, types_pb2.LiteralType, types_pb2.LiteralType]]:
    """Return pairs of types by what they show: the name, upstream, downstream."""
    none, integer, number = make.simple("NONE"), make.simple("INTEGER"), make.simple("FLOAT")
    string, struct = make.simple("STRING"), make.simple("STRUCT")
    color, optional = make.enum_of("red", "blue"), make.union_of(integer, none)
    config = make.record_of({"rate": number, "name": string})
    lenient = make.record_of({"rate": number, "name": string}, ["rate"])
    table = make.dataset_of("Parquet", {"a": integer, "b": string})
    schema = types_pb2.LiteralType(schema=types_pb2.SchemaType(columns=[types_pb2.SchemaType.SchemaColumn(name="a")]))
    return [
        ("integer to itself", integer, integer),
        ("integer to float", integer, number),
        ("integer to string", integer, string),
        ("none to none", none, none),
        ("none to integer", none, integer),
        ("enum to string", color, string),
        ("string to enum: the value decides", string, color),
        ("enum to itself", color, make.enum_of("red", "blue")),
        ("enum in another order", color, make.enum_of("blue", "red")),
        ("enum to more values", color, make.enum_of("red", "blue", "green")),
        ("same tag", tagged(string, "UUID"), tagged(string, "UUID")),
        ("other tag", tagged(string, "UUID"), tagged(string, "str")),
        ("tag to no tag", tagged(string, "UUID"), string),
        ("no tag to tag", string, tagged(string, "UUID")),
        ("list", make.list_of(integer), make.list_of(integer)),
        ("list of others", make.list_of(integer), make.list_of(number)),
        ("list of nothing fits any list", make.list_of(none), make.list_of(make.list_of(integer))),
        ("list to map", make.list_of(integer), make.map_of(integer)),
        ("map", make.map_of(color), make.map_of(string)),
        ("element to list", integer, make.list_of(integer)),
        ("record without fields to one with: the value decides", struct, config),
        ("record to one without fields", config, struct),
        ("record with a field more", make.record_of({"rate": number, "name": string, "n": integer}), config),
        ("record with a field less", make.record_of({"rate": number}), config),
        ("record with a field less that may be missing", make.record_of({"rate": number}), lenient),
        ("record with a field that may be missing", lenient, config),
        ("record with a field of another type", make.record_of({"rate": integer, "name": string}), config),
        ("blob", make.blob_of("csv"), make.blob_of("csv")),
        ("blob of another format", make.blob_of("csv"), make.blob_of("png")),
        ("blob to any format", make.blob_of("csv"), make.blob_of("")),
        ("blob of any format: the value decides", make.blob_of(""), make.blob_of("csv")),
        ("directory to file", make.blob_of("csv", 1), make.blob_of("csv", 0)),
        ("table to fewer columns", table, make.dataset_of("parquet", {"b": string})),
        ("table to more columns", make.dataset_of("parquet", {"b": string}), table),
        ("table of another format", table, make.dataset_of("csv", {})),
        ("table to a table of anything", table, make.dataset_of("", {})),
        ("table to schema", table, schema),
        ("csv table to schema", make.dataset_of("csv", {}), schema),
        ("schema to table", schema, make.dataset_of("", {})),
        ("none to table", none, table),
        ("none to schema", none, schema),
        ("value to optional", integer, optional),
        ("none to optional", none, optional),
        ("optional to value", optional, integer),
        ("optional to itself", optional, make.union_of(none, integer)),
        ("optional to a wider union", optional, make.union_of(string, none, integer)),
        ("union to a narrower one", make.union_of(string, none, integer), optional),
        ("union of enums to string", make.union_of(color, make.enum_of("x")), string),
        ("string to a union with an enum: the same type wins", string, make.union_of(color, string)),
        ("ambiguous", make.list_of(none), make.union_of(make.list_of(integer), make.list_of(string))),
        ("no variant", number, optional),
        ("no kind", types_pb2.LiteralType(), integer),
        ("to no kind", integer, types_pb2.LiteralType()),
    ]


def assignable_vectors() -> list[dict[str, Any]]:
    """Return one vector per pair; `reason` is for people and not part of the contract."""
    vectors = []
    for name, upstream, downstream in assignable_cases():
        reason = explain_mismatch(upstream, downstream)
        types = {side: json_format.MessageToDict(found) for side, found in (("from", upstream), ("to", downstream))}
        vectors.append({"name": name, **types, "assignable": reason is None, "reason": reason})
    return vectors


def rendered(vectors: list[dict[str, Any]]) -> str:
    """Return the text of a file of vectors, one per line."""
    lines = ",\n".join(json.dumps(vector, ensure_ascii=False, sort_keys=True) for vector in vectors)
    return f"[\n{lines}\n]\n"


FILES = {"digest.json": digest_vectors, "assignable.json": assignable_vectors}

if __name__ == "__main__":
    for file_name, vectors_of in FILES.items():
        (FOLDER / file_name).write_text(rendered(vectors_of()), encoding="utf-8")
