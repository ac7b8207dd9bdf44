"""Two servers without a wire on one Valkey: engine and store as they are, for tests that interleave their calls."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final, TypeVar

from lacewing.v1 import identifiers_pb2, literals_pb2, task_pb2, worker_service_pb2
from lacewing_server.blobs.local import LocalBlobStore
from lacewing_server.domain import identity
from lacewing_server.domain.offers import Offer, QueueEntry
from lacewing_server.domain.record import ExecutionRecord
from lacewing_server.domain.task_version import Defaults, ReadyTask
from lacewing_server.engine.attempts import Attempts
from lacewing_server.engine.blobs import Blobs
from lacewing_server.engine.cache import Cache
from lacewing_server.engine.dispatch import Dispatch, Session
from lacewing_server.engine.executions import Executions
from lacewing_server.engine.graphs.closing import Closing
from lacewing_server.engine.graphs.compiling import Compiler
from lacewing_server.engine.loops import Loops
from lacewing_server.engine.projects import Projects
from lacewing_server.engine.shutdown import Shutdown
from lacewing_server.engine.stats import CacheCounters
from lacewing_server.engine.tasks import Tasks
from lacewing_server.engine.wakeups import Wakeups
from lacewing_server.store.redis import codec
from lacewing_server.store.redis.store import Store
from lacewing_server.valkey import EmbeddedValkey
from store.tasks import task_id

T = TypeVar("T")

PREFIX: Final = "t:{0}:"
LEASE_MS: Final = 30_000
DEFAULTS: Final = Defaults(attempt_timeout=3_600_000, retention=600_000, max_queued=100_000)


class Engine:
    """What a server is made of, without gRPC and without its loops: tests call their steps."""

    def __init__(self, url: str, server: bytes) -> None:
        self.store = Store(url, PREFIX, server)
        self.wakeups = Wakeups()
        self.projects = Projects(self.store, "default", ("development", "production"))
        self.tasks = Tasks(self.store, self.projects, DEFAULTS)
        self.attempts = Attempts(self.store, self.tasks, self.wakeups)
        self.dispatch = Dispatch(self.store, self.attempts)
        self.attempts.revoke, self.attempts.on_ready = self.dispatch.revoke, self.dispatch.on_work
        self.counters = CacheCounters(self.store)
        self.executions = Executions(
            self.store,
            self.tasks,
            self.projects,
            self.dispatch,
            self.attempts,
            self.wakeups,
            self.counters,
            Shutdown(),
            Blobs(LocalBlobStore(Path("never-made")), 0, 0),  # no value here is large
        )
        self.cache = Cache(self.store, self.tasks, self.projects)
        self.loops = Loops(
            self.store,
            self.tasks,
            self.projects,
            self.dispatch,
            self.attempts,
            self.wakeups,
            self.counters,
            tick=1,
            server_lease=60,
            reconnect_grace=0,
            describe_workers=list,
            on_signal=lambda _execution_id: None,
            look_after_graphs=(),
        )
        compiler = Compiler(self.tasks)
        self.attempts.compile, self.tasks.compile = compiler.given, compiler.compile
        self.closing = Closing(self.store, self.attempts)

    async def start(self) -> None:
        """Connects."""
        await self.store.start(self.loops.on_news, self.loops.on_resubscribe)

    async def register(self, name: str, spec: task_pb2.TaskSpec) -> ReadyTask:
        """Registers a task, and makes its queue known at once."""
        version, _, _ = await self.tasks.register(task_id(name), spec, validate_only=False)
        await self.dispatch.load_catalog()
        return (await self.tasks.resolve(version.id))[0]

    @asynccontextmanager
    async def session(self) -> AsyncIterator[list[ExecutionRecord]]:
        """A worker's stream with one credit; what it is leased is in the list, and stays leased at the end."""
        leased: list[ExecutionRecord] = []
        offer = Offer(worker_service_pb2.Offer(task_types=["python-task"]), "default", "development")
        session = Session("streamer", offer, leased.append, lambda _token, _reason: None)
        self.dispatch.open(session)
        session.credit += 1  # without a grant, so that it is rather used for a direct lease than for what is queued
        try:
            yield leased
        finally:
            self.dispatch.close(session)
            while self.dispatch._claiming:
                await asyncio.wait(self.dispatch._claiming.values())

    async def claim(
        self, task: ReadyTask, *, worker: str = "unary", lease_ms: int = LEASE_MS
    ) -> ExecutionRecord | None:
        """Leases one execution of a task."""
        claimed = await self.store.claim(queue_of(task), [(identity.new_nonce(), worker.encode())], lease_ms)
        return claimed.records[0] if claimed.records else None

    async def tick(self) -> None:
        """Looks at the clocks once."""
        due = await self.store.due()
        for record in due.judge:
            await self.attempts.judge(record, due.now_ms)


def queue_of(task: ReadyTask) -> QueueEntry:
    """The ready queue of a task."""
    return QueueEntry(task.id.project, task.id.domain, task.id.name, task.version.spec.template.type, task.queue_label)


def token_of(record: ExecutionRecord) -> bytes:
    """The token of a lease."""
    return identity.lease_token(record.id, record.nonce)


def execution_id(record: ExecutionRecord) -> identifiers_pb2.ExecutionId:
    """The id of an execution."""
    result: identifiers_pb2.ExecutionId = record.execution.id
    return result


def value_of(outcome: bytes) -> int:
    """The integer in serialized outputs."""
    return literals_pb2.LiteralMap.FromString(outcome).literals["o0"].scalar.primitive.integer


async def dump(store: Store) -> dict[bytes, bytes]:
    """Everything that Redis holds, lives aside."""
    keys: list[bytes] = sorted(await store.call("KEYS", "*"))
    return dict(zip(keys, await asyncio.gather(*(store.call("DUMP", key) for key in keys)), strict=True))


async def records(store: Store) -> dict[bytes, ExecutionRecord]:
    """All executions."""
    start = len(store.keys.execution(b""))
    keys: list[bytes] = await store.call("KEYS", store.keys.execution(b"") + b"*")
    values = await asyncio.gather(*(store.call("GET", key) for key in keys))
    return {key[start:]: codec.unpack_record(key[start:], value) for key, value in zip(keys, values, strict=True)}


class World:
    """Two servers on one store, and the event loop they run on."""

    def __init__(self, store: Path | str) -> None:
        """Starts them, on a Valkey of their own in a directory, or on the Redis of a URL."""
        self._valkey = EmbeddedValkey(store, persist=False) if isinstance(store, Path) else None
        url = self._valkey.url if self._valkey is not None else str(store)
        self._runner = asyncio.Runner()
        self.engines = [Engine(url, name) for name in (b"server-A", b"server-B")]
        for engine in self.engines:
            self.run(engine.start())
        self.store = self.engines[0].store

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Runs a coroutine to its end."""
        return self._runner.run(work)

    async def clear(self) -> None:
        """Forgets everything, so that the next example begins anew."""
        await self.store.call("FLUSHALL")
        for engine in self.engines:
            engine.dispatch.leases.clear()
            engine.projects.forget()
            engine.tasks.forget_all_latest()
            await engine.projects.start()

    def close(self) -> None:
        """Stops everything."""
        for engine in self.engines:
            self.run(engine.store.close())
        self._runner.close()
        if self._valkey is not None:
            self._valkey.stop()
