"""A server of work made for tests of the worker: it leases what it is told to, records what it is sent, and breaks."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any

import grpc

from lacewing.v1 import (
    errors_pb2,
    task_pb2,
    task_service_pb2,
    task_service_pb2_grpc,
    worker_service_pb2,
    worker_service_pb2_grpc,
)

Context = grpc.aio.ServicerContext[Any, Any]
Completion = worker_service_pb2.Completion
Refuse = Callable[[Completion], errors_pb2.RequestError | None]


class Stream:
    """One `Work` stream as the server sees it.

    Attributes:
        hello: Who the worker is.
        messages: Every message, in the order of arrival.
        completions: Every completion, by its token; the last of each.
        heartbeats: Every heartbeat, in the order of arrival.
        credit: How many leases the worker can take now, as the protocol counts it.
        overdrawn: Whether a lease was sent without credit.
        drain: Why the worker drains, once it does.
        half_closed: Whether the worker has said that it will send no more.
    """

    def __init__(self) -> None:
        self.hello = worker_service_pb2.Hello()
        self.messages: list[worker_service_pb2.WorkRequest] = []
        self.completions: dict[bytes, Completion] = {}
        self.heartbeats: list[worker_service_pb2.Heartbeat] = []
        self.credit = 0
        self.overdrawn = False
        self.drain: str | None = None
        self.half_closed = False
        self.outgoing: asyncio.Queue[worker_service_pb2.WorkResponse | grpc.StatusCode | None] = asyncio.Queue()

    def send(self, **parts: Any) -> None:
        """Sends a message."""
        self.outgoing.put_nowait(worker_service_pb2.WorkResponse(**parts))

    def lease(self, *leases: worker_service_pb2.Lease) -> None:
        """Grants leases, all in one message."""
        self.credit -= len(leases)
        self.overdrawn |= self.credit < 0
        self.send(task_versions=[task_pb2.TaskVersion(id=lease.task) for lease in leases], leases=leases)

    def revoke(self, token: bytes, reason: worker_service_pb2.Revocation.Reason.ValueType) -> None:
        """Takes a lease away."""
        self.send(revocations=[worker_service_pb2.Revocation(token=token, reason=reason)])

    def end(self, code: grpc.StatusCode | None = None) -> None:
        """Ends the stream: well, or with a status."""
        self.outgoing.put_nowait(code)


class WorkServer(worker_service_pb2_grpc.WorkerServiceServicer):
    """Serves `Work` streams.

    Attributes:
        streams: Every stream, in the order of opening.
        acknowledges: Whether completions are acknowledged.
        refuse: Tells why a completion is refused, if it is.
        welcome: What workers are welcomed with.
    """

    def __init__(self) -> None:
        self.streams: list[Stream] = []
        self.acknowledges = True
        self.refuse: Refuse = lambda _completion: None
        self.welcome = worker_service_pb2.Welcome(server="test", max_outputs_bytes=8 * 1024 * 1024)
        self.welcome.lease_duration.FromSeconds(30)
        self.welcome.heartbeat_interval.FromSeconds(10)
        self.welcome.reconnect_grace.FromSeconds(10)

    @property
    def stream(self) -> Stream:
        """The stream that was opened last."""
        return self.streams[-1]

    async def Work(  # noqa: N802 named by the protocol
        self, request_iterator: AsyncIterator[worker_service_pb2.WorkRequest], context: Context
    ) -> AsyncIterator[worker_service_pb2.WorkResponse]:
        """Reads and writes until the worker half-closes, or until the test ends it."""
        stream = Stream()
        reading = asyncio.create_task(self._read(stream, request_iterator))
        try:
            while (response := await stream.outgoing.get()) is not None:
                if isinstance(response, grpc.StatusCode):
                    await context.abort(response, "broken on purpose")
                else:
                    yield response
        finally:
            reading.cancel()
            with suppress(asyncio.CancelledError):
                await reading

    async def _read(self, stream: Stream, requests: AsyncIterator[worker_service_pb2.WorkRequest]) -> None:
        async for request in requests:
            if not stream.messages:
                stream.hello = request.hello
                self.streams.append(stream)
                stream.send(welcome=self.welcome)
            assert request.HasField("hello") is not bool(stream.messages)
            stream.messages.append(request)
            stream.heartbeats.extend(request.heartbeats)
            stream.credit += request.credit
            if request.HasField("drain"):
                stream.drain = request.drain.reason
            for completion in request.completions:
                stream.completions[completion.token] = completion
            if request.completions and self.acknowledges:
                stream.send(
                    results=[
                        worker_service_pb2.CompletionResult(token=completion.token, error=self.refuse(completion))
                        for completion in request.completions
                    ]
                )
        stream.half_closed = True
        stream.end()


class TaskServer(task_service_pb2_grpc.TaskServiceServicer):
    """Takes registrations.

    Attributes:
        requests: Every registration.
        refuse: The status to refuse them with, if there is one.
    """

    def __init__(self) -> None:
        self.requests: list[task_service_pb2.RegisterTaskRequest] = []
        self.refuse: grpc.StatusCode | None = None

    async def RegisterTask(  # noqa: N802 named by the protocol
        self, request: task_service_pb2.RegisterTaskRequest, context: Context
    ) -> task_service_pb2.RegisterTaskResponse:
        """Records a registration."""
        self.requests.append(request)
        if self.refuse is not None:
            await context.abort(self.refuse, "the version exists with another spec")
        version = task_pb2.TaskVersion(id=request.id, spec=request.spec)
        return task_service_pb2.RegisterTaskResponse(task_version=version, created=True)


@asynccontextmanager
async def serving(work: WorkServer, tasks: TaskServer, port: int = 0) -> AsyncIterator[int]:
    """Serves on a port; on a free one if it is 0."""
    server = grpc.aio.server()
    worker_service_pb2_grpc.add_WorkerServiceServicer_to_server(work, server)
    task_service_pb2_grpc.add_TaskServiceServicer_to_server(tasks, server)
    port = server.add_insecure_port(f"127.0.0.1:{port}")
    await server.start()
    try:
        yield port
    finally:
        await server.stop(None)
