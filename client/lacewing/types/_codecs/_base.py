"""What a compiled type can do with values."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from enum import Enum
from typing import Any, Final, NamedTuple

from lacewing.types._assign import explain_mismatch
from lacewing.types._describe import describe_literal, describe_type, describe_value
from lacewing.types._problem import ConversionError
from lacewing.v1 import literals_pb2, types_pb2

PRIMITIVE_TYPES: Final[Mapping[str, types_pb2.SimpleType.ValueType]] = {
    "integer": types_pb2.SIMPLE_TYPE_INTEGER,
    "float_value": types_pb2.SIMPLE_TYPE_FLOAT,
    "string_value": types_pb2.SIMPLE_TYPE_STRING,
    "boolean": types_pb2.SIMPLE_TYPE_BOOLEAN,
    "datetime": types_pb2.SIMPLE_TYPE_DATETIME,
    "duration": types_pb2.SIMPLE_TYPE_DURATION,
}
"""The simple type of each kind of `Primitive`, by the name of its field."""


class Form(Enum):
    """How values are written where the notation does not say their type."""

    JSON = "json"
    """As people and other languages write them: base64 for bytes, strings for integers beyond 2^53."""
    MSGPACK = "msgpack"
    """As fields of a record: bytes and 64-bit integers as they are; what Flyte SDKs write is read too."""


class Arm(NamedTuple):
    """The plain value of a union: which variant, and its plain value."""

    variant: int
    value: Any


UNFIT: Final = object()
"""Says that a literal is not of the kind of a type; no plain value is this object."""


class Codec(ABC):
    """A type, compiled: checks literals, and turns values into plain ones and back.

    A plain value is the Python object in the middle of every conversion: int, float, str, bool, None, list and dict as
    they are; `Timestamp`, `Duration`, `Binary`, `Blob`, `Schema`, `StructuredDataset` and `Error` messages; a tree for
    a record without fields; `Arm` for a union.

    Every method raises ConversionError if a value does not have the type.
    """

    def __init__(self, literal_type: types_pb2.LiteralType) -> None:
        self.literal_type = literal_type

    def check(self, literal: literals_pb2.Literal) -> None:
        """Check that a literal has the type. An offloaded literal is checked by the type it claims."""
        if self._check(literal):
            return
        match literal.WhichOneof("value"):
            case "scalar" if literal.scalar.HasField("union"):
                self.check(literal.scalar.union.value)
            case "offloaded_metadata":
                reason = explain_mismatch(literal.offloaded_metadata.inferred_type, self.literal_type)
                if reason is not None:
                    raise ConversionError(f"the offloaded value does not fit: {reason}")
            case _:
                raise self._misfit(literal)

    def from_literal(self, literal: literals_pb2.Literal) -> Any:
        """Return the plain value of a literal, which must not be offloaded."""
        plain = self._plain(literal)
        if plain is not UNFIT:
            return plain
        match literal.WhichOneof("value"):
            case "scalar" if literal.scalar.HasField("union"):
                return self.from_literal(literal.scalar.union.value)
            case "offloaded_metadata":
                raise ConversionError(f"was offloaded to {literal.offloaded_metadata.uri} and has to be fetched first")
            case _:
                raise self._misfit(literal)

    def to_literal(self, plain: Any) -> literals_pb2.Literal:
        """Return the literal of a plain value of the type."""
        literal = literals_pb2.Literal()
        self.fill(literal, plain)
        return literal

    @abstractmethod
    def fill(self, literal: literals_pb2.Literal, plain: Any) -> None:
        """Make an empty literal that of a plain value, in its place: what is put into another message is copied."""

    @abstractmethod
    def read(self, value: Any, form: Form) -> Any:
        """Return the plain value of a value in a form."""

    @abstractmethod
    def write(self, plain: Any, form: Form) -> Any:
        """Return a plain value in a form."""

    @abstractmethod
    def _check(self, literal: literals_pb2.Literal) -> bool:
        """Return whether a literal is of the kind of the type, and raise for problems inside it."""

    @abstractmethod
    def _plain(self, literal: literals_pb2.Literal) -> Any:
        """Return the plain value of a literal, or UNFIT if it is not of the kind of the type."""

    def _misfit(self, literal: literals_pb2.Literal) -> ConversionError:
        return ConversionError(f"expected {describe_type(self.literal_type)}, got {describe_literal(literal)}")

    def _unreadable(self, value: object) -> ConversionError:
        return ConversionError(f"expected {describe_type(self.literal_type)}, got {describe_value(value)}")
