"""Nodes of a Redis Cluster: all keys share one slot, so that the node that has it is enough."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from cluster.world import QUICK, calling, program
from external.load import Load
from external.processes import Node, free_port
from lacewing_server.testing import ServerProcessError, start_server
from worker.leases import until


def start_member(kind: str, start_node: Callable[..., Node]) -> Node:
    """A node of a cluster, with no slots yet."""
    options = ("--cluster-enabled", "yes", "--cluster-require-full-coverage", "no")
    return start_node(kind, *options, "--cluster-port", str(free_port()))


def slot_of(node: Node) -> int:
    """The slot of all keys."""
    with node.connect() as client:
        return int(client.cluster("KEYSLOT", "lw:{0}:anything"))


async def test_the_node_that_has_the_slot_is_enough(kind: str, start_node: Callable[..., Node], tmp_path: Path) -> None:
    """Scripts touch no key of another slot."""
    node = start_member(kind, start_node)
    slot = slot_of(node)
    with node.connect() as client:
        client.cluster("ADDSLOTSRANGE", slot, slot)
        await until(lambda: client.cluster("INFO")["cluster_state"] == "ok")
    with start_server(redis=node.url, **QUICK) as server:
        async with calling(server) as client, program(server):
            load = Load(client, tmp_path)
            await load.create(5)
            await load.check()
        assert server.log == ""


def test_a_node_that_has_not_got_the_slot_is_refused(kind: str, start_node: Callable[..., Node]) -> None:
    """The server does not start on it, and says why in one line."""
    node = start_member(kind, start_node)
    with node.connect() as client:
        client.cluster("ADDSLOTSRANGE", 0, slot_of(node) - 1)
    with pytest.raises(ServerProcessError, match="CLUSTERDOWN") as raised, start_server(redis=node.url):
        pass
    assert "Traceback" not in str(raised.value)
