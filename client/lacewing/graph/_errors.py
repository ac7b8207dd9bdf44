"""What is wrong with a graph that is being built."""

from __future__ import annotations

from lacewing.errors import NonRecoverableError


class GraphBuildError(NonRecoverableError):
    """The body of a dynamic task or a workflow builds a graph that cannot be. The message says what to do instead.

    As the error of an attempt it is final: the body would build the same again.
    """


class PromiseUsedAsValueError(GraphBuildError, TypeError):
    """A promise was used as if it was the value, which is only there when the graph runs."""


class PromiseAttributeError(GraphBuildError, AttributeError):
    """What is promised has no such attribute."""


def used_as_value(promise: object, use: str, remedy: str) -> PromiseUsedAsValueError:
    """Return the error for a promise that is used in a way that needs its value now."""
    return PromiseUsedAsValueError(f"{promise!r} cannot {use}: its value is only there when the graph runs. {remedy}")
