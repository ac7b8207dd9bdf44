"""Records: STRUCT with named fields, and without."""

from __future__ import annotations

import base64
import math
from collections.abc import Mapping
from typing import Any

from lacewing.types._assign import admits_none, optional_fields
from lacewing.types._canonical import MAX_DEPTH
from lacewing.types._codecs._base import UNFIT, Codec, Form
from lacewing.types._codecs._simple import json_float_name, unicode_text
from lacewing.types._msgpack import SAFE_INTEGER, fill_record, is_record, record_tree, whole
from lacewing.types._problem import ConversionError, Gathering, field_segment, unknown_name
from lacewing.v1 import literals_pb2, types_pb2


class RecordCodec(Codec):
    """A STRUCT whose fields are known (`structure.dataclass_type`). Its plain value is a dict of those present."""

    def __init__(self, literal_type: types_pb2.LiteralType, fields: Mapping[str, Codec]) -> None:
        super().__init__(literal_type)
        self._fields = fields
        self._optional = optional_fields(literal_type)

    def fill(self, literal: literals_pb2.Literal, plain: Any) -> None:
        """Fill in a record, in msgpack."""
        fill_record(literal, self.write(plain, Form.MSGPACK))

    def read(self, value: Any, form: Form) -> dict[str, Any]:
        """Read a map of fields. One that is missing is nothing if its type admits that."""
        if not isinstance(value, dict):
            raise self._unreadable(value)
        plain: dict[str, Any] = {}
        gathering = Gathering()
        for name, field in self._fields.items():
            try:
                if name in value:
                    plain[name] = field.read(value[name], form)
                elif name not in self._optional:
                    plain[name] = self._missing(field)
            except ConversionError as error:
                gathering.add(field_segment(name), error)
        for name in value:
            if name not in self._fields:
                unknown = unknown_name("field", str(name), self._fields)
                gathering.add(field_segment(str(name)), ConversionError(unknown))
        gathering.finish()
        return plain

    @staticmethod
    def _missing(field: Codec) -> Any:
        if not admits_none(field.literal_type):
            raise ConversionError("is missing")
        return field.read(None, Form.MSGPACK)

    def write(self, plain: Any, form: Form) -> dict[str, Any]:
        """Write a map of fields."""
        return {name: self._fields[name].write(value, form) for name, value in plain.items()}

    def _check(self, literal: literals_pb2.Literal) -> bool:
        return self._plain(literal) is not UNFIT

    def _plain(self, literal: literals_pb2.Literal) -> Any:
        return self.read(record_tree(literal), Form.MSGPACK) if is_record(literal) else UNFIT


class TreeCodec(Codec):
    """A STRUCT whose fields are not known. Its plain value is a tree of plain objects."""

    def fill(self, literal: literals_pb2.Literal, plain: Any) -> None:
        """Fill in a tree, in msgpack, so that integers stay exact."""
        fill_record(literal, plain)

    def read(self, value: Any, form: Form) -> Any:
        """Read a tree; from JSON it must be an object, and whole numbers up to 2^53 are integers."""
        if form is Form.MSGPACK:
            return value
        if not isinstance(value, dict):
            raise self._unreadable(value)
        return _tree_of_json(value)

    def write(self, plain: Any, form: Form) -> Any:
        """Write a tree; to JSON bytes as base64 and integers beyond 2^53 as text, which is not read back as such."""
        return plain if form is Form.MSGPACK else _json_of_tree(plain)

    def _check(self, literal: literals_pb2.Literal) -> bool:
        return is_record(literal)

    def _plain(self, literal: literals_pb2.Literal) -> Any:
        return record_tree(literal) if is_record(literal) else UNFIT


def _tree_of_json(value: object, depth: int = 0) -> Any:
    if depth > MAX_DEPTH:
        raise ConversionError(f"nests more than {MAX_DEPTH} deep")
    match value:
        case float():
            return whole(value)
        case int() if not -(2**63) <= value < 2**64:
            raise ConversionError("holds an integer that does not fit 64 bits")
        case str():
            return unicode_text(value)
        case list():
            return [_tree_of_json(item, depth + 1) for item in value]
        case dict():
            return {unicode_text(key): _tree_of_json(item, depth + 1) for key, item in value.items()}
        case _:
            return value


def _json_of_tree(tree: object, depth: int = 0) -> Any:  # noqa: PLR0911 one arm per kind of value
    if depth > MAX_DEPTH:
        raise ConversionError(f"nests more than {MAX_DEPTH} deep")
    match tree:
        case None | bool() | str():
            return tree
        case int():
            return str(tree) if abs(tree) > SAFE_INTEGER else tree
        case float():
            return tree if math.isfinite(tree) else json_float_name(tree)
        case bytes():
            return base64.b64encode(tree).decode()
        case list():
            return [_json_of_tree(item, depth + 1) for item in tree]
        case dict():
            return {str(_json_of_tree(key)): _json_of_tree(item, depth + 1) for key, item in tree.items()}
        case _:  # An extension of msgpack, which JSON has no word for.
            return repr(tree)
