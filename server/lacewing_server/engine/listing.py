"""Lists of executions, by the index of their task or domain."""

from __future__ import annotations

from typing import Final

from lacewing.v1 import execution_service_pb2
from lacewing_server.domain import identity
from lacewing_server.domain.errors import invalid_field
from lacewing_server.domain.record import ExecutionRecord
from lacewing_server.engine.projects import Projects
from lacewing_server.store.redis.store import Store

_SCAN_MAX: Final = 2_000
"""Index entries that one page looks at; with rare matches a page is short and the next one goes on."""


class Listing:
    """Pages of executions, last created first."""

    def __init__(self, store: Store, projects: Projects) -> None:
        self._store = store
        self._projects = projects

    async def page(
        self, request: execution_service_pb2.ListExecutionsRequest, start: int, size: int
    ) -> tuple[list[ExecutionRecord], int]:
        """A page from a position of the index.

        Returns:
            The executions, and the position after them (0: the end).
        """
        if request.task_version and not request.task_name:
            raise invalid_field("task_version", "needs task_name")
        project, domain = await self._projects.complete(request.project, request.domain)
        keys = self._store.keys
        if request.task_name:
            key = keys.task_index(identity.task_ref(project, domain, request.task_name))
        else:
            key = keys.domain_index(project, domain)
        high = f"({request.created_before.ToMilliseconds()}" if request.HasField("created_before") else "+inf"
        low = str(request.created_after.ToMilliseconds()) if request.HasField("created_after") else "-inf"
        found: list[ExecutionRecord] = []
        position = start
        while position - start < _SCAN_MAX:
            ids = await self._store.call("ZREVRANGEBYSCORE", key, high, low, "LIMIT", position, size)
            gone = []
            for execution_id, record in zip(ids, await self._store.get_many(ids), strict=True):
                position += 1
                if record is None:
                    gone.append(execution_id)
                elif _matches(record, request):
                    found.append(record)
                    if len(found) == size:
                        break
            if gone:
                await self._store.call("ZREM", key, *gone)
                position -= len(gone)
            if len(found) == size:
                return found, position
            if len(ids) < size:
                return found, 0
        return found, position


def _matches(record: ExecutionRecord, request: execution_service_pb2.ListExecutionsRequest) -> bool:
    if request.states and record.state not in request.states:
        return False
    execution = record.execution
    if request.task_version and execution.task.version != request.task_version:
        return False
    return all(execution.labels.get(key) == value for key, value in request.labels.items())
