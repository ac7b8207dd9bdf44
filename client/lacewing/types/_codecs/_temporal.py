"""Instants and spans of time."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import Any

from google.protobuf import duration_pb2, timestamp_pb2

from lacewing.types._codecs._base import UNFIT, Form
from lacewing.types._codecs._simple import PrimitiveCodec
from lacewing.types._problem import ConversionError
from lacewing.v1 import literals_pb2

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
NANOS = 1_000_000_000

_FIRST_SECOND = -62_135_596_800
_LAST_SECOND = 253_402_300_799
_LONGEST = 315_576_000_000

_INSTANT = re.compile(r"(\d{4}-\d\d-\d\d)[Tt ](\d\d:\d\d:\d\d)(?:\.(\d{1,9}))?([Zz]|[+-]\d\d:\d\d)?", re.ASCII)
_SPAN = re.compile(r"(-?)(\d{1,12})(?:\.(\d{1,9}))?s", re.ASCII)
_ISO_SPAN = re.compile(r"(-?)P(?:(\d+)W)?(?:(\d+)D)?(?:T(?:(\d+)H)?(?:(\d+)M)?(?:(\d+)(?:\.(\d{1,9}))?S)?)?", re.ASCII)


class _TemporalCodec(PrimitiveCodec):
    """A value that is a message itself."""

    def fill(self, literal: literals_pb2.Literal, plain: Any) -> None:
        getattr(literal.scalar.primitive, self.field).CopyFrom(plain)


class DatetimeCodec(_TemporalCodec):
    """DATETIME: an instant, `Timestamp`."""

    field = "datetime"

    def read(self, value: Any, form: Form) -> timestamp_pb2.Timestamp:
        """Read RFC 3339 text. In records an instant without an offset is in UTC, as Flyte SDKs write it."""
        found = _INSTANT.fullmatch(value) if isinstance(value, str) else None
        if found is None:
            raise self._unreadable(value)
        day, clock, fraction, offset = found.groups()
        if offset is None and form is Form.JSON:
            raise ConversionError(
                f'expected DATETIME, got "{value}" without an offset; end it with "Z" if it is in UTC'
            )
        try:
            instant = datetime.fromisoformat(f"{day}T{clock}{(offset or 'Z').upper()}")
        except ValueError as error:
            raise ConversionError(f'expected DATETIME, got "{value}": {error}') from None
        since = instant - EPOCH
        timestamp = timestamp_pb2.Timestamp(seconds=since.days * 86_400 + since.seconds, nanos=_nanos(fraction))
        _require_instant(timestamp)
        return timestamp

    def write(self, plain: Any, form: Form) -> str:  # noqa: ARG002 both forms have it
        """Write RFC 3339 text in UTC."""
        timestamp: timestamp_pb2.Timestamp = plain
        return timestamp.ToJsonString()

    def _check(self, literal: literals_pb2.Literal) -> bool:
        if not super()._check(literal):
            return False
        _require_instant(literal.scalar.primitive.datetime)
        return True

    def _plain(self, literal: literals_pb2.Literal) -> Any:
        return literal.scalar.primitive.datetime if self._check(literal) else UNFIT


class DurationCodec(_TemporalCodec):
    """DURATION: a span of time, `Duration`."""

    field = "duration"

    def read(self, value: Any, form: Form) -> duration_pb2.Duration:
        """Read text such as "1.5s". In records also a number of seconds and ISO 8601, as Flyte SDKs write it."""
        nanos = _nanos_of_text(value, form) if isinstance(value, str) else None
        if form is Form.MSGPACK and isinstance(value, int | float) and not isinstance(value, bool):
            nanos = _nanos_of_number(value)
        if nanos is None:
            raise self._unreadable(value)
        duration = duration_of_nanos(nanos)
        _require_span(duration)
        return duration

    def write(self, plain: Any, form: Form) -> float | str:
        """Write text such as "1.5s"; to records a number of seconds if that is exact."""
        duration: duration_pb2.Duration = plain
        nanos = duration.seconds * NANOS + duration.nanos
        if form is Form.MSGPACK and _nanos_of_number(nanos / NANOS) == nanos:
            return nanos / NANOS
        return duration.ToJsonString()

    def _check(self, literal: literals_pb2.Literal) -> bool:
        if not super()._check(literal):
            return False
        _require_span(literal.scalar.primitive.duration)
        return True

    def _plain(self, literal: literals_pb2.Literal) -> Any:
        return literal.scalar.primitive.duration if self._check(literal) else UNFIT


def duration_of_nanos(nanos: int) -> duration_pb2.Duration:
    """Return the span of a number of nanoseconds; seconds and nanos have the same sign."""
    seconds, rest = divmod(abs(nanos), NANOS)
    sign = -1 if nanos < 0 else 1
    if seconds > _LONGEST:
        raise ConversionError("expected DURATION, got one of more than 10,000 years")
    return duration_pb2.Duration(seconds=sign * seconds, nanos=sign * rest)


def _nanos(fraction: str | None) -> int:
    return int(fraction.ljust(9, "0")) if fraction else 0


def _nanos_of_number(seconds: float) -> int | None:
    try:
        return round(seconds * NANOS)
    except (OverflowError, ValueError):  # Not finite.
        return None


def _nanos_of_text(text: str, form: Form) -> int | None:
    found = _SPAN.fullmatch(text)
    if found is not None:
        sign, seconds, fraction = found.groups()
        return (-1 if sign else 1) * (int(seconds) * NANOS + _nanos(fraction))
    found = _ISO_SPAN.fullmatch(text) if form is Form.MSGPACK else None
    if found is None or text.endswith(("P", "T")):
        return None
    sign, weeks, days, hours, minutes, seconds, fraction = found.groups()
    try:
        whole = timedelta(
            weeks=int(weeks or 0),
            days=int(days or 0),
            hours=int(hours or 0),
            minutes=int(minutes or 0),
            seconds=int(seconds or 0),
        )
    except (OverflowError, ValueError):  # More days than a timedelta holds, or more digits than int() reads.
        return None
    return (-1 if sign else 1) * ((whole.days * 86_400 + whole.seconds) * NANOS + _nanos(fraction))


def _require_instant(timestamp: timestamp_pb2.Timestamp) -> None:
    if not (_FIRST_SECOND <= timestamp.seconds <= _LAST_SECOND and 0 <= timestamp.nanos < NANOS):
        raise ConversionError(
            f"expected DATETIME, got one of {timestamp.seconds} s and {timestamp.nanos} ns: outside of years 1 to 9999"
        )


def _require_span(duration: duration_pb2.Duration) -> None:
    seconds, nanos = duration.seconds, duration.nanos
    if abs(seconds) > _LONGEST or abs(nanos) >= NANOS or seconds * nanos < 0:
        raise ConversionError(
            f"expected DURATION, got one of {seconds} s and {nanos} ns: over 10,000 years, or of mixed signs"
        )
