"""The journal of a graph: what was decided while it was driven, for whoever drives it next and whoever looks at it.

Fields of the hash: ``spec``, the graph of a dynamic task; ``summary``; and of a node, by its path or signal,
``branch:`` the index of the choice, ``width:`` the number of elements, ``begun:`` and ``ended:`` times of a gate in
milliseconds, ``failed:`` the error of a node that failed without an execution, ``signal:`` the answer to a gate,
``refused:`` that this was a refusal and the gate failed by it. The first value that is noted stays.
"""

from __future__ import annotations

from collections.abc import Iterable

from lacewing.v1 import errors_pb2, execution_pb2
from lacewing_server.domain.errors import DomainError
from lacewing_server.domain.record import ExecutionRecord
from lacewing_server.store.redis.store import Store

SPEC = "spec"
SUMMARY = "summary"


def lost() -> DomainError:
    """The refusal to go on with a graph that has ended, or that another server drives."""
    return DomainError(
        errors_pb2.ERROR_REASON_LEASE_LOST, "the graph has ended, or another server drives it; begin nothing more"
    )


class Journal:
    """The journal of one graph, as the server that drives it sees it."""

    def __init__(self, store: Store, record: ExecutionRecord) -> None:
        self._store = store
        self._id, self._nonce = record.id, record.nonce
        self._key = store.keys.graph(record.id)
        self.known: dict[str, bytes] = {}
        """What is noted, as far as this server has read or written it."""

    async def read(self) -> bytes:
        """Reads everything; gives the graph, if it is here and not with the task."""
        flat = await self._store.call("HGETALL", self._key)
        self.known = {flat[i].decode(): flat[i + 1] for i in range(0, len(flat), 2)}
        return self.known.pop(SPEC, b"")

    async def has_children(self) -> bool:
        """Whether there are executions of nodes."""
        return bool(await self._store.call("EXISTS", self._store.keys.child_index(self._id)))

    async def note(self, field: str, value: bytes | str | int) -> bytes:
        """Notes a decision, unless one is noted; gives the one that is.

        Raises:
            DomainError: ``LEASE_LOST``, or that of the store.
        """
        if (known := self.known.get(field)) is not None:
            return known
        self.known[field] = await self._write(field, value)
        return self.known[field]

    async def signals(self, signals: Iterable[str]) -> dict[str, bytes]:
        """The answers that gates have."""
        wanted = list(signals)
        if not wanted:
            return {}
        answers = await self._store.call("HMGET", self._key, *(f"signal:{each}" for each in wanted))
        return {each: answer for each, answer in zip(wanted, answers, strict=True) if answer is not None}

    async def summarize(self, summary: execution_pb2.GraphSummary) -> None:
        """Keeps how far the graph is, and tells all servers, some of which may have callers that watch it.

        Raises:
            DomainError: ``LEASE_LOST``, or that of the store.
        """
        await self._write(SUMMARY, summary.SerializeToString(), again=True)
        await self._store.call("PUBLISH", self._store.keys.all_channel, b"y" + self._id)

    async def _write(self, field: str, value: bytes | str | int, *, again: bool = False) -> bytes:
        reply = await self._store.run("note", self._id, self._nonce, field, value, b"1" if again else b"")
        if reply[0] != b"done":
            raise lost()
        noted: bytes = reply[1]
        return noted
