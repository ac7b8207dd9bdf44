"""The version of a task whose author names none: derived from what it declares."""

from __future__ import annotations

from typing import Final

from lacewing.types._digest import digest_message
from lacewing.v1 import task_pb2

NOT_IDENTITY: Final = (
    "lacewing.v1.TaskSpec.description",
    "lacewing.v1.TaskTemplate.id",
    "lacewing.v1.Graph.tasks",
)
"""Fields of a spec that say nothing about how the task runs. What a graph brings along is registered by itself, and
counts by the references of the nodes to it."""

_DERIVED_VERSION_DIGITS: Final = 16


def digest_spec(spec: task_pb2.TaskSpec) -> str:
    """Return the canonical digest of a spec, 64 hexadecimal digits: equal ones mean equal promises."""
    return digest_message(spec, ignore=NOT_IDENTITY).hex()


def derived_version(digest: str) -> str:
    """Return the version that a server gives a task which is registered without one, from the digest of its spec."""
    return digest[:_DERIVED_VERSION_DIGITS]
