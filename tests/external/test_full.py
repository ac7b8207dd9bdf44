"""A store without memory or disk: what is refused, what goes on, and that all is well when there is room again."""

from __future__ import annotations

import asyncio
import resource
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from cluster.world import QUICK, calling, program
from external.load import Load
from external.processes import Node
from external.test_embedded import pid_of
from lacewing_server.testing import start_server
from server.test_reasons_store import (  # noqa: F401 - run here on other stores
    test_a_full_store_does_not_let_servers_take_each_other_for_dead,
    test_a_full_store_takes_no_new_work_and_finishes_what_runs,
    test_a_server_starts_on_a_full_store,
)
from server.world import World
from worker.leases import until

UNLIMITED = resource.RLIM_INFINITY


@pytest.fixture
def world(kind: str, start_node: Callable[..., Node]) -> Iterator[World]:
    """A server on a node that can be filled."""
    node: Any = start_node(kind)
    with start_server(redis=node.url) as server:
        world = World(node, server)
        yield world
        world.store.close()


def fill_disk(pid: int, directory: Path) -> None:
    """Makes each further write to the append-only file fail, as on a full disk."""
    (file,) = directory.glob("appendonlydir/*.incr.aof")
    resource.prlimit(pid, resource.RLIMIT_FSIZE, (file.stat().st_size, UNLIMITED))


async def test_a_full_disk_is_no_fault_of_the_server(
    kind: str, start_node: Callable[..., Node], tmp_path: Path
) -> None:
    """Redis refuses to write (MISCONF): calls say that the store is unavailable, and go on when there is room."""
    node = start_node(kind, "--appendonly", "yes", "--appendfsync", "everysec")
    with start_server(redis=node.url, **QUICK) as server:
        async with calling(server) as client, program(server):
            load = Load(client, tmp_path)
            await load.create(10)
            fill_disk(node.pid, node.directory)
            creating = asyncio.create_task(load.create(20))
            await until(lambda: load.refused)
            assert load.refused.keys() == {"STORE_UNAVAILABLE"}
            await until(lambda: "MISCONF" in server.log)
            resource.prlimit(node.pid, resource.RLIMIT_FSIZE, (UNLIMITED, UNLIMITED))
            await creating
            await load.check()
        assert "Traceback" not in server.log


async def test_a_full_disk_loses_nothing_that_was_written_at_once(directory: Path) -> None:
    """With fsync=always Valkey ends when it cannot write; it is started again, and all that was accepted ends."""
    with start_server(data_dir=directory, persist=True, fsync="always", **QUICK) as server:
        async with calling(server) as client, program(server):
            load = Load(client, directory)
            await load.create(10)
            fill_disk(pid_of(directory), directory)
            await load.create(10)
            await load.check()
            assert server.log.count("the embedded Valkey ended (1); starting it again") == 1
            assert "Traceback" not in server.log
