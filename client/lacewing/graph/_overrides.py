"""What a node says instead of its task."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import TypedDict

from lacewing._durations import positive_duration
from lacewing.graph._errors import GraphBuildError
from lacewing.v1 import workflow_pb2

_RUNNING = ("task_node", "workflow_node", "array_node")


class Overrides(TypedDict, total=False):
    """What a node can say instead of its task."""

    name: str
    """What people see. Default: the id of the node."""
    retries: int
    """How often it is tried again after it failed by its own doing, at least 1."""
    timeout: timedelta | float
    """How long one attempt may take, in seconds if a number."""
    cache: bool
    """Whether results are memoized."""
    cache_version: str
    """The version of what is memoized."""
    cache_serialize: bool
    """Whether of several that would compute the same result only one does, and the others wait for it."""
    config: Mapping[str, str]
    """Settings for the workers of the task type."""


def lay_over(node: workflow_pb2.Node, overrides: Overrides) -> None:
    """Note in a node what it says instead of its task. What the elements of an array say is noted in its inner node.

    Raises:
        GraphBuildError: The node runs no task, so that it has nothing but a name.
        TypeError: There is no such thing to override.
        ValueError: A number is out of its bounds.
    """
    unknown = sorted(overrides.keys() - Overrides.__annotations__.keys())
    if unknown:
        raise TypeError(f"a node has no {unknown[0]!r} to override; it has {', '.join(Overrides.__annotations__)}")
    kind = node.WhichOneof("target")
    if kind not in _RUNNING and overrides.keys() - {"name"}:
        raise GraphBuildError(f"node {node.id} runs no task, so that only its name can be changed")
    if "name" in overrides:
        node.metadata.name = overrides["name"]
    metadata = node.array_node.node.metadata if kind == "array_node" else node.metadata
    if "retries" in overrides:
        if overrides["retries"] < 1:
            raise ValueError(f"retries of a node are at least 1, not {overrides['retries']}")
        metadata.retries.retries = overrides["retries"]
    if "timeout" in overrides:
        metadata.timeout.CopyFrom(positive_duration("timeout", overrides["timeout"]))
    if "cache" in overrides:
        metadata.cacheable = overrides["cache"]
    if "cache_version" in overrides:
        metadata.cache_version = overrides["cache_version"]
    if "cache_serialize" in overrides:
        metadata.cache_serializable = overrides["cache_serialize"]
    metadata.config.update(overrides.get("config", {}))
