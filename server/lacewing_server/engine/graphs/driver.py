"""The graphs that this server drives: leased from the queues of workflows and of given graphs, as a worker does it."""

from __future__ import annotations

import asyncio
import logging
from typing import Final

from lacewing.v1 import errors_pb2, execution_pb2, task_pb2, worker_service_pb2
from lacewing_server.domain import identity, lifecycle, limits, retrying
from lacewing_server.domain.errors import DomainError
from lacewing_server.domain.graph.plan import plan_of
from lacewing_server.domain.offers import GRAPHS, GraphOffer
from lacewing_server.domain.record import ExecutionRecord
from lacewing_server.engine.dispatch import Dispatch, Session
from lacewing_server.engine.graphs.closing import Closing
from lacewing_server.engine.graphs.journal import Journal
from lacewing_server.engine.graphs.run import PASSING, GraphRun
from lacewing_server.engine.graphs.services import Services

_log = logging.getLogger(__name__)

_CREDIT: Final = 1_000_000
"""Graphs of one server: they are bounded by what may wait, not by slots, since a graph may wait for graphs in it."""


class Graphs:
    """Drives graphs."""

    def __init__(self, services: Services, dispatch: Dispatch, closing: Closing) -> None:
        self._services = services
        self._dispatch = dispatch
        self._closing = closing
        name = f"server-{services.store.server.hex()}"
        self._session = Session(name, GraphOffer(), self._on_lease, self._on_revoke)
        self._runs: dict[bytes, GraphRun] = {}
        """By the id of the execution, those that have begun to be driven."""
        self._driving: dict[bytes, asyncio.Task[None]] = {}
        """By lease token."""

    def start(self) -> None:
        """Takes graphs from now on."""
        self._dispatch.learn(GRAPHS.ref, GRAPHS.pack())
        self._dispatch.open(self._session)
        self._dispatch.grant(self._session, _CREDIT)

    async def stop(self) -> None:
        """Gives all graphs back: other servers go on with them."""
        self._dispatch.close(self._session)
        driving, self._driving = self._driving, {}
        for task in driving.values():
            task.cancel()
        await asyncio.gather(*driving.values(), return_exceptions=True)
        for token, record in list(self._session.leases.items()):
            try:
                await self._services.attempts.give_back(record)
            except DomainError as error:
                _log.warning("could not give a graph back: %s", error)  # it is taken over when this server's lease ends
            self._dispatch.finished(token)

    def signalled(self, execution_id: bytes) -> None:
        """A gate of a graph may have been answered."""
        if (run := self._runs.get(execution_id)) is not None:
            run.signalled()

    def summary_of(self, execution_id: bytes) -> execution_pb2.GraphSummary | None:
        """How far a graph is, if it is driven here."""
        run = self._runs.get(execution_id)
        return run.summary() if run is not None else None

    async def step(self) -> None:
        """Looks after all graphs: news of answers may have been lost, and others want to know how far they are."""
        for run in list(self._runs.values()):
            if run.waits_for_answers:
                run.signalled()
            try:
                await run.look_after(asyncio.get_running_loop().time())
            except DomainError as error:
                if error.reason != errors_pb2.ERROR_REASON_LEASE_LOST:
                    raise
                # The news of that is under way.

    def _on_lease(self, record: ExecutionRecord) -> None:
        token = identity.lease_token(record.id, record.nonce)
        task = asyncio.create_task(self._drive(record, token), name=f"graph {record.name}")
        self._driving[token] = task
        task.add_done_callback(lambda _: self._driving.pop(token, None))

    def _on_revoke(self, token: bytes, reason: int) -> None:
        task = self._driving.get(token)
        if task is not None:
            task.cancel()
        if reason != worker_service_pb2.Revocation.REASON_LOST:
            self._closing.close_soon(token[: identity.ID_BYTES])
        self._dispatch.grant(self._session, 1)

    async def _drive(self, record: ExecutionRecord, token: bytes) -> None:
        try:
            run = await self._prepare(record)
            self._runs[record.id] = run
            await run.drive()
        except DomainError as error:
            if error.reason == errors_pb2.ERROR_REASON_SHUTTING_DOWN:
                return  # it is given back with the others
            if error.reason == errors_pb2.ERROR_REASON_LEASE_LOST:
                _log.info("no longer driving the graph of %s: %s", record.name, error.message)
            elif error.reason in PASSING:
                _log.warning("giving back the graph of %s: %s", record.name, error)
                await self._give_back(record, token)
                return
            else:
                _log.warning("could not drive the graph of %s: %s", record.name, error)
                await self._fail(record, error)
        except Exception as error:  # noqa: BLE001 - a fault of one graph must not end the others
            _log.exception("could not drive the graph of %s", record.name)
            await self._fail(record, error)
        finally:
            if self._runs.get(record.id) is not None and self._runs[record.id].record is record:
                del self._runs[record.id]
        self._dispatch.finished(token)
        self._dispatch.grant(self._session, 1)
        if lifecycle.is_terminal(record.state) and record.state != lifecycle.SUCCEEDED:
            self._closing.close_soon(record.id)

    async def _prepare(self, record: ExecutionRecord) -> GraphRun:
        services = self._services
        task = await services.tasks.ready_for(record)
        journal = Journal(services.store, record)
        packed = await journal.read()
        graph = task_pb2.Graph.FromString(packed) if packed else task.version.graph
        large = graph.ByteSize() > limits.LARGE_BYTES
        plan = await asyncio.to_thread(plan_of, graph) if large else plan_of(graph)
        return GraphRun(services, record, task, plan, journal)

    async def _give_back(self, record: ExecutionRecord, token: bytes) -> None:
        """The store does not serve: another server, or this one, takes the graph up when it does."""
        self._dispatch.finished(token)
        self._dispatch.grant(self._session, 1)
        try:
            await self._services.attempts.give_back(record)
        except DomainError:
            self._dispatch.doubts.add(record.nonce)

    async def _fail(self, record: ExecutionRecord, fault: Exception) -> None:
        told = fault.message if isinstance(fault, DomainError) else f"{type(fault).__name__}; it has logged the cause"
        error = execution_pb2.TaskError(
            kind=execution_pb2.TaskError.KIND_SYSTEM,
            code=retrying.NODE_FAILED,
            message=f"the server could not drive the graph: {told}",
        )
        try:
            await self._services.attempts.end_graph(record, None, error)
        except DomainError as refusal:
            _log.warning("could not end the execution %s: %s", record.name, refusal)
