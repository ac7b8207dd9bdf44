"""The workers of all servers, and what they have to do with an execution that waits."""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass
from typing import Final

from google.protobuf import json_format

from lacewing.v1 import worker_service_pb2
from lacewing_server.domain.offers import GraphOffer, Offer, QueueEntry
from lacewing_server.domain.record import ExecutionRecord
from lacewing_server.domain.task_version import QUEUE_DEFAULT
from lacewing_server.engine.dispatch import Dispatch
from lacewing_server.engine.projects import Projects
from lacewing_server.store.redis.store import Store

_FRESH_SECONDS: Final = 1.0
"""How long an answer is given again: many look at many executions of few queues."""


@dataclass(frozen=True, slots=True)
class _Worker:
    offer: Offer | GraphOffer
    is_free: bool


class Fleet:
    """The workers that are connected: to this server as they are, to others as those tell of them in their lease."""

    def __init__(self, store: Store, dispatch: Dispatch, projects: Projects) -> None:
        self._store = store
        self._dispatch = dispatch
        self._projects = projects
        self._reasons: dict[bytes, str] = {}
        self._workers: list[_Worker] = []
        self._fresh_until = 0.0

    async def why_queued(self, record: ExecutionRecord) -> str:
        """Says, for a person, why no worker has taken an execution that is ready; up to a few seconds old.

        Raises:
            DomainError: ``STORE_UNAVAILABLE``.
        """
        now = asyncio.get_running_loop().time()
        if now >= self._fresh_until:
            self._workers = await self._read()
            self._reasons = {}
            self._fresh_until = now + _FRESH_SECONDS
        if self._dispatch.is_bounded(record.queue_ref):
            return "as many attempts run, or have started, as the task or its project may have at a time"
        reason = self._reasons.get(record.queue_ref)
        if reason is None:
            queue = self._dispatch.queue(record.queue_ref)
            reason = "waits for a worker" if queue is None else _why(queue, self._workers)
            self._reasons[record.queue_ref] = reason
        return reason

    async def _read(self) -> list[_Worker]:
        own = [_Worker(each.offer, each.credit > 0 and not each.draining) for each in self._dispatch.sessions]
        servers = await self._store.call("SMEMBERS", self._store.keys.servers)
        others = [self._store.keys.server(each) for each in servers if each != self._store.server]
        values = await self._store.call("MGET", *others) if others else []
        return own + [self._told(worker) for value in values if value for worker in json.loads(value)]

    def _told(self, text: str) -> _Worker:
        worker = json_format.Parse(text, worker_service_pb2.Worker())
        offer = Offer(worker.offer, self._projects.default_project, self._projects.domains[0])
        return _Worker(offer, worker.credit > 0 and not worker.draining)


def _why(queue: QueueEntry, workers: list[_Worker]) -> str:
    offering = [each for each in workers if each.offer.fits(queue)]
    if not offering:
        where = "" if queue.label == QUEUE_DEFAULT else f" and the queue {queue.label}"
        task = f"{queue.project}/{queue.domain}/{queue.name}"
        return f"no worker is connected that offers task {task}, the task type {queue.task_type}{where}"
    free = sum(each.is_free for each in offering)
    if free:
        return f"is about to be taken: of {len(offering)} workers that offer the task, {free} can take more"
    return "the worker that offers the task is busy" if len(offering) == 1 else f"all {len(offering)} workers are busy"
