"""Lists, dicts and tuples of one type."""

from __future__ import annotations

from typing import Any

from lacewing.types._canonical import MAX_DEPTH
from lacewing.types._codecs import ListCodec, MapCodec, TreeCodec, each_item, each_value, unicode_text
from lacewing.types._problem import ConversionError
from lacewing.types._python._converter import Converter, expected, is_a
from lacewing.types._tags import LIST_TAG, MAP_TAG
from lacewing.v1 import types_pb2

_LEAVES = (type(None), bool, float, bytes)
"""What else a dict without a value type may hold. Subclasses would not come back as what they are."""


class ListConverter(Converter):
    """`list[T]`.

    Attributes:
        item: What converts the elements.
    """

    tag = LIST_TAG
    exact_type: type = list

    def __init__(self, annotation: object, item: Converter) -> None:
        self._annotation = annotation
        self.item = item
        self.codec = ListCodec(types_pb2.LiteralType(collection_type=item.literal_type), item.codec)

    def to_plain(self, value: Any) -> list[Any]:
        """Convert each element."""
        if not is_a(value, self.exact_type):
            raise expected(self._annotation, value)
        return each_item(self.item.to_plain, value)

    def from_plain(self, plain: Any) -> Any:
        """Convert each element back."""
        return each_item(self.item.from_plain, plain)


class TupleConverter(ListConverter):
    """`tuple[T, ...]`, a list whose value is a tuple."""

    tag = "tuple"
    exact_type = tuple

    def from_plain(self, plain: Any) -> tuple[Any, ...]:
        """Convert each element back."""
        return tuple(super().from_plain(plain))


class DictConverter(Converter):
    """`dict[str, T]`.

    Attributes:
        value: What converts the values.
    """

    tag = MAP_TAG
    exact_type = dict

    def __init__(self, annotation: object, value: Converter) -> None:
        self._annotation = annotation
        self.value = value
        self.codec = MapCodec(types_pb2.LiteralType(map_value_type=value.literal_type), value.codec)

    def to_plain(self, value: Any) -> dict[str, Any]:
        """Convert each value."""
        if not isinstance(value, dict):
            raise expected(self._annotation, value)
        for key in value:
            if not isinstance(key, str):
                raise ConversionError(f"expected keys of type str, got {key!r}")
        return each_value(self.value.to_plain, value.items())

    def from_plain(self, plain: Any) -> dict[str, Any]:
        """Convert each value back."""
        return each_value(self.value.from_plain, plain.items())


class TreeConverter(Converter):
    """`dict` and `dict[str, Any]`: an object of anything that JSON has, and of bytes."""

    tag = MAP_TAG
    exact_type = dict

    def __init__(self) -> None:
        self.codec = TreeCodec(types_pb2.LiteralType(simple=types_pb2.SIMPLE_TYPE_STRUCT))

    def to_plain(self, value: Any) -> Any:
        """Check that every part comes back as it is."""
        if not isinstance(value, dict):
            raise expected(dict, value)
        _require_tree(value, 0)
        return value

    def from_plain(self, plain: Any) -> Any:
        """Require a dict."""
        if not isinstance(plain, dict):
            raise expected(dict, plain)
        return plain


def _require_tree(value: object, depth: int) -> None:
    if depth > MAX_DEPTH:
        raise ConversionError(f"nests more than {MAX_DEPTH} deep")
    match value:
        case dict() if type(value) is dict:
            for key in value:
                if type(key) is not str:
                    raise ConversionError(f"expected keys of type str, got {key!r}")
            each_value(lambda part: _require_tree(part, depth + 1), value.items())
        case list() if type(value) is list:
            each_item(lambda part: _require_tree(part, depth + 1), value)
        case int() if type(value) is int:
            if not -(2**63) <= value < 2**64:
                raise ConversionError("expected an int of at most 64 bits; a larger one can be given as a str")
        case str() if type(value) is str:
            unicode_text(value)
        case _ if type(value) not in _LEAVES:
            raise ConversionError(
                f"a {type(value).__qualname__} cannot be in a dict without a value type: "
                "it holds None, bool, int, float, str, bytes, list and dict"
            )
