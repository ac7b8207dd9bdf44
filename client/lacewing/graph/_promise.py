"""Promises: what stands for a value that a node will give, while the graph is built."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NoReturn

from lacewing.graph._conditions import Condition, compared, condition_of
from lacewing.graph._errors import GraphBuildError, PromiseAttributeError, used_as_value
from lacewing.graph._node import NodeHandle, OfNode, node_of
from lacewing.types import describe_type
from lacewing.v1 import bindings_pb2, types_pb2, workflow_pb2

if TYPE_CHECKING:
    from lacewing.graph._trace import Trace

_Operator = workflow_pb2.ComparisonExpression
_COMPUTE = "Compute it in a task, and call that here."
_DECIDE = (
    "Use conditional(...) to choose between tasks by a promise, & and | to join conditions, "
    "or decide in a @dynamic task that takes the value."
)
_WALK = "Use map_task(...) to run a task for each element, or a @dynamic task that takes the value."
_SHOW = "Make the text in a task that takes the value."


@dataclass(slots=True)
class _Origin:
    """Where what is promised comes from, and what it is."""

    trace: Trace
    var: str
    literal_type: types_pb2.LiteralType
    path: tuple[str | int, ...]


class Promise(OfNode):
    """A value that is only there when the graph runs: an output of a node, or an input of the graph.

    It can be passed to other tasks, alone or inside lists and dicts, and returned. Elements, values and fields of it
    are promises too: `promise[0]`, `promise["key"]`, `promise.field`. Compared, it gives a condition.
    """

    # Any other name may be that of a field.
    __slots__ = ("_handle", "_origin")

    def __init__(
        self,
        trace: Trace,
        handle: NodeHandle | None,
        var: str,
        literal_type: types_pb2.LiteralType,
        path: tuple[str | int, ...] = (),
    ) -> None:
        self._handle = handle
        self._origin = _Origin(trace, var, literal_type, path)

    def __repr__(self) -> str:
        return f"<promise of {name_of(self)}, {describe_type(type_of(self))}>"

    def __getattr__(self, name: str) -> Promise:
        if name.startswith("__"):
            raise AttributeError(name)
        fields = _fields(self)
        if fields is None:
            raise PromiseAttributeError(f"{self!r} has no attribute {name!r}: {_no_fields(type_of(self))}")
        return self._step(name, fields)

    def __getitem__(self, key: object) -> Promise:
        literal_type = type_of(self)
        kind = literal_type.WhichOneof("type")
        if kind == "collection_type":
            return self._element(key)
        if not isinstance(key, str):
            raise GraphBuildError(f"{self!r} cannot be indexed by {key!r}")
        if kind == "map_value_type":
            return self._at(key, literal_type.map_value_type)
        fields = _fields(self)
        if fields is None:
            raise GraphBuildError(f"{self!r} cannot be indexed by {key!r}: {_no_fields(literal_type)}")
        return self._step(key, fields)

    def _element(self, index: object) -> Promise:
        if isinstance(index, Promise):
            raise GraphBuildError(f"{self!r} cannot be indexed by a promise. {_COMPUTE}")
        if not isinstance(index, int) or isinstance(index, bool):
            raise GraphBuildError(f"{self!r} is indexed by a number, not by {index!r}")
        if not 0 <= index < 1 << 31:
            raise GraphBuildError(
                f"{self!r} is indexed from 0, not by {index}: how long it is, is only known when the graph runs"
            )
        return self._at(index, type_of(self).collection_type)

    def _step(self, name: str, fields: dict[str, types_pb2.LiteralType]) -> Promise:
        if name not in fields:
            raise PromiseAttributeError(f"{self!r} has no field {name!r}; it has {', '.join(sorted(fields))}")
        return self._at(name, fields[name])

    def _at(self, step: str | int, literal_type: types_pb2.LiteralType) -> Promise:
        origin = self._origin
        return Promise(origin.trace, self._handle, origin.var, literal_type, (*origin.path, step))

    def __eq__(self, other: object) -> Condition:  # type: ignore[override] # it is decided when the graph runs
        return compared(self, _Operator.OPERATOR_EQ, other)

    def __ne__(self, other: object) -> Condition:  # type: ignore[override] # it is decided when the graph runs
        return compared(self, _Operator.OPERATOR_NEQ, other)

    def __gt__(self, other: object) -> Condition:
        return compared(self, _Operator.OPERATOR_GT, other)

    def __ge__(self, other: object) -> Condition:
        return compared(self, _Operator.OPERATOR_GTE, other)

    def __lt__(self, other: object) -> Condition:
        return compared(self, _Operator.OPERATOR_LT, other)

    def __le__(self, other: object) -> Condition:
        return compared(self, _Operator.OPERATOR_LTE, other)

    __hash__ = object.__hash__

    def __and__(self, other: object) -> Condition:
        return condition_of(self) & other

    def __or__(self, other: object) -> Condition:
        return condition_of(self) | other

    def __bool__(self) -> NoReturn:
        raise used_as_value(self, "be tested by if, while, and, or, not", _DECIDE)

    def __invert__(self) -> NoReturn:
        raise used_as_value(self, "be inverted", "Compare it with False.")

    def __str__(self) -> str:
        raise used_as_value(self, "be made a text", f"{_SHOW} For a log there is repr().")

    def __format__(self, spec: str) -> str:
        raise used_as_value(self, "be put into a text", f"{_SHOW} For a log there is {{...!r}}.")

    def __iter__(self) -> NoReturn:
        raise used_as_value(self, "be iterated over or unpacked", _WALK)

    def __contains__(self, item: object) -> NoReturn:
        raise used_as_value(self, "be searched with in", _COMPUTE)

    def __len__(self) -> NoReturn:
        raise used_as_value(self, "be measured", _WALK)

    def __call__(self, *_arguments: object, **_inputs: object) -> NoReturn:
        raise used_as_value(self, "be called", _COMPUTE)


def _refusal(use: str) -> Any:
    def refuse(self: Promise, *_others: object) -> NoReturn:
        raise used_as_value(self, use, _COMPUTE)

    return refuse


_ARITHMETIC = ("add", "sub", "mul", "truediv", "floordiv", "mod", "divmod", "pow", "matmul", "xor", "lshift")
_CONVERSIONS = {"int": "an int", "index": "an int", "float": "a float", "complex": "a complex", "bytes": "bytes"}
for _name in (*_ARITHMETIC, "neg", "pos", "abs", "round", "trunc", "floor", "ceil"):
    setattr(Promise, f"__{_name}__", _refusal("be calculated with"))
for _name in _ARITHMETIC:
    setattr(Promise, f"__r{_name}__", _refusal("be calculated with"))
for _name, _kind in _CONVERSIONS.items():
    setattr(Promise, f"__{_name}__", _refusal(f"be made {_kind}"))


def name_of(promise: Promise) -> str:
    """Return where it comes from, as people write it: `n0.o0`, `n0.o0["a"][3]`, `config.rate` of the inputs."""
    node, origin = node_of(promise), _origin(promise)
    start = origin.var if node is None else f"{node.id}.{origin.var}"
    return start + "".join(
        f"[{step}]" if isinstance(step, int) else f".{step}" if step.isidentifier() else f"[{step!r}]"
        for step in origin.path
    )


def type_of(promise: Promise) -> types_pb2.LiteralType:
    """Return the type of what is promised. It must not be changed."""
    return _origin(promise).literal_type


def path_of(promise: Promise) -> tuple[str | int, ...]:
    """Return the steps from the output or input to what is promised."""
    return _origin(promise).path


def refer(reference: bindings_pb2.OutputReference, promise: Promise, trace: Trace) -> None:
    """Let an empty reference be how the graph refers to what is promised.

    Raises:
        GraphBuildError: It belongs to another graph, or is inside a branch.
    """
    node, origin = node_of(promise), _origin(promise)
    if node is not None:
        node.require_open(trace)
    elif origin.trace is not trace:
        raise GraphBuildError(
            f"{promise!r} is an input of {origin.trace.title}, and was used outside of it; pass it as an input"
        )
    reference.node_id = "" if node is None else node.id
    reference.var = origin.var
    for step in origin.path:
        if isinstance(step, int):
            reference.attr_path.add(int_value=step)
        else:
            reference.attr_path.add(string_value=step)


def _origin(promise: Promise) -> _Origin:
    return promise._origin  # noqa: SLF001 it has no public name, which could be that of a field


def _fields(promise: Promise) -> dict[str, types_pb2.LiteralType] | None:
    literal_type = type_of(promise)
    if literal_type.WhichOneof("type") != "simple" or not literal_type.structure.dataclass_type:
        return None
    return dict(literal_type.structure.dataclass_type)


def _no_fields(literal_type: types_pb2.LiteralType) -> str:
    match literal_type.WhichOneof("type"):
        case "simple" if literal_type.simple == types_pb2.SIMPLE_TYPE_STRUCT:
            return "nobody knows its fields here; annotate it with a dataclass or a TypedDict that names them"
        case "map_value_type":
            return 'values of a dict are reached as promise["key"]'
        case "collection_type":
            return "elements of a list are reached as promise[0]"
        case "union_type":
            return "it may be one of several types; a task that takes it can tell which"
        case _:
            return "only records have fields. Compute what you need in a task, and call that here"
