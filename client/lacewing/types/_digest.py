"""The canonical digest: one identity per value, whatever the language, map order or protobuf library that sent it.

A digest is SHA-256 over `v1:`, the kind of what is digested (`literal`, `literal_map`, `interface` or `message`), a
zero byte and the canonical encoding. How scalars, containers and messages are encoded is in `_canonical.py`; literals
are encoded by what they mean:

    h  string               a literal with `hash` set: the hash, and nothing else of it
    n  i f s T F            none, integer, float, string, boolean: as in `_canonical.py`
    t  int64 int32          an instant: seconds and nanoseconds
    d  int64 int32          a span of time: seconds and nanoseconds
    y  string bytes         opaque bytes: tag and value
    r  item                 a record, msgpack or `Struct`: its content with keys in order, so both encodings agree.
                            Whole numbers of a `Struct` up to 2^53 are integers. Bytes tagged `msgpack` that cannot
                            be read as such, or nest over 100 deep, are opaque bytes
    b  string int string    a blob: format, dimensionality, URI
    c  message string       a table (`Schema`): type, URI
    D  message string       a table (`StructuredDataset`): type, URI
    E  string string        an error: id of the failed node, message
    U  message literal      a union: declared type, value. If the declared type is simple but not STRUCT, and its tag is
                            empty or the usual one (`int`, `str`, ...), the union is encoded as its value alone: it
                            says no more than that, and clients that send the bare value share the key
    [  {                    a list; a map by name: as in `_canonical.py`
    o  string uint64 type   an offloaded literal: URI, size, type
    -                       a literal without a value

Types inside literals leave out `metadata` and `annotation`; `Literal.metadata` is left out too.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Collection
from functools import lru_cache
from typing import Any, assert_never

from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message

from lacewing.types import _canonical as canonical
from lacewing.types._msgpack import TAG, struct_tree, unpack
from lacewing.types._problem import ConversionError
from lacewing.types._tags import SIMPLE_TAGS
from lacewing.v1 import interface_pb2, literals_pb2, types_pb2

_time = struct.Struct(">cqi").pack

_CACHE_KEY_METADATA = "cache-key-metadata"
"""An annotation with this key is part of the identity of an interface, as in Flyte."""


def digest_literal(literal: literals_pb2.Literal) -> bytes:
    """Return the 32-byte digest of a literal."""
    return _digest("literal", canonical_literal(literal))


def digest_literal_map(literals: literals_pb2.LiteralMap, ignore: Collection[str] = ()) -> bytes:
    """Return the 32-byte digest of literals by name, such as the inputs of a task.

    Args:
        literals: The literals.
        ignore: Names that take no part, such as those of `TaskMetadata.cache_ignore_input_vars`.
    """
    out: list[bytes] = []
    _encode_map(literals, out, ignore)
    return _digest("literal_map", b"".join(out))


def digest_interface(interface: interface_pb2.TypedInterface) -> bytes:
    """Return the 32-byte digest of an interface.

    Left out is what does not decide which values fit: descriptions, `LiteralType.metadata`, and `annotation` unless
    it has the key `cache-key-metadata`. No inputs and empty inputs are the same; so are outputs.
    """
    out: list[bytes] = []
    _encoder.encode(interface, out, _is_cosmetic)
    return _digest("interface", b"".join(out))


def digest_message(message: Message, ignore: Collection[str] = ()) -> bytes:
    """Return the 32-byte digest of a message of any kind, such as a task spec.

    Literals inside count by what they mean, as in `digest_literal`. A field with presence that is set to its default
    differs from one that is not set, because the two may mean different things; except that maps of variables,
    interfaces, type structures and `Struct`s that are empty count as not set.

    Args:
        message: The message. Unknown fields take no part.
        ignore: Full names of fields that take no part, such as `lacewing.v1.TaskSpec.description`.
    """
    out: list[bytes] = []
    _encoder.encode(message, out, (lambda field, _: field.full_name in ignore) if ignore else None)
    return _digest("message", b"".join(out))


def canonical_literal(literal: literals_pb2.Literal) -> bytes:
    """Return the canonical encoding of a literal."""
    out: list[bytes] = []
    _encode_literal(literal, out)
    return b"".join(out)


def canonical_type(literal_type: types_pb2.LiteralType, *, tags: bool = True) -> bytes:
    """Return the canonical encoding of a type without metadata and annotations, and without tags if so asked."""
    out: list[bytes] = []
    _encoder.encode(literal_type, out, _is_cosmetic if tags else _is_cosmetic_or_tag)
    return b"".join(out)


def _digest(kind: str, encoding: bytes) -> bytes:
    return hashlib.sha256(b"v1:" + kind.encode() + b"\0" + encoding).digest()


def _is_cosmetic(field: FieldDescriptor, value: Any) -> bool:
    match field.full_name:
        case "lacewing.v1.LiteralType.metadata" | "lacewing.v1.Variable.description":
            return True
        case "lacewing.v1.LiteralType.annotation":
            return _CACHE_KEY_METADATA not in value.annotations.fields
        case _:
            return False


def _is_cosmetic_or_tag(field: FieldDescriptor, value: Any) -> bool:
    return field.full_name == "lacewing.v1.TypeStructure.tag" or _is_cosmetic(field, value)


def _encode_map(literals: literals_pb2.LiteralMap, out: list[bytes], ignore: Collection[str] = ()) -> None:
    by_name = literals.literals
    names = sorted(name for name in by_name if name not in ignore)
    out.append(canonical.count32(b"{", len(names)))
    for name in names:
        canonical.encode_text(name, out)
        _encode_literal(by_name[name], out)


def _encode_literal(literal: literals_pb2.Literal, out: list[bytes]) -> None:
    if literal.hash:
        out.append(b"h")
        canonical.encode_text(literal.hash, out)
        return
    match literal.WhichOneof("value"):
        case "scalar":
            _encode_scalar(literal.scalar, out)
        case "collection":
            items = literal.collection.literals
            out.append(canonical.count32(b"[", len(items)))
            for item in items:
                _encode_literal(item, out)
        case "map":
            _encode_map(literal.map, out)
        case "offloaded_metadata":
            offloaded = literal.offloaded_metadata
            out.append(b"o")
            canonical.encode_text(offloaded.uri, out)
            out.append(canonical.uint64(b"u", offloaded.size_bytes))
            _encode_type(offloaded.inferred_type, out)
        case None:
            out.append(b"-")
        case other:
            assert_never(other)


def _encode_scalar(scalar: literals_pb2.Scalar, out: list[bytes]) -> None:
    match scalar.WhichOneof("value"):
        case "primitive":
            _encode_primitive(scalar.primitive, out)
        case "none_type":
            out.append(b"n")
        case "union":
            if not says_no_more_than_its_value(scalar.union.type):
                out.append(b"U")
                _encode_type(scalar.union.type, out)
            _encode_literal(scalar.union.value, out)
        case "binary":
            _encode_binary(scalar.binary, out)
        case "generic":
            out.append(b"r")
            canonical.encode_tree(struct_tree(scalar.generic), out)
        case "blob":
            blob_type = scalar.blob.metadata.type
            out.append(b"b")
            canonical.encode_text(blob_type.format, out)
            canonical.encode_integer(blob_type.dimensionality, out)
            canonical.encode_text(scalar.blob.uri, out)
        case "schema":
            out.append(b"c")
            _encode_type(scalar.schema.type, out)
            canonical.encode_text(scalar.schema.uri, out)
        case "structured_dataset":
            out.append(b"D")
            _encode_type(scalar.structured_dataset.metadata.structured_dataset_type, out)
            canonical.encode_text(scalar.structured_dataset.uri, out)
        case "error":
            out.append(b"E")
            canonical.encode_text(scalar.error.failed_node_id, out)
            canonical.encode_text(scalar.error.message, out)
        case None:
            out.append(b"-")
        case other:
            assert_never(other)


def _encode_primitive(primitive: literals_pb2.Primitive, out: list[bytes]) -> None:
    match primitive.WhichOneof("value"):
        case "integer":
            out.append(canonical.int64(b"i", primitive.integer))
        case "float_value":
            canonical.encode_float(primitive.float_value, out)
        case "string_value":
            canonical.encode_text(primitive.string_value, out)
        case "boolean":
            out.append(b"T" if primitive.boolean else b"F")
        case "datetime":
            out.append(_time(b"t", primitive.datetime.seconds, primitive.datetime.nanos))
        case "duration":
            out.append(_time(b"d", primitive.duration.seconds, primitive.duration.nanos))
        case None:
            out.append(b"-")
        case other:
            assert_never(other)


def _encode_binary(binary: literals_pb2.Binary, out: list[bytes]) -> None:
    if binary.tag == TAG:
        record: list[bytes] = [b"r"]
        try:
            canonical.encode_tree(unpack(binary.value), record)
        except (ConversionError, canonical.NotCanonicalError):
            pass  # Not msgpack after all, so its bytes are all that is known of it.
        else:
            out.extend(record)
            return
    out.append(b"y")
    canonical.encode_text(binary.tag, out)
    canonical.encode_bytes(binary.value, out)


def says_no_more_than_its_value(literal_type: types_pb2.LiteralType) -> bool:
    """Return whether a union with this declared type is encoded as its value alone."""
    if literal_type.WhichOneof("type") != "simple" or literal_type.simple == types_pb2.SIMPLE_TYPE_STRUCT:
        return False
    tag = literal_type.structure.tag
    return not tag or tag == SIMPLE_TAGS.get(literal_type.simple)


def _encode_type(
    literal_type: types_pb2.LiteralType | types_pb2.SchemaType | types_pb2.StructuredDatasetType, out: list[bytes]
) -> None:
    # Few types are in use at a time, and each comes with every value, so what they encode to is remembered. It does
    # not depend on which of its serializations a type is remembered by.
    out.append(_encoded_type(literal_type.DESCRIPTOR.name, literal_type.SerializeToString()))


@lru_cache(maxsize=1024)
def _encoded_type(kind: str, serialized: bytes) -> bytes:
    message = getattr(types_pb2, kind).FromString(serialized)
    out: list[bytes] = []
    _encoder.encode(message, out, _is_cosmetic)
    return b"".join(out)


_encoder = canonical.MessageEncoder(
    special={"lacewing.v1.Literal": _encode_literal},
    absent_if_empty=frozenset(
        {
            "google.protobuf.Struct",
            "lacewing.v1.ParameterMap",
            "lacewing.v1.TypeStructure",
            "lacewing.v1.TypedInterface",
            "lacewing.v1.VariableMap",
        }
    ),
)
