"""Handing ready executions to workers: who offers what, who has credit, which queues have work.

A *session* is one worker's stream, or one unary call that waits for leases. The store is asked for work only for queues
that are believed to hold some, and only as much as there is credit; what it gives is handed out at once.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import islice
from typing import Final

from lacewing.v1 import execution_pb2, worker_service_pb2
from lacewing_server.domain import identity
from lacewing_server.domain.errors import DomainError
from lacewing_server.domain.offers import GraphOffer, Offer, QueueEntry
from lacewing_server.domain.record import ExecutionRecord
from lacewing_server.engine.attempts import Attempts
from lacewing_server.engine.doubts import Doubts
from lacewing_server.engine.placing import Placing
from lacewing_server.engine.turns import Turns
from lacewing_server.store.redis.store import Store

_log = logging.getLogger(__name__)

_BATCH_MAX: Final = 256


@dataclass(eq=False)
class Session:
    """A worker that can be given leases."""

    worker: str
    offer: Offer | GraphOffer
    on_lease: Callable[[ExecutionRecord], None]
    on_revoke: Callable[[bytes, int], None]
    unary_lease: int = 0
    """Milliseconds a lease lives without being extended; 0: as long as the stream."""
    credit: int = 0
    open: bool = True
    leases: dict[bytes, ExecutionRecord] = field(default_factory=dict)
    """By token, those of a stream."""
    progress: dict[bytes, execution_pb2.Progress] = field(default_factory=dict)
    """By token, what the bodies of those last reported."""
    hello: worker_service_pb2.Hello | None = None
    connect_ms: int = 0
    seen: float = 0.0
    """When it last sent anything, by the loop's clock."""
    draining: bool = False


class Dispatch:
    """The sessions of this server, and the queues they can be served from."""

    def __init__(self, store: Store, attempts: Attempts) -> None:
        self._store = store
        self._attempts = attempts
        self._catalog: dict[bytes, QueueEntry] = {}
        self.sessions: list[Session] = []
        self._offers: dict[bytes, list[Session]] = {}
        self._nonempty: set[bytes] = set()
        self._bounded: dict[bytes, asyncio.TimerHandle] = {}
        """Queues that hold work which a bound of the task or project keeps from starting, and when to ask again."""
        self._turns = Turns()
        self._coming = 1
        """How many executions are about to be created at once."""
        self._places: dict[bytes, Iterator[Session]] = {}
        """By queue, where these go, if they are more than one."""
        self._placing = Placing()
        self._claiming: dict[bytes, asyncio.Task[None]] = {}
        self.leases: dict[bytes, Session] = {}
        self.doubts = Doubts(store, attempts)
        self.on_progress: Callable[[bytes], None] = lambda _execution_id: None
        """Told of which execution a body has reported progress."""

    # --- who offers what
    # -----------------------------------------------------------------------------------------------

    async def load_catalog(self) -> None:
        """Reads which queues there are."""
        flat = await self._store.call("HGETALL", self._store.keys.catalog)
        for i in range(0, len(flat), 2):
            self.learn(flat[i], flat[i + 1])

    def learn(self, queue_ref: bytes, packed: bytes) -> None:
        """Learns of a queue."""
        if queue_ref in self._catalog:
            return
        entry = QueueEntry.unpack(packed)
        self._catalog[queue_ref] = entry
        for session in self.sessions:
            if session.offer.fits(entry):
                self._offers.setdefault(queue_ref, []).append(session)
        self.on_work(queue_ref)

    def queues(self) -> Iterable[QueueEntry]:
        """The queues there are."""
        return self._catalog.values()

    def queue(self, queue_ref: bytes) -> QueueEntry | None:
        """A queue, if it is known here."""
        return self._catalog.get(queue_ref)

    def offered(self, queue_ref: bytes) -> bool:
        """Whether a worker of this server takes work of the queue."""
        return bool(self._offers.get(queue_ref))

    def open(self, session: Session) -> None:
        """Adds a session; its credit can be used from now on."""
        self.sessions.append(session)
        for queue_ref, entry in self._catalog.items():
            if session.offer.fits(entry):
                self._offers.setdefault(queue_ref, []).append(session)
                self.on_work(queue_ref)

    def close(self, session: Session) -> None:
        """Removes a session; what it holds is its owner's concern."""
        session.open, session.credit = False, 0
        if session in self.sessions:
            self.sessions.remove(session)
        for queue_ref in list(self._offers):
            sessions = self._offers[queue_ref]
            if session in sessions:
                sessions.remove(session)
            if not sessions:
                del self._offers[queue_ref]

    # --- work
    # --------------------------------------------------------------------------------------------------------------

    def grant(self, session: Session, credit: int) -> None:
        """A worker can take more."""
        session.credit += credit
        if not self._nonempty:
            return
        offered = [each for each in self._nonempty if session in self._offers.get(each, ())]
        for queue_ref in self._turns.in_turn(offered, self._catalog):
            self._pump(queue_ref)

    def on_work(self, queue_ref: bytes) -> None:
        """A queue may hold work."""
        bound = self._bounded.pop(queue_ref, None)
        if bound is not None:
            bound.cancel()
        self._nonempty.add(queue_ref)
        self._pump(queue_ref)

    def on_room(self, project_ref: bytes) -> None:
        """Of a project that is bounded another attempt may start."""
        for queue_ref in [each for each in self._bounded if self._catalog[each].project_ref == project_ref]:
            self.on_work(queue_ref)

    def check_all(self) -> None:
        """Any queue may hold work: news may have been lost."""
        for queue_ref in list(self._offers):
            self.on_work(queue_ref)

    def is_bounded(self, queue_ref: bytes) -> bool:
        """Whether a bound of task or project keeps what a queue holds from starting, as far as this server knows."""
        return queue_ref in self._bounded

    @contextmanager
    def together(self, count: int) -> Iterator[None]:
        """Within it so many executions are created at once: they are placed with each other in mind."""
        self._coming = count
        try:
            yield
        finally:
            self._coming = 1
            self._places.clear()

    def reserve(self, queue_ref: bytes) -> Session | None:
        """Takes one credit for an execution that is about to be created, if that may jump the queue's round trip."""
        if queue_ref in self._nonempty or queue_ref in self._bounded:
            return None
        sessions = self._offers.get(queue_ref, ())
        if self._coming == 1:
            return self._placing.of_one(sessions)
        places = self._places.get(queue_ref)
        if places is None:
            now = asyncio.get_running_loop().time()
            places = self._places[queue_ref] = self._placing.of_many(queue_ref, self._coming, sessions, now)
        return next(places, None)

    def release(self, session: Session) -> None:
        """Gives a reserved credit back."""
        if session.open and not session.draining:
            self.grant(session, 1)

    def hand_over(self, session: Session, record: ExecutionRecord) -> None:
        """Gives a lease to its session, or back to the queue if the session has gone."""
        if not session.open:
            self._spawn_give_back(record)
            return
        if not session.unary_lease:
            token = identity.lease_token(record.id, record.nonce)
            session.leases[token] = record
            self.leases[token] = session
        session.on_lease(record)
        self._attempts.started(record)

    def finished(self, token: bytes) -> None:
        """A lease has ended."""
        session = self.leases.pop(token, None)
        if session is not None:
            session.leases.pop(token, None)
            session.progress.pop(token, None)

    def leased(self, token: bytes) -> ExecutionRecord | None:
        """The execution that a stream's lease is for."""
        session = self.leases.get(token)
        return session.leases.get(token) if session is not None else None

    def progressed(self, session: Session, token: bytes, progress: execution_pb2.Progress) -> None:
        """The body of a stream's lease has reported how far it is."""
        session.progress[token] = progress
        self.on_progress(session.leases[token].id)

    def progress_of(self, record: ExecutionRecord) -> execution_pb2.Progress | None:
        """What the body of a running attempt last reported, if a stream of this server holds it."""
        token = identity.lease_token(record.id, record.nonce)
        session = self.leases.get(token)
        return session.progress.get(token) if session is not None else None

    def revoke(self, token: bytes, reason: int) -> None:
        """Tells the worker of a stream's lease that it is no longer its own."""
        session = self.leases.get(token)
        self.finished(token)
        if session is not None and session.open:
            session.on_revoke(token, reason)

    def _has_credit(self, queue_ref: bytes) -> bool:
        return any(session.credit > 0 for session in self._offers.get(queue_ref, ()))

    def _pump(self, queue_ref: bytes) -> None:
        if queue_ref not in self._claiming and self._has_credit(queue_ref):
            task = asyncio.create_task(self._claim(queue_ref))
            self._claiming[queue_ref] = task
            task.add_done_callback(lambda _: self._claimed(queue_ref))

    def _claimed(self, queue_ref: bytes) -> None:
        self._claiming.pop(queue_ref, None)
        if queue_ref in self._nonempty:
            self._pump(queue_ref)

    async def _claim(self, queue_ref: bytes) -> None:
        slots: list[Session] = []
        share = self._share(queue_ref) if self._has_credit(queue_ref) else 0
        for session in islice(self._placing.of_unknown(self._offers.get(queue_ref, ())), share):
            if slots and session.unary_lease != slots[0].unary_lease:
                session.credit += 1
                break
            slots.append(session)
        if not slots:
            return
        self._nonempty.discard(queue_ref)  # what is pushed while the claim is under way is told again
        asked = [(identity.new_nonce(), session.worker.encode()) for session in slots]
        taken = 0
        try:
            claimed = await self._store.claim(self._catalog[queue_ref], asked, slots[0].unary_lease)
            if claimed.wait_ms:
                self._wait(queue_ref, claimed.wait_ms)
            elif claimed.more:
                self._nonempty.add(queue_ref)
            for session, record in zip(slots, claimed.records, strict=False):
                taken += 1
                self.hand_over(session, record)
        except DomainError as error:
            _log.warning("could not claim work: %s", error)
            self.doubts.add(*(nonce for nonce, _ in asked[taken:]))
        except Exception:  # noqa: BLE001 - a fault of one claim must not end the others; the tick claims again
            _log.exception("could not claim work of queue %s", self._catalog[queue_ref])
            self.doubts.add(*(nonce for nonce, _ in asked[taken:]))
        finally:
            # Other queues may have waited for the credit that this one did not use.
            for session in slots[taken:]:
                self.release(session)

    def _share(self, queue_ref: bytes) -> int:
        """How much of the credit a queue may use now: projects that have work get equal parts, and in them queues."""
        rivals = [each for each in self._nonempty if each in self._offers and each not in self._claiming]
        credit = sum(session.credit for session in self._offers.get(queue_ref, ()))
        return min(self._turns.share(queue_ref, rivals, credit, self._catalog), _BATCH_MAX)

    def _wait(self, queue_ref: bytes, milliseconds: int) -> None:
        """Asks again later: what the queue holds may not start yet."""
        if queue_ref not in self._bounded:
            loop = asyncio.get_running_loop()
            self._bounded[queue_ref] = loop.call_later(milliseconds / 1000, self.on_work, queue_ref)

    def _spawn_give_back(self, record: ExecutionRecord) -> None:
        task = asyncio.create_task(self._give_back(record))
        self._claiming[record.id] = task
        task.add_done_callback(lambda _: self._claiming.pop(record.id, None))

    async def _give_back(self, record: ExecutionRecord) -> None:
        try:
            await self._attempts.give_back(record)
        except DomainError as error:
            _log.warning("could not give a lease back yet: %s", error)
            self.doubts.add(record.nonce)
