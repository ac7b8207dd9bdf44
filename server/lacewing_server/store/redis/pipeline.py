"""One multiplexed, auto-pipelined connection to Redis.

Every command issued in one tick of the event loop goes out in one write; replies come back in order. This costs a few
microseconds a command where an asyncio client that awaits each one costs 60 to 90. Connecting stays redis-py's:
address,
TLS, authentication, protocol and Sentinel. The module takes over the transport after the handshake; that hand-over is
the only use of redis-py's private attributes.

On loss every outstanding call fails with :class:`StoreUnavailableError`; all calls of the store are safe to repeat.
Then the
connection is made again with back-off. Never use WATCH or MULTI here: their state is the connection's, which all share.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Any, Final

import hiredis
import redis.asyncio as redis_asyncio
from redis.exceptions import RedisError

_log = logging.getLogger(__name__)

Reply = Any
"""What Redis answers: bytes, int, None, or a list of replies."""

_PENDING_MAX: Final = 100_000
_TIMEOUT_SECONDS: Final = 5.0
_BACKOFF_MAX_SECONDS: Final = 1.0


class StoreUnavailableError(Exception):
    """Redis cannot be reached, or did not answer in time. Whether the command took effect is unknown."""


class CommandError(Exception):
    """Redis refused one command; its text begins with a code such as ``NOSCRIPT`` or ``OOM``."""

    @property
    def code(self) -> str:
        """The first word of the text."""
        return str(self).split(" ", 1)[0]


class _Link(asyncio.Protocol):
    """The wire of one established connection: matches replies with calls, in order."""

    def __init__(self, transport: asyncio.Transport, on_push: Callable[[Reply], None] | None) -> None:
        self._transport = transport
        self._on_push = on_push
        self._reader = hiredis.Reader(replyError=CommandError, protocolError=StoreUnavailableError)
        self._pending: deque[tuple[asyncio.Future[Reply], float]] = deque()
        self._unsent: list[bytes] = []
        self._loop = asyncio.get_running_loop()
        self.lost: asyncio.Future[None] = self._loop.create_future()

    def send(self, command: tuple[bytes | str | int, ...]) -> asyncio.Future[Reply]:
        future: asyncio.Future[Reply] = self._loop.create_future()
        if self.lost.done() or len(self._pending) >= _PENDING_MAX:
            future.set_exception(StoreUnavailableError("the connection to Redis is lost or overloaded"))
            return future
        if not self._unsent:
            self._loop.call_soon(self._flush)
        self._unsent.append(hiredis.pack_command(command))  # type: ignore[arg-type] # its stub allows one word only
        if self._on_push is None:
            self._pending.append((future, self._loop.time()))
        else:
            future.set_result(None)  # replies of a subscribing connection arrive as pushes
        return future

    def _flush(self) -> None:
        unsent, self._unsent = self._unsent, []
        if not self.lost.done():
            self._transport.write(b"".join(unsent))

    def data_received(self, data: bytes) -> None:
        reader, pending = self._reader, self._pending
        try:
            reader.feed(data)
            while (reply := reader.gets()) is not False:
                if self._on_push is not None:
                    self._on_push(reply)
                    continue
                future = pending.popleft()[0]
                if future.done():
                    continue  # its caller went away
                if isinstance(reply, CommandError):
                    future.set_exception(reply)
                else:
                    future.set_result(reply)
        except (StoreUnavailableError, IndexError) as error:
            _log.error("Redis sent what is not understood: %s", error)
            self.close()

    def connection_lost(self, exc: Exception | None) -> None:
        if not self.lost.done():
            self.lost.set_result(None)
        for future, _ in self._pending:
            if not future.done():
                future.set_exception(StoreUnavailableError(f"the connection to Redis was lost: {exc or 'closed'}"))
        self._pending.clear()

    def check_timeout(self) -> None:
        """Gives the connection up if its oldest call has waited too long."""
        if self._pending and self._loop.time() - self._pending[0][1] > _TIMEOUT_SECONDS:
            _log.error("Redis has not answered for %s s", _TIMEOUT_SECONDS)
            self.close()

    def close(self) -> None:
        self._transport.abort()
        self.connection_lost(None)


class Pipeline:
    """A connection that reconnects, for commands; with ``on_push`` one for subscriptions."""

    def __init__(
        self,
        client: redis_asyncio.Redis,
        *,
        on_connect: Callable[[Pipeline], Awaitable[None]],
        on_push: Callable[[Reply], None] | None = None,
    ) -> None:
        """Prepares the connection.

        Args:
            client: Knows how to connect; none of its own connections is used.
            on_connect: Runs after each connect, before anybody else's commands are accepted.
            on_push: Takes every message of a subscribing connection.
        """
        self._client = client
        self._on_connect = on_connect
        self._on_push = on_push
        self._link: _Link | None = None
        self._ready = asyncio.Event()
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
        if self._task is not None:
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

    async def _connect(self) -> None:
        connection = self._client.connection_pool.make_connection()  # type: ignore[no-untyped-call] # redis-py
        link: _Link | None = None
        try:
            async with asyncio.timeout(_TIMEOUT_SECONDS):
                await connection.connect()
                writer = connection._writer  # noqa: SLF001 - the hand-over of the transport, see the module's text
                transport: asyncio.Transport = writer.transport
                link = _Link(transport, self._on_push)
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
            if isinstance(error, (RedisError, OSError, TimeoutError, CommandError)):
                raise StoreUnavailableError(f"cannot connect to Redis: {error} ({type(error).__name__})") from error
            raise

    async def _keep(self) -> None:
        delay = 0.01
        while True:
            link = self._link
            assert link is not None
            while not link.lost.done():
                await asyncio.wait({link.lost}, timeout=1.0)
                link.check_timeout()
            self._ready.clear()
            _log.warning("the connection to Redis was lost; connecting again")
            while not self._ready.is_set():
                try:
                    await self._connect()
                    delay = 0.01
                except StoreUnavailableError as error:
                    _log.warning("%s; trying again in %.2f s", error, delay)
                    await asyncio.sleep(delay * random.uniform(0.5, 1))  # noqa: S311 - spreads load, hides nothing
                    delay = min(delay * 2, _BACKOFF_MAX_SECONDS)
            _log.info("connected to Redis again")
