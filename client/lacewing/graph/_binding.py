"""Arguments and results of bodies as bindings: values, promises, and lists and dicts of both."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeAlias

from lacewing.graph._errors import GraphBuildError
from lacewing.graph._node import OfNode
from lacewing.graph._promise import Promise, refer, type_of
from lacewing.types import (
    ConversionError,
    Converter,
    DictConverter,
    ListConverter,
    UnionConverter,
    describe_type,
    explain_mismatch,
)
from lacewing.v1 import bindings_pb2, literals_pb2

if TYPE_CHECKING:
    from lacewing.graph._trace import Trace

Store: TypeAlias = Callable[[Converter, Any], literals_pb2.Literal]
"""Converts a value to its literal, which is kept elsewhere if it is large. Raises ConversionError."""

_IN_RECORD = "a promise inside a record cannot be passed on: make the record in a task, and pass that"


def bind(data: bindings_pb2.BindingData, trace: Trace, converter: Converter, value: Any, where: str) -> None:
    """Make an empty binding that of a value to a variable, in its place.

    Args:
        data: The binding. What is in it is worth nothing if this raises.
        trace: The graph that is built.
        converter: The type of the variable, and what converts values to it.
        value: A value, a promise, or a list or dict with promises in it.
        where: The variable, for messages.

    Raises:
        GraphBuildError: What is promised does not fit, or a promise is where none can be.
        ConversionError: The value does not fit. Paths lead to the place inside the value.
    """
    if isinstance(value, Promise):
        found, expected = type_of(value), converter.literal_type
        # Of the same annotation the type is the same object, which fits itself.
        if found is not expected and (mismatch := explain_mismatch(found, expected)) is not None:
            raise GraphBuildError(f"{where} takes {describe_type(expected)}, not {value!r}: {mismatch}")
        refer(data.promise, value, trace)
        return
    if isinstance(value, OfNode):
        raise GraphBuildError(f"{where} takes one value, and got all that a call gives: {value!r}")
    if not holds_promise(value):
        fill(data, trace.store(converter, value))
        return
    match converter:
        case UnionConverter():
            _bind_variant(data, trace, converter, value, where)
        case ListConverter() if isinstance(value, list | tuple) and isinstance(value, converter.exact_type):
            items = data.collection.bindings
            for index, item in enumerate(value):
                bind(items.add(), trace, converter.item, item, f"{where}[{index}]")
        case DictConverter() if isinstance(value, dict):
            for key in value:
                if not isinstance(key, str):
                    raise ConversionError(f"expected keys of type str, got {key!r}")
            for key, part in value.items():
                bind(data.map.bindings[key], trace, converter.value, part, f"{where}[{key!r}]")
        case _ if isinstance(value, list | tuple | dict) and not _is_record(value):
            raise GraphBuildError(f"{where} takes {describe_type(converter.literal_type)}, not {value!r}")
        case _:
            raise GraphBuildError(f"{where}: {_IN_RECORD}")


def _bind_variant(data: bindings_pb2.BindingData, trace: Trace, union: UnionConverter, value: Any, where: str) -> None:
    for index, variant in enumerate(union.variants):
        if isinstance(variant, ListConverter | DictConverter) and isinstance(value, variant.exact_type):
            bind(data, trace, variant, value, where)
            data.union.target_type.CopyFrom(union.literal_type.union_type.variants[index])
            return
    raise GraphBuildError(f"{where} takes {describe_type(union.literal_type)}, not {value!r}")


def fill(data: bindings_pb2.BindingData, literal: literals_pb2.Literal) -> None:
    """Make an empty binding that to a value that is known, in its place."""
    match literal.WhichOneof("value"):
        case "collection":
            data.collection.SetInParent()
            for item in literal.collection.literals:
                fill(data.collection.bindings.add(), item)
        case "map":
            data.map.SetInParent()
            for key, part in literal.map.literals.items():
                fill(data.map.bindings[key], part)
        case "offloaded_metadata":
            data.offloaded_metadata.CopyFrom(literal.offloaded_metadata)
        case _:
            data.scalar.CopyFrom(literal.scalar)


def holds_promise(value: object) -> bool:
    """Return whether there is a promise in a value: in lists, tuples, dicts and dataclasses, however deep."""
    match value:
        case OfNode():
            return True
        case str() | int() | float() | None:  # nearly all
            return False
        case list() | tuple():
            return any(map(holds_promise, value))
        case dict():
            return any(map(holds_promise, value.values()))
        case _ if dataclasses.is_dataclass(value) and not isinstance(value, type):
            return any(holds_promise(getattr(value, each.name, None)) for each in dataclasses.fields(value))
        case _:
            return False


def _is_record(value: object) -> bool:
    return isinstance(value, tuple) and hasattr(value, "_fields")
