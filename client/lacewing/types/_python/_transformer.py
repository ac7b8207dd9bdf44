"""Types that the SDK does not know: transformers that users and packages register."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from importlib.metadata import EntryPoint, entry_points
from typing import Any

from lacewing.types._codecs import OpaqueCodec, compile_type
from lacewing.types._problem import ConversionError
from lacewing.types._python._converter import Converter, annotation_name
from lacewing.v1 import literals_pb2, types_pb2

ENTRY_POINTS = "lacewing.transformers"
"""The group of entry points whose values are transformers: instances, or classes made without arguments."""


class TypeTransformer(ABC):
    """Maps annotations that Lacewing does not know, or maps known ones in another way.

    Attributes:
        name: The name of the transformer, unique among all: it tells its values apart in a union.
    """

    name: str

    @abstractmethod
    def matches(self, annotation: Any) -> bool:
        """Return whether this transformer converts the values of an annotation."""

    @abstractmethod
    def literal_type(self, annotation: Any) -> types_pb2.LiteralType:
        """Return the type of the literals of an annotation."""

    @abstractmethod
    def to_literal(self, value: Any, annotation: Any) -> literals_pb2.Literal:
        """Return the literal of a value. ValueError and TypeError say what is wrong with the value."""

    @abstractmethod
    def to_python(self, literal: literals_pb2.Literal, annotation: Any) -> Any:
        """Return the value of a literal of the type. ValueError and TypeError say what is wrong with the literal."""


class TransformedConverter(Converter):
    """An annotation whose values a transformer converts."""

    def __init__(self, transformer: TypeTransformer, annotation: Any) -> None:
        self._transformer = transformer
        self._annotation = annotation
        self.tag = transformer.name
        self.exact_type = annotation if isinstance(annotation, type) else None
        self.codec = OpaqueCodec(compile_type(transformer.literal_type(annotation)))

    def to_plain(self, value: Any) -> literals_pb2.Literal:
        """Let the transformer convert, and hold it to its own type."""
        try:
            literal = self._transformer.to_literal(value, self._annotation)
            self.codec.check(literal)
        except ConversionError:
            raise
        except (TypeError, ValueError) as error:
            raise self._refused(error) from error
        return literal

    def from_plain(self, plain: literals_pb2.Literal) -> Any:
        """Let the transformer convert back."""
        try:
            return self._transformer.to_python(plain, self._annotation)
        except ConversionError:
            raise
        except (TypeError, ValueError) as error:
            raise self._refused(error) from error

    def _refused(self, error: Exception) -> ConversionError:
        return ConversionError(f"expected {annotation_name(self._annotation)}: {error}")


class Registry:
    """The transformers in use: those registered, the latest first, those of installed packages, then Lacewing's own."""

    def __init__(self, own: Sequence[TypeTransformer] = ()) -> None:
        self._own = own
        self._registered: list[TypeTransformer] = []
        self._installed: list[TypeTransformer] | None = None

    def register(self, transformer: TypeTransformer) -> None:
        """Put a transformer before all others."""
        self._registered.insert(0, transformer)

    def find(self, annotation: object) -> TypeTransformer | None:
        """Return the first transformer that matches an annotation."""
        if self._installed is None:
            self._installed = [_load(point) for point in entry_points(group=ENTRY_POINTS)]
        candidates = (*self._registered, *self._installed, *self._own)
        return next((found for found in candidates if found.matches(annotation)), None)


def _load(point: EntryPoint) -> TypeTransformer:
    loaded = point.load()
    transformer = loaded() if isinstance(loaded, type) else loaded
    if not isinstance(transformer, TypeTransformer):
        raise TypeError(f"the entry point {point.name} of {ENTRY_POINTS} is not a TypeTransformer: {transformer!r}")
    return transformer
