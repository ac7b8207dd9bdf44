"""A worker of plain gRPC, which does only what a test tells it to."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import grpc

from cluster import bodies
from lacewing.v1 import worker_service_pb2 as pb
from lacewing.v1 import worker_service_pb2_grpc

OFFER = pb.Offer(task_types=["python-task"])


class Stream:
    """One `Work` stream, and what came on it."""

    def __init__(self, call: Any) -> None:
        self._call = call
        self._news = asyncio.Condition()
        self._writing = asyncio.Lock()
        self.welcome: pb.Welcome | None = None
        self.leases: list[pb.Lease] = []
        self.revocations: list[pb.Revocation] = []
        self.results: list[pb.CompletionResult] = []
        self.drained = False
        self.ended: grpc.StatusCode | None = None

    async def send(self, **parts: Any) -> None:
        """Sends a message."""
        async with self._writing:
            await self._call.write(pb.WorkRequest(**parts))

    async def beat(self) -> None:
        """Gives signs of life for ever."""
        while True:
            await asyncio.sleep(0.05)
            await self.send()

    async def close(self) -> None:
        """Says that no more messages come."""
        await self._call.done_writing()

    async def lease(self) -> pb.Lease:
        """Waits for a lease and takes it."""
        await self._until(lambda: self.leases)
        return self.leases.pop(0)

    async def revocation(self) -> pb.Revocation:
        """Waits for a revocation."""
        await self._until(lambda: self.revocations)
        return self.revocations.pop(0)

    async def complete(self, lease: pb.Lease, output: int) -> pb.CompletionResult:
        """Reports an output, and waits for how it is taken."""
        await self.send(completions=[completion(lease, output)])
        await self._until(lambda: self.results)
        return self.results.pop(0)

    async def end(self) -> grpc.StatusCode:
        """Waits for the end of the stream."""
        await self._until(lambda: self.ended)
        assert self.ended is not None
        return self.ended

    async def until_drained(self) -> None:
        """Waits until the server says that it goes away."""
        await self._until(lambda: self.drained)

    async def _until(self, condition: Any) -> None:
        async with asyncio.timeout(20), self._news:
            await self._news.wait_for(condition)

    async def read(self) -> None:
        """Takes what comes until the stream ends."""
        try:
            while (response := await self._call.read()) is not grpc.aio.EOF:
                async with self._news:
                    if response.HasField("welcome"):
                        self.welcome = response.welcome
                    self.leases += response.leases
                    self.revocations += response.revocations
                    self.results += response.results
                    self.drained |= response.HasField("drain")
                    self._news.notify_all()
            code = await self._call.code()
        except grpc.aio.AioRpcError as error:
            code = error.code()
        async with self._news:
            self.ended = code
            self._news.notify_all()

    async def until_welcome(self) -> pb.Welcome:
        """Waits for the server's answer to the hello."""
        await self._until(lambda: self.welcome)
        assert self.welcome is not None
        return self.welcome


@asynccontextmanager
async def working(
    address: str,
    *,
    credit: int = 1,
    held: Sequence[pb.Lease] = (),
    offer: pb.Offer = OFFER,
    beats: bool = True,
) -> AsyncIterator[Stream]:
    """Opens a stream for the time of a block; its end is that of a worker that is killed."""
    async with grpc.aio.insecure_channel(address) as channel:
        call: Any = worker_service_pb2_grpc.WorkerServiceStub(channel).Work()
        stream = Stream(call)
        background = [asyncio.create_task(stream.read())]
        if beats:
            background.append(asyncio.create_task(stream.beat()))
        hello = pb.Hello(worker="raw", offer=offer, held_leases=[lease.token for lease in held])
        await stream.send(hello=hello, credit=credit)
        await stream.until_welcome()
        try:
            yield stream
        finally:
            call.cancel()
            for each in background:
                each.cancel()
            await asyncio.gather(*background, return_exceptions=True)


def completion(lease: pb.Lease, output: int) -> pb.Completion:
    """The completion of an attempt with a number."""
    task = next(each for each in bodies.ALL if each.name == lease.task.name)
    return pb.Completion(token=lease.token, outputs=task.interface.outputs_to_literals(output))


@asynccontextmanager
async def unary(address: str) -> AsyncIterator[worker_service_pb2_grpc.WorkerServiceStub]:
    """A stub for the calls of workers without a stream."""
    async with grpc.aio.insecure_channel(address) as channel:
        yield worker_service_pb2_grpc.WorkerServiceStub(channel)
