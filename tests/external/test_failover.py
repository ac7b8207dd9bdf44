"""A master that dies, stands still, or is replaced while executions are accepted and run: the next is followed."""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import AsyncIterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

import lacewing
from cluster.world import QUICK, calling, program
from external.load import Load
from external.processes import until_answering
from external.sentinels import SERVICE, Deployment
from lacewing_server.testing import start_server
from worker.leases import until

BOUND = 10.0
"""Seconds until new executions are accepted: half a second of silence, a vote, the promotion, and a busy machine."""

SETTINGS: dict[str, Any] = {**QUICK, "redis_timeout": 1.0}


@pytest.fixture
async def deployment(kind: str, tmp_path: Path) -> AsyncIterator[Deployment]:
    with ExitStack() as stack:
        started = Deployment(kind, tmp_path, stack)
        await started.until_complete()
        yield started


async def test_nothing_confirmed_is_lost_when_the_master_is_killed(deployment: Deployment, tmp_path: Path) -> None:
    """With a replica that confirms, all that was accepted ends; new work is accepted within the bound."""
    with start_server(redis=deployment.url, redis_replicas=1, **SETTINGS) as server:
        async with calling(server) as client, program(server, slots=4):
            load = Load(client, tmp_path)
            await load.create(40)
            killed = time.monotonic()
            deployment.nodes[0].kill()
            await load.create(40)
            assert load.first_accepted_after(killed) < BOUND
            assert deployment.master is not deployment.nodes[0]
            await load.check()
        assert "Traceback" not in server.log


async def test_nodes_and_sentinels_may_want_passwords(kind: str, tmp_path: Path) -> None:
    """Each its own; they are not told to anybody, also when the master is lost."""
    with ExitStack() as stack:
        deployment = Deployment(kind, tmp_path, stack, ("0pen", "sesam3"))
        await deployment.until_complete()
        url = deployment.url.replace("://", "://:0pen@") + "?sentinel_password=sesam3"
        with start_server(redis=url, redis_replicas=1, log_level="info", **SETTINGS) as server:
            async with calling(server) as client, program(server):
                load = Load(client, tmp_path)
                await load.create(5)
                deployment.nodes[0].kill()
                await load.create(5)
                await load.check()
            assert "connecting again" in server.log
            assert "0pen" not in server.log
            assert "sesam3" not in server.log
            assert "Traceback" not in server.log


async def test_a_master_that_is_replaced_in_order_is_left(deployment: Deployment, tmp_path: Path) -> None:
    """An operator's failover under load, with all replicas confirming: the server leaves the old master for the new."""
    with start_server(redis=deployment.url, redis_replicas=2, **SETTINGS) as server:
        async with calling(server) as client, program(server, slots=4):
            load = Load(client, tmp_path)
            await load.create(20)
            with deployment.sentinels[0].connect() as sentinel:
                sentinel.execute_command("SENTINEL FAILOVER", SERVICE)
            demoted = asyncio.create_task(until_answering(deployment.nodes[0], role="slave"))
            await load.create_until(demoted)
            await load.create(20)
            await load.check()
        assert "Traceback" not in server.log


async def test_a_master_that_stands_still_is_left(deployment: Deployment, tmp_path: Path) -> None:
    """It neither answers nor closes its connections; when it comes back as a replica nobody takes it for the master."""
    with start_server(redis=deployment.url, redis_replicas=1, **SETTINGS) as server:
        async with calling(server) as client, program(server, slots=4):
            load = Load(client, tmp_path)
            await load.create(20)
            stopped = time.monotonic()
            deployment.nodes[0].signal(signal.SIGSTOP)
            await load.create(20)
            assert load.first_accepted_after(stopped) < BOUND
            deployment.nodes[0].signal(signal.SIGCONT)
            demoted = asyncio.create_task(until_answering(deployment.nodes[0], role="slave"))
            await load.create_until(demoted)
            await load.check()
        assert "Traceback" not in server.log


async def test_a_demotion_that_closes_nothing_is_noticed(deployment: Deployment, tmp_path: Path) -> None:
    """A refusal to write is taken for a lost connection: calls say UNAVAILABLE, and never that the server is broken."""
    for sentinel in deployment.sentinels:
        sentinel.kill()  # so that nobody but the test says who is the master
    old, new = deployment.nodes[:2]
    with old.connect() as at_old, new.connect() as at_new:
        with start_server(redis=old.url, **SETTINGS) as server:
            async with calling(server) as client, program(server):
                load = Load(client, tmp_path)
                await load.create(10)
                at_old.replicaof("127.0.0.1", str(new.port))
                creating = asyncio.create_task(load.create(10))
                await until(lambda: load.refused)
                assert load.refused.keys() == {"STORE_UNAVAILABLE"}
                await until(lambda: "it is a replica, not the master" in server.log)
                at_old.replicaof("NO", "ONE")
                await creating
                await load.check()
            assert "an internal error" not in server.log
            assert "Traceback" not in server.log
        at_new.ping()


async def test_without_replicas_that_confirm_nothing_is_acknowledged(deployment: Deployment) -> None:
    """When too few replicas are there, calls say so and can be repeated; with them everything goes on."""
    with start_server(redis=deployment.url, redis_replicas=2, **SETTINGS) as server:
        async with calling(server) as client, program(server):
            for node in deployment.nodes[1:]:
                node.signal(signal.SIGSTOP)
            try:
                with pytest.raises(lacewing.errors.StoreUnavailable):
                    await client.submit("add", a=1)
                assert "0 of 2 replicas confirmed in time" in server.log
            finally:
                for node in deployment.nodes[1:]:
                    node.signal(signal.SIGCONT)
            load = Load(client, Path(deployment.nodes[0].directory))
            await load.create(5)
            await load.check()
