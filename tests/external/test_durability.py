"""What is left of acknowledged executions after server and embedded Valkey were killed together."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from pathlib import Path

import pytest

import lacewing
from cluster.world import QUICK, calling, program
from external.load import Load
from external.test_embedded import pid_of
from lacewing_server.testing import start_server

EVERYSEC_BOUND = 2.0
"""Seconds of writes that Redis may hold back with everysec: it waits so long for a sync that takes its time."""


@pytest.mark.parametrize(("fsync", "bound"), [("always", 0.0), ("everysec", EVERYSEC_BOUND)])
async def test_what_was_acknowledged_is_there_after_the_kill(directory: Path, fsync: str, bound: float) -> None:
    """All of it with always, all but the last moments with everysec; a new server runs it to its end."""
    settings = {"data_dir": directory, "persist": True, "fsync": fsync, **QUICK}
    with start_server(**settings) as first:
        port = int(first.address.rpartition(":")[2])
        async with calling(first) as client:
            load = Load(client, directory)
            creating = asyncio.create_task(load.create(10_000))
            while len(load.accepted) < 100:
                await asyncio.sleep(0.01)
            killed = time.monotonic()
            os.kill(pid_of(directory), signal.SIGKILL)
            first.kill()
            creating.cancel()
            await asyncio.gather(creating, return_exceptions=True)
            with start_server(**{**settings, "port": port}) as second:
                async with program(second, slots=4):
                    for number, accepted in load.accepted.items():
                        try:
                            await load.handles[number].status()
                        except lacewing.errors.ExecutionNotFound:
                            assert killed - accepted < bound
                            del load.handles[number]
                    await load.check()
