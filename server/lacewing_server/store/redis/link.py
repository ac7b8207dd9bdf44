"""The wire of one established connection to Redis: sends what is asked in one write, and matches replies in order."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable
from typing import Any, Final, NamedTuple, Protocol

import hiredis

_log = logging.getLogger(__name__)

Reply = Any
"""What Redis answers: bytes, int, None, or a list of replies."""

_PENDING_MAX: Final = 100_000
_BUFFER_BYTES: Final = 1 << 18
_NO_MASTER: Final = frozenset({"READONLY", "LOADING", "MASTERDOWN", "CLUSTERDOWN", "MOVED"})
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


class Call(Protocol):
    """Who waits for a reply; a future does."""

    def done(self) -> bool:
        """Whether nobody waits any more."""

    def set_result(self, result: Reply, /) -> None:
        """Takes the reply."""

    def set_exception(self, exception: Exception, /) -> None:
        """Takes what went wrong: `CommandError` or `StoreUnavailableError`."""


class LateCall(Call, Protocol):
    """A call whose command is made when it goes out."""

    def pack(self) -> bytes:
        """The command as it goes over the wire. Called once; not at all if the connection is lost before."""


class Link(asyncio.BufferedProtocol):
    """A connection until it is lost."""

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
        self._confirm_command = packed("PUBLISH", confirmation.channel, "") + packed(
            "WAIT", confirmation.replicas, round(timeout * 500)
        )
        # One for good: a fresh one for each read, as other protocols have it, costs more than what is done with it.
        self._buffer = bytearray(_BUFFER_BYTES)
        self._reader = hiredis.Reader(replyError=CommandError, protocolError=StoreUnavailableError)
        # What has no future is the WAIT that ends what is sent at once, if replicas have to confirm.
        self._pending: deque[tuple[Call | None, float]] = deque()
        self._unconfirmed: list[tuple[Call, Reply]] = []
        self._unsent: list[bytes | LateCall] = []
        self._loop = asyncio.get_running_loop()
        self._asked: float | None = None
        self._nobody: asyncio.Future[Reply] = self._loop.create_future()
        self._nobody.cancel()
        self.lost: asyncio.Future[None] = self._loop.create_future()
        """Done when it is lost."""

    def send(self, command: tuple[bytes | str | int, ...]) -> asyncio.Future[Reply]:
        """Issues a command, which goes out at the end of this tick of the loop."""
        future: asyncio.Future[Reply] = self._loop.create_future()
        if self.lost.done() or len(self._pending) >= _PENDING_MAX:
            future.set_exception(StoreUnavailableError("the connection to Redis is lost or overloaded"))
            return future
        if self._on_push is None:
            self._issue(packed(*command), future)
        else:
            self._issue(packed(*command), None)
            future.set_result(None)  # replies of a subscribing connection arrive as pushes
        return future

    def post(self, call: LateCall) -> None:
        """Issues a call that says only at the end of this tick of the loop what it is."""
        if self.lost.done() or len(self._pending) >= _PENDING_MAX:
            call.set_exception(StoreUnavailableError("the connection to Redis is lost or overloaded"))
        else:
            self._issue(call, call)

    def _issue(self, command: bytes | LateCall, call: Call | None) -> None:
        if not self._unsent:
            self._loop.call_soon(self.flush)
        self._unsent.append(command)
        if call is not None:
            self._pending.append((call, self._loop.time()))

    def flush(self) -> None:
        """Sends what was issued, as happens by itself at the end of this tick of the loop."""
        unsent: list[bytes] = []
        if not self.lost.done():
            unsent += (each if isinstance(each, bytes) else each.pack() for each in self._unsent)
        self._unsent = []
        if not unsent or self._transport.is_closing():  # then the loss, which is about to be told, fails what waits
            return
        if self._replicas and self._on_push is None:
            unsent.append(self._confirm_command)
            now = self._loop.time()
            self._pending += ((self._nobody, now), (None, now))
        self._transport.write(b"".join(unsent))

    def get_buffer(self, sizehint: int) -> bytearray:  # noqa: ARG002 - the signature is asyncio's
        """Where to put what arrives."""
        return self._buffer

    def buffer_updated(self, nbytes: int) -> None:
        """Takes what has arrived."""
        reader, pending = self._reader, self._pending
        self._asked = None
        try:
            reader.feed(self._buffer, 0, nbytes)  # type: ignore[arg-type] # the stubs know bytes only
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

    def _answer(self, future: Call, reply: Reply) -> None:
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
        """Fails what is outstanding."""
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
        """Ends it at once."""
        self._transport.abort()
        self.connection_lost(None)


def packed(*command: bytes | str | int) -> bytes:
    """A command as it goes over the wire."""
    result: bytes = hiredis.pack_command(command)  # type: ignore[arg-type] # its stub allows one word only
    return result
