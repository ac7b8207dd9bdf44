"""The address of a Redis, as ``--redis`` takes it, and how connections to it are made.

``redis://[user:password@]host[:6379][/db]``
    A Redis; ``rediss://`` is the same by TLS.
``unix://[user:password@]/path/to/socket[?db=0]``
    A Redis on this machine.
``redis+sentinel://[user:password@]host[:26379],…/service[/db]``
    The master that these Sentinels know by that name; ``rediss+sentinel://`` is the same by TLS, to the Sentinels too.

Options follow a ``?`` and are those of redis-py's connections: ``ssl_ca_certs``, ``ssl_certfile``, ``ssl_keyfile``,
``ssl_check_hostname``, ``client_name`` and so on; ``sentinel_username`` and ``sentinel_password`` are for the
Sentinels. Special characters in a user or password are written as ``%XX``.
"""

from __future__ import annotations

import re
from typing import Any, Final
from urllib.parse import unquote, urlsplit

from redis.asyncio.connection import AbstractConnection, ConnectionPool, parse_url
from redis.asyncio.retry import Retry
from redis.asyncio.sentinel import MasterNotFoundError, Sentinel, SentinelConnectionPool
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

from lacewing_server.store.redis.link import StoreUnavailableError

_SENTINEL_SCHEMES: Final = {"redis+sentinel": "redis", "rediss+sentinel": "rediss"}
_SENTINEL_PORT: Final = 26_379
_SENTINEL_SHARE: Final = 4
"""A Sentinel gets this part of the time for connecting, so that others can be asked when one does not answer."""
_CREDENTIALS: Final = re.compile(r"://.*@")
_SECRETS: Final = re.compile(r"(password=)[^&]*")


class Address:
    """Where Redis is, and the maker of connections to it."""

    def __init__(self, url: str, timeout: float) -> None:
        """Reads the URL; connects to nothing.

        Args:
            url: The URL.
            timeout: How long connecting may take, in seconds.

        Raises:
            StoreUnavailableError: If it is no such URL. The text holds nothing of a password.
        """
        self._sentinel: _Sentinels | None = None
        scheme = url.partition("://")[0]
        try:
            if scheme in _SENTINEL_SCHEMES:
                self._pool = self._sentinel_pool(url, scheme, timeout)
            else:
                self._pool = ConnectionPool(**_arguments(url))
            self.connection()
        except (ValueError, TypeError, RedisError) as error:
            # Not the error's text: it may quote the password as what it takes for a port.
            raise StoreUnavailableError(
                f"the address is not that of a Redis ({shown(url)}): write redis://[user:password@]host:port/db, "
                "rediss://…, unix:///path or redis+sentinel://host:port,…/service, special characters of a password as "
                "%XX, and after a ? only options that redis-py knows"
            ) from error

    def connection(self) -> AbstractConnection:
        """Makes a connection that has yet to connect; with Sentinels, to whoever is the master then."""
        connection: AbstractConnection = self._pool.make_connection()  # type: ignore[no-untyped-call] # redis-py
        return connection

    async def close(self) -> None:
        """Closes the connections to Sentinels."""
        if self._sentinel is not None:
            for client in self._sentinel.sentinels:
                await client.aclose()

    def _sentinel_pool(self, url: str, scheme: str, timeout: float) -> ConnectionPool:
        parts = urlsplit(url)
        credentials, separator, hosts = parts.netloc.rpartition("@")
        service, _, database = parts.path.removeprefix("/").partition("/")
        if not service or not hosts:
            raise ValueError("a Sentinel's address names hosts and a service")
        # Everything but hosts and service is as redis-py reads it.
        plain = f"{_SENTINEL_SCHEMES[scheme]}://{credentials}{separator}master/{database}?{parts.query}"
        arguments = _arguments(plain)
        is_tls = arguments.pop("connection_class", None) is not None
        own = {name: arguments.pop(f"sentinel_{name}", None) for name in ("username", "password")}
        tls = {name: value for name, value in arguments.items() if name.startswith("ssl_")} | {"ssl": is_tls}
        patience = timeout / _SENTINEL_SHARE
        self._sentinel = _Sentinels(  # type: ignore[no-untyped-call] # redis-py
            [_host_and_port(each) for each in hosts.split(",")],
            sentinel_kwargs={
                **own,
                **(tls if is_tls else {}),
                "socket_timeout": patience,
                "socket_connect_timeout": patience,
                "retry": Retry(NoBackoff(), 0),  # another Sentinel is asked instead
                "protocol": 2,
            },
        )
        del arguments["host"]
        return SentinelConnectionPool(  # type: ignore[no-untyped-call] # redis-py
            unquote(service), self._sentinel, **(arguments | tls)
        )


class _Sentinels(Sentinel):
    """Sentinels whose errors tell where they are, and not how they are spoken to."""

    async def discover_master(self, service_name: str) -> tuple[str, int]:
        try:
            master: tuple[str, int] = await super().discover_master(service_name)
        except MasterNotFoundError:
            ways = [client.connection_pool.connection_kwargs for client in self.sentinels]
            places = ", ".join(f"{way['host']}:{way['port']}" for way in ways)
            # Not the error's text: it holds all options of the connections.
            raise MasterNotFoundError(
                f"the Sentinels at {places} do not answer, refuse us, or know no living master {service_name!r}"
            ) from None
        return master


def shown(url: str) -> str:
    """The URL as it may be printed: without user, password and other secrets."""
    return _SECRETS.sub(r"\1***", _CREDENTIALS.sub("://***@", url))


def _arguments(url: str) -> dict[str, Any]:
    arguments: dict[str, Any] = {**parse_url(url), "protocol": 2}
    if not arguments.keys() & {"db", "path"} and urlsplit(url).path.strip("/"):
        raise ValueError("the database is a number")  # which redis-py takes for none
    return arguments


def _host_and_port(text: str) -> tuple[str, int]:
    parts = urlsplit(f"//{text}")
    if not parts.hostname:
        raise ValueError("a Sentinel has no host")
    return parts.hostname, parts.port or _SENTINEL_PORT
