"""Enums and `Literal[...]`: strings out of a fixed set."""

from __future__ import annotations

import enum
from collections.abc import Sequence
from typing import Any

from lacewing.types._codecs import compile_type
from lacewing.types._python._converter import Converter, expected
from lacewing.types._tags import ENUM_TAG
from lacewing.v1 import types_pb2


class EnumConverter(Converter):
    """A subclass of `enum.Enum`: by the values of its members if all are strings, else by their names."""

    tag = ENUM_TAG

    def __init__(self, enum_class: type[enum.Enum]) -> None:
        self.exact_type = enum_class
        by_value = all(isinstance(member.value, str) for member in enum_class)
        self._members = {str(member.value) if by_value else member.name: member for member in enum_class}
        self._strings = {member: string for string, member in self._members.items()}
        enum_type = types_pb2.EnumType(values=list(self._members))
        self.codec = compile_type(types_pb2.LiteralType(enum_type=enum_type))

    def to_plain(self, value: Any) -> str:
        """Return the string of a member."""
        if not isinstance(value, enum.Enum) or value not in self._strings:
            raise expected(self.exact_type, value)
        return self._strings[value]

    def from_plain(self, plain: str) -> enum.Enum:
        """Return the member of a string."""
        return self._members[plain]


class ChoiceConverter(Converter):
    """`Literal["a", "b"]`."""

    tag = "Literal"

    def __init__(self, annotation: object, strings: Sequence[str]) -> None:
        self._annotation = annotation
        self._strings = strings
        self.codec = compile_type(types_pb2.LiteralType(enum_type=types_pb2.EnumType(values=strings)))

    def to_plain(self, value: Any) -> str:
        """Require one of the strings."""
        if not isinstance(value, str) or value not in self._strings:
            raise expected(self._annotation, value)
        return str.__str__(value)

    def from_plain(self, plain: str) -> str:
        """Return the string."""
        return plain
