"""The executions of the nodes of a graph, those included that it takes over from the executions that it repeats."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from lacewing_server.domain import identity, lifecycle
from lacewing_server.domain.record import GRAPH, ExecutionRecord
from lacewing_server.store.redis.store import Store

_BATCH: Final = 256
_LINEAGE_MAX: Final = 16
"""How many executions that one repeats, each the one before, are searched for nodes that have succeeded."""


@dataclass(frozen=True, slots=True)
class Found:
    """What there is of the nodes of a graph, by path."""

    records: dict[str, ExecutionRecord] = field(default_factory=dict)
    """Executions of its own, and of those it repeats the ones that have succeeded."""
    kept: dict[str, ExecutionRecord] = field(default_factory=dict)
    """Of the nodes without one: executions that have failed in those it repeats, although their graphs came far."""


async def find(store: Store, record: ExecutionRecord, paths: Sequence[str]) -> Found:
    """Looks for the executions of nodes: one round trip for so many of them, and one for each execution it repeats."""
    found, missing = Found(), list(paths)
    parent: ExecutionRecord | None = record
    for _ in range(_LINEAGE_MAX + 1):
        if parent is None or not missing:
            break
        following = []
        for start in range(0, len(missing), _BATCH):
            batch = {identity.node_execution_id(parent.id, path): path for path in missing[start : start + _BATCH]}
            records = await store.get_many(list(batch))
            for execution_id, path in batch.items():
                child = records.get(execution_id)
                if child is not None and (parent is record or child.state == lifecycle.SUCCEEDED):
                    found.records[path] = child
                    continue
                if child is not None and child.flags & GRAPH:
                    found.kept.setdefault(path, child)
                following.append(path)
        missing = following
        if not parent.execution.HasField("retry_of"):
            break
        of = parent.execution.retry_of
        parent = await store.get(identity.execution_id_of(of.project, of.domain, of.name), inputs=False)
    return found
