"""One multiplexed, auto-pipelined connection to Redis.

Every command issued in one tick of the event loop goes out in one write; replies come back in order. This costs a few
microseconds a command where an asyncio client that awaits each one costs 60 to 90. Connecting stays redis-py's:
address, TLS, authentication, protocol and Sentinel. The module takes over the transport after the handshake; that
hand-over is the only use of redis-py's private attributes.

On loss every outstanding call fails with :class:`StoreUnavailableError`; all calls of the store are safe to repeat.
Then the connection is made again with back-off, and with Sentinels to whoever is the master by then. A Redis that says
that it is no master, or not yet one, is as good as lost. Never use WATCH or MULTI here: their state is the
connection's, which all share.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
from collections.abc import Awaitable, Callable
from typing import Any, Final

from redis.asyncio.connection import AbstractConnection
from redis.exceptions import RedisError

from lacewing_server.store.redis.link import CommandError, Confirmation, LateCall, Link, Reply, StoreUnavailableError

_log = logging.getLogger(__name__)

TIMEOUT_SECONDS: Final = 5.0
"""How long Redis may take to answer, unless the settings say otherwise."""
_LOOK_SECONDS: Final = 1.0
_BACKOFF_MAX_SECONDS: Final = 1.0


class Pipeline:
    """A connection that reconnects, for commands; with ``on_push`` one for subscriptions."""

    def __init__(
        self,
        make_connection: Callable[[], AbstractConnection],
        *,
        on_connect: Callable[[Pipeline], Awaitable[None]],
        on_push: Callable[[Reply], None] | None = None,
        timeout: float,
        confirmation: Confirmation,
    ) -> None:
        """Prepares the connection.

        Args:
            make_connection: Makes one that has yet to connect.
            on_connect: Runs after each connect.
            on_push: Takes every message of a subscribing connection.
            timeout: How long connecting and each reply may take, in seconds.
            confirmation: How many replicas must have what was written, or read, before a call succeeds.
        """
        self.info: dict[str, str] = {}
        """What Redis said of itself (``INFO``) when it was connected."""
        self._make_connection = make_connection
        self._timeout = timeout
        self._confirmation = confirmation
        self._on_connect = on_connect
        self._on_push = on_push
        self._link: Link | None = None
        self._ready = asyncio.Event()
        self._is_closed = False
        self._task: asyncio.Task[None] | None = None

    @property
    def connected(self) -> bool:
        """Whether commands are accepted now."""
        return self._ready.is_set()

    async def start(self) -> None:
        """Connects, and keeps connected until closed.

        Raises:
            StoreUnavailableError: If the first connection fails.
        """
        await self._connect()
        self._task = asyncio.create_task(self._keep(), name="redis-connection")

    async def close(self) -> None:
        """Closes the connection for good."""
        self._is_closed = True
        if self._task is not None:
            if self._link is not None:
                self._link.close()  # wakes the task if it waits for that, should the cancellation be lost
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task
        self._ready.clear()
        if self._link is not None:
            self._link.close()

    def send(self, *command: bytes | str | int) -> asyncio.Future[Reply]:
        """Issues a command; it goes out with all others of this tick of the loop.

        Returns:
            The reply, or :class:`CommandError`, or :class:`StoreUnavailableError`.
        """
        if self._link is None or not self._ready.is_set():
            future: asyncio.Future[Reply] = asyncio.get_running_loop().create_future()
            future.set_exception(StoreUnavailableError("there is no connection to Redis"))
            return future
        return self._link.send(command)

    def post(self, call: LateCall) -> None:
        """Issues a call that says only when it goes out what it is."""
        if self._link is None or not self._ready.is_set():
            call.set_exception(StoreUnavailableError("there is no connection to Redis"))
        else:
            self._link.post(call)

    def flush(self) -> None:
        """Sends what was issued in this tick of the loop, before its end."""
        if self._link is not None:
            self._link.flush()

    async def _connect(self) -> None:
        connection = self._make_connection()
        link: Link | None = None
        try:
            async with asyncio.timeout(self._timeout):
                await connection.connect()  # type: ignore[no-untyped-call] # redis-py
                self.info = await _ask_master(connection)
                writer: Any = connection._writer  # noqa: SLF001 - the hand-over of the transport, see the module's text
                transport: asyncio.Transport = writer.transport
                link = Link(transport, self._on_push, self._timeout, self._confirmation)
                transport.set_protocol(link)
                transport.resume_reading()
                # From here on the transport is ours alone: the end of the connection would warn, and close it.
                link.keepalive = writer  # type: ignore[attr-defined] # its end, too, would close the transport
                connection._reader = connection._writer = None  # noqa: SLF001 - likewise
                self._link = link
                self._ready.set()
                await self._on_connect(self)
        except BaseException as error:
            # Whatever it was, a cancellation too: what is half open is closed.
            self._ready.clear()
            if link is not None:
                link.close()
            await connection.disconnect(nowait=True)  # without effect on what was handed over
            # uvloop has a RuntimeError for who writes to what is closed.
            if isinstance(error, (RedisError, OSError, TimeoutError, CommandError, RuntimeError)):
                raise StoreUnavailableError(f"cannot connect to Redis: {error} ({type(error).__name__})") from error
            raise

    async def _keep(self) -> None:
        delay = 0.01
        # A cancellation may hit, and be lost in, a connection that is just being made.
        while not self._is_closed:
            link = self._link
            assert link is not None
            while not link.lost.done():
                await asyncio.wait({link.lost}, timeout=min(_LOOK_SECONDS, self._timeout / 4))
                link.check()
            self._ready.clear()
            if self._is_closed:
                return
            _log.warning("the connection to Redis was lost; connecting again")
            told = ""
            while not (self._ready.is_set() or self._is_closed):
                try:
                    await self._connect()
                    delay = 0.01
                except StoreUnavailableError as error:
                    if str(error) != told:  # a Redis that stays away is told once
                        _log.warning("%s; trying again", error)
                    told = str(error)
                except Exception:  # noqa: BLE001 - without this task there would be no connection any more
                    _log.exception("could not connect to Redis; trying again")
                if not self._ready.is_set():
                    await asyncio.sleep(delay * random.uniform(0.5, 1))  # noqa: S311 - spreads load, hides nothing
                    delay = min(delay * 2, _BACKOFF_MAX_SECONDS)
            if self._ready.is_set():
                _log.info("connected to Redis again")


async def _ask_master(connection: AbstractConnection) -> dict[str, str]:
    await connection.send_command("INFO")
    text = (await connection.read_response()).decode()
    info = dict(line.split(":", 1) for line in text.splitlines() if ":" in line)
    if info.get("role") != "master":
        raise StoreUnavailableError("cannot connect to Redis: it is a replica, not the master")
    return info
