"""A worker that is none of the SDK: unary calls only, at whichever server answers. Run as a program.

Some of its leases it treats carelessly: it does not extend them, and delivers what came of them long after they ran
out. Such a result is to be refused unless nobody else was given the work.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import signal
import sys
import zlib
from collections.abc import Awaitable, Callable, Iterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Final, TypeVar

import grpc

from lacewing._blobs import Blobs, BlobSession
from lacewing._channel import open_channel
from lacewing._values import Values
from lacewing.task import AnyTask, load_tasks
from lacewing.v1 import worker_service_pb2 as pb
from lacewing.v1.worker_service_pb2_grpc import WorkerServiceStub
from lacewing.worker._body import run_async_body, run_body

T = TypeVar("T")

_LEASE_SECONDS: Final = 1.5
_EXTEND_SECONDS: Final = 0.4
_LATE_SECONDS: Final = 3.0
_CARELESS_SHARE: Final = 12
_CALL_SECONDS: Final = 3.0
_PAUSE: Final = 0.1


class UnaryWorker:
    """Leases, runs and completes, a few bodies at a time."""

    def __init__(
        self, stubs: list[WorkerServiceStub], values: Values, tasks: dict[str, AnyTask], name: str, queue: str
    ) -> None:
        self._values = values
        self._stubs = itertools.cycle(stubs)
        self._tasks = tasks
        self._name = name
        self._offer = pb.Offer(task_types=["python-task"], task_names=sorted(tasks), queues=[queue])
        self._running: set[asyncio.Task[None]] = set()
        self.stopping = asyncio.Event()

    async def run(self) -> None:
        """Works until it is told to stop, then ends what it has begun."""
        while not self.stopping.is_set():
            if len(self._running) >= 4:
                await asyncio.wait(self._running, return_when=asyncio.FIRST_COMPLETED)
                continue
            request = pb.AcquireLeasesRequest(worker=self._name, offer=self._offer, max_leases=2)
            request.wait_timeout.FromMilliseconds(1_000)
            request.lease_duration.FromMilliseconds(round(_LEASE_SECONDS * 1000))
            try:
                response = await next(self._stubs).AcquireLeases(request, timeout=_CALL_SECONDS)
            except grpc.aio.AioRpcError as error:
                _require_outage(error)
                await asyncio.sleep(_PAUSE)
                continue
            for lease in response.leases:
                task = asyncio.create_task(self._work(lease))
                self._running.add(task)
                task.add_done_callback(self._running.discard)
        if self._running:
            await asyncio.wait(self._running)

    async def _work(self, lease: pb.Lease) -> None:
        is_careless = zlib.crc32(lease.token) % _CARELESS_SHARE == 0
        extending = None if is_careless else asyncio.create_task(self._extend(lease))
        try:
            completion = await self._body(lease)
            if is_careless:
                await asyncio.sleep(_LATE_SECONDS)
            request = pb.CompleteLeasesRequest(completions=[completion])
            # What does not arrive within the patience of the call is given up: the lease runs out then.
            await self._persistently(lambda stub: stub.CompleteLeases(request, timeout=_CALL_SECONDS))
        finally:
            if extending is not None:
                extending.cancel()

    async def _body(self, lease: pb.Lease) -> pb.Completion:
        task = self._tasks[lease.task.name]
        if task.is_async:
            return await run_async_body(task, lease, lambda _progress: None, self._values, frozenset(), lambda: False)
        return await asyncio.to_thread(run_body, task, lease, lambda _progress: None, self._values, frozenset())

    async def _extend(self, lease: pb.Lease) -> None:
        request = pb.ExtendLeasesRequest(heartbeats=[pb.Heartbeat(token=lease.token)])
        request.lease_duration.FromMilliseconds(round(_LEASE_SECONDS * 1000))
        while True:
            await asyncio.sleep(_EXTEND_SECONDS)
            await self._persistently(lambda stub: stub.ExtendLeases(request, timeout=_CALL_SECONDS))

    async def _persistently(self, call: Callable[[WorkerServiceStub], Awaitable[T]]) -> T:
        """Makes a call that is safe to repeat at one server after the other, until one answers."""
        while True:
            try:
                return await call(next(self._stubs))
            except grpc.aio.AioRpcError as error:
                _require_outage(error)
                await asyncio.sleep(_PAUSE)


def _require_outage(error: grpc.aio.AioRpcError) -> None:
    """Raises an error that is not that of a server which cannot be reached, or has no store.

    CANCELLED is how a server ends a call whose deadline it sees before the client does, which was suspended.
    """
    outages = {grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED, grpc.StatusCode.CANCELLED}
    if error.code() not in outages:
        raise error


def _addresses(ports: str) -> Iterator[str]:
    return (f"127.0.0.1:{port}" for port in ports.split(","))


async def main() -> None:
    """Works until SIGTERM."""
    parser = argparse.ArgumentParser()
    parser.add_argument("ports")
    parser.add_argument("name")
    parser.add_argument("queue")
    arguments = parser.parse_args()
    tasks = {task.name: task for task in load_tasks([str(Path(__file__).with_name("bodies.py"))])}
    async with AsyncExitStack() as stack:
        channels = [await stack.enter_async_context(open_channel(each)) for each in _addresses(arguments.ports)]
        values = Values(BlobSession(Blobs("ipv4:" + ",".join(_addresses(arguments.ports)), None)))
        stack.callback(values.close)
        stubs = [WorkerServiceStub(each) for each in channels]
        worker = UnaryWorker(stubs, values, tasks, arguments.name, arguments.queue)
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, worker.stopping.set)
        sys.stderr.write("Connected to whichever server answers.\n")
        await worker.run()


if __name__ == "__main__":
    asyncio.run(main())
