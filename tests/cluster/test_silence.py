"""A worker that is suspended for longer than its leases live, and comes back from the dead."""

from __future__ import annotations

import signal
from functools import partial
from pathlib import Path

from cluster import bodies
from cluster.raw import completion, unary, working
from cluster.world import World, calling, program
from lacewing.v1 import errors_pb2, execution_pb2
from lacewing.v1 import worker_service_pb2 as pb
from worker.leases import read_pid, until

Attempt = execution_pb2.Attempt


async def test_what_a_suspended_worker_computed_is_dropped(world: World, tmp_path: Path) -> None:
    """Its attempt is given to another one, whose outcome is the only one recorded; then it is of use again."""
    (server,) = await world.servers(1)
    async with calling(server) as client, program(server) as worker:
        handle = await client.submit(bodies.wait, folder=str(tmp_path))
        await until(partial(read_pid, tmp_path / "attempt-1"))
        worker.send_signal(signal.SIGSTOP)
        async with working(server.address) as stream:
            lease = await stream.lease()
            assert lease.attempt == 2
            await stream.complete(lease, 2)
        assert await handle.result() == 2
        ended = await handle.status()
        (tmp_path / "go").touch()
        await until(lambda: not (tmp_path / "running-1").exists())
        worker.send_signal(signal.SIGCONT)
        # The worker takes work again, so it has dealt with what it came back with.
        assert await client.execute(bodies.note, folder=str(tmp_path), number=5) == 5
        assert await handle.status() == ended
        states = [attempt.state async for attempt in handle.attempts()]
        assert states == [Attempt.STATE_LOST, Attempt.STATE_SUCCEEDED]


async def test_a_silent_stream_loses_its_leases_and_is_ended(world: World) -> None:
    """The worker is told which leases are gone and that it has to connect again; a late result is refused."""
    (server,) = await world.servers(1)
    async with calling(server) as client, working(server.address, beats=False) as silent:
        handle = await client.submit(bodies.add, a=1)
        old = await silent.lease()
        revocation = await silent.revocation()
        assert (revocation.token, revocation.reason) == (old.token, pb.Revocation.REASON_LOST)
        assert str(await silent.end()) == "StatusCode.OK"
        async with working(server.address) as stream, unary(server.address) as stub:
            new = await stream.lease()
            response = await stub.CompleteLeases(pb.CompleteLeasesRequest(completions=[completion(old, 99)]))
            assert response.results[0].error.reason == errors_pb2.ERROR_REASON_LEASE_LOST
            assert not (await stream.complete(new, 2)).HasField("error")
        assert await handle.result() == 2
        assert (await handle.status()).loss_count == 1
