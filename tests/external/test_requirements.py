"""Which Redis is taken: of a version that is new enough, the master, and one that throws nothing away."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from external.processes import Node, until_answering
from lacewing_server.store.redis.requirements import unsuitable
from lacewing_server.testing import ServerProcessError, start_server
from worker.leases import until


def refusal(url: str) -> str:
    """The last line of a server that does not start."""
    with pytest.raises(ServerProcessError) as raised, start_server(redis=url):
        pass
    assert "Traceback" not in str(raised.value)
    return str(raised.value).strip().splitlines()[-1]


@pytest.mark.parametrize(
    ("versions", "is_taken"),
    [
        ({"redis_version": "6.2.14"}, False),
        ({"redis_version": "7.0.0"}, True),
        ({"redis_version": "8.2.3"}, True),
        ({"redis_version": "10.0.1"}, True),
        ({"redis_version": "7.2.4", "valkey_version": "7.2.0"}, True),
        ({"redis_version": "7.2.4", "valkey_version": "9.1.2"}, True),
        ({"redis_version": "7.2.4", "valkey_version": "7.1.9"}, False),
        ({}, False),
    ],
)
def test_old_versions_are_not_taken(versions: dict[str, str], *, is_taken: bool) -> None:
    """Redis from 7.0, Valkey from 7.2; Valkey's own version counts, not the one of the Redis it resembles."""
    reason = unsuitable({**versions, "maxmemory_policy": "noeviction"})
    assert (reason == "") == is_taken
    assert is_taken or "needs Redis >= 7.0 or Valkey >= 7.2" in reason


@pytest.mark.parametrize("policy", ["allkeys-lru", "volatile-ttl"])
def test_a_redis_that_evicts_is_not_taken(kind: str, start_node: Callable[..., Node], policy: str) -> None:
    """The server does not start, and says what to set."""
    node = start_node(kind, "--maxmemory-policy", policy)
    assert f"its maxmemory-policy is {policy}" in refusal(node.url)
    with node.connect() as client:
        client.config_set("maxmemory-policy", "noeviction")
    with start_server(redis=node.url) as server:
        assert server.log == ""


async def test_a_redis_that_comes_back_and_evicts_is_an_error_in_the_log(
    kind: str, start_node: Callable[..., Node]
) -> None:
    """A server that runs is not ended by it, but says so."""
    node = start_node(kind)
    with start_server(redis=node.url) as server, node.connect() as client:
        client.config_set("maxmemory-policy", "allkeys-random")
        client.client_kill_filter(_type="normal", skipme=True)
        await until(lambda: "must not be used: its maxmemory-policy is allkeys-random" in server.log)
        server.stop()
        assert "Traceback" not in server.log


async def test_a_replica_is_not_taken(kind: str, start_node: Callable[..., Node]) -> None:
    """The server does not start on it, and says what it is."""
    master = start_node(kind, name="master")
    replica = start_node(kind, "--replicaof", f"127.0.0.1 {master.port}", name="replica")
    await until_answering(replica, master_link_status="up")
    assert "it is a replica, not the master" in refusal(replica.url)
