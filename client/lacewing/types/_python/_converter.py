"""An annotation, compiled: converts Python values to literals and back."""

from __future__ import annotations

import reprlib
from abc import ABC, abstractmethod
from typing import Any

from lacewing.types._codecs import Codec
from lacewing.types._describe import shortened
from lacewing.types._problem import ConversionError
from lacewing.v1 import literals_pb2, types_pb2


class Converter(ABC):
    """Converts the values of one annotation.

    Attributes:
        codec: What its type is compiled into.
        tag: The name that tells it apart from other variants of a union (`TypeStructure.tag`).
        exact_type: The class of its values; the variant of a union is first looked for by it.
    """

    codec: Codec
    tag: str
    exact_type: type | None = None

    @property
    def literal_type(self) -> types_pb2.LiteralType:
        """The type of the literals. It must not be changed."""
        return self.codec.literal_type

    def to_literal(self, value: Any) -> literals_pb2.Literal:
        """Return the literal of a value.

        Raises:
            ConversionError: The value does not have the annotated type. Paths lead to the place inside the value.
        """
        literal = literals_pb2.Literal()
        self.fill(literal, value)
        return literal

    def fill(self, literal: literals_pb2.Literal, value: Any) -> None:
        """Make an empty literal that of a value, in its place. Raises as `to_literal`."""
        try:
            self.codec.fill(literal, self.to_plain(value))
        except RecursionError:
            raise ConversionError("nests too deep, or holds itself") from None

    def to_python(self, literal: literals_pb2.Literal) -> Any:
        """Return the value of a literal.

        Raises:
            ConversionError: The literal does not have the type, or was offloaded. Paths lead to the place inside.
        """
        try:
            return self.from_plain(self.codec.from_literal(literal))
        except RecursionError:
            raise ConversionError("nests too deep") from None

    @abstractmethod
    def to_plain(self, value: Any) -> Any:
        """Return the plain value, as the codec takes it."""

    @abstractmethod
    def from_plain(self, plain: Any) -> Any:
        """Return the value of a plain value of the codec."""


def annotation_name(annotation: object) -> str:
    """Return an annotation as it is written in code."""
    if isinstance(annotation, type) and not getattr(annotation, "__args__", None):
        return "None" if annotation is type(None) else annotation.__qualname__
    return str(annotation).removeprefix("typing.")


class _BriefRepr(reprlib.Repr):
    """Representations of a line at most, of any value: large ones are not walked, those that raise are replaced."""

    def __init__(self) -> None:
        super().__init__()
        self.maxother = self.maxstring = 80
        self.fillvalue = "…"

    def repr_int(self, x: int, level: int) -> str:
        """Python refuses to write integers of thousands of digits."""
        return super().repr_int(x, level) if x.bit_length() <= 200 else "<over 60 digits>"  # noqa: PLR2004 60 digits


_brief = _BriefRepr()


def expected(annotation: object, value: object) -> ConversionError:
    """Return the error for a value that does not have the annotated type."""
    shown = shortened(value) if isinstance(value, str) else _brief.repr(value)
    kind = "" if value is None else f"{type(value).__qualname__} "
    return ConversionError(f"expected {annotation_name(annotation)}, got {kind}{shown}")


def is_a(value: object, kind: type) -> bool:
    """Return whether a value is of a class or a subclass, where the class is only known at run time."""
    return isinstance(value, kind)


def is_exactly(value: object, kind: type) -> bool:
    """Return whether a value is of a class and of no subclass, which would not come back as what it is."""
    return type(value) is kind


class AnnotationError(TypeError):
    """An annotation cannot be mapped to a literal type."""


EVALUATION_ERRORS = (NameError, AttributeError, TypeError, SyntaxError)
"""What `typing.get_type_hints` raises for annotations that have no meaning where they stand."""
