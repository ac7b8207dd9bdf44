"""Records: classes with named fields, whatever makes them."""

from __future__ import annotations

import dataclasses
import typing
from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, NamedTuple

from lacewing.types._codecs import Codec, Form, RecordCodec, TreeCodec
from lacewing.types._problem import ConversionError, Gathering, field_segment, unknown_name
from lacewing.types._python._converter import EVALUATION_ERRORS, AnnotationError, Converter, expected, is_exactly
from lacewing.types._tags import RECORD_TAG
from lacewing.v1 import types_pb2


class Field(NamedTuple):
    """A field of a class: its annotation, and whether a value may be made without it."""

    annotation: object
    optional: bool


class Shape(ABC):
    """How the fields of one class are read from its values, and its values made from fields."""

    tag = RECORD_TAG

    def __init__(self, record_class: type) -> None:
        self.record_class = record_class

    @abstractmethod
    def fields(self) -> dict[str, Field]:
        """Return the fields by name."""

    @abstractmethod
    def parts(self, value: Any) -> Mapping[str, Any]:
        """Return the values of the fields, or raise ConversionError if the value is not of this class."""

    @abstractmethod
    def build(self, parts: dict[str, Any]) -> Any:
        """Return the value with these fields. ValueError and TypeError say that the class refuses them."""


def hints_of(record_class: type) -> dict[str, Any]:
    """Return the annotations of a class, evaluated."""
    try:
        return typing.get_type_hints(record_class, include_extras=True)
    except EVALUATION_ERRORS as error:
        raise AnnotationError(f"an annotation of {record_class.__qualname__} cannot be evaluated: {error}") from error


class DataclassShape(Shape):
    """A dataclass. Fields that its constructor does not take are left to the class."""

    def fields(self) -> dict[str, Field]:
        """Return the fields that the constructor takes."""
        hints = hints_of(self.record_class)
        if any(isinstance(hint, dataclasses.InitVar) for hint in hints.values()):
            raise AnnotationError("an InitVar is not kept in a value, so the value could not be made again")
        return {
            field.name: Field(
                hints[field.name],
                field.default is not dataclasses.MISSING or field.default_factory is not dataclasses.MISSING,
            )
            for field in dataclasses.fields(self.record_class)
            if field.init
        }

    def parts(self, value: Any) -> Mapping[str, Any]:
        """Read the attributes. A value of a subclass would lose its class, so it is refused."""
        if not is_exactly(value, self.record_class):
            raise expected(self.record_class, value)
        return {field.name: getattr(value, field.name) for field in dataclasses.fields(value) if field.init}

    def build(self, parts: dict[str, Any]) -> Any:
        """Call the class."""
        return self.record_class(**parts)


class NamedTupleShape(Shape):
    """A named tuple."""

    tag = "NamedTuple"

    def fields(self) -> dict[str, Field]:
        """Return the fields."""
        defaults: Mapping[str, Any] = getattr(self.record_class, "_field_defaults")  # noqa: B009 no type has it
        return {name: Field(hint, name in defaults) for name, hint in hints_of(self.record_class).items()}

    def parts(self, value: Any) -> Mapping[str, Any]:
        """Read the fields."""
        if not is_exactly(value, self.record_class):
            raise expected(self.record_class, value)
        parts: Mapping[str, Any] = value._asdict()
        return parts

    def build(self, parts: dict[str, Any]) -> Any:
        """Call the class."""
        return self.record_class(**parts)


class TypedDictShape(Shape):
    """A TypedDict, whose values are dicts with exactly its keys."""

    tag = "TypedDict"

    def fields(self) -> dict[str, Field]:
        """Return the keys."""
        required: frozenset[str] = getattr(self.record_class, "__required_keys__")  # noqa: B009 no type has it
        fields: dict[str, Field] = {}
        for name, hint in hints_of(self.record_class).items():
            qualifier = typing.get_origin(hint)
            if qualifier in (typing.Required, typing.NotRequired):
                # The class itself does not see a qualifier in an annotation that is a string.
                fields[name] = Field(typing.get_args(hint)[0], optional=qualifier is typing.NotRequired)
            else:
                fields[name] = Field(hint, optional=name not in required)
        return fields

    def parts(self, value: Any) -> Mapping[str, Any]:
        """Require a dict with string keys."""
        if type(value) is not dict or not all(isinstance(key, str) for key in value):
            raise expected(self.record_class, value)
        return value

    def build(self, parts: dict[str, Any]) -> Any:
        """Return the dict."""
        return parts


class RecordConverter(Converter):
    """A class with named fields, in msgpack."""

    def __init__(self, shape: Shape) -> None:
        self._shape = shape
        self._fields: dict[str, Converter] = {}
        self._optional: frozenset[str] = frozenset()
        self.tag = shape.tag
        self.exact_type = dict if isinstance(shape, TypedDictShape) else shape.record_class

    def complete(self, fields: Mapping[str, Converter], optional: frozenset[str]) -> None:
        """Set the fields. They are compiled after the record is made, because they may refer to it."""
        self._fields = dict(fields)
        self._optional = optional
        structure = types_pb2.TypeStructure(
            dataclass_type={name: field.literal_type for name, field in self._fields.items()}
        )
        literal_type = types_pb2.LiteralType(simple=types_pb2.SIMPLE_TYPE_STRUCT, structure=structure)
        if optional:
            required = sorted(name for name in self._fields if name not in optional)
            literal_type.metadata.update({"type": "object", "required": required})
        codecs: dict[str, Codec] = {name: field.codec for name, field in self._fields.items()}
        self.codec = RecordCodec(literal_type, codecs) if codecs else TreeCodec(literal_type)

    def to_plain(self, value: Any) -> dict[str, Any]:
        """Convert each field."""
        parts = self._shape.parts(value)
        plain: dict[str, Any] = {}
        gathering = Gathering()
        for name, field in self._fields.items():
            try:
                if name in parts:
                    plain[name] = field.to_plain(parts[name])
            except ConversionError as error:
                gathering.add(field_segment(name), error)
            if name not in parts and name not in self._optional:
                gathering.add(field_segment(name), ConversionError("is missing"))
        for name in parts:
            if name not in self._fields:
                gathering.add(field_segment(name), ConversionError(unknown_name("field", name, self._fields)))
        gathering.finish()
        return plain

    def from_plain(self, plain: Mapping[str, Any]) -> Any:
        """Convert each field back and make the value."""
        parts: dict[str, Any] = {}
        gathering = Gathering()
        for name, part in plain.items():
            try:
                parts[name] = self._fields[name].from_plain(part)
            except ConversionError as error:
                gathering.add(field_segment(name), error)
        gathering.finish()
        try:
            return self._shape.build(parts)
        except ConversionError:
            raise
        except (TypeError, ValueError) as error:
            raise ConversionError(f"{self._shape.record_class.__qualname__} refuses its fields: {error}") from error


class RecursiveConverter(Converter):
    """A record inside itself: its type does not name the fields again, because it would have no end."""

    def __init__(self, record: RecordConverter) -> None:
        self._record = record
        self.tag = record.tag
        self.exact_type = record.exact_type
        self.codec = TreeCodec(types_pb2.LiteralType(simple=types_pb2.SIMPLE_TYPE_STRUCT))

    def to_plain(self, value: Any) -> Any:
        """Return the value as the field of a record."""
        return self._record.codec.write(self._record.to_plain(value), Form.MSGPACK)

    def from_plain(self, plain: Any) -> Any:
        """Return the value of the field of a record."""
        return self._record.from_plain(self._record.codec.read(plain, Form.MSGPACK))
