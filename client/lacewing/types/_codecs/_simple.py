"""Numbers, strings, booleans, enums and nothing."""

from __future__ import annotations

import math
import re
from typing import Any

from lacewing.types._codecs._base import UNFIT, Codec, Form
from lacewing.types._msgpack import SAFE_INTEGER
from lacewing.types._problem import ConversionError
from lacewing.v1 import literals_pb2

_DIGITS = re.compile(r"-?[0-9]{1,20}")
_NOT_FINITE = {"NaN": math.nan, "Infinity": math.inf, "-Infinity": -math.inf}


def in_int64(number: int) -> bool:
    """Return whether an integer has at most 64 bits with its sign."""
    return -(2**63) <= number < 2**63


class NoneCodec(Codec):
    """NONE: nothing."""

    def fill(self, literal: literals_pb2.Literal, plain: Any) -> None:  # noqa: ARG002 there is only one value
        """Fill in nothing."""
        literal.scalar.none_type.SetInParent()

    def read(self, value: Any, form: Form) -> None:  # noqa: ARG002 both forms have it
        """Read null."""
        if value is not None:
            raise self._unreadable(value)

    def write(self, plain: Any, form: Form) -> None:
        """Write null."""

    def _check(self, literal: literals_pb2.Literal) -> bool:
        return literal.scalar.WhichOneof("value") == "none_type"

    def _plain(self, literal: literals_pb2.Literal) -> Any:
        return None if self._check(literal) else UNFIT


class PrimitiveCodec(Codec):
    """A value that one field of `Primitive` holds."""

    field: str

    def fill(self, literal: literals_pb2.Literal, plain: Any) -> None:
        setattr(literal.scalar.primitive, self.field, plain)

    def _check(self, literal: literals_pb2.Literal) -> bool:
        return literal.scalar.primitive.WhichOneof("value") == self.field

    def _plain(self, literal: literals_pb2.Literal) -> Any:
        primitive = literal.scalar.primitive
        return getattr(primitive, self.field) if primitive.WhichOneof("value") == self.field else UNFIT


class IntegerCodec(PrimitiveCodec):
    """INTEGER: int64."""

    field = "integer"

    def read(self, value: Any, form: Form) -> int:
        """Read an integer; from JSON also a whole number with a fraction of zero, and digits in a string."""
        if form is Form.JSON:
            value = _integer_of_json(value)
        if not isinstance(value, int) or isinstance(value, bool):
            raise self._unreadable(value)
        if not in_int64(value):
            raise ConversionError("expected INTEGER, got one that does not fit 64 bits")
        return value

    def write(self, plain: Any, form: Form) -> int | str:
        """Write an integer; to JSON as a string if it is beyond 2^53."""
        number: int = plain
        return str(number) if form is Form.JSON and abs(number) > SAFE_INTEGER else number


def _integer_of_json(value: object) -> object:
    match value:
        case str() if _DIGITS.fullmatch(value):
            return int(value)
        case float() if value.is_integer() and abs(value) > SAFE_INTEGER:
            raise ConversionError(
                f"expected INTEGER, got FLOAT {value}: beyond 2^53 a JSON number is not exact, give it as a string"
            )
        case float() if value.is_integer():
            return int(value)
        case _:
            return value


class FloatCodec(PrimitiveCodec):
    """FLOAT: a double."""

    field = "float_value"

    def read(self, value: Any, form: Form) -> float:
        """Read a number; from JSON also "NaN", "Infinity" and "-Infinity"."""
        if form is Form.JSON and isinstance(value, str) and value in _NOT_FINITE:
            return _NOT_FINITE[value]
        if not isinstance(value, int | float) or isinstance(value, bool):
            raise self._unreadable(value)
        try:
            return float(value)
        except OverflowError:
            raise ConversionError("expected FLOAT, got an INTEGER that is too large for one") from None

    def write(self, plain: Any, form: Form) -> float | str:
        """Write a number; to JSON what is not finite as a string."""
        number: float = plain
        return number if form is Form.MSGPACK or math.isfinite(number) else json_float_name(number)


def json_float_name(number: float) -> str:
    """Return the JSON string for a double that is not finite."""
    if math.isnan(number):
        return "NaN"
    return "Infinity" if number > 0 else "-Infinity"


class StringCodec(PrimitiveCodec):
    """STRING: Unicode text."""

    field = "string_value"

    def read(self, value: Any, form: Form) -> str:  # noqa: ARG002 both forms have it
        """Read a string."""
        if not isinstance(value, str):
            raise self._unreadable(value)
        return unicode_text(value)

    def write(self, plain: Any, form: Form) -> str:  # noqa: ARG002 both forms have it
        """Write a string."""
        text: str = plain
        return text


def unicode_text(text: str) -> str:
    """Return a string if it can be written as UTF-8.

    Raises:
        ConversionError: It holds a lone surrogate, which only an escape in JSON or a broken decoding produces.
    """
    if not text.isascii():
        try:
            text.encode()
        except UnicodeEncodeError as error:
            raise ConversionError(f"is not Unicode text: a lone surrogate at character {error.start}") from None
    return text


class BooleanCodec(PrimitiveCodec):
    """BOOLEAN: true or false."""

    field = "boolean"

    def read(self, value: Any, form: Form) -> bool:  # noqa: ARG002 both forms have it
        """Read true or false."""
        if not isinstance(value, bool):
            raise self._unreadable(value)
        return value

    def write(self, plain: Any, form: Form) -> bool:  # noqa: ARG002 both forms have it
        """Write true or false."""
        flag: bool = plain
        return flag


class EnumCodec(StringCodec):
    """A string out of a fixed set."""

    def read(self, value: Any, form: Form) -> str:
        """Read a string of the set."""
        text = super().read(value, form)
        if text not in self.literal_type.enum_type.values:
            raise self._unreadable(value)
        return text

    def _check(self, literal: literals_pb2.Literal) -> bool:
        return super()._check(literal) and literal.scalar.primitive.string_value in self.literal_type.enum_type.values

    def _plain(self, literal: literals_pb2.Literal) -> Any:
        return super()._plain(literal) if self._check(literal) else UNFIT
