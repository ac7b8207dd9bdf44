"""The canonical encoding: bytes that depend on a value only, never on who serialized it or in which order.

Everything is one tag byte and what follows it. Numbers are big-endian. `text` below is a string in UTF-8 after its
length in bytes as an unsigned 32-bit number.

    n                       nothing
    T  F                    true, false
    i  int64                an integer
    u  uint64               an integer of 2^63 and more
    f  float64              a number; -0.0 is written as 0.0, every not-a-number as 7ff8000000000000
    s  text                 a string of at most 4096 bytes
    S  uint32 sha256        a longer string: its length in bytes and its digest, so that each byte is touched once
    x  length bytes         bytes, as for strings
    X  uint32 sha256        longer bytes
    [  uint32 items         a list: the number of items and each
    {  uint32 entries       a map: the number of entries, and for each the key and the value, ordered by the key: its
                            tag byte, then its content (UTF-8 bytes for strings)
    e  uint8 item           a msgpack extension: its code (as a signed byte) and its data as bytes
    M  fields uint32(0)     a protobuf message: for each field that is set, in order of numbers, the number as
                            uint32 and the value; repeated fields are lists, map fields maps, enums integers

The encodings of literals are in `_digest.py`. The vectors in `tests/vectors/digest.json` show each.
"""

from __future__ import annotations

import hashlib
import math
import struct
from collections.abc import Callable, Mapping
from typing import Any

from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message

from lacewing.types._msgpack import ExtType, Timestamp

LARGE = 4096
"""Strings and bytes above this size contribute their own digest instead of their content."""

MAX_DEPTH = 100
"""How deep a msgpack value may nest to be read by content; protobuf parsers have the same bound for messages."""


Ignore = Callable[[FieldDescriptor, Any], bool]
"""Says of a field and its value whether it is left out."""

int64 = struct.Struct(">cq").pack
uint64 = struct.Struct(">cQ").pack
float64 = struct.Struct(">cd").pack
count32 = struct.Struct(">cI").pack
_number32 = struct.Struct(">I").pack

_NAN = b"f\x7f\xf8\x00\x00\x00\x00\x00\x00"
_END = b"\0\0\0\0"


class NotCanonicalError(ValueError):
    """A msgpack value cannot be encoded by content: it nests too deep, or has a key that is not a scalar."""


def encode_text(text: str, out: list[bytes]) -> None:
    """Append a string."""
    _encode_sized(text.encode(), b"s", b"S", out)


def encode_bytes(data: bytes, out: list[bytes]) -> None:
    """Append bytes."""
    _encode_sized(data, b"x", b"X", out)


def _encode_sized(data: bytes, small: bytes, large: bytes, out: list[bytes]) -> None:
    if len(data) <= LARGE:
        out.append(count32(small, len(data)) + data)
    else:
        out.append(count32(large, len(data)) + hashlib.sha256(data).digest())


def encode_float(number: float, out: list[bytes]) -> None:
    """Append a double."""
    out.append(_NAN if math.isnan(number) else float64(b"f", number + 0.0))  # -0.0 + 0.0 is 0.0.


def encode_integer(number: int, out: list[bytes]) -> None:
    """Append an integer of at most 64 bits."""
    out.append(int64(b"i", number) if number < 2**63 else uint64(b"u", number))


def encode_tree(tree: object, out: list[bytes], depth: int = 0) -> None:
    """Append a tree of plain objects, such as the content of a record.

    Raises:
        NotCanonicalError: It nests more than 100 deep or has a key that is not a scalar.
    """
    match tree:
        case None:
            out.append(b"n")
        case bool():
            out.append(b"T" if tree else b"F")
        case int():
            encode_integer(tree, out)
        case float():
            encode_float(tree, out)
        case str():
            encode_text(tree, out)
        case bytes():
            encode_bytes(tree, out)
        case list() | dict() if depth >= MAX_DEPTH:
            raise NotCanonicalError(f"nests more than {MAX_DEPTH} deep")
        case list():
            out.append(count32(b"[", len(tree)))
            for item in tree:
                encode_tree(item, out, depth + 1)
        case dict():
            out.append(count32(b"{", len(tree)))
            for key in sorted(tree, key=_key_order):
                encode_tree(key, out)
                encode_tree(tree[key], out, depth + 1)
        case Timestamp():
            _encode_extension(-1, tree.to_bytes(), out)
        case ExtType():
            _encode_extension(tree.code, tree.data, out)
        case _:
            raise NotCanonicalError(f"holds a {type(tree).__name__}")


def _encode_extension(code: int, data: bytes, out: list[bytes]) -> None:
    out.append(b"e" + code.to_bytes(1, "big", signed=True))
    encode_bytes(data, out)


def _key_order(key: object) -> bytes:
    match key:
        case str():
            return b"s" + key.encode()
        case bytes():
            return b"x" + key
        case None | bool() | int() | float():
            out: list[bytes] = []
            encode_tree(key, out)
            return out[0]
        case _:
            raise NotCanonicalError(f"has a {type(key).__name__} as a key")


class MessageEncoder:
    """Encodes protobuf messages of any kind by their descriptors.

    Fields without presence that have their default value are not written, as on the wire; fields with presence are
    written if they are set. So two messages encode the same if and only if an application that knows all their fields
    cannot tell them apart. Unknown fields are not written.
    """

    def __init__(
        self,
        special: Mapping[str, Callable[[Any, list[bytes]], None]],
        absent_if_empty: frozenset[str],
    ) -> None:
        """Make an encoder.

        Args:
            special: Encoders for messages with rules of their own, by full name.
            absent_if_empty: Full names of messages of which an empty one means the same as none.
        """
        self._special = special
        self._absent_if_empty = absent_if_empty

    def encode(self, message: Message, out: list[bytes], ignore: Ignore | None = None) -> None:
        """Append a message without the fields for which `ignore`, given the field and its value, is true."""
        special = self._special.get(message.DESCRIPTOR.full_name)
        if special is not None:
            special(message, out)
            return
        out.append(b"M")
        for field, value in sorted(message.ListFields(), key=lambda entry: entry[0].number):
            if ignore is not None and ignore(field, value):
                continue
            encoded: list[bytes] = []
            self._encode_field(field, value, encoded, ignore)
            if self._is_empty(field, encoded):
                continue
            out.append(_number32(field.number))
            out.extend(encoded)
        out.append(_END)

    def _is_empty(self, field: FieldDescriptor, encoded: list[bytes]) -> bool:
        return (
            encoded == [b"M", _END]
            and field.containing_oneof is None
            and field.message_type is not None
            and field.message_type.full_name in self._absent_if_empty
        )

    def _encode_field(
        self,
        field: FieldDescriptor,
        value: Any,
        out: list[bytes],
        ignore: Ignore | None,
    ) -> None:
        if field.message_type is not None and field.message_type.GetOptions().map_entry:
            key_field, value_field = field.message_type.fields
            out.append(count32(b"{", len(value)))
            for key in sorted(value, key=_key_order):
                self._encode_value(key_field, key, out, ignore)
                self._encode_value(value_field, value[key], out, ignore)
        elif field.is_repeated:
            out.append(count32(b"[", len(value)))
            for item in value:
                self._encode_value(field, item, out, ignore)
        else:
            self._encode_value(field, value, out, ignore)

    def _encode_value(
        self,
        field: FieldDescriptor,
        value: Any,
        out: list[bytes],
        ignore: Ignore | None,
    ) -> None:
        if field.message_type is not None:
            self.encode(value, out, ignore)
        else:
            encode_tree(value, out)
