"""What a server does by itself: its own lease, clocks, dead servers, news, and the tick that makes up for lost news."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
from collections.abc import Awaitable, Callable, Sequence
from typing import Final

from lacewing.v1 import errors_pb2, worker_service_pb2
from lacewing_server.domain import identity, lifecycle
from lacewing_server.domain.errors import DomainError
from lacewing_server.domain.record import ExecutionRecord
from lacewing_server.engine.attempts import Attempts
from lacewing_server.engine.cache_keeper import CacheKeeper
from lacewing_server.engine.dispatch import Dispatch
from lacewing_server.engine.janitor import Janitor
from lacewing_server.engine.projects import Projects
from lacewing_server.engine.stats import CacheCounters
from lacewing_server.engine.tasks import Tasks
from lacewing_server.engine.wakeups import Wakeups
from lacewing_server.store.redis.store import Store
from lacewing_server.store.redis.transitions import owner_guard

_log = logging.getLogger(__name__)

_OF_THE_STORE: Final = frozenset({errors_pb2.ERROR_REASON_STORE_UNAVAILABLE, errors_pb2.ERROR_REASON_STORE_FULL})
"""Reasons to refuse that are no fault of what was asked for."""

_BATCH: Final = 256


class Loops:
    """The background work of one server."""

    def __init__(
        self,
        store: Store,
        tasks: Tasks,
        projects: Projects,
        dispatch: Dispatch,
        attempts: Attempts,
        wakeups: Wakeups,
        counters: CacheCounters,
        *,
        tick: float,
        server_lease: float,
        reconnect_grace: float,
        describe_workers: Callable[[], list[str]],
        on_signal: Callable[[bytes], None],
        look_after_graphs: Sequence[Callable[[], Awaitable[None]]],
    ) -> None:
        self._store = store
        self._tasks = tasks
        self._projects = projects
        self._dispatch = dispatch
        self._attempts = attempts
        self._wakeups = wakeups
        self._counters = counters
        self._tick = tick
        self._server_lease = server_lease
        self._reconnect_grace = reconnect_grace
        self._describe_workers = describe_workers
        self._on_signal = on_signal
        self._look_after_graphs = look_after_graphs
        self._running: list[asyncio.Task[None]] = []
        self._janitor = Janitor(store, dispatch.queues)
        self._cache_keeper = CacheKeeper(store, tasks.cache_bound)
        self._suspects: dict[bytes, float] = {}
        self._has_missed_news = False

    def start(self) -> None:
        """Starts the loops."""
        for name, seconds, step in (
            ("clocks", self._tick, self._clocks),
            ("liveness", self._server_lease / 3, self._liveness),
            ("recheck", 1.0, self._recheck),
            ("counters", 1.0, self._counters.flush),
            ("janitor", 1.0, self._janitor.step),
            ("cache", 1.0, self._cache_keeper.step),
            *(("graphs", 1.0, step) for step in self._look_after_graphs),
        ):
            self._running.append(asyncio.create_task(self._every(seconds, step), name=name))

    async def stop(self) -> None:
        """Stops the loops and gives up the server's lease."""
        for task in self._running:
            task.cancel()
        for task in self._running:
            with contextlib.suppress(asyncio.CancelledError):
                await task
        try:
            await self._store.call("DEL", self._store.keys.server(self._store.server))
            await self._counters.flush()
        except DomainError as error:
            _log.warning("could not say good-bye to the store: %s", error)

    def on_news(self, news: bytes) -> None:
        """Takes a message that was published for this server or for all."""
        kind, body = news[:1], news[1:]
        if kind == b"x":
            self._wakeups.notify(body)
        elif kind == b"q":
            self._dispatch.on_work(body)
        elif kind == b"u":
            self._dispatch.on_room(body)
        elif kind == b"s":
            self._on_signal(body)
        elif kind == b"y":
            self._wakeups.progressed(body)
        elif kind == b"r":
            self._dispatch.revoke(body[:20], body[20])
        elif kind == b"t":
            self._dispatch.learn(body[:12], body[12:])
            self._tasks.forget_all_latest()
        elif kind == b"p":
            self._projects.forget()

    def on_resubscribe(self) -> None:
        """News may have been lost."""
        self._tasks.forget_all_latest()
        self._projects.forget()
        self._has_missed_news = True

    async def _every(self, seconds: float, step: Callable[[], Awaitable[None]]) -> None:
        refused = ""
        while True:
            try:
                await step()
                refused = ""
            except DomainError as error:
                if error.reason_name != refused:  # a store that stays away is told once
                    _log.warning("%s", error)
                refused = error.reason_name
            except Exception:  # noqa: BLE001 - a loop outlives a fault of one step, which is logged
                _log.exception("a background step failed")
            await asyncio.sleep(seconds)

    async def _clocks(self) -> None:
        due = await self._store.due()
        for execution_id in due.ready:
            self._wakeups.notify(execution_id)
        # Each by itself: one that cannot be judged must not keep the others waiting.
        results = await asyncio.gather(
            *(self._attempts.judge(record, due.now_ms) for record in due.judge), return_exceptions=True
        )
        outage: DomainError | None = None
        for record, result in zip(due.judge, results, strict=True):
            if isinstance(result, DomainError) and result.reason in _OF_THE_STORE:
                outage = result
            elif isinstance(result, Exception):
                _log.error("could not judge the clocks of execution %s", record.name, exc_info=result)
        if outage is not None:
            raise outage  # it is the same for all of them, and told once

    async def _liveness(self) -> None:
        server, keys = self._store.server, self._store.keys
        servers = await self._store.run("alive", round(self._server_lease * 1000), json.dumps(self._describe_workers()))
        for other in servers:
            if other == server or await self._store.call("EXISTS", keys.server(other)):
                self._suspects.pop(other, None)
                continue
            # Its workers may still come to another server and keep what they hold.
            now = asyncio.get_running_loop().time()
            if now - self._suspects.setdefault(other, now) >= self._reconnect_grace:
                await self._reap(other)

    async def _reap(self, dead: bytes) -> None:
        ids = await self._store.call("SRANDMEMBER", self._store.keys.running(dead), _BATCH)
        for execution_id, record in (await self._store.get_many(ids)).items():
            if record is None or record.state != lifecycle.RUNNING or record.owner != dead:
                await self._store.call("SREM", self._store.keys.running(dead), execution_id)
                continue
            await self._attempts.lose(record, owner_guard(record.nonce, dead), "the server that held its lease died")
        if not ids:
            await self._store.call("SREM", self._store.keys.servers, dead)
            self._suspects.pop(dead, None)
            _log.info("took over everything of a dead server %s", dead.hex())

    async def _recheck(self) -> None:
        if self._has_missed_news:
            self._has_missed_news = False  # what is missed from here on is for the next time
            try:
                await self._revoke_lost_leases()
            except DomainError:
                self._has_missed_news = True
                raise
        await self._dispatch.load_catalog()
        await self._dispatch.doubts.settle()
        self._dispatch.check_all()
        waited = self._wakeups.waited_for()
        for execution_id, found in zip(waited, await self._store.revisions(waited), strict=True):
            self._wakeups.catch_up(execution_id, 0 if found is None else found[1])

    async def _revoke_lost_leases(self) -> None:
        """Makes up for revocations that were published while this server did not listen: their bodies run on."""
        tokens = list(self._dispatch.leases)
        for start in range(0, len(tokens), _BATCH):
            batch = {token: token[: identity.ID_BYTES] for token in tokens[start : start + _BATCH]}
            records = await self._store.get_many(list(batch.values()))
            for token, execution_id in batch.items():
                record = records.get(execution_id)
                if record is None and execution_id not in records:
                    continue  # It cannot be read here.
                # A lease that its worker has ended keeps its nonce.
                if record is None or identity.lease_token(record.id, record.nonce) != token:
                    self._dispatch.revoke(token, _why_revoked(record))


def _why_revoked(record: ExecutionRecord | None) -> int:
    """Why a lease is no longer current."""
    state = lifecycle.QUEUED if record is None else record.state
    if state == lifecycle.CANCELLED:
        return worker_service_pb2.Revocation.REASON_CANCELLED
    if state == lifecycle.TIMED_OUT:
        return worker_service_pb2.Revocation.REASON_TIMED_OUT
    return worker_service_pb2.Revocation.REASON_LOST


def new_server_id() -> bytes:
    """Makes the identity of a server process."""
    return identity.new_nonce()
