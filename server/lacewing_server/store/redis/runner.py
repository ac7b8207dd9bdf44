"""Runs the scripts: by digest, loaded again when Redis does not know them, and many transitions in one call.

A call of a script costs Redis and us as much as the transition in it. So transitions of one kind that are asked for in
the same tick of the loop go out as one call; nothing waits for a timer, and each is answered by itself.
"""

from __future__ import annotations

import asyncio
from typing import Final

from lacewing_server.store.redis.link import CommandError, Reply, packed
from lacewing_server.store.redis.pipeline import Pipeline
from lacewing_server.store.redis.scripts import SCRIPTS, Script

_BATCH_MAX: Final = 64
"""Transitions in one call: it stops everybody else for about a millisecond."""

Argument = bytes | str | int
_Item = tuple[tuple[Argument, ...], asyncio.Future[Reply]]


class Runner:
    """Runs scripts over one connection."""

    def __init__(self, pipeline: Pipeline, prefix: bytes, server: bytes) -> None:
        self.pipeline = pipeline
        self._first = (1, prefix, server)
        self._open: dict[str, _Batch] = {}
        """The batch of each script that still takes transitions."""

    async def run(self, name: str, *arguments: Argument) -> Reply:
        """Runs a script that is one call.

        Raises:
            CommandError: Redis refuses it.
            StoreUnavailableError: Redis cannot be reached.
        """
        script = SCRIPTS[name]
        try:
            return await self.pipeline.send("EVALSHA", script.digest, *self._first, *arguments)
        except CommandError as error:
            if error.code != "NOSCRIPT":
                raise
            await self.pipeline.send("SCRIPT", "LOAD", script.text)
            return await self.pipeline.send("EVALSHA", script.digest, *self._first, *arguments)

    async def alone(self, name: str, *arguments: Argument) -> Reply:
        """Makes one transition by a call of its own; fails as `run` does."""
        return (await self.run(name, *arguments))[0]

    def each(self, name: str, *arguments: Argument) -> asyncio.Future[Reply]:
        """Makes one transition, together with the others of its kind of this tick.

        Returns:
            Its reply; fails as `run` does.
        """
        future: asyncio.Future[Reply] = asyncio.get_running_loop().create_future()
        batch = self._open.get(name)
        if batch is None or len(batch.items) == _BATCH_MAX:
            batch = self._open[name] = _Batch(self, SCRIPTS[name])
            batch.items.append((arguments, future))
            self.pipeline.post(batch)
        else:
            batch.items.append((arguments, future))
        return future

    def pack(self, batch: _Batch) -> bytes:
        """Closes a batch, and makes its command."""
        self.close(batch)
        flat = [argument for arguments, _ in batch.items for argument in arguments]
        return packed("EVALSHA", batch.script.digest, *self._first, *flat)

    def close(self, batch: _Batch) -> None:
        """Lets a batch take nothing any more."""
        if self._open.get(batch.script.name) is batch:
            del self._open[batch.script.name]


class _Batch:
    """Transitions of one kind that go out as one call."""

    def __init__(self, runner: Runner, script: Script, *, reloaded: bool = False) -> None:
        self._runner = runner
        self._reloaded = reloaded
        self.script = script
        self.items: list[_Item] = []

    def done(self) -> bool:
        """Whether nobody waits: each for itself."""
        return False

    def pack(self) -> bytes:
        """The command."""
        return self._runner.pack(self)

    def set_result(self, result: Reply, /) -> None:
        """Gives everybody their reply."""
        for (_, future), reply in zip(self.items, result, strict=True):
            if future.done():
                continue  # its caller went away
            if isinstance(reply, Exception):
                future.set_exception(reply)
            else:
                future.set_result(reply)

    def set_exception(self, exception: Exception, /) -> None:
        """Tells everybody what went wrong, unless loading the script helps."""
        self._runner.close(self)
        if isinstance(exception, CommandError) and exception.code == "NOSCRIPT" and not self._reloaded:
            # Commands of a connection are run in order. Whether the loading succeeds shows in what follows it.
            loading = self._runner.pipeline.send("SCRIPT", "LOAD", self.script.text)
            loading.add_done_callback(asyncio.Future.exception)
            again = _Batch(self._runner, self.script, reloaded=True)
            again.items = self.items
            self._runner.pipeline.post(again)
            return
        for _, future in self.items:
            if not future.done():
                future.set_exception(exception)
