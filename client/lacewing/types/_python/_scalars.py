"""Numbers, strings, booleans, bytes, instants, spans of time, None, and what went wrong in a graph."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from typing import Any

from google.protobuf import duration_pb2, timestamp_pb2

from lacewing.types._codecs import EPOCH, NANOS, compile_type, duration_of_nanos, in_int64, unicode_text
from lacewing.types._problem import ConversionError
from lacewing.types._python._converter import Converter, expected
from lacewing.types._tags import SIMPLE_TAGS
from lacewing.v1 import literals_pb2, types_pb2


class _Scalar(Converter):
    simple: types_pb2.SimpleType.ValueType
    exact_type: type

    def __init__(self) -> None:
        self.codec = compile_type(types_pb2.LiteralType(simple=self.simple))
        self.tag = SIMPLE_TAGS[self.simple]

    def from_plain(self, plain: Any) -> Any:
        return plain


class _Int(_Scalar):
    simple = types_pb2.SIMPLE_TYPE_INTEGER
    exact_type = int

    def to_plain(self, value: Any) -> int:
        if not isinstance(value, int) or isinstance(value, bool):
            raise expected(int, value)
        if not in_int64(value):
            raise ConversionError("expected an int of at most 64 bits; a larger one can be given as a str")
        return int(value)


class _Float(_Scalar):
    simple = types_pb2.SIMPLE_TYPE_FLOAT
    exact_type = float

    def to_plain(self, value: Any) -> float:
        if not isinstance(value, int | float) or isinstance(value, bool):
            raise expected(float, value)
        try:
            return float(value)
        except OverflowError:
            raise ConversionError("expected float, got an int that is too large for one") from None


class _Str(_Scalar):
    simple = types_pb2.SIMPLE_TYPE_STRING
    exact_type = str

    def to_plain(self, value: Any) -> str:
        if not isinstance(value, str):
            raise expected(str, value)
        return unicode_text(str.__str__(value))  # The text itself, also of a member of an enum that is a str.


class _Bool(_Scalar):
    simple = types_pb2.SIMPLE_TYPE_BOOLEAN
    exact_type = bool

    def to_plain(self, value: Any) -> bool:
        if not isinstance(value, bool):
            raise expected(bool, value)
        return value


class _NoneType(_Scalar):
    simple = types_pb2.SIMPLE_TYPE_NONE
    exact_type = type(None)

    def to_plain(self, value: Any) -> None:
        if value is not None:
            raise expected(type(None), value)


class _Bytes(_Scalar):
    simple = types_pb2.SIMPLE_TYPE_BINARY
    exact_type = bytes

    def to_plain(self, value: Any) -> literals_pb2.Binary:
        if not isinstance(value, bytes):
            raise expected(bytes, value)
        return literals_pb2.Binary(value=value)

    def from_plain(self, plain: literals_pb2.Binary) -> bytes:
        return plain.value


class _Datetime(_Scalar):
    """Instants. They come back in UTC, and without what is less than a microsecond, which a datetime cannot hold."""

    simple = types_pb2.SIMPLE_TYPE_DATETIME
    exact_type = dt.datetime

    def to_plain(self, value: Any) -> timestamp_pb2.Timestamp:
        if not isinstance(value, dt.datetime):
            raise expected(dt.datetime, value)
        if value.utcoffset() is None:
            raise ConversionError(
                f"expected a datetime with a time zone, got {value.isoformat()} without; "
                "add one, such as value.replace(tzinfo=datetime.UTC) if it is in UTC"
            )
        since = value - EPOCH
        timestamp = timestamp_pb2.Timestamp(
            seconds=since.days * 86_400 + since.seconds, nanos=since.microseconds * 1_000
        )
        self.codec.check(self.codec.to_literal(timestamp))  # An offset may lead out of the years 1 to 9999.
        return timestamp

    def from_plain(self, plain: timestamp_pb2.Timestamp) -> dt.datetime:
        return EPOCH + dt.timedelta(seconds=plain.seconds, microseconds=plain.nanos // 1_000)


class _Timedelta(_Scalar):
    """Spans of time. They come back without what is less than a microsecond, which a timedelta cannot hold."""

    simple = types_pb2.SIMPLE_TYPE_DURATION
    exact_type = dt.timedelta

    def to_plain(self, value: Any) -> duration_pb2.Duration:
        if not isinstance(value, dt.timedelta):
            raise expected(dt.timedelta, value)
        return duration_of_nanos((value.days * 86_400 + value.seconds) * NANOS + value.microseconds * 1_000)

    def from_plain(self, plain: duration_pb2.Duration) -> dt.timedelta:
        sign = -1 if plain.nanos < 0 else 1
        return dt.timedelta(seconds=plain.seconds, microseconds=sign * (abs(plain.nanos) // 1_000))


@dataclass(frozen=True, slots=True)
class GraphFailure:
    """Why a graph failed, as its failure node is told: the type of the input `err`."""

    failed_node_id: str
    """The node that failed, by its id. Empty if the graph failed otherwise."""
    message: str
    """What went wrong, for a person to read."""


class _GraphFailure(Converter):
    exact_type = GraphFailure
    tag = "FlyteError"  # What Flyte's Python SDK calls it.

    def __init__(self) -> None:
        self.codec = compile_type(types_pb2.LiteralType(simple=types_pb2.SIMPLE_TYPE_ERROR))

    def to_plain(self, value: Any) -> literals_pb2.Error:
        if not isinstance(value, GraphFailure):
            raise expected(GraphFailure, value)
        return literals_pb2.Error(failed_node_id=value.failed_node_id, message=value.message)

    def from_plain(self, plain: literals_pb2.Error) -> GraphFailure:
        return GraphFailure(plain.failed_node_id, plain.message)


SCALARS: dict[type, Converter] = {
    scalar.exact_type: scalar
    for scalar in (_Int(), _Float(), _Str(), _Bool(), _NoneType(), _Bytes(), _Datetime(), _Timedelta(), _GraphFailure())
}
"""The converter of each class."""
