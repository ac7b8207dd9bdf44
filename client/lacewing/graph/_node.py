"""Nodes that are being built, and what all promises of one have in common."""

from __future__ import annotations

from collections.abc import Generator, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Self, TypeVar, Unpack

from lacewing.graph._errors import GraphBuildError, used_as_value
from lacewing.graph._overrides import Overrides, lay_over
from lacewing.v1 import types_pb2, workflow_pb2

if TYPE_CHECKING:
    from lacewing.graph._trace import Trace

_Value = TypeVar("_Value")


@dataclass(eq=False, slots=True)
class NodeHandle:
    """A node of a graph that is being built."""

    trace: Trace
    """The graph."""
    node: workflow_pb2.Node
    """What it is so far."""
    outputs: Mapping[str, types_pb2.LiteralType] = field(default_factory=dict)
    """The types of what it gives."""
    is_closed: bool = False
    """Whether it is inside a branch that is complete, so that nothing outside can refer to it."""

    @property
    def id(self) -> str:
        """Its id."""
        return self.node.id

    def require_open(self, trace: Trace | None) -> None:
        """Check that the graph that is being built can refer to it.

        Raises:
            GraphBuildError: It is in another graph, or in a branch.
        """
        if self.trace is not trace:
            raise GraphBuildError(
                f"node {self.id} belongs to {self.trace.title}, and was used outside of it: promises do not leave the "
                "body that they were made in. Pass the value as an input, or return it"
            )
        if self.is_closed:
            raise GraphBuildError(
                f"node {self.id} is inside a branch, which may not run: use what the conditional gives instead"
            )


class OfNode:
    """What stands for all that a node gives."""

    __slots__ = ()

    _handle: NodeHandle | None
    """The node. None: it is of none, but an input of the graph."""

    def with_overrides(self, **overrides: Unpack[Overrides]) -> Self:
        """Change what the node says instead of its task; see `lacewing.with_overrides`."""
        lay_over(handle_of(self, "with_overrides").node, overrides)
        return self

    def __rshift__(self, other: _Value) -> _Value:
        follow(self, other)
        return other

    def __deepcopy__(self, memo: object) -> Self:
        return self

    def __await__(self) -> Generator[Any, None, Self]:
        # Bodies that are `async def` await what asynchronous tasks give. A promise is there at once.
        yield from ()
        return self


class Nothing(OfNode):
    """What a call of a function that returns nothing gives: it stands for the node, and for no value."""

    __slots__ = ("_handle",)

    _handle: NodeHandle

    def __init__(self, handle: NodeHandle) -> None:
        self._handle = handle

    def __repr__(self) -> str:
        return f"<nothing, of node {self._handle.id}>"

    def __bool__(self) -> bool:
        raise used_as_value(self, "be tested", "The function returns nothing, so there is nothing to decide by.")


def of_node(value: Any, handle: NodeHandle) -> Any:
    """Return what a call gives, several outputs too, so that it stands for the node."""
    if not isinstance(value, tuple):
        return value
    kind = type(value) if isinstance(value, OfNode) else _outputs_class(type(value))
    outputs = tuple.__new__(kind, value)
    outputs._handle = handle  # noqa: SLF001 it is of a class made below
    return outputs


@lru_cache(maxsize=1024)
def _outputs_class(outputs: type) -> Any:
    return type(outputs.__name__, (OfNode, outputs), {"__doc__": outputs.__doc__, "__module__": outputs.__module__})


def node_of(value: OfNode) -> NodeHandle | None:
    """Return the node that it is of; None for an input of the graph."""
    return value._handle  # noqa: SLF001 it has no public name, which could be that of a field of what is promised


def handle_of(value: object, purpose: str) -> NodeHandle:
    """Return the node that a value stands for.

    Raises:
        GraphBuildError: It stands for none.
    """
    handle = node_of(value) if isinstance(value, OfNode) else None
    if handle is None:
        raise GraphBuildError(f"{purpose} takes what a call of a task gave, not {value!r}")
    return handle


def follow(first: object, second: object) -> None:
    """Let the node that the second value stands for wait for that of the first."""
    before, after = handle_of(first, ">>"), handle_of(second, ">>")
    for handle in (before, after):
        handle.require_open(after.trace)
    if before.id not in after.node.upstream_node_ids:
        after.node.upstream_node_ids.append(before.id)
