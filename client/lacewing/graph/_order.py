"""What can be said of calls beside their inputs: what they override, and what they wait for."""

from __future__ import annotations

from itertools import pairwise
from typing import TypeVar, Unpack

from lacewing.graph._node import follow, handle_of
from lacewing.graph._overrides import Overrides, lay_over
from lacewing.graph._trace import current_trace

_Value = TypeVar("_Value")


def with_overrides(value: _Value, **overrides: Unpack[Overrides]) -> _Value:
    """Let the node of a call say something else than its task: `with_overrides(load(path), retries=3, timeout=60)`.

    The same as `load(path).with_overrides(...)`, which only promises have: this can be type-checked, and returns the
    value as it is where no graph is built.

    Args:
        value: What the call gave.
        name: What people see. Default: the id of the node.
        retries: How often it is tried again after it failed by its own doing, at least 1.
        timeout: How long one attempt may take, in seconds if a number.
        cache: Whether results are memoized.
        cache_version: The version of what is memoized.
        cache_serialize: Whether of several that would compute the same result only one does.
        config: Settings for the workers of the task type.

    Raises:
        GraphBuildError: The value is not what a call gave, or the node runs no task, so that it has nothing but a name.
        TypeError: There is no such thing to override.
        ValueError: A number is out of its bounds.
    """
    if current_trace() is not None:
        lay_over(handle_of(value, "with_overrides").node, overrides)
    return value


def in_order(*values: object) -> None:
    """Let each call wait for the one before it, although it takes nothing from it: `in_order(load(), clean())`.

    The same as `a >> b >> c`, which only promises have: this does nothing where no graph is built, and calls run in
    order anyway. What `sleep` gives, and calls of functions that return nothing, can be among them.

    Raises:
        GraphBuildError: A value is not what a call gave.
    """
    if current_trace() is not None:
        for first, second in pairwise(values):
            follow(first, second)
