"""What an execution is created with beside its request: as a node of a graph, as an audit, or to repeat another one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from lacewing.v1 import execution_pb2


@dataclass(frozen=True, slots=True)
class NodeOf:
    """The node of a graph that an execution runs."""

    execution_id: bytes
    """The id of the execution, which is derived from that of the parent and the path of the node."""
    parent: bytes
    nonce: bytes
    """The lease under which the parent's graph is driven."""


@dataclass(frozen=True, slots=True)
class Terms:
    """How an execution departs from what task and request declare. Durations are milliseconds; 0: it does not."""

    own: bytes = b""
    """What is its own from the start, beyond id, task and labels: of its audit, its node, what it repeats. A serialized
    ``Execution``."""
    overrides: execution_pb2.NodeOverrides | None = None
    """What its node says instead of its task; in `own` too."""
    queue_timeout: int = 0
    retention: int = 0
    max_queued: int = 0
    node: NodeOf | None = None
    kept_graph: bytes = b""
    """The execution whose graph and journal it takes over, or b''."""


NO_TERMS: Final = Terms()
