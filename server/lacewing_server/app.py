"""The composition root: builds everything once, and knows when it starts and ends."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import signal
import sys
from typing import Any, Final

import uvloop
from grpc_health.v1 import health, health_pb2_grpc
from grpc_reflection.v1alpha import reflection, reflection_pb2_grpc

from lacewing.v1 import (
    blob_service_pb2_grpc,
    cache_service_pb2_grpc,
    execution_service_pb2_grpc,
    project_service_pb2_grpc,
    task_service_pb2_grpc,
    worker_service_pb2_grpc,
)
from lacewing_server.blobs import BlobStoreError, open_blob_store
from lacewing_server.domain import limits
from lacewing_server.domain.errors import DomainError
from lacewing_server.domain.task_version import Defaults
from lacewing_server.engine.attempts import Attempts
from lacewing_server.engine.audits import Audits
from lacewing_server.engine.blobs import Blobs
from lacewing_server.engine.cache import Cache
from lacewing_server.engine.dispatch import Dispatch
from lacewing_server.engine.executions import Executions
from lacewing_server.engine.fleet import Fleet
from lacewing_server.engine.graphs.closing import Closing
from lacewing_server.engine.graphs.compiling import Compiler
from lacewing_server.engine.graphs.driver import Graphs
from lacewing_server.engine.graphs.reading import GraphReading
from lacewing_server.engine.graphs.services import Services
from lacewing_server.engine.leases import UnaryLeases
from lacewing_server.engine.listing import Listing
from lacewing_server.engine.loops import Loops, new_server_id
from lacewing_server.engine.projects import Projects
from lacewing_server.engine.shutdown import Shutdown
from lacewing_server.engine.stats import CacheCounters
from lacewing_server.engine.tasks import Tasks
from lacewing_server.engine.wakeups import Wakeups
from lacewing_server.logs import set_up_logging
from lacewing_server.rpc.blobs import BlobServicer
from lacewing_server.rpc.boundary import GuardedServer
from lacewing_server.rpc.cache import CacheServicer
from lacewing_server.rpc.executions import ExecutionServicer
from lacewing_server.rpc.health import Readiness
from lacewing_server.rpc.projects import ProjectServicer
from lacewing_server.rpc.tasks import TaskServicer
from lacewing_server.rpc.transport import Transport, TransportError, open_transport
from lacewing_server.rpc.work_stream import WorkStreams
from lacewing_server.rpc.workers import WorkerServicer
from lacewing_server.settings import Settings
from lacewing_server.store.redis.link import CommandError, StoreUnavailableError
from lacewing_server.store.redis.requirements import UnsuitableRedisError
from lacewing_server.store.redis.store import Store
from lacewing_server.valkey import EmbeddedValkey, ValkeyStartError

_log = logging.getLogger("lacewing_server")

SERVICES: Final = tuple(
    f"lacewing.v1.{name}"
    for name in ("TaskService", "ExecutionService", "WorkerService", "ProjectService", "CacheService", "BlobService")
)

_OPTIONS: Final = (
    ("grpc.max_receive_message_length", limits.MESSAGE_MAX_BYTES),
    ("grpc.max_send_message_length", limits.MESSAGE_MAX_BYTES),
    ("grpc.max_metadata_size", 32 << 10),
    # Clients may ping each 30 s, even without calls.
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.http2.min_ping_interval_without_data_ms", 20_000),
    ("grpc.so_reuseport", 0),
)

_LAST_SECONDS: Final = 0.5
"""How long a call that was told to end may take to do so, and its status to be sent."""


class ServerStartError(Exception):
    """The server could not be started; the text says why and what to do."""


class Server:
    """One Lacewing server."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.address = ""
        self._valkey: EmbeddedValkey | None = None
        self._keeper: asyncio.Task[None] | None = None
        self._store: Store | None = None
        self._blobs: Blobs | None = None
        self._loops: Loops | None = None
        self._grpc: Transport | None = None
        self._shutdown = Shutdown()
        self._readiness: Readiness | None = None

    async def start(self) -> None:
        """Starts the embedded store if need be, connects, and listens.

        Raises:
            ServerStartError: If one of these fails.
        """
        settings = self.settings
        url = settings.redis
        if url is None:
            try:
                self._valkey = EmbeddedValkey(settings.data_dir, fsync=settings.fsync, persist=settings.persist)
            except ValkeyStartError as error:
                raise ServerStartError(str(error)) from error
            self._keeper = asyncio.create_task(self._valkey.keep(), name="valkey")
            url = self._valkey.url
        try:
            await self._build(url)
        except UnsuitableRedisError as error:
            await self.stop()
            raise ServerStartError(str(error)) from error
        except StoreUnavailableError as error:
            await self.stop()
            raise ServerStartError(f"{error}; is there a Redis at the address given by --redis?") from error
        except (DomainError, CommandError) as error:  # it can be reached, but does not serve
            await self.stop()
            raise ServerStartError(f"Redis refuses its service: {error}") from error
        except BlobStoreError as error:
            await self.stop()
            raise ServerStartError(f"the place for blobs cannot be used: {error}") from error
        except TransportError as error:
            await self.stop()
            raise ServerStartError(str(error)) from error
        except RuntimeError as error:  # grpc: the port cannot be bound
            await self.stop()
            raise ServerStartError(f"cannot listen on {settings.host}:{settings.port}: {error}") from error

    async def stop(self) -> None:
        """Drains and stops; nothing that was accepted is lost."""
        if self._grpc is not None:
            assert self._readiness is not None
            await self._readiness.stop()
            self._shutdown.begin()
            self._streams.drain()
            await self._graphs.stop()
            await self._closing.stop()
            if not await self._shutdown.calls.ended(self.settings.shutdown_grace):
                self._streams.end()
                if not await self._shutdown.calls.ended(_LAST_SECONDS):
                    # Before gRPC cancels them, which callers would not take for a reason to try again.
                    self._shutdown.calls.end()
                    await self._shutdown.calls.ended(_LAST_SECONDS)
            await self._grpc.stop(_LAST_SECONDS)
            self._grpc = None
        if self._loops is not None:
            await self._loops.stop()
            self._loops = None
        if self._blobs is not None:
            await self._blobs.stop()
            self._blobs = None
        if self._store is not None:
            await self._store.close()
            self._store = None
        if self._keeper is not None:
            self._keeper.cancel()
            self._keeper = None
        if self._valkey is not None:
            self._valkey.stop()
            self._valkey = None

    async def _build(self, url: str) -> None:
        settings = self.settings
        defaults = Defaults(
            attempt_timeout=round(settings.attempt_timeout * 1000),
            retention=round(settings.retention * 1000),
            max_queued=settings.max_queued,
            cache_max=settings.cache_max_bytes,
        )
        store = self._store = Store(
            url,
            settings.key_prefix,
            new_server_id(),
            timeout=settings.redis_timeout,
            replicas=settings.redis_replicas,
        )
        blob_store = open_blob_store(settings.blob_url, settings.data_dir)
        blobs = self._blobs = Blobs(blob_store, settings.blob_retention, settings.blob_max_bytes)
        shutdown = self._shutdown
        wakeups = Wakeups()
        shutdown.on_begin(wakeups.wake_all)
        counters = CacheCounters(store)
        projects = Projects(store, settings.default_project, settings.domains)
        tasks = Tasks(store, projects, defaults)
        attempts = Attempts(store, tasks, wakeups)
        dispatch = Dispatch(store, attempts)
        attempts.revoke, attempts.on_ready = dispatch.revoke, dispatch.on_work
        dispatch.on_progress = wakeups.progressed
        executions = Executions(store, tasks, projects, dispatch, attempts, wakeups, counters, shutdown, blobs)
        closing = self._closing = Closing(store, attempts)
        graphs = self._graphs = Graphs(Services(store, tasks, executions, attempts, wakeups, blobs), dispatch, closing)
        compiler = Compiler(tasks)
        attempts.compile, tasks.compile = compiler.given, compiler.compile
        cache = Cache(store, tasks, projects)
        audits = Audits(store, tasks, executions, cache, counters)
        shutdown.on_begin(audits.stop)
        streams = self._streams = WorkStreams(store, tasks, projects, dispatch, attempts, settings, shutdown)

        def describe_workers() -> list[str]:
            streams.close_silent()
            return streams.describe()

        loops = Loops(
            store,
            tasks,
            projects,
            dispatch,
            attempts,
            wakeups,
            counters,
            tick=settings.tick,
            server_lease=settings.server_lease,
            reconnect_grace=settings.reconnect_grace,
            describe_workers=describe_workers,
            on_signal=graphs.signalled,
            look_after_graphs=(graphs.step, closing.step),
        )
        await store.start(loops.on_news, loops.on_resubscribe)
        await blob_store.start()
        blobs.start()
        await projects.start()
        await dispatch.load_catalog()
        loops.start()
        self._loops = loops
        graphs.start()

        server = await open_transport(settings.transport, _OPTIONS)
        guarded = GuardedServer(server, shutdown)
        reading = GraphReading(store, tasks, executions, graphs)
        executions_servicer = ExecutionServicer(
            executions, tasks, Listing(store, projects), Fleet(store, dispatch, projects), cache, reading, shutdown
        )
        unary = UnaryLeases(dispatch, attempts, tasks, shutdown)
        workers = WorkerServicer(store, projects, dispatch, attempts, unary, streams)
        add: Any = task_service_pb2_grpc.add_TaskServiceServicer_to_server
        add(TaskServicer(tasks, projects), guarded)
        add = execution_service_pb2_grpc.add_ExecutionServiceServicer_to_server
        add(executions_servicer, guarded)
        add = worker_service_pb2_grpc.add_WorkerServiceServicer_to_server
        add(workers, guarded)
        add = project_service_pb2_grpc.add_ProjectServiceServicer_to_server
        add(ProjectServicer(projects), guarded)
        add = cache_service_pb2_grpc.add_CacheServiceServicer_to_server
        add(CacheServicer(cache, audits), guarded)
        add = blob_service_pb2_grpc.add_BlobServiceServicer_to_server
        add(BlobServicer(blobs), guarded)
        readiness = Readiness(store, ("", *SERVICES))
        add = health_pb2_grpc.add_HealthServicer_to_server
        add(readiness.servicer, server)
        if settings.reflection:
            names = (*SERVICES, health.SERVICE_NAME, reflection.SERVICE_NAME)
            add = reflection_pb2_grpc.add_ServerReflectionServicer_to_server
            add(reflection.aio.ReflectionServicer(names), server)
        port = server.add_insecure_port(f"{settings.host}:{settings.port}")
        self.address = f"{settings.host}:{port}"
        await server.start()
        self._grpc, self._readiness = server, readiness
        await readiness.start()


def main(settings: Settings) -> int:
    """Serves until SIGTERM or SIGINT; returns the exit code."""
    set_up_logging(settings)
    try:
        return uvloop.run(_serve(settings))
    except ServerStartError as error:
        sys.stderr.write(f"lacewing: {error}\n")
        return 1


async def _serve(settings: Settings) -> int:
    stopping = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopping.set)
    server = Server(settings)
    await server.start()
    # What was built until now lives as long as the process: the collector need not look at it again.
    gc.collect()
    gc.freeze()
    # What a request makes is gone with it. To look for cycles at every 700 objects would cost an eighth of the CPU.
    gc.set_threshold(20_000, 20, 50)
    _log.info("serving on %s", server.address)
    with contextlib.suppress(asyncio.CancelledError):
        await stopping.wait()
    _log.info("shutting down")
    await server.stop()
    return 0
