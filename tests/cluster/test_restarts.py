"""Servers and stores that are killed, or stopped in order, and started again in the middle of the work."""

from __future__ import annotations

import asyncio
import os
import signal
import tempfile
from collections import Counter
from contextlib import ExitStack
from functools import partial
from pathlib import Path

import lacewing
from cluster import bodies
from cluster.raw import working
from cluster.world import QUICK, World, calling, program, store
from lacewing import testing
from lacewing.v1 import execution_pb2
from lacewing_server.valkey import EmbeddedValkey

Execution = execution_pb2.Execution
COUNT = 200


async def test_what_was_accepted_survives_the_only_server_and_its_store() -> None:
    """SIGKILL to the server, and with it its Valkey; the next one on the same directory runs everything to its end."""
    with ExitStack() as stack:
        start = partial(_start_embedded, stack, stack.enter_context(tempfile.TemporaryDirectory(prefix="lw")))
        server = await asyncio.to_thread(start, 0)
        port = int(server.address.rpartition(":")[2])
        async with calling(server) as client:
            async with working(server.address) as stream:
                handles = [await client.submit(bodies.add, a=number) for number in range(20)]
                lease = await stream.lease()
                assert lease.execution == handles[0].id
                server.kill()
            second = await asyncio.to_thread(start, port)
            assert second.address == server.address
            async with program(second):
                assert await asyncio.gather(*(handle.result() for handle in handles)) == list(range(1, 21))
            executions = [await handle.status() for handle in handles]
            assert [each.loss_count for each in executions] == [1, *[0] * 19]
            assert all(each.failure_count == 0 for each in executions)


async def test_a_server_that_is_stopped_under_load_loses_nothing(world: World, tmp_path: Path) -> None:
    """SIGTERM in the middle: what was accepted goes on at the other server, and each body has run exactly once."""
    first, second = await world.servers(2, shutdown_grace=5.0)
    async with calling(first), program(first, second, slots=4), program(second, first, slots=4):
        address = f"ipv4:{first.address},{second.address}"
        async with lacewing.Client(address) as client:
            inputs = [{"folder": str(tmp_path), "number": number} for number in range(COUNT)]
            results = []
            stopping = None
            async for result in client.map(bodies.note, inputs):
                results.append(result)
                if len(results) == COUNT // 4:
                    stopping = asyncio.create_task(asyncio.to_thread(first.stop))
            assert stopping is not None
            await stopping
            assert results == list(range(COUNT))
            runs = Counter((tmp_path / "runs").read_text().split())
            assert runs == Counter(map(str, range(COUNT)))
            executions = [each async for each in client.list(task=bodies.note.name)]
            assert {each.loss_count for each in executions} == {0}


async def test_a_store_that_is_killed_under_load_loses_nothing_it_acknowledged(tmp_path: Path) -> None:
    """SIGKILL to Valkey in the middle of the load, and a start from its file: all that was accepted ends well."""
    with store(persist=True, fsync="always") as valkey, ExitStack() as stack:
        world = World(valkey.url, stack)
        (server,) = await world.servers(1)
        async with calling(server) as client, program(server, slots=4):
            folder = str(tmp_path)
            accepted = [await client.submit(bodies.note, folder, number) for number in range(COUNT // 2)]
            numbers = range(COUNT // 2, COUNT)
            late = [asyncio.create_task(client.execute(bodies.note, folder, number)) for number in numbers]
            await accepted[COUNT // 8].result()
            os.kill(valkey.pid, signal.SIGKILL)
            restarted = EmbeddedValkey(valkey.socket.parent, persist=True, fsync="always")
            stack.callback(restarted.stop)
            results = await asyncio.gather(*(handle.result() for handle in accepted), *late)
            assert results == list(range(COUNT))
            for handle in accepted:
                execution = await handle.status()
                assert (execution.state, execution.failure_count) == (Execution.STATE_SUCCEEDED, 0)


def _start_embedded(stack: ExitStack, directory: str, port: int) -> testing.RunningServer:
    settings = {**QUICK, "data_dir": directory, "persist": True, "fsync": "always", "port": port}
    return stack.enter_context(testing.server(**settings))
