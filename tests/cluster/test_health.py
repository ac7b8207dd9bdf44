"""What a server says of itself while its store is away and while it goes away itself."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import ExitStack, asynccontextmanager
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

import lacewing
from cluster import bodies
from cluster.deaf import wire_to
from cluster.raw import working
from cluster.world import World, calling, store
from lacewing._statuses import from_rpc_error
from lacewing.v1 import execution_service_pb2, execution_service_pb2_grpc, identifiers_pb2
from lacewing_server.valkey import EmbeddedValkey
from worker.leases import until

SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING


@asynccontextmanager
async def health(address: str, service: str = "") -> AsyncIterator[Callable[[], Awaitable[int]]]:
    """The states of a service of a server, as they change."""
    async with grpc.aio.insecure_channel(address) as channel:
        stub: Any = health_pb2_grpc.HealthStub(channel)  # its types are those of the blocking API
        call = stub.Watch(health_pb2.HealthCheckRequest(service=service))

        async def following() -> int:
            async with asyncio.timeout(20):
                response = await call.read()
            return int(response.status)

        yield following
        call.cancel()


async def test_readiness_follows_the_store() -> None:
    """It serves, does not while the store is dead or stands still, and serves again; nothing is left open by that."""
    with store(persist=True) as valkey, ExitStack() as stack:
        (server,) = await World(valkey.url, stack).servers(1)
        async with health(server.address) as whole, health(server.address, "lacewing.v1.ExecutionService") as part:
            assert (await whole(), await part()) == (SERVING, SERVING)
            os.kill(valkey.pid, signal.SIGKILL)
            assert (await whole(), await part()) == (NOT_SERVING, NOT_SERVING)
            async with lacewing.Client(server.address) as client:
                with pytest.raises(lacewing.errors.StoreUnavailable):
                    await client.execute("none")
            second = EmbeddedValkey(valkey.socket.parent)
            stack.callback(second.stop)
            assert (await whole(), await part()) == (SERVING, SERVING)
            os.kill(second.pid, signal.SIGSTOP)
            try:
                assert (await whole(), await part()) == (NOT_SERVING, NOT_SERVING)
            finally:
                os.kill(second.pid, signal.SIGCONT)
            assert (await whole(), await part()) == (SERVING, SERVING)
        await asyncio.to_thread(server.stop)
        assert "ResourceWarning" not in server.log
        assert "never retrieved" not in server.log
        assert "Traceback" not in server.log


async def test_a_server_that_drains_is_not_ready(world: World) -> None:
    """From SIGTERM on it does not serve, though a worker still finishes what it holds."""
    (server,) = await world.servers(1, shutdown_grace=10.0)
    async with calling(server) as client, working(server.address) as stream, health(server.address) as whole:
        assert await whole() == SERVING
        await client.submit(bodies.add, a=1)
        lease = await stream.lease()
        stopping = asyncio.create_task(asyncio.to_thread(server.stop))
        assert await whole() == NOT_SERVING
        await stream.until_drained()
        assert not (await stream.complete(lease, 2)).HasField("error")
        await stream.close()
        assert await stream.end() == grpc.StatusCode.OK
        await stopping
    assert "ResourceWarning" not in server.log


async def test_who_waits_for_a_store_that_does_not_answer_is_told_of_the_end(world: World) -> None:
    """Once the grace is over, calls that are still under way end with what is a reason to try another server."""
    async with wire_to(world.url) as wire:
        server = await asyncio.to_thread(world.start, redis=wire.url, shutdown_grace=0.1)
        async with grpc.aio.insecure_channel(server.address) as channel:
            stub = execution_service_pb2_grpc.ExecutionServiceStub(channel)
            request = execution_service_pb2.GetExecutionRequest(id=identifiers_pb2.ExecutionId(name="none"))
            with pytest.raises(grpc.aio.AioRpcError) as found:
                await stub.GetExecution(request)
            assert found.value.code() == grpc.StatusCode.NOT_FOUND
            wire.answers.clear()
            before = wire.reads
            asking = asyncio.create_task(_refusal(stub.GetExecution(request)))
            await until(lambda: wire.reads > before)
            stopping = asyncio.create_task(asyncio.to_thread(server.stop))
            error = await asking
            assert isinstance(error, lacewing.errors.ShuttingDown), error
            wire.answers.set()
            await stopping


async def _refusal(call: Awaitable[Any]) -> Exception:
    with pytest.raises(grpc.aio.AioRpcError) as found:
        await call
    return from_rpc_error(found.value)
