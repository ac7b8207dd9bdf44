"""The executions of the nodes of one graph: beginning them, following them, ending them."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Final

from lacewing.v1 import execution_pb2, execution_service_pb2, identifiers_pb2, literals_pb2
from lacewing_server.domain import identity, lifecycle
from lacewing_server.domain.record import ExecutionRecord
from lacewing_server.engine.attempts import Attempts
from lacewing_server.engine.executions import Executions
from lacewing_server.engine.graphs.lineage import Found, find
from lacewing_server.engine.terms import NodeOf, Terms
from lacewing_server.engine.wakeups import Wakeups
from lacewing_server.store.redis.store import Store

_BATCH: Final = 256
_KEEP_MS: Final = 60_000


class Child:
    """The execution of a node, or of an element of an array, that has not ended yet. Listens to its changes."""

    __slots__ = ("_tell", "element", "ended", "has_progressed", "id", "index", "revision")

    def __init__(
        self,
        execution_id: bytes,
        index: int,
        element: int | None,
        tell: Callable[[Child, ExecutionRecord | None], None],
    ) -> None:
        self.id = execution_id
        self.index = index
        self.element = element
        self.revision = 1
        self.has_progressed: bool | None = None
        self.ended = False
        self._tell = tell

    def wake(self, record: ExecutionRecord | None) -> None:
        """Takes news of the execution."""
        if record is not None:
            self.revision = record.revision
            if not lifecycle.is_terminal(record.state):
                return
        self._tell(self, record)


class Children:
    """The executions of the nodes of one graph."""

    def __init__(
        self, store: Store, executions: Executions, attempts: Attempts, wakeups: Wakeups, parent: ExecutionRecord
    ) -> None:
        self._store = store
        self._executions = executions
        self._attempts = attempts
        self._wakeups = wakeups
        self._parent = parent
        execution = parent.execution
        # What all have in common. Serialized messages that are joined are the message with the fields of both.
        self._common = execution_pb2.Execution(parent=execution.id, depth=execution.depth + 1).SerializeToString()
        self._found = Found()
        self._kept_at = asyncio.get_running_loop().time()
        self.living: dict[bytes, Child] = {}
        self.retentions: dict[bytes, int] = {}
        """The executions that have ended, and how long each is kept in milliseconds."""

    def id_of(self, path: str) -> bytes:
        """The id of the execution of a node."""
        found = self._found.records.get(path)
        return found.id if found is not None else identity.node_execution_id(self._parent.id, path)

    async def find(self, paths: Sequence[str]) -> None:
        """Looks for executions that there are already: the graph's own, and what it takes over from others."""
        self._found = await find(self._store, self._parent, paths)
        self._kept_at = -math.inf  # What has ended may have done so long ago.

    async def begin(
        self,
        path: str,
        child: Child,
        task: identifiers_pb2.TaskId,
        inputs: literals_pb2.LiteralMap,
        overrides: execution_pb2.NodeOverrides | None,
    ) -> ExecutionRecord:
        """Begins the execution of a node, or finds it, and follows it if it has not ended.

        Returns:
            The execution; its outcome are its outputs if it has succeeded.

        Raises:
            DomainError: As ``CreateExecution``; ``LEASE_LOST`` if this server no longer drives the graph.
        """
        found = self._found.records.get(path)
        if found is not None and lifecycle.is_terminal(found.state):
            return found
        if found is not None:
            return await self._follow(child, found)
        parent = self._parent.execution
        own = execution_pb2.Execution(node=path, overrides=overrides)
        kept = self._found.kept.get(path)
        if kept is not None:
            own.retry_of.CopyFrom(kept.execution.id)
        request = execution_service_pb2.ExecuteRequest(
            task=task, inputs=inputs, cache_mode=parent.cache_mode, priority=self._parent.priority
        )
        terms = Terms(
            self._common + own.SerializeToString(),
            overrides,
            node=NodeOf(child.id, self._parent.id, self._parent.nonce),
            kept_graph=kept.id if kept is not None else b"",
        )
        admitted = await self._executions.create(request, record_hit=True, terms=terms)
        record = admitted.record
        if admitted.hit is not None:
            record.state, record.outcome = lifecycle.SUCCEEDED, admitted.hit.outputs
        if lifecycle.is_terminal(record.state):
            return record
        if admitted.replayed:
            return await self._follow(child, record)
        self._listen(child)
        return record

    async def _follow(self, child: Child, record: ExecutionRecord) -> ExecutionRecord:
        self._listen(child)
        now = await self._store.watch(record.id) or record
        child.revision = now.revision
        if lifecycle.is_terminal(now.state):
            self.forget(child)
        return now

    def _listen(self, child: Child) -> None:
        self.living[child.id] = child
        self._wakeups.listen(child.id, child)

    def forget(self, child: Child) -> None:
        """Follows an execution no longer."""
        if self.living.pop(child.id, None) is not None:
            self._wakeups.unlisten(child.id, child)

    def forget_all(self) -> None:
        """Follows nothing any longer."""
        for child in list(self.living.values()):
            self.forget(child)

    async def read(self, ids: Iterable[bytes]) -> Mapping[bytes, ExecutionRecord | None]:
        """Reads executions."""
        wanted = list(ids)
        records: dict[bytes, ExecutionRecord | None] = {}
        for start in range(0, len(wanted), _BATCH):
            records |= await self._store.get_many(wanted[start : start + _BATCH])
        return records

    async def cancel(self, children: Iterable[Child], why: str) -> None:
        """Cancels executions; each tells of its end by itself."""
        await asyncio.gather(*(self._attempts.cancel(child.id, why) for child in list(children)))

    async def keep(self, now: float) -> None:
        """Keeps what has ended for another time of its retention, from time to time: the graph may still need it."""
        if now < self._kept_at + min(self.retentions.values(), default=_KEEP_MS) / 1000 / 3:
            return
        self._kept_at = now
        await asyncio.gather(
            *(
                self._store.call("PEXPIRE", self._store.keys.execution(execution_id), retention)
                for execution_id, retention in self.retentions.items()
            )
        )
