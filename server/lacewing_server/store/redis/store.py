"""The store: one method per transition or read, each one round trip unless it says otherwise.

Methods raise :class:`DomainError` with ``STORE_UNAVAILABLE`` when Redis cannot be reached and ``STORE_FULL`` when it
is out of memory; every call is safe to repeat.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from functools import partial
from typing import Any, Final

from lacewing.v1 import errors_pb2
from lacewing_server.domain.errors import DomainError
from lacewing_server.domain.offers import GRAPHS
from lacewing_server.domain.record import BIG_INPUTS, ExecutionRecord
from lacewing_server.store.redis import codec
from lacewing_server.store.redis.address import Address
from lacewing_server.store.redis.clock import RedisClock
from lacewing_server.store.redis.keys import Keys
from lacewing_server.store.redis.link import CommandError, Confirmation, Reply, StoreUnavailableError
from lacewing_server.store.redis.pipeline import TIMEOUT_SECONDS, Pipeline
from lacewing_server.store.redis.requirements import UnsuitableRedisError, unsuitable
from lacewing_server.store.redis.runner import Runner
from lacewing_server.store.redis.scripts import SCRIPTS
from lacewing_server.store.redis.transitions import (
    Applied,
    Claimed,
    Created,
    Creation,
    Due,
    Outcome,
    Queue,
    Requeueing,
)

_log = logging.getLogger(__name__)

_RETRY_SECONDS: Final = 0.5
_DUE_BATCH: Final = 200
_PASSING: Final = frozenset({"MISCONF", "NOREPLICAS", "BUSY"})
"""Codes of errors by which Redis says that it cannot write now: its disk, its replicas, or a script that takes long."""


class Store:
    """Redis as the engine sees it."""

    def __init__(
        self, url: str, prefix: str, server: bytes, *, timeout: float = TIMEOUT_SECONDS, replicas: int = 0
    ) -> None:
        """Prepares the store; :meth:`start` connects.

        Args:
            url: Where Redis is, see :mod:`lacewing_server.store.redis.address`.
            prefix: What all keys begin with.
            server: The identity of this server.
            timeout: How long Redis may take to answer, in seconds, before its connection counts as lost.
            replicas: How many of its replicas must have what is written before a call succeeds.

        Raises:
            StoreUnavailableError: If the URL is not that of a Redis.
        """
        self.keys = Keys(prefix)
        self.server = server
        self._address = Address(url, timeout)
        confirmation = Confirmation(replicas, self.keys.confirmation_channel)
        connect = partial(Pipeline, self._address.connection, timeout=timeout, confirmation=confirmation)
        self._pipeline = connect(on_connect=self._prepare)
        self._bulk = connect(on_connect=self._load_scripts)
        self._subscription = connect(on_connect=self._subscribe, on_push=self._on_push)
        self._runner = Runner(self._pipeline, self.keys.prefix, server)
        self._bulk_runner = Runner(self._bulk, self.keys.prefix, server)
        self._started = False
        self._on_news: Callable[[bytes], None] = lambda _news: None
        self._on_resubscribe: Callable[[], None] = lambda: None
        self._clock = RedisClock()

    async def start(self, on_news: Callable[[bytes], None], on_resubscribe: Callable[[], None]) -> None:
        """Connects.

        Args:
            on_news: Takes each message published for this server or for all.
            on_resubscribe: Called when messages are heard, after some may have been lost.

        Raises:
            StoreUnavailableError: If Redis cannot be reached, or must not be used (:class:`UnsuitableRedisError`).
        """
        self._on_news, self._on_resubscribe = on_news, on_resubscribe
        connecting = (self._pipeline.start(), self._bulk.start(), self._subscription.start())
        for outcome in await asyncio.gather(*connecting, return_exceptions=True):  # none goes on when another fails
            if outcome is not None:
                raise outcome
        self._started = True

    async def close(self) -> None:
        """Closes the connections."""
        await asyncio.gather(self._pipeline.close(), self._bulk.close(), self._subscription.close())
        await self._address.close()

    @property
    def connected(self) -> bool:
        """Whether Redis is reachable now."""
        return self._pipeline.connected

    def now_ms(self) -> int:
        """Redis's clock, estimated from its answers. For display only: transitions read the true one."""
        return self._clock.now_ms()

    # --- calls -----------------------------------------------------------------------------------------------------

    async def call(self, *command: bytes | str | int) -> Reply:
        """Runs one plain command."""
        try:
            return await self._pipeline.send(*command)
        except (StoreUnavailableError, CommandError) as error:
            raise _refusal(error) from error

    async def run(self, name: str, *args: bytes | str | int, bulk: bool = False) -> Reply:
        """Runs one script; with others of its kind in one call if it is a transition and its arguments are not big."""
        return await self._answer(self._issue(name, *args, bulk=bulk))

    def _issue(self, name: str, *args: bytes | str | int, bulk: bool = False) -> Awaitable[Reply]:
        """What `run` waits for; a transition is on its way when this returns."""
        if not SCRIPTS[name].is_each:
            return self._runner.run(name, *args)
        return self._bulk_runner.alone(name, *args) if bulk else self._runner.each(name, *args)

    async def _answer(self, reply: Awaitable[Reply]) -> Reply:
        try:
            return await reply
        except (StoreUnavailableError, CommandError) as error:
            raise _refusal(error) from error

    async def _prepare(self, pipeline: Pipeline) -> None:
        if reason := unsuitable(pipeline.info):
            if not self._started:
                raise UnsuitableRedisError(f"this Redis must not be used: {reason}")
            _log.error("Redis came back as one that must not be used: %s", reason)  # but work is going on
        await self._load_scripts(pipeline)

    async def _load_scripts(self, pipeline: Pipeline) -> None:
        await asyncio.gather(*(pipeline.send("SCRIPT", "LOAD", script.text) for script in SCRIPTS.values()))

    async def _subscribe(self, pipeline: Pipeline) -> None:
        pipeline.send("SUBSCRIBE", self.keys.channel(self.server), self.keys.all_channel)

    def _on_push(self, message: Reply) -> None:
        if not isinstance(message, list):
            return
        if message[0] == b"message":
            self._on_news(message[2])
        elif message[0] == b"subscribe" and message[1] == self.keys.all_channel:
            # Not when it was asked for: what is published before it is confirmed is not heard here.
            self._on_resubscribe()

    # --- executions ------------------------------------------------------------------------------------------------

    def create(self, record: ExecutionRecord, creation: Creation) -> Coroutine[Any, Any, Created]:
        """Creates an execution, or answers it from the cache; issued at once. ``record`` is completed in place."""
        inputs = record.inputs
        record.inputs = b""
        head = codec.pack_record(record)
        record.inputs = inputs
        reply = self._issue(
            "create",
            record.id,
            head,
            inputs,
            creation.nonce,
            creation.domain_index,
            creation.max_queued,
            creation.deadline,
            creation.lookup,
            (b"2" if creation.has_blobs else b"1") if creation.record_hit else b"",
            creation.expected_latest,
            creation.worker,
            creation.unary_lease,
            creation.patch,
            creation.parent,
            creation.parent_nonce,
            creation.kept_graph,
            bulk=len(inputs) > codec.BULK_BYTES,
        )
        return self._created(reply, record, creation)

    def look_up(self, record: ExecutionRecord, project: str, expected_latest: str) -> Coroutine[Any, Any, Created]:
        """Looks into the cache and does nothing else; issued at once. There is no hit if the execution exists."""
        return self._looked_up(
            self._issue("lookup", record.id, record.cache_key, project, record.task_ref, expected_latest)
        )

    async def _looked_up(self, issued: Awaitable[Reply]) -> Created:
        kind, *found = await self._answer(issued)
        if not found:
            return Created(kind.decode())
        self._clock.learn(found[1])
        return Created("hit", None, codec.unpack_entry(found[0]), found[1])

    async def _created(self, issued: Awaitable[Reply], record: ExecutionRecord, creation: Creation) -> Created:
        reply = await self._answer(issued)
        kind = reply[0].decode()
        if kind == "exists":
            return Created(kind, await self._complete(codec.unpack_record(record.id, reply[1])))
        if kind == "hit":
            self._clock.learn(reply[2])
            return Created(kind, record, codec.unpack_entry(reply[1]), reply[2])
        if kind in {"leased", "queued", "waiting"}:
            now, record.cache_status = reply[1], reply[2]
            self._clock.learn(now)
            record.create_ms = record.queued_ms = now
            if creation.deadline:
                record.deadline_ms = now + creation.deadline
            if len(record.inputs) > codec.INLINE_BYTES:
                record.flags |= BIG_INPUTS
            record.state = codec.STATES[kind]
            if kind == "leased":
                record.attempt, record.nonce, record.worker, record.start_ms = 1, creation.nonce, creation.worker, now
                if creation.unary_lease:
                    record.lease_expire_ms = now + creation.unary_lease
                else:
                    record.owner = self.server
            elif kind == "waiting":
                record.set_meta(record.meta + reply[3])
            return Created(kind, record, None, now)
        if kind == "full":
            return Created(kind, full=reply[1].decode(), bound=int(reply[2]))
        return Created(kind)

    async def get(self, execution_id: bytes, *, inputs: bool = True) -> ExecutionRecord | None:
        """Reads an execution; a second round trip if its inputs are big and wanted."""
        value = await self.call("GET", self.keys.execution(execution_id))
        if value is None:
            return None
        record = codec.unpack_record(execution_id, value)
        return await self._complete(record) if inputs else record

    async def get_many(self, ids: Sequence[bytes]) -> dict[bytes, ExecutionRecord | None]:
        """Reads many executions by id, without big inputs; None for what is gone.

        A record that cannot be read is left out: it may be a newer server's, and is none of our business then.
        """
        records: dict[bytes, ExecutionRecord | None] = {}
        values = await self.call("MGET", *(self.keys.execution(each) for each in ids)) if ids else []
        for each, value in zip(ids, values, strict=True):
            try:
                records[each] = None if value is None else codec.unpack_record(each, value)
            except codec.UnknownFormatError as error:
                _log.warning("%s", error)
        return records

    async def watch(self, execution_id: bytes) -> ExecutionRecord | None:
        """Reads an execution and makes its changes known to this server from now on."""
        value = await self.run("watch", execution_id)
        return None if value is None else await self._complete(codec.unpack_record(execution_id, value))

    async def revisions(self, ids: Sequence[bytes]) -> list[tuple[int, int] | None]:
        """Reads state and revision of executions, in one batch."""
        values = await asyncio.gather(
            *(self.call("GETRANGE", self.keys.execution(each), 0, codec.REVISION_END - 1) for each in ids)
        )
        return [codec.header_revision(value) if value else None for value in values]

    async def claim(self, queue: Queue, slots: Sequence[tuple[bytes, bytes]], lease_ms: int = 0) -> Claimed:
        """Leases ready executions, one per slot (nonce, worker) at most, and as many as bounds allow."""
        flat = [part for slot in slots for part in slot]
        more, wait_ms, *pairs = await self.run("claim", queue.ref, queue.task_ref, queue.project_ref, lease_ms, *flat)
        records = [codec.unpack_record(pairs[i], pairs[i + 1]) for i in range(0, len(pairs), 2)]
        return Claimed(bool(more), wait_ms, [await self._complete(record) for record in records])

    def finish(self, execution_id: bytes, guard: bytes, outcome: Outcome) -> Coroutine[Any, Any, Applied]:
        """Ends an execution if the guard holds; issued at once."""
        reply = self._issue(
            "finish",
            execution_id,
            guard,
            outcome.outcome,
            outcome.state,
            outcome.attempt,
            outcome.cache_status,
            outcome.entry,
            outcome.entry_ttl,
            outcome.project,
            outcome.cache_max,
            b"1" if outcome.keep_nonce else b"",
            bytes([outcome.revoke_reason]),
            outcome.failures,
            outcome.losses,
            bulk=len(outcome.outcome) > codec.BULK_BYTES,
        )
        return self._applied(execution_id, reply)

    async def requeue(self, execution_id: bytes, guard: bytes, how: Requeueing) -> Applied:
        """Sends a running execution back to its queue if the guard holds."""
        reply = self._issue(
            "requeue",
            execution_id,
            guard,
            how.outcome,
            how.failures,
            how.losses,
            how.delay,
            how.attempt,
            b"1" if how.keep_nonce else b"",
            bytes([how.revoke_reason]),
            how.graph,
            GRAPHS.ref,
            bulk=len(how.graph) > codec.BULK_BYTES,
        )
        return await self._applied(execution_id, reply)

    async def attach(self, execution_id: bytes, nonce: bytes) -> ExecutionRecord | None:
        """Takes over the lease of an attempt whose worker came to this server; None if the lease is not current."""
        reply = await self.run("attach", execution_id, nonce)
        return codec.unpack_record(execution_id, reply[1]) if reply[0] == b"done" else None

    async def extend(self, leases: Sequence[tuple[bytes, bytes]], lease_ms: int) -> list[int]:
        """Keeps leases (id, nonce) of a unary worker alive; says when each now ends, 0 for one that is lost."""
        reply: list[int] = await self.run("extend", lease_ms, *(part for lease in leases for part in lease))
        return reply

    async def due(self) -> Due:
        """Makes ready what has waited out its back-off, and returns what else the clock has to say."""
        now, following, ready, *pairs = await self.run("due", _DUE_BATCH)
        self._clock.learn(now)
        judge = tuple(codec.unpack_record(pairs[i], pairs[i + 1]) for i in range(0, len(pairs), 2))
        return Due(now, following, tuple(ready[i : i + 12] for i in range(0, len(ready), 12)), judge)

    async def attempts(self, execution_id: bytes) -> list[bytes]:
        """The recorded attempts, serialized."""
        reply: list[bytes] = await self.call("LRANGE", self.keys.attempts(execution_id), 0, -1)
        return reply

    async def _complete(self, record: ExecutionRecord) -> ExecutionRecord:
        if record.flags & BIG_INPUTS:
            try:
                record.inputs = await self._bulk.send("GET", self.keys.inputs(record.id)) or b""
            except (StoreUnavailableError, CommandError) as error:
                raise _refusal(error) from error
        return record

    async def _applied(self, execution_id: bytes, issued: Awaitable[Reply]) -> Applied:
        reply = await self._answer(issued)
        kind = reply[0].decode()
        if kind == "refused":
            return Applied(kind, record=codec.unpack_record(execution_id, reply[1]))
        if kind == "gone":
            return Applied(kind)
        self._clock.learn(reply[1])
        return Applied(kind, reply[1], *reply[2:])


def _refusal(error: StoreUnavailableError | CommandError) -> Exception:
    if isinstance(error, StoreUnavailableError) or error.code in _PASSING:
        return DomainError(
            errors_pb2.ERROR_REASON_STORE_UNAVAILABLE,
            f"the store cannot be reached or does not write: {error}; try again",
            retry_seconds=_RETRY_SECONDS,
        )
    if error.code == "OOM":
        return DomainError(
            errors_pb2.ERROR_REASON_STORE_FULL,
            "the store is at its memory limit and takes no new work; try again later",
            retry_seconds=10 * _RETRY_SECONDS,
        )
    return error
