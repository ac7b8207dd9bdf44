"""What a node takes and gives. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from lacewing.types import PRIMITIVE_TYPES, admits_none
from lacewing.v1 import bindings_pb2, literals_pb2, task_pb2, types_pb2, workflow_pb2

Type = types_pb2.LiteralType | None
"""A type, or None if it is known only when a value is there."""


@dataclass(frozen=True, slots=True)
class Signature:
    """What a node takes and gives."""

    inputs: Mapping[str, Type] | None = None
    """The types of its inputs; None: it takes whatever is bound."""
    required: frozenset[str] = frozenset()
    """Inputs that must be bound."""
    outputs: Mapping[str, Type] | None = field(default_factory=dict)
    """The types of its outputs; None: they are not known, because something else is wrong."""


UNKNOWN = Signature(outputs=None)
"""Of a node that is wrong: nothing is asked of what is bound to it."""


def of_task(spec: task_pb2.TaskSpec) -> Signature:
    """That of a task or workflow."""
    interface = spec.template.interface
    inputs = {name: variable.type for name, variable in interface.inputs.variables.items()}
    filled = {name for name, parameter in spec.default_inputs.parameters.items() if parameter.HasField("default")}
    required = frozenset(
        name for name, literal_type in inputs.items() if name not in filled and not admits_none(literal_type)
    )
    return Signature(inputs, required, {name: each.type for name, each in interface.outputs.variables.items()})


def of_array(array: workflow_pb2.ArrayNode, inner: Signature) -> Signature:
    """That of an array, by that of its task."""
    bound = set(array.bound_inputs)
    assert inner.inputs is not None
    inputs = {name: each if name in bound else _list_of(each) for name, each in inner.inputs.items()}
    may_fail = array.WhichOneof("success_criteria") is not None
    outputs = {name: _list_of(_or_none(each) if may_fail else each) for name, each in (inner.outputs or {}).items()}
    return Signature(inputs, inner.required, outputs)


def any_of(types: Iterable[Type]) -> Type:
    """The type of what has one of some types; that of nothing, which fits all lists and maps, if there are none."""
    distinct: dict[bytes, types_pb2.LiteralType] = {}
    for each in types:
        if each is None:
            return None
        distinct[each.SerializeToString(deterministic=True)] = each
    if len(distinct) == 1:
        return next(iter(distinct.values()))
    if not distinct:
        return types_pb2.LiteralType(simple=types_pb2.SIMPLE_TYPE_NONE)
    return types_pb2.LiteralType(union_type=types_pb2.UnionType(variants=distinct.values()))


def _list_of(literal_type: Type) -> Type:
    return None if literal_type is None else types_pb2.LiteralType(collection_type=literal_type)


def _or_none(literal_type: Type) -> Type:
    if literal_type is None or admits_none(literal_type):
        return literal_type
    variants = list(literal_type.union_type.variants) if literal_type.HasField("union_type") else [literal_type]
    nothing = types_pb2.LiteralType(simple=types_pb2.SIMPLE_TYPE_NONE)
    return types_pb2.LiteralType(union_type=types_pb2.UnionType(variants=[*variants, nothing]))


def of_scalar(scalar: literals_pb2.Scalar) -> Type:
    """The type of a constant, as far as the constant says it."""
    kind = scalar.WhichOneof("value")
    if kind == "primitive":
        primitive = scalar.primitive.WhichOneof("value")
        return types_pb2.LiteralType(simple=PRIMITIVE_TYPES[primitive]) if primitive is not None else None
    if kind == "none_type":
        return types_pb2.LiteralType(simple=types_pb2.SIMPLE_TYPE_NONE)
    if kind == "union":
        return scalar.union.type
    if kind == "generic" or (kind == "binary" and scalar.binary.tag == "msgpack"):
        return types_pb2.LiteralType(simple=types_pb2.SIMPLE_TYPE_STRUCT)
    return None


def declared_type(data: bindings_pb2.BindingData) -> Type:
    """The type that a binding which is no promise has by itself."""
    kind = data.WhichOneof("value")
    if kind == "scalar":
        return of_scalar(data.scalar)
    if kind == "offloaded_metadata":
        return data.offloaded_metadata.inferred_type
    return None
