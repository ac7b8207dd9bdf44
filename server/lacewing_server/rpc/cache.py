"""``lacewing.v1.CacheService``: looking into the cache and evicting from it."""

# ruff: noqa: N802, ARG002
# Names and shapes of the handlers are those of the RPCs.

from __future__ import annotations

from collections.abc import AsyncIterator

from lacewing.v1 import cache_service_pb2, cache_service_pb2_grpc
from lacewing_server.domain.errors import invalid_field
from lacewing_server.engine import paging
from lacewing_server.engine.audits import Audits
from lacewing_server.engine.cache import Cache
from lacewing_server.rpc.boundary import Context


class CacheServicer(cache_service_pb2_grpc.CacheServiceServicer):
    """Answers the calls; what it raises becomes a status at the boundary."""

    def __init__(self, cache: Cache, audits: Audits) -> None:
        self._cache = cache
        self._audits = audits

    async def GetCacheEntry(
        self, request: cache_service_pb2.GetCacheEntryRequest, context: Context
    ) -> cache_service_pb2.GetCacheEntryResponse:
        """Gets an entry by its key."""
        return cache_service_pb2.GetCacheEntryResponse(entry=await self._cache.get(request.key))

    async def ListCacheEntries(
        self, request: cache_service_pb2.ListCacheEntriesRequest, context: Context
    ) -> cache_service_pb2.ListCacheEntriesResponse:
        """Lists the entries of one task, last filled first."""
        size, fingerprint = paging.page_size(request.page_size), paging.fingerprint(request)
        after = paging.number_position(request.page_token, fingerprint)
        entries, following = await self._cache.list_entries(request.task, after, size)
        token = paging.encode_token(fingerprint, following) if following else ""
        return cache_service_pb2.ListCacheEntriesResponse(entries=entries, next_page_token=token)

    async def EvictCacheEntries(
        self, request: cache_service_pb2.EvictCacheEntriesRequest, context: Context
    ) -> cache_service_pb2.EvictCacheEntriesResponse:
        """Evicts one entry, or those of a task."""
        if bool(request.key) == request.HasField("task"):
            raise invalid_field("key", "either key or task must be given, and not both")
        if request.key:
            if request.HasField("created_before"):
                raise invalid_field("created_before", "needs task")
            evicted = await self._cache.evict_key(request.key)
        else:
            before = -(-request.created_before.ToNanoseconds() // 1_000_000)  # an entry's time is a whole millisecond
            evicted = await self._cache.evict_task(request.task, before if request.HasField("created_before") else None)
        return cache_service_pb2.EvictCacheEntriesResponse(evicted_count=evicted)

    async def GetCacheStats(
        self, request: cache_service_pb2.GetCacheStatsRequest, context: Context
    ) -> cache_service_pb2.GetCacheStatsResponse:
        """Tells what the cache did for a task, or for a project."""
        if request.project and request.HasField("task"):
            raise invalid_field("project", "must not be given together with task")
        if request.project:
            stats = await self._cache.project_stats(request.project)
        else:
            stats = await self._cache.stats(request.task)
        return cache_service_pb2.GetCacheStatsResponse(stats=stats)

    async def AuditTask(
        self, request: cache_service_pb2.AuditTaskRequest, context: Context
    ) -> AsyncIterator[cache_service_pb2.AuditTaskResponse]:
        """Audits a task, and streams the results."""
        async for result in self._audits.on_demand(request):
            yield cache_service_pb2.AuditTaskResponse(result=result)
