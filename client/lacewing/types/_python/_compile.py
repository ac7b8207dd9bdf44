"""Annotations compiled into converters."""

from __future__ import annotations

import collections.abc
import dataclasses
import enum
import sys
import types
import typing
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from lacewing.types._problem import ConversionError
from lacewing.types._python._choices import ChoiceConverter, EnumConverter
from lacewing.types._python._containers import DictConverter, ListConverter, TreeConverter, TupleConverter
from lacewing.types._python._converter import AnnotationError, Converter, annotation_name
from lacewing.types._python._files import DirectoryTransformer, FileTransformer, PathTransformer
from lacewing.types._python._records import (
    DataclassShape,
    NamedTupleShape,
    RecordConverter,
    RecursiveConverter,
    Shape,
    TypedDictShape,
)
from lacewing.types._python._scalars import SCALARS
from lacewing.types._python._tables import ArrowTransformer, PandasTransformer, PolarsTransformer
from lacewing.types._python._transformer import ENTRY_POINTS, Registry, TransformedConverter, TypeTransformer
from lacewing.types._python._union import UnionConverter
from lacewing.v1 import types_pb2

_registry = Registry(
    (
        FileTransformer(),
        DirectoryTransformer(),
        PathTransformer(),
        PandasTransformer(),
        PolarsTransformer(),
        ArrowTransformer(),
    )
)

_LISTS = (list, collections.abc.Sequence)
_DICTS = (dict, collections.abc.Mapping)

_Building = Mapping[type, RecordConverter]


def register_transformer(transformer: TypeTransformer) -> None:
    """Let a transformer convert the annotations it matches, before any registered earlier and before Lacewing itself.

    Converters and interfaces that exist already keep what they were compiled with.
    """
    _registry.register(transformer)
    _cached.cache_clear()


def literal_type_of(annotation: Any) -> types_pb2.LiteralType:
    """Return the literal type of an annotation; a copy.

    Raises:
        AnnotationError: The annotation, or a part of it, has no literal type.
    """
    literal_type = types_pb2.LiteralType()
    literal_type.CopyFrom(converter_for(annotation).literal_type)
    return literal_type


def converter_for(annotation: Any) -> Converter:
    """Return the converter of an annotation, compiled once.

    Raises:
        AnnotationError: The annotation, or a part of it, has no literal type.
    """
    try:
        hash(annotation)
    except TypeError:  # Some arguments of Annotated.
        return _compile(annotation, {})
    return _cached(annotation, repr(annotation))


@lru_cache(maxsize=4096)
def _cached(annotation: Any, spelled: str) -> Converter:  # noqa: ARG001 it is a part of the key: A | B equals B | A
    return _compile(annotation, {})


def _compile(annotation: Any, building: _Building) -> Converter:  # noqa: PLR0911 one arm per kind of annotation
    transformer = _registry.find(annotation)
    if transformer is not None:
        return _transformed(transformer, annotation)
    if annotation is None:
        annotation = type(None)
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is typing.Annotated:
        return _compile(arguments[0], building)
    if origin in (typing.Union, types.UnionType):
        return UnionConverter(annotation, [_compile(argument, building) for argument in arguments])
    if origin is typing.Literal:
        return _choice(annotation, arguments)
    if isinstance(annotation, typing.NewType):
        return _compile(annotation.__supertype__, building)
    if origin is not None or annotation in (list, dict, tuple):
        return _compile_generic(annotation, origin or annotation, arguments, building)
    if isinstance(annotation, type):
        return _compile_class(annotation, building)
    if hasattr(annotation, "__value__"):  # `type X = ...`
        return _compile(annotation.__value__, building)
    raise _unsupported(annotation)


def _compile_generic(annotation: Any, origin: Any, arguments: tuple[Any, ...], building: _Building) -> Converter:
    if origin in _LISTS:
        if not arguments:
            raise AnnotationError("list does not say what it holds: annotate it as list[int], for example")
        return ListConverter(annotation, _compile(arguments[0], building))
    if origin is tuple:
        if len(arguments) != 2 or arguments[1] is not Ellipsis:  # noqa: PLR2004 tuple[T, ...]
            raise AnnotationError(
                f"{annotation_name(annotation)} is only supported as what a function returns; "
                "use tuple[T, ...], or a NamedTuple or dataclass that names its parts"
            )
        return TupleConverter(annotation, _compile(arguments[0], building))
    if origin in _DICTS:
        if not arguments or arguments == (str, Any):
            return TreeConverter()
        if arguments[0] is not str:
            raise AnnotationError(f"{annotation_name(annotation)} has keys that are not str")
        return DictConverter(annotation, _compile(arguments[1], building))
    raise _unsupported(annotation)


def _compile_class(annotation: type, building: _Building) -> Converter:
    if annotation in SCALARS:
        return SCALARS[annotation]
    if annotation in building:
        return RecursiveConverter(building[annotation])
    if issubclass(annotation, enum.Enum):
        if not len(annotation):
            raise AnnotationError(f"the enum {annotation_name(annotation)} has no members")
        return EnumConverter(annotation)
    shape = _shape(annotation)
    if shape is None:
        raise _unsupported(annotation)
    record = RecordConverter(shape)
    building = {**building, annotation: record}
    fields: dict[str, Converter] = {}
    specified = shape.fields()
    for name, field in specified.items():
        try:
            fields[name] = _compile(field.annotation, building)
        except AnnotationError as error:
            raise AnnotationError(f"{annotation.__qualname__}.{name}: {error}") from None
    record.complete(fields, frozenset(name for name, field in specified.items() if field.optional))
    return record


def _shape(annotation: type) -> Shape | None:
    if dataclasses.is_dataclass(annotation):
        return DataclassShape(annotation)
    if typing.is_typeddict(annotation):
        return TypedDictShape(annotation)
    if issubclass(annotation, tuple) and hasattr(annotation, "_field_defaults"):
        return NamedTupleShape(annotation)
    if "pydantic" in sys.modules:  # Otherwise no class can be a model, and pydantic is not required.
        from lacewing.types._python import _models  # noqa: PLC0415 it imports pydantic

        if _models.is_model(annotation):
            return _models.ModelShape(annotation)
    return None


def _choice(annotation: Any, arguments: tuple[Any, ...]) -> Converter:
    if not all(isinstance(argument, str) and not isinstance(argument, enum.Enum) for argument in arguments):
        raise AnnotationError(f"{annotation_name(annotation)} has values that are not strings; use an Enum")
    return ChoiceConverter(annotation, arguments)


def _transformed(transformer: TypeTransformer, annotation: Any) -> Converter:
    try:
        return TransformedConverter(transformer, annotation)
    except ConversionError as error:
        raise AnnotationError(
            f"the transformer {transformer.name} gives {annotation_name(annotation)} no valid literal type: {error}"
        ) from error


def _unsupported(annotation: Any) -> AnnotationError:
    return AnnotationError(
        f"{annotation_name(annotation)} has no literal type; use a supported type, or register a transformer for it "
        f"(lacewing.types.register_transformer, or an entry point of {ENTRY_POINTS})"
    )
