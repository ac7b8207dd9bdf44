"""Runs the scripts: by digest, loaded again when Redis does not know them, and many transitions in one call.

A call of a script costs Redis and us as much as the transition in it. So transitions of one kind that are asked for in
the same tick of the loop go out as one call; nothing waits for a timer, and each is answered by itself.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from functools import partial
from typing import Final

from lacewing_server.store.redis.link import CommandError, Reply
from lacewing_server.store.redis.pipeline import Pipeline
from lacewing_server.store.redis.scripts import SCRIPTS, Script

_BATCH_MAX: Final = 64
"""Transitions in one call: it stops everybody else for about a millisecond."""

Argument = bytes | str | int
_Item = tuple[tuple[Argument, ...], asyncio.Future[Reply]]


class Runner:
    """Runs scripts over one connection."""

    def __init__(self, pipeline: Pipeline, prefix: bytes, server: bytes) -> None:
        self._pipeline = pipeline
        self._first = (1, prefix, server)
        self._waiting: dict[str, list[_Item]] = {}

    async def run(self, name: str, *arguments: Argument) -> Reply:
        """Runs a script that is one call.

        Raises:
            CommandError: Redis refuses it.
            StoreUnavailableError: Redis cannot be reached.
        """
        script = SCRIPTS[name]
        try:
            return await self._pipeline.send("EVALSHA", script.digest, *self._first, *arguments)
        except CommandError as error:
            if error.code != "NOSCRIPT":
                raise
            await self._pipeline.send("SCRIPT", "LOAD", script.text)
            return await self._pipeline.send("EVALSHA", script.digest, *self._first, *arguments)

    def each(self, name: str, *arguments: Argument) -> asyncio.Future[Reply]:
        """Makes one transition, together with the others of its kind of this tick.

        Returns:
            Its reply; fails as `run` does.
        """
        loop = asyncio.get_running_loop()
        future: asyncio.Future[Reply] = loop.create_future()
        items = self._waiting.get(name)
        if items is None:
            items = self._waiting[name] = []
            loop.call_soon(self._flush, name)
        items.append((arguments, future))
        return future

    def _flush(self, name: str) -> None:
        items = self._waiting.pop(name)
        for start in range(0, len(items), _BATCH_MAX):
            self._send(SCRIPTS[name], items[start : start + _BATCH_MAX])

    def _send(self, script: Script, items: Sequence[_Item], *, reloaded: bool = False) -> None:
        flat = [argument for arguments, _ in items for argument in arguments]
        reply = self._pipeline.send("EVALSHA", script.digest, *self._first, *flat)
        reply.add_done_callback(partial(self._settle, script, items, reloaded=reloaded))

    def _settle(self, script: Script, items: Sequence[_Item], reply: asyncio.Future[Reply], *, reloaded: bool) -> None:
        error = reply.exception()
        if isinstance(error, CommandError) and error.code == "NOSCRIPT" and not reloaded:
            # Commands of a connection are run in order. Whether the loading succeeds shows in what follows it.
            self._pipeline.send("SCRIPT", "LOAD", script.text).add_done_callback(asyncio.Future.exception)
            self._send(script, items, reloaded=True)
            return
        for index, (_, future) in enumerate(items):
            if future.done():
                continue  # its caller went away
            one = error or reply.result()[index]
            if isinstance(one, Exception):
                future.set_exception(one)
            else:
                future.set_result(one)
