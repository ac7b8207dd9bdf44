"""The ``Work`` stream: one session per worker; what queues while a message is under way goes out as the next one."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Coroutine, Iterable
from typing import Any, Final

from google.protobuf import json_format

from lacewing._wire import part
from lacewing.v1 import errors_pb2
from lacewing.v1 import worker_service_pb2 as pb
from lacewing_server.domain import identity, limits, names
from lacewing_server.domain.errors import DomainError, Violations
from lacewing_server.domain.offers import Offer, check_offer
from lacewing_server.domain.record import ExecutionRecord
from lacewing_server.engine.attempts import Attempts
from lacewing_server.engine.dispatch import Dispatch, Session
from lacewing_server.engine.leases import packed_lease
from lacewing_server.engine.paging import fitting
from lacewing_server.engine.projects import Projects
from lacewing_server.engine.shutdown import Shutdown
from lacewing_server.engine.tasks import Tasks
from lacewing_server.rpc.boundary import internal
from lacewing_server.rpc.status import to_request_error
from lacewing_server.settings import Settings
from lacewing_server.store.redis.store import Store
from lacewing_server.store.redis.transitions import owner_guard

_log = logging.getLogger(__name__)

_LEASES: Final = pb.WorkResponse.LEASES_FIELD_NUMBER
_RESULTS_SECONDS: Final = 0.1
"""How long it waits to be said that a completion was taken, and at most twice as long: the next lease takes it along,
and who waits for it is only a worker that drains, to which it is said at once."""


class _Outbox:
    """What waits to be sent on one stream."""

    def __init__(self) -> None:
        self.leases: list[ExecutionRecord] = []
        self.message = pb.WorkResponse()
        self.changed = asyncio.Event()
        self.ended = False
        self.has_old_results = False
        """Whether some of the results in the message were there when it was last looked for them."""
        self.failure: DomainError | None = None
        self.told: set[str] = set()


class WorkStreams:
    """All ``Work`` streams of this server."""

    def __init__(
        self,
        store: Store,
        tasks: Tasks,
        projects: Projects,
        dispatch: Dispatch,
        attempts: Attempts,
        settings: Settings,
        shutdown: Shutdown,
    ) -> None:
        self._store = store
        self._tasks = tasks
        self._projects = projects
        self._dispatch = dispatch
        self._attempts = attempts
        self._settings = settings
        self._shutdown = shutdown
        self._has_ended = False
        self._outboxes: dict[Session, _Outbox] = {}
        self._looked = 0.0
        self._results_timer: asyncio.TimerHandle | None = None
        self._background: set[asyncio.Task[None]] = set()

    async def serve(self, requests: AsyncIterator[pb.WorkRequest]) -> AsyncIterator[bytes]:
        """Serves one stream to its end; each response is a serialized ``WorkResponse``."""
        first = await anext(aiter(requests), None)
        if first is None or not first.HasField("hello"):
            raise DomainError(errors_pb2.ERROR_REASON_PROTOCOL_VIOLATED, "a Work stream must begin with hello")
        outbox = _Outbox()
        session = self._session(first.hello, outbox)
        self._outboxes[session] = outbox
        outbox.message.welcome.CopyFrom(self._welcome())
        receiver = asyncio.create_task(self._receive(first, requests, session, outbox))
        outbox.changed.set()
        try:
            while not outbox.ended or outbox.changed.is_set():
                await outbox.changed.wait()
                outbox.changed.clear()
                if self._has_ended:
                    self._shutdown.refuse()
                if outbox.failure is not None:
                    raise outbox.failure
                message = await self._compose(outbox)
                if message:
                    yield message
        finally:
            receiver.cancel()
            del self._outboxes[session]
            self._dispatch.close(session)
            if session.leases:
                self._spawn(self._lose_later(session))

    async def complete(self, completions: Iterable[pb.Completion]) -> list[pb.CompletionResult]:
        """Records results and says how each was taken."""
        begun = [(each.token, self._record(each)) for each in completions]
        return await asyncio.gather(*(self._taken(token, recording) for token, recording in begun))

    def _record(self, completion: pb.Completion) -> Awaitable[None]:
        try:
            return self._attempts.complete(completion, self._dispatch.leased(completion.token))
        except Exception as error:  # noqa: BLE001 - whoever awaits it judges it
            failed: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            failed.set_exception(error)
            return failed

    async def _taken(self, token: bytes, recording: Awaitable[None]) -> pb.CompletionResult:
        result = pb.CompletionResult(token=token)
        try:
            await recording
        except DomainError as error:
            result.error.CopyFrom(to_request_error(error))
            if error.reason == errors_pb2.ERROR_REASON_STORE_UNAVAILABLE:
                return result
        except Exception as error:  # noqa: BLE001 - the boundary of one completion: logged with an id
            result.error.CopyFrom(to_request_error(internal(error)))
        self._dispatch.finished(token)
        return result

    def drain(self) -> None:
        """Tells every worker that this server goes away; no more leases are granted."""
        for session in self._dispatch.sessions:
            session.draining, session.credit = True, 0
        for outbox in self._outboxes.values():
            outbox.message.drain.reason = "the server is shutting down"
            outbox.changed.set()

    def end(self) -> None:
        """Ends the streams of workers that still hold leases: they take those to another server."""
        self._has_ended = True
        for outbox in self._outboxes.values():
            outbox.changed.set()

    def describe(self) -> list[str]:
        """The workers of this server, as JSON of ``Worker``."""
        loop = asyncio.get_running_loop()
        texts = []
        for session in self._dispatch.sessions:
            if session.hello is None:
                continue
            worker = pb.Worker(
                worker=session.worker,
                offer=session.hello.offer,
                labels=session.hello.labels,
                sdk=session.hello.sdk,
                server=self._store.server.hex(),
                lease_count=len(session.leases),
                credit=session.credit,
                draining=session.draining,
            )
            worker.connect_time.FromMilliseconds(session.connect_ms)
            silent_ms = round((loop.time() - session.seen) * 1000)
            worker.seen_time.FromMilliseconds(self._store.now_ms() - silent_ms)
            texts.append(json_format.MessageToJson(worker, indent=None))
        return texts

    def close_silent(self) -> None:
        """Gives up workers that have not sent anything for as long as a lease lives, and ends their streams."""
        now = asyncio.get_running_loop().time()
        # It is looked three times in a server's lease. After a longer pause it was this server that heard nothing.
        has_paused = now - self._looked > self._settings.server_lease
        self._looked = now
        for session, outbox in self._outboxes.items():
            if has_paused:
                session.seen = now
            if session.open and now - session.seen > self._settings.lease_duration:
                _log.warning("worker %s went silent", session.worker)
                self._dispatch.close(session)
                # If it comes back it learns what it has lost, and connects again to be given work.
                for token in session.leases:
                    session.on_revoke(token, pb.Revocation.REASON_LOST)
                outbox.ended = True
                outbox.changed.set()
                self._spawn(self._lose_later(session, grace=0))

    # --- receiving
    # -------------------------------------------------------------------------------------------------------

    def _session(self, hello: pb.Hello, outbox: _Outbox) -> Session:
        violations = Violations()
        names.check_printable(hello.worker, limits.WORKER_NAME_MAX, "hello.worker", violations)
        check_offer(hello.offer, "hello.offer", violations)
        names.check_labels(hello.labels, "hello.labels", violations)
        violations.raise_if_any()

        def on_lease(record: ExecutionRecord) -> None:
            outbox.leases.append(record)
            outbox.changed.set()

        def on_revoke(token: bytes, reason: int) -> None:
            outbox.message.revocations.add(token=token, reason=reason)
            outbox.changed.set()

        offer = Offer(hello.offer, self._projects.default_project, self._projects.domains[0])
        session = Session(hello.worker, offer, on_lease, on_revoke, hello=hello)
        session.connect_ms, session.seen = self._store.now_ms(), asyncio.get_running_loop().time()
        return session

    async def _receive(
        self, first: pb.WorkRequest, requests: AsyncIterator[pb.WorkRequest], session: Session, outbox: _Outbox
    ) -> None:
        try:
            for token in first.hello.held_leases:
                await self._attach(token, session, outbox)
            self._dispatch.open(session)
            self._take(first, session, outbox)
            async for request in requests:
                if request.HasField("hello"):
                    raise DomainError(errors_pb2.ERROR_REASON_PROTOCOL_VIOLATED, "hello may come only once")  # noqa: TRY301 - ends the loop
                self._take(request, session, outbox)
        except DomainError as error:
            outbox.failure = error
        finally:
            while self._background and any(task.get_name() == str(id(session)) for task in self._background):
                mine = [task for task in self._background if task.get_name() == str(id(session))]
                await asyncio.wait(mine)
            outbox.ended = True
            outbox.changed.set()

    def _take(self, request: pb.WorkRequest, session: Session, outbox: _Outbox) -> None:
        session.seen = asyncio.get_running_loop().time()
        if request.credit > limits.CREDIT_MAX:
            raise DomainError(errors_pb2.ERROR_REASON_PROTOCOL_VIOLATED, f"credit must be at most {limits.CREDIT_MAX}")
        together = []
        for completion in request.completions:
            begun = completion.token, self._record(completion)
            if isinstance(begun[1], asyncio.Future):  # takes longer than the others, and goes on by itself
                self._spawn(self._report([begun], session, outbox), str(id(session)))
            else:
                together.append(begun)
        if together:
            self._spawn(self._report(together, session, outbox), str(id(session)))
        for heartbeat in request.heartbeats:
            if heartbeat.token in session.leases:
                if heartbeat.HasField("progress"):
                    self._dispatch.progressed(session, heartbeat.token, heartbeat.progress)
            else:
                session.on_revoke(heartbeat.token, pb.Revocation.REASON_LOST)
        if request.HasField("drain"):
            session.draining, session.credit = True, 0
            outbox.changed.set()
        elif request.credit and not session.draining:
            self._dispatch.grant(session, request.credit)

    async def _report(self, begun: Iterable[tuple[bytes, Awaitable[None]]], session: Session, outbox: _Outbox) -> None:
        for token, recording in begun:
            result = await self._taken(token, recording)
            # Only now: while the result was awaited, the message may have been sent and replaced.
            outbox.message.results.append(result)
            if session.draining or result.HasField("error"):
                outbox.changed.set()
            elif self._results_timer is None:
                self._look_later()

    def _look_later(self) -> None:
        self._results_timer = asyncio.get_running_loop().call_later(_RESULTS_SECONDS, self._send_results)

    def _send_results(self) -> None:
        """Sends the results that no lease has taken along since it was last looked for them."""
        self._results_timer = None
        for outbox in self._outboxes.values():
            if outbox.has_old_results:
                outbox.changed.set()
            elif outbox.message.results:
                outbox.has_old_results = True
                if self._results_timer is None:
                    self._look_later()

    async def _attach(self, token: bytes, session: Session, outbox: _Outbox) -> None:
        parts = identity.split_token(token)
        record = None
        if parts is not None:
            # The stream may break while it is attached.
            self._dispatch.doubts.add(parts[1], was_held=True)
            record = await self._store.attach(*parts)
            self._dispatch.doubts.remove(parts[1])
        if record is None:
            outbox.message.revocations.add(token=token, reason=pb.Revocation.REASON_LOST)
            outbox.changed.set()
            return
        self._dispatch.finished(token)
        session.leases[token] = record
        self._dispatch.leases[token] = session

    # --- sending
    # ---------------------------------------------------------------------------------------------------------

    async def _compose(self, outbox: _Outbox) -> bytes:
        message, outbox.message = outbox.message, pb.WorkResponse()
        outbox.has_old_results = False
        count = fitting(len(record.inputs) for record in outbox.leases)
        records, outbox.leases = outbox.leases[:count], outbox.leases[count:]
        if outbox.leases:
            outbox.changed.set()
        leases = []
        for record in records:
            task = self._tasks.ready_of(record) or await self._tasks.ready_for(record)
            if task.shown not in outbox.told:
                outbox.told.add(task.shown)
                message.task_versions.append(task.version)
            leases.append(part(_LEASES, packed_lease(record, task)))
        return message.SerializeToString() + b"".join(leases)

    def _welcome(self) -> pb.Welcome:
        welcome = pb.Welcome(max_outputs_bytes=limits.OUTPUTS_MAX_BYTES, server=self._store.server.hex())
        welcome.lease_duration.FromMilliseconds(round(self._settings.lease_duration * 1000))
        welcome.heartbeat_interval.FromMilliseconds(round(self._settings.heartbeat_interval * 1000))
        welcome.reconnect_grace.FromMilliseconds(round(self._settings.reconnect_grace * 1000))
        return welcome

    # --- losses
    # ----------------------------------------------------------------------------------------------------------

    async def _lose_later(self, session: Session, grace: float | None = None) -> None:
        await asyncio.sleep(self._settings.reconnect_grace if grace is None else grace)
        for token, record in list(session.leases.items()):
            if self._dispatch.leases.get(token) is not session:
                continue  # it has come back on another stream
            self._dispatch.finished(token)
            guard = owner_guard(record.nonce, self._store.server)
            try:
                await self._attempts.lose(record, guard, f"worker {session.worker} is gone")
            except DomainError as error:
                _log.warning("could not give up a lease of worker %s yet: %s", session.worker, error)
                self._dispatch.leases[token] = session
                session.leases[token] = record
                self._spawn(self._lose_later(session))
                return

    def _spawn(self, work: Coroutine[Any, Any, None], name: str = "") -> None:
        task = asyncio.create_task(work, name=name)
        self._background.add(task)
        task.add_done_callback(self._background.discard)
