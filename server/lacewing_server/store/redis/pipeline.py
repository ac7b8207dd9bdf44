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
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Any, Final, NamedTuple

import hiredis
from redis.asyncio.connection import AbstractConnection
from redis.exceptions import RedisError

_log = logging.getLogger(__name__)

Reply = Any
"""What Redis answers: bytes, int, None, or a list of replies."""

_PENDING_MAX: Final = 100_000
TIMEOUT_SECONDS: Final = 5.0
"""How long Redis may take to answer, unless the settings say otherwise."""
_LOOK_SECONDS: Final = 1.0
_BACKOFF_MAX_SECONDS: Final = 1.0
_NO_MASTER: Final = frozenset({"READONLY", "LOADING", "MASTERDOWN", "CLUSTERDOWN"})
"""Codes of errors by which Redis says that another one may be the master, or that it is not ready to be one."""


class StoreUnavailableError(Exception):
    """Redis cannot be reached, or did not answer in time. Whether the command took effect is unknown."""


class CommandError(Exception):
    """Redis refused one command; its text begins with a code such as ``NOSCRIPT`` or ``OOM``."""

    @property
    def code(self) -> str:
        """The first word of the text."""
        return str(self).split(" ", 1)[0]


class Confirmation(NamedTuple):
    """How replicas confirm what was written."""

    replicas: int
    """How many have to; 0 asks none."""
    channel: bytes
    """Where a message is published, to nobody, before replicas are waited for: some Valkeys wait for the writes of the
    same connection only, and what it has read may be another one's, or that of a connection it had before."""


class _Link(asyncio.Protocol):
    """The wire of one established connection: matches replies with calls, in order."""

    def __init__(
        self,
        transport: asyncio.Transport,
        on_push: Callable[[Reply], None] | None,
        timeout: float,
        confirmation: Confirmation,
    ) -> None:
        self._transport = transport
        self._on_push = on_push
        self._timeout = timeout
        self._replicas = confirmation.replicas
        # Half of the time, in milliseconds: that it is over has to arrive in time, too.
        self._confirm_command = _packed("PUBLISH", confirmation.channel, "") + _packed(
            "WAIT", confirmation.replicas, round(timeout * 500)
        )
        self._reader = hiredis.Reader(replyError=CommandError, protocolError=StoreUnavailableError)
        # What has no future is the WAIT that ends what is sent at once, if replicas have to confirm.
        self._pending: deque[tuple[asyncio.Future[Reply] | None, float]] = deque()
        self._unconfirmed: list[tuple[asyncio.Future[Reply], Reply]] = []
        self._unsent: list[bytes] = []
        self._loop = asyncio.get_running_loop()
        self._asked: float | None = None
        self._nobody: asyncio.Future[Reply] = self._loop.create_future()
        self._nobody.cancel()
        self.lost: asyncio.Future[None] = self._loop.create_future()

    def send(self, command: tuple[bytes | str | int, ...]) -> asyncio.Future[Reply]:
        future: asyncio.Future[Reply] = self._loop.create_future()
        if self.lost.done() or len(self._pending) >= _PENDING_MAX:
            future.set_exception(StoreUnavailableError("the connection to Redis is lost or overloaded"))
            return future
        if not self._unsent:
            self._loop.call_soon(self._flush)
        self._unsent.append(_packed(*command))
        if self._on_push is None:
            self._pending.append((future, self._loop.time()))
        else:
            future.set_result(None)  # replies of a subscribing connection arrive as pushes
        return future

    def _flush(self) -> None:
        unsent, self._unsent = self._unsent, []
        if self.lost.done():
            return
        if self._replicas and self._on_push is None:
            unsent.append(self._confirm_command)
            now = self._loop.time()
            self._pending += ((self._nobody, now), (None, now))
        self._transport.write(b"".join(unsent))

    def data_received(self, data: bytes) -> None:
        reader, pending = self._reader, self._pending
        self._asked = None
        try:
            reader.feed(data)
            while not self.lost.done() and (reply := reader.gets()) is not False:
                if self._on_push is not None:
                    self._on_push(reply)
                    continue
                future = pending.popleft()[0]
                if future is None:
                    self._confirm(reply)
                elif self._replicas:
                    self._unconfirmed.append((future, reply))
                else:
                    self._answer(future, reply)
        except (StoreUnavailableError, IndexError) as error:
            _log.error("Redis sent what is not understood: %s", error)
            self.close()

    def _answer(self, future: asyncio.Future[Reply], reply: Reply) -> None:
        if future.done():
            return  # its caller went away
        if not isinstance(reply, CommandError):
            future.set_result(reply)
        elif reply.code in _NO_MASTER:
            future.set_exception(StoreUnavailableError(f"Redis does not serve: {reply}"))
            self.close()
        else:
            future.set_exception(reply)

    def _confirm(self, count: Reply) -> None:
        answers, self._unconfirmed = self._unconfirmed, []
        if isinstance(count, int) and count >= self._replicas:
            for future, reply in answers:
                self._answer(future, reply)
            return
        missing = f"{count} of {self._replicas} replicas confirmed in time"
        _log.error("Redis may not be the master any more: %s", missing)
        for future, _ in answers:
            if not future.done():
                future.set_exception(StoreUnavailableError(missing))
        self.close()

    def connection_lost(self, exc: Exception | None) -> None:
        if self.lost.done():
            return
        self.lost.set_result(None)
        self._transport.abort()  # of an encrypted connection the other end's closing is but half of the end
        outstanding = [future for future, _ in self._unconfirmed] + [future for future, _ in self._pending if future]
        self._unconfirmed.clear()
        self._pending.clear()
        for future in outstanding:
            if not future.done():
                future.set_exception(StoreUnavailableError(f"the connection to Redis was lost: {exc or 'closed'}"))

    def check(self) -> None:
        """Gives the connection up if Redis has been silent for too long; if nothing is asked, asks for a sign of life.

        Only so the loss of a connection shows of which neither side was told, and on which nothing is sent.
        """
        now = self._loop.time()
        asked = self._pending[0][1] if self._pending else self._asked
        if asked is None:
            self._asked = now
            self.send(("PING",)).add_done_callback(asyncio.Future.exception)
        elif now - asked > self._timeout:
            _log.error("Redis has not answered for %s s", self._timeout)
            self.close()

    def close(self) -> None:
        self._transport.abort()
        self.connection_lost(None)


def _packed(*command: bytes | str | int) -> bytes:
    packed: bytes = hiredis.pack_command(command)  # type: ignore[arg-type] # its stub allows one word only
    return packed


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
        connection = self._make_connection()
        link: _Link | None = None
        try:
            async with asyncio.timeout(self._timeout):
                await connection.connect()  # type: ignore[no-untyped-call] # redis-py
                self.info = await _ask_master(connection)
                writer: Any = connection._writer  # noqa: SLF001 - the hand-over of the transport, see the module's text
                transport: asyncio.Transport = writer.transport
                link = _Link(transport, self._on_push, self._timeout, self._confirmation)
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
                await asyncio.wait({link.lost}, timeout=min(_LOOK_SECONDS, self._timeout / 4))
                link.check()
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


async def _ask_master(connection: AbstractConnection) -> dict[str, str]:
    await connection.send_command("INFO")
    text = (await connection.read_response()).decode()
    info = dict(line.split(":", 1) for line in text.splitlines() if ":" in line)
    if info.get("role") != "master":
        raise StoreUnavailableError("cannot connect to Redis: it is a replica, not the master")
    return info
