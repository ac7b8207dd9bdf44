"""``WorkerService``: the unary calls; the stream is in ``work_stream``."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any, Final

from google.protobuf import json_format

from lacewing.v1 import worker_service_pb2 as pb
from lacewing.v1.worker_service_pb2_grpc import WorkerServiceServicer
from lacewing_server.domain import identity, limits, names
from lacewing_server.domain.durations import milliseconds
from lacewing_server.domain.errors import Violations
from lacewing_server.domain.offers import Offer, check_offer
from lacewing_server.engine.attempts import Attempts
from lacewing_server.engine.dispatch import Dispatch
from lacewing_server.engine.leases import UnaryLeases
from lacewing_server.engine.paging import encode_token, fingerprint, number_position, page_size
from lacewing_server.engine.projects import Projects
from lacewing_server.rpc.boundary import Context
from lacewing_server.rpc.status import to_request_error
from lacewing_server.rpc.work_stream import WorkStreams
from lacewing_server.store.redis.store import Store

_LEASE_DEFAULT_MS: Final = 30_000
_LEASE_MIN_MS: Final = 1_000
_LEASE_MAX_MS: Final = 3_600_000
_WAIT_MAX_MS: Final = 60_000


class WorkerServicer(WorkerServiceServicer):
    """Translates between the wire and the engine."""

    def __init__(
        self,
        store: Store,
        projects: Projects,
        dispatch: Dispatch,
        attempts: Attempts,
        unary: UnaryLeases,
        streams: WorkStreams,
    ) -> None:
        self._store = store
        self._projects = projects
        self._dispatch = dispatch
        self._attempts = attempts
        self._unary = unary
        self._streams = streams

    def Work(  # noqa: N802 - the RPC's name
        self,
        request_iterator: AsyncIterator[pb.WorkRequest],
        context: Context,  # noqa: ARG002 - the RPC's shape
    ) -> AsyncIterator[Any]:
        """Serves one worker's stream."""
        return self._streams.serve(request_iterator)

    async def AcquireLeases(self, request: pb.AcquireLeasesRequest, context: Context) -> pb.AcquireLeasesResponse:  # noqa: ARG002, N802 - the RPC
        """Leases attempts to a unary worker."""
        violations = Violations()
        names.check_printable(request.worker, limits.WORKER_NAME_MAX, "worker", violations)
        check_offer(request.offer, "offer", violations)
        if not 0 <= request.max_leases <= limits.STREAM_ITEMS_MAX:
            violations.add("max_leases", f"must be 0 to {limits.STREAM_ITEMS_MAX}")
        wait = milliseconds(request.wait_timeout)
        if not 0 <= wait <= _WAIT_MAX_MS:
            violations.add("wait_timeout", f"must be 0 to {_WAIT_MAX_MS // 1000} s")
        lease = _lease_ms(request, violations)
        violations.raise_if_any()
        offer = Offer(request.offer, self._projects.default_project, self._projects.domains[0])
        leases, tasks = await self._unary.acquire(request.worker, offer, request.max_leases or 1, wait / 1000, lease)
        return pb.AcquireLeasesResponse(leases=leases, task_versions=[task.version for task in tasks])

    async def ExtendLeases(self, request: pb.ExtendLeasesRequest, context: Context) -> pb.ExtendLeasesResponse:  # noqa: ARG002, N802 - the RPC
        """Keeps leases alive."""
        violations = Violations()
        _check_count(len(request.heartbeats), "heartbeats", violations)
        lease = _lease_ms(request, violations)
        violations.raise_if_any()
        parts = [identity.split_token(each.token) for each in request.heartbeats]
        known = [part for part in parts if part is not None]
        ends = iter(await self._store.extend(known, lease) if known else [])
        response = pb.ExtendLeasesResponse()
        for heartbeat, part in zip(request.heartbeats, parts, strict=True):
            extension = response.extensions.add(token=heartbeat.token)
            end = next(ends) if part is not None else 0
            if end:
                extension.expire_time.FromMilliseconds(end)
            else:
                extension.error.CopyFrom(to_request_error(await self._attempts.lost(heartbeat.token)))
        return response

    async def CompleteLeases(self, request: pb.CompleteLeasesRequest, context: Context) -> pb.CompleteLeasesResponse:  # noqa: ARG002, N802 - the RPC
        """Records results."""
        violations = Violations()
        _check_count(len(request.completions), "completions", violations)
        violations.raise_if_any()
        return pb.CompleteLeasesResponse(results=await self._streams.complete(request.completions))

    async def ListWorkers(self, request: pb.ListWorkersRequest, context: Context) -> pb.ListWorkersResponse:  # noqa: ARG002, N802 - the RPC
        """Lists the workers of all servers."""
        size, mark = page_size(request.page_size), fingerprint(request)
        start = number_position(request.page_token, mark)
        keys = self._store.keys
        servers = await self._store.call("SMEMBERS", keys.servers)
        values = await asyncio.gather(*(self._store.call("GET", keys.server(each)) for each in servers))
        texts = [text for value in values if value for text in json.loads(value)]
        workers = sorted((json_format.Parse(text, pb.Worker()) for text in texts), key=lambda each: each.worker)
        following = start + size if len(workers) > start + size else 0
        return pb.ListWorkersResponse(
            workers=workers[start : start + size],
            next_page_token=encode_token(mark, following) if following else "",
        )


def _lease_ms(request: pb.AcquireLeasesRequest | pb.ExtendLeasesRequest, violations: Violations) -> int:
    if not request.HasField("lease_duration"):
        return _LEASE_DEFAULT_MS
    lease = milliseconds(request.lease_duration)
    if not _LEASE_MIN_MS <= lease <= _LEASE_MAX_MS:
        violations.add("lease_duration", "must be 1 s to 1 h")
    return lease


def _check_count(count: int, path: str, violations: Violations) -> None:
    if not 1 <= count <= limits.STREAM_ITEMS_MAX:
        violations.add(path, f"must be 1 to {limits.STREAM_ITEMS_MAX}, got {count}")
