"""Lists and maps."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from operator import itemgetter
from typing import Any, TypeVar

from lacewing.types._codecs._base import UNFIT, Codec, Form
from lacewing.types._codecs._simple import unicode_text
from lacewing.types._problem import ConversionError, Gathering, index_segment, key_segment
from lacewing.v1 import literals_pb2, types_pb2

_From = TypeVar("_From")
_To = TypeVar("_To")


def each_item(convert: Callable[[_From], _To], items: Iterable[_From]) -> list[_To]:
    """Convert the elements of a list; the problems of all are raised as one error with their indexes."""
    converted: list[_To] = []
    gathering = Gathering()
    for index, item in enumerate(items):
        try:
            converted.append(convert(item))
        except ConversionError as error:
            gathering.add(index_segment(index), error)
    gathering.finish()
    return converted


def each_value(convert: Callable[[_From], _To], entries: Iterable[tuple[str, _From]]) -> dict[str, _To]:
    """Convert the values of a map; the problems of all are raised as one error with their keys."""
    converted: dict[str, _To] = {}
    gathering = Gathering()
    for key, value in entries:
        try:
            converted[unicode_text(key)] = convert(value)
        except ConversionError as error:
            gathering.add(key_segment(key), error)
    gathering.finish()
    return converted


class ListCodec(Codec):
    """A list of elements of one type."""

    def __init__(self, literal_type: types_pb2.LiteralType, item: Codec) -> None:
        super().__init__(literal_type)
        self._item = item

    def fill(self, literal: literals_pb2.Literal, plain: Any) -> None:
        """Fill in a list."""
        literal.collection.SetInParent()
        items = literal.collection.literals
        for item in plain:
            self._item.fill(items.add(), item)

    def read(self, value: Any, form: Form) -> list[Any]:
        """Read a list."""
        if not isinstance(value, list):
            raise self._unreadable(value)
        return each_item(lambda item: self._item.read(item, form), value)

    def write(self, plain: Any, form: Form) -> list[Any]:
        """Write a list."""
        return [self._item.write(item, form) for item in plain]

    def _check(self, literal: literals_pb2.Literal) -> bool:
        if literal.WhichOneof("value") != "collection":
            return False
        each_item(self._item.check, literal.collection.literals)
        return True

    def _plain(self, literal: literals_pb2.Literal) -> Any:
        if literal.WhichOneof("value") != "collection":
            return UNFIT
        return each_item(self._item.from_literal, literal.collection.literals)


class MapCodec(Codec):
    """A map from strings to values of one type."""

    def __init__(self, literal_type: types_pb2.LiteralType, value: Codec) -> None:
        super().__init__(literal_type)
        self._value = value

    def fill(self, literal: literals_pb2.Literal, plain: Any) -> None:
        """Fill in a map."""
        literal.map.SetInParent()
        values = literal.map.literals
        for key, value in plain.items():
            self._value.fill(values[key], value)

    def read(self, value: Any, form: Form) -> dict[str, Any]:
        """Read a map, whose keys must be strings."""
        if not isinstance(value, dict) or not all(isinstance(key, str) for key in value):
            raise self._unreadable(value)
        return each_value(lambda part: self._value.read(part, form), value.items())

    def write(self, plain: Any, form: Form) -> dict[str, Any]:
        """Write a map."""
        return {key: self._value.write(value, form) for key, value in plain.items()}

    def _check(self, literal: literals_pb2.Literal) -> bool:
        if literal.WhichOneof("value") != "map":
            return False
        each_value(self._value.check, _ordered(literal.map))
        return True

    def _plain(self, literal: literals_pb2.Literal) -> Any:
        if literal.WhichOneof("value") != "map":
            return UNFIT
        return each_value(self._value.from_literal, _ordered(literal.map))


def _ordered(literals: literals_pb2.LiteralMap) -> list[tuple[str, literals_pb2.Literal]]:
    """Return the entries by key: the order of a protobuf map is another in every process."""
    return sorted(literals.literals.items(), key=itemgetter(0))
