"""Lists of executions, by the index of their task or domain."""

from __future__ import annotations

from typing import Final

from lacewing.v1 import execution_pb2, execution_service_pb2
from lacewing_server.domain import identity, limits
from lacewing_server.domain.errors import invalid_field
from lacewing_server.domain.record import BIG_INPUTS, ExecutionRecord
from lacewing_server.engine.paging import malformed
from lacewing_server.engine.projects import Projects
from lacewing_server.store.redis.store import Store

_SCAN_MAX: Final = 2_000
"""Index entries that one page looks at; with rare matches a page is short and the next one goes on."""

_Entry = tuple[int, bytes]
"""Time of creation and id: the order of the index, and a place in it that stays when others come and go."""


class Listing:
    """Pages of executions, last created first."""

    def __init__(self, store: Store, projects: Projects) -> None:
        self._store = store
        self._projects = projects

    async def page(
        self, request: execution_service_pb2.ListExecutionsRequest, after: str, size: int
    ) -> tuple[list[ExecutionRecord], str]:
        """A page that follows a position.

        Returns:
            The executions, and the position of the last one ('': the end).

        Raises:
            DomainError: ``FIELD_INVALID``, ``PAGE_TOKEN_INVALID``, or that of the project or domain.
        """
        if request.task_version and not request.task_name:
            raise invalid_field("task_version", "needs task_name")
        keys = self._store.keys
        if request.HasField("parent"):
            parent = request.parent
            project, domain = await self._projects.complete(parent.project, parent.domain)
        else:
            project, domain = await self._projects.complete(request.project, request.domain)
        if request.HasField("parent"):
            key = keys.child_index(identity.execution_id_of(project, domain, request.parent.name))
        elif request.task_name:
            key = keys.task_index(identity.task_ref(project, domain, request.task_name))
        else:
            key = keys.domain_index(project, domain)
        high = f"({request.created_before.ToMilliseconds()}" if request.HasField("created_before") else "+inf"
        low = str(request.created_after.ToMilliseconds()) if request.HasField("created_after") else "-inf"
        last = _entry(after) if after else None
        if last is not None:
            high = str(last[0])
        found: list[ExecutionRecord] = []
        offset, seen, room = 0, 0, limits.BATCH_MAX_BYTES
        while seen < _SCAN_MAX:
            entries = await self._entries(key, high, low, offset, size)
            offset += len(entries)
            # Of the moment of the last page's end some were in that page.
            fresh = [entry for entry in entries if last is None or entry < last]
            seen += len(fresh)
            gone = []
            records = await self._store.get_many([each[1] for each in fresh])
            for entry in fresh:
                record = records.get(entry[1])
                if record is None:
                    gone += [entry[1]] if entry[1] in records else []
                elif _matches(record, request):
                    if request.view == execution_pb2.EXECUTION_VIEW_FULL:
                        record = await self._whole(record)
                        room -= len(record.inputs) + len(record.outcome)
                        if found and room < 0:
                            return found, _position(last)
                    found.append(record)
                last = entry
                if len(found) == size:
                    break
            if gone:
                await self._store.call("ZREM", key, *gone)
                offset -= len(gone)
            if len(found) == size:
                return found, _position(last)
            if len(entries) < size:
                return found, ""
        return found, _position(last)

    async def _whole(self, record: ExecutionRecord) -> ExecutionRecord:
        """The execution with its inputs, if they are not in its record."""
        return await self._store.get(record.id) or record if record.flags & BIG_INPUTS else record

    async def _entries(self, key: bytes, high: str, low: str, offset: int, count: int) -> list[_Entry]:
        flat = await self._store.call("ZREVRANGEBYSCORE", key, high, low, "WITHSCORES", "LIMIT", offset, count)
        return [(int(float(flat[i + 1])), flat[i]) for i in range(0, len(flat), 2)]


def _position(entry: _Entry | None) -> str:
    return f"{entry[0]}-{entry[1].hex()}" if entry is not None else ""


def _entry(position: str) -> _Entry:
    moment, _, execution_id = position.partition("-")
    try:
        return int(moment), bytes.fromhex(execution_id)
    except ValueError as error:
        raise malformed() from error


def _matches(record: ExecutionRecord, request: execution_service_pb2.ListExecutionsRequest) -> bool:
    if request.states and record.state not in request.states:
        return False
    execution = record.execution
    if request.task_version and execution.task.version != request.task_version:
        return False
    return all(execution.labels.get(key) == value for key, value in request.labels.items())
