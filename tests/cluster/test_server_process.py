"""The server that tests are given: a process that can be used from anywhere, and that never outlives its test."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

import lacewing
from lacewing import testing
from worker.leases import is_alive, until_ended

_PARENT = """
import signal
from lacewing import testing
with testing.server() as server:
    print(server.pid, flush=True)
    signal.pause()
"""


async def test_it_can_be_started_used_and_stopped_within_a_running_loop() -> None:
    """Its loop is its own, so nothing of the test's is blocked or closed by it."""
    with testing.server() as server:
        async with lacewing.Client(server.address) as client:
            with pytest.raises(lacewing.errors.TaskNotFound):
                await client.execute("none")
        server.stop()
        assert not is_alive(server.pid)
        server.stop()
    assert server.address.startswith("127.0.0.1:")


def test_what_keeps_it_from_starting_is_told() -> None:
    """The error says what the server wrote, not that a process ended."""
    with pytest.raises(Exception, match="is there a Redis at the address"), testing.server(redis="redis://127.0.0.1:1"):
        pytest.fail("the block is not entered")
    with pytest.raises(Exception, match="tick: Input should be greater than 0"), testing.server(tick=0):
        pytest.fail("the block is not entered")


async def test_it_ends_with_a_test_that_is_killed(tmp_path: Path) -> None:
    """Neither the server nor its Valkey nor its directory outlives a parent that had no time to clean up."""
    command = [sys.executable, "-c", _PARENT]
    parent = await asyncio.create_subprocess_exec(
        *command, stdout=subprocess.PIPE, env={**os.environ, "TMPDIR": str(tmp_path)}
    )
    assert parent.stdout is not None
    pid = int(await parent.stdout.readline())
    (valkey,) = map(int, Path(f"/proc/{pid}/task/{pid}/children").read_text().split())
    (directory,) = tmp_path.iterdir()
    parent.send_signal(signal.SIGKILL)
    await parent.wait()
    await until_ended(pid)
    await until_ended(valkey)
    assert not directory.exists()
