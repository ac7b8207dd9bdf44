"""Many workers in one process, each with a `Work` stream of its own, to see what their number costs the server.

They are no SDK workers: what they do per attempt is the least that the protocol asks for. Prints `ready`.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator

import grpc

from lacewing.v1 import worker_service_pb2 as pb
from lacewing.v1 import worker_service_pb2_grpc


async def work(
    stub: worker_service_pb2_grpc.WorkerServiceStub, number: int, credit: int, ready: asyncio.Barrier
) -> None:
    """Work until killed: every attempt gives back its input."""
    outbox: asyncio.Queue[pb.WorkRequest] = asyncio.Queue()
    hello = pb.Hello(worker=f"crowd-{number}", offer=pb.Offer(task_types=["python-task"], task_names=["tasks.noop"]))
    outbox.put_nowait(pb.WorkRequest(hello=hello, credit=credit))

    async def requests() -> AsyncIterator[pb.WorkRequest]:
        while True:
            yield await outbox.get()

    welcomed = False
    async for response in stub.Work(requests()):
        if not welcomed:
            welcomed = True
            await ready.wait()
        if response.leases:
            answer = pb.WorkRequest(credit=len(response.leases))
            for lease in response.leases:
                completion = answer.completions.add(token=lease.token)
                completion.outputs.literals["o0"].CopyFrom(lease.inputs.literals["number"])
            outbox.put_nowait(answer)


async def main(address: str, count: int, credit: int) -> None:
    """Run so many workers until killed."""
    ready = asyncio.Barrier(count + 1)
    async with grpc.aio.insecure_channel(address) as channel:
        stub = worker_service_pb2_grpc.WorkerServiceStub(channel)
        workers = asyncio.gather(*(work(stub, number, credit, ready) for number in range(count)))
        await ready.wait()
        print("ready", flush=True)
        await workers


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3])))
