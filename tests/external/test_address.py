"""Addresses of Redis: what they mean, that nothing of a password is told, and that they lead to a Redis."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import trustme
from hypothesis import given
from hypothesis import strategies as st

from external.processes import Node, free_port
from lacewing_server.settings import load_settings
from lacewing_server.store.redis.address import Address, shown
from lacewing_server.store.redis.link import StoreUnavailableError
from lacewing_server.testing import ServerProcessError, start_server
from server.world import connect, interface

SECRET = "s3cret"


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("redis://one", {"host": "one", "port": 6379, "db": 0}),
        ("redis://user:p%40ss@one:7000/3", {"port": 7000, "db": 3, "username": "user", "password": "p@ss"}),
        ("redis://:pass@one?client_name=me", {"password": "pass", "client_name": "me"}),
        ("rediss://one:7001", {"host": "one", "port": 7001, "cert_reqs": "CERT_REQUIRED", "check_hostname": True}),
        ("rediss://one?ssl_ca_certs=/ca.pem&ssl_check_hostname=no", {"ca_certs": "/ca.pem", "check_hostname": False}),
        ("unix:///run/redis.sock?db=2", {"path": "/run/redis.sock", "db": 2}),
        ("redis+sentinel://user:p%40ss@one,two:7/main/4", {"username": "user", "password": "p@ss", "db": 4}),
    ],
)
def test_an_address_is_read_as_redis_py_reads_it(url: str, expected: dict[str, object]) -> None:
    """What the connection will do is what the URL says."""
    connection = Address(url, 5.0).connection()
    for name, value in expected.items():
        found = getattr(connection, name)
        assert getattr(found, "name", found) == value


def test_the_hosts_of_an_address_of_sentinels_are_sentinels() -> None:
    """Several hosts with or without ports; what is for the Sentinels themselves goes to them alone."""
    address = Address("rediss+sentinel://u:p@one,two:7,[::1]:8/main?sentinel_password=sp&ssl_ca_certs=/ca.pem", 8.0)
    assert address._sentinel is not None
    arguments = [client.connection_pool.connection_kwargs for client in address._sentinel.sentinels]
    assert [(each["host"], each["port"]) for each in arguments] == [("one", 26379), ("two", 7), ("::1", 8)]
    for each in arguments:
        assert (each["username"], each["password"], each["ssl_ca_certs"]) == (None, "sp", "/ca.pem")
        assert each["socket_connect_timeout"] == 2.0
    connection: Any = address.connection()
    assert (connection.username, connection.password, connection.ca_certs) == ("u", "p", "/ca.pem")


@pytest.mark.parametrize(
    "url",
    [
        "one:6379",
        "http://one",
        "redis://one:port",
        f"redis://user:{SECRET}/2@one",
        f"redis://:{SECRET}@one/three",
        f"redis://:{SECRET}@one?db=three",
        f"redis://:{SECRET}@one?no_such_option=1",
        f"rediss://:{SECRET}@one?ssl_cert_reqs=perhaps",
        f"redis+sentinel://:{SECRET}@one",
        f"redis+sentinel://:{SECRET}@/main",
        f"redis+sentinel://:{SECRET}@one,:7/main",
        f"redis+sentinel://:{SECRET}@one:port/main",
        f"redis+sentinel://:{SECRET}@one/main/three",
        f"redis+sentinel://:{SECRET}@one/main?no_such_option=1",
    ],
)
def test_what_is_no_address_is_refused_without_its_password(url: str) -> None:
    """The text shows the right form, and nothing secret; not even when a password is taken for a port."""
    with pytest.raises(StoreUnavailableError, match=r"redis://\[user:password@\]host:port/db") as raised:
        Address(url, 5.0)
    assert SECRET not in str(raised.value)


@given(
    scheme=st.sampled_from(["redis", "rediss", "unix", "redis+sentinel", "rediss+sentinel", "nonsense"]),
    user=st.text(st.characters(codec="ascii", exclude_characters="@\n\r"), max_size=8),
    password=st.text(st.characters(codec="ascii", categories=["L", "N"]), min_size=12),
    where=st.sampled_from(["{}:{}@host/0", "host?password={1}", "host/x?sentinel_password={1}&db=1", "{}:{}@a,b:1/x"]),
)
def test_no_password_is_ever_shown(scheme: str, user: str, password: str, where: str) -> None:
    """Wherever it stands, and whatever else is wrong with the URL."""
    assert password not in shown(f"{scheme}://{where.format(user, password)}")


def test_config_shows_the_address_without_its_password() -> None:
    """Neither as a table nor as JSON, nor in what a program prints of the settings."""
    url = f"redis+sentinel://user:{SECRET}@one,two/main?sentinel_password={SECRET}"
    command = [str(Path(sys.executable).with_name("lacewing")), "config"]
    environment = {**os.environ, "LACEWING_REDIS": url}
    for output in ("table", "json"):
        done = subprocess.run(
            [*command, "--output", output], env=environment, capture_output=True, text=True, check=True, timeout=30
        )
        assert SECRET not in done.stdout + done.stderr
    assert json.loads(done.stdout)["redis"] == {
        "value": "redis+sentinel://***@one,two/main?sentinel_password=***",
        "source": "environment",
    }
    assert SECRET not in repr(load_settings(redis=url))


@pytest.mark.parametrize("scheme", ["redis+sentinel", "rediss+sentinel"])
def test_sentinels_that_are_not_there_are_named(scheme: str) -> None:
    """The line says where they were looked for, and nothing of how."""
    ports = [free_port(), free_port()]
    hosts = ",".join(f"127.0.0.1:{port}" for port in ports)
    url = f"{scheme}://user:{SECRET}@{hosts}/main?sentinel_password={SECRET}"
    with pytest.raises(ServerProcessError) as raised, start_server(redis=url):
        pass
    assert f"the Sentinels at 127.0.0.1:{ports[0]}, 127.0.0.1:{ports[1]} do not answer" in str(raised.value)
    assert "no living master 'main'" in str(raised.value)
    assert len(str(raised.value).splitlines()) == 2  # the first one is that of the error itself
    assert SECRET not in str(raised.value)


@pytest.fixture
def secured(start_node: Callable[..., Node], tmp_path: Path) -> str:
    """The URL, without options, of a Redis that speaks TLS only and wants a certificate and a password."""
    authority = trustme.CA()
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    authority.issue_cert("localhost").private_key_and_cert_chain_pem.write_to_path(str(tmp_path / "server.pem"))
    authority.issue_cert("lacewing.test").private_key_and_cert_chain_pem.write_to_path(str(tmp_path / "client.pem"))
    port = free_port()
    start_node(
        "redis",
        *("--port", "0", "--tls-port", str(port), "--tls-ca-cert-file", str(tmp_path / "ca.pem")),
        *("--tls-cert-file", str(tmp_path / "server.pem"), "--tls-key-file", str(tmp_path / "server.pem")),
        *("--user", "default", "off", "--user", "lacewing", "on", f">{SECRET}", "~*", "&*", "+@all"),
        port=port,
    )
    return f"rediss://lacewing:{SECRET}@localhost:{port}"


async def test_a_server_reaches_its_redis_by_tls_and_password(secured: str, tmp_path: Path) -> None:
    """Verified by an authority, with a certificate of its own and as a user; nothing is left open or half read."""
    client = tmp_path / "client.pem"
    url = f"{secured}?ssl_ca_certs={tmp_path / 'ca.pem'}&ssl_certfile={client}&ssl_keyfile={client}"
    with start_server(redis=url) as server:
        async with connect(server.address) as stubs:
            await stubs.register("secured")
            pad = "x" * 300_000  # more than one record of TLS, on the connection for big values
            created = await stubs.create("secured", labels={"n": "1"}, inputs_json={"n": 1})
            assert created.id.name
            await stubs.register(
                "big", template={"interface": interface({"pad": "STRING"}, {"o0": "INTEGER"})}, version="2"
            )
            big = await stubs.create("big", inputs_json={"pad": pad})
            lease = await stubs.lease("big")
            assert lease.inputs.literals["pad"].scalar.primitive.string_value == pad
            assert lease.execution == big.id
        server.stop()
        assert server.log == ""


@pytest.mark.parametrize("missing", ["ssl_ca_certs", "ssl_certfile", "password"])
def test_a_server_that_is_not_let_in_says_so_in_one_line(secured: str, tmp_path: Path, missing: str) -> None:
    """An authority that is not known, a certificate that is wanted, a wrong password: none is told in the text."""
    client = tmp_path / "client.pem"
    options = {"ssl_ca_certs": tmp_path / "ca.pem", "ssl_certfile": client, "ssl_keyfile": client}
    url = secured.replace(SECRET, "wr0ng") if missing == "password" else secured
    query = "&".join(f"{name}={value}" for name, value in options.items() if name != missing)
    with pytest.raises(ServerProcessError) as raised, start_server(redis=f"{url}?{query}"):
        pass
    text = str(raised.value).strip().splitlines()[-1]
    assert "cannot connect to Redis" in text
    assert SECRET not in str(raised.value)
    assert "wr0ng" not in str(raised.value)
    assert "Traceback" not in str(raised.value)
