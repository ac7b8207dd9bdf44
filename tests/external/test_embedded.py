"""The life of the embedded Valkey: it ends with its server, whoever is next has what it held, and it comes back."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import redis

import lacewing
from cluster import bodies
from cluster.world import calling, program
from external.load import Load
from lacewing_server import valkey
from lacewing_server.testing import start_server
from lacewing_server.valkey import EmbeddedValkey, ValkeyStartError
from worker.leases import until, until_ended

# A server in a process of its own: it starts Valkey, stores a value, says so, and lives until it is killed.
OWNER = """
import sys, time
from pathlib import Path
import redis
from lacewing_server import valkey
if sys.argv[2] == "orphan":  # as on systems where no signal tells of a parent's death
    valkey._launcher = lambda: [valkey._binary()]
started = valkey.EmbeddedValkey(Path(sys.argv[1]))
redis.Redis.from_url(started.url).set("kept", "yes")
print(started.pid, flush=True)
time.sleep(600)
"""


def own(directory: Path, how: str = "") -> tuple[subprocess.Popen[str], int]:
    """Runs such a server; returns it and the process id of its Valkey."""
    command = [sys.executable, "-c", OWNER, str(directory), how]
    owner = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert owner.stdout is not None
    with owner.stdout:
        return owner, int(owner.stdout.readline())


def kill(process: subprocess.Popen[str]) -> None:
    """Kills a process and waits for its end."""
    process.kill()
    process.wait()


def value_in(store: EmbeddedValkey) -> Any:
    """What the server has stored."""
    with redis.Redis.from_url(store.url) as client:
        return client.get("kept")


def pid_of(directory: Path) -> int:
    """The process id of the Valkey of a directory."""
    with redis.Redis.from_url(f"unix://{directory / valkey.SOCKET_NAME}") as client:
        info: Any = client.info("server")
        return int(info["process_id"])


async def test_it_ends_when_its_server_is_killed(directory: Path) -> None:
    """It is not left behind, and has written what it held."""
    owner, pid = own(directory)
    kill(owner)
    await until_ended(pid)
    successor = EmbeddedValkey(directory)
    try:
        assert value_in(successor) == b"yes"
    finally:
        successor.stop()


async def test_a_server_ends_the_orphan_of_another_one(directory: Path) -> None:
    """Where it outlives its killed server, the next server on the directory ends it, and has everything it held."""
    owner, pid = own(directory, "orphan")
    kill(owner)
    assert pid_of(directory) == pid
    successor = EmbeddedValkey(directory)
    try:
        await until_ended(pid)
        assert value_in(successor) == b"yes"
    finally:
        successor.stop()


async def test_an_orphan_that_does_not_end_is_told(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One that stands still cannot be ended in order; the successor does not start, and says what to do."""
    owner, pid = own(directory, "orphan")
    os.kill(pid, signal.SIGSTOP)
    try:
        kill(owner)
        monkeypatch.setattr(valkey, "_LOCK_SECONDS", 0.05)
        with pytest.raises(ValkeyStartError, match=rf"of a server that is gone \(process {owner.pid}\) .* end it"):
            EmbeddedValkey(directory)
    finally:
        os.kill(pid, signal.SIGCONT)
    await until_ended(pid)  # it was asked to, and now it hears it


def test_a_server_leaves_the_valkey_of_a_living_one_alone(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It does not start, and says which process has the directory."""
    owner, pid = own(directory, "orphan")
    try:
        monkeypatch.setattr(valkey, "_LOCK_SECONDS", 0.05)
        with pytest.raises(ValkeyStartError, match=rf"another server \(process {owner.pid}\) uses"):
            EmbeddedValkey(directory)
        assert pid_of(directory) == pid
    finally:
        kill(owner)
        EmbeddedValkey(directory).stop()


async def test_the_server_starts_it_again(directory: Path) -> None:
    """Valkey is killed in the middle of the load: the server lives on, says so once, and all that was accepted ends."""
    with start_server(data_dir=directory, persist=True, fsync="always") as server:
        async with calling(server) as client, program(server):
            handles = [await client.submit(bodies.note, str(directory), number) for number in range(40)]
            await handles[5].result()
            old = pid_of(directory)
            os.kill(old, signal.SIGKILL)
            assert await asyncio.gather(*(handle.result() for handle in handles)) == list(range(40))
            assert pid_of(directory) != old
            assert server.log.count("the embedded Valkey ended (-9); starting it again") == 1


async def test_a_valkey_without_a_file_comes_back_empty(directory: Path) -> None:
    """With persist=false everything is gone with it; the server takes new work nevertheless."""
    with start_server(data_dir=directory, persist=False) as server:
        async with calling(server) as client, program(server):
            lost = await client.submit(bodies.add, a=1)
            await lost.result()
            old = pid_of(directory)
            os.kill(old, signal.SIGKILL)
            load = Load(client, directory)
            await load.until_taken(client.register, *bodies.ALL)
            assert await load.until_taken(client.execute, bodies.add, 2) == 3
            with pytest.raises(lacewing.errors.ExecutionNotFound):
                await lost.status()


async def test_the_server_goes_on_trying(directory: Path) -> None:
    """As long as Valkey cannot start the server says why, with longer and longer pauses; then everything goes on."""
    with start_server(data_dir=directory, persist=True, fsync="always") as server:
        async with calling(server) as client:
            manifest = next(directory.glob("appendonlydir/*.manifest"))
            good = manifest.read_bytes()
            manifest.write_bytes(b"nonsense")
            os.kill(pid_of(directory), signal.SIGKILL)
            await until(lambda: server.log.count("the embedded Valkey ended (1); starting it again") == 3)
            manifest.write_bytes(good)
            async with program(server):
                assert await client.execute(bodies.add, a=1) == 2


def test_reading_its_file_may_take_as_long_as_it_takes(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The bound of its start is for its silence, and not for the time that a big file takes."""
    first = EmbeddedValkey(directory)
    with redis.Redis.from_url(first.url) as client:
        pipe = client.pipeline(transaction=False)
        for number in range(6_000):
            pipe.set(f"key-{number}", "x")
        pipe.set("kept", "yes")
        pipe.execute()
    first.stop()
    slow = f'exec {valkey._binary()} "$@" --key-load-delay 300'  # microseconds for each key
    monkeypatch.setattr(valkey, "_launcher", lambda: ["/bin/sh", "-c", slow, "sh"])
    monkeypatch.setattr(valkey, "_START_SECONDS", 1.0)
    second = EmbeddedValkey(directory)
    try:
        assert value_in(second) == b"yes"
    finally:
        second.stop()
