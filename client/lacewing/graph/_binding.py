"""Arguments and results of bodies as bindings: values, promises, and lists and dicts of both."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeAlias

from lacewing.graph._errors import GraphBuildError
from lacewing.graph._node import OfNode
from lacewing.graph._promise import Promise, reference_of, type_of
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


def bind(trace: Trace, converter: Converter, value: Any, where: str) -> bindings_pb2.BindingData:
    """Return the binding of a value to a variable.

    Args:
        trace: The graph that is built.
        converter: The type of the variable, and what converts values to it.
        value: A value, a promise, or a list or dict with promises in it.
        where: The variable, for messages.

    Raises:
        GraphBuildError: What is promised does not fit, or a promise is where none can be.
        ConversionError: The value does not fit. Paths lead to the place inside the value.
    """
    if isinstance(value, Promise):
        mismatch = explain_mismatch(type_of(value), converter.literal_type)
        if mismatch is not None:
            raise GraphBuildError(f"{where} takes {describe_type(converter.literal_type)}, not {value!r}: {mismatch}")
        return bindings_pb2.BindingData(promise=reference_of(value, trace))
    if isinstance(value, OfNode):
        raise GraphBuildError(f"{where} takes one value, and got all that a call gives: {value!r}")
    if not holds_promise(value):
        return of_literal(trace.store(converter, value))
    match converter:
        case UnionConverter():
            return _bind_variant(trace, converter, value, where)
        case ListConverter() if isinstance(value, list | tuple) and isinstance(value, converter.exact_type):
            items = [bind(trace, converter.item, item, f"{where}[{index}]") for index, item in enumerate(value)]
            return bindings_pb2.BindingData(collection=bindings_pb2.BindingDataCollection(bindings=items))
        case DictConverter() if isinstance(value, dict):
            for key in value:
                if not isinstance(key, str):
                    raise ConversionError(f"expected keys of type str, got {key!r}")
            parts = {key: bind(trace, converter.value, part, f"{where}[{key!r}]") for key, part in value.items()}
            return bindings_pb2.BindingData(map=bindings_pb2.BindingDataMap(bindings=parts))
        case _ if isinstance(value, list | tuple | dict) and not _is_record(value):
            raise GraphBuildError(f"{where} takes {describe_type(converter.literal_type)}, not {value!r}")
        case _:
            raise GraphBuildError(f"{where}: {_IN_RECORD}")


def _bind_variant(trace: Trace, union: UnionConverter, value: Any, where: str) -> bindings_pb2.BindingData:
    for index, variant in enumerate(union.variants):
        if isinstance(variant, ListConverter | DictConverter) and isinstance(value, variant.exact_type):
            bound = bind(trace, variant, value, where)
            bound.union.target_type.CopyFrom(union.literal_type.union_type.variants[index])
            return bound
    raise GraphBuildError(f"{where} takes {describe_type(union.literal_type)}, not {value!r}")


def of_literal(literal: literals_pb2.Literal) -> bindings_pb2.BindingData:
    """Return the binding to a value that is known."""
    match literal.WhichOneof("value"):
        case "collection":
            items = [of_literal(item) for item in literal.collection.literals]
            return bindings_pb2.BindingData(collection=bindings_pb2.BindingDataCollection(bindings=items))
        case "map":
            parts = {key: of_literal(part) for key, part in literal.map.literals.items()}
            return bindings_pb2.BindingData(map=bindings_pb2.BindingDataMap(bindings=parts))
        case "offloaded_metadata":
            return bindings_pb2.BindingData(offloaded_metadata=literal.offloaded_metadata)
        case _:
            return bindings_pb2.BindingData(scalar=literal.scalar)


def holds_promise(value: object) -> bool:
    """Return whether there is a promise in a value: in lists, tuples, dicts and dataclasses, however deep."""
    match value:
        case OfNode():
            return True
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
