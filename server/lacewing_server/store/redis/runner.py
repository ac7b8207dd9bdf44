"""Runs the scripts: by digest, loaded again when Redis does not know them, and many transitions in one call.

A call of a script costs Redis and us as much as several of the transitions in it. So transitions of one kind that are
asked for in the same tick of the loop, or while Redis has not answered earlier ones, go out as one call; nothing waits
for a timer, and each is answered by itself.
"""

from __future__ import annotations

import asyncio
from itertools import chain
from typing import Final

from lacewing_server.store.redis.link import CommandError, Reply, packed
from lacewing_server.store.redis.pipeline import Pipeline
from lacewing_server.store.redis.scripts import APART, SCRIPTS, Script

_BATCH_MAX: Final = 64
"""Transitions in one call: it stops everybody else for about a millisecond."""

Argument = bytes | str | int
_Item = tuple[tuple[Argument, ...], asyncio.Future[Reply]]


class Runner:
    """Runs scripts over one connection."""

    def __init__(self, pipeline: Pipeline, prefix: bytes, server: bytes) -> None:
        self.pipeline = pipeline
        self.first = (1, prefix, server)
        """What the arguments of each script begin with."""
        self._open: dict[str, _Batch] = {}
        """The batch of each script that still takes transitions."""
        self._unanswered = 0
        """How many batches have gone out."""

    async def run(self, name: str, *arguments: Argument) -> Reply:
        """Runs a script that is one call.

        Raises:
            CommandError: Redis refuses it.
            StoreUnavailableError: Redis cannot be reached.
        """
        script = SCRIPTS[name]
        try:
            return await self.pipeline.send("EVALSHA", script.digest, *self.first, *arguments)
        except CommandError as error:
            if error.code != "NOSCRIPT":
                raise
            await self.pipeline.send("SCRIPT", "LOAD", script.text)
            return await self.pipeline.send("EVALSHA", script.digest, *self.first, *arguments)

    def each(self, name: str, *arguments: Argument) -> asyncio.Future[Reply]:
        """Makes one transition, together with others of its kind.

        Returns:
            Its reply; fails as `run` does.
        """
        future: asyncio.Future[Reply] = asyncio.get_running_loop().create_future()
        batch = self._open.get(name)
        if batch is None:
            batch = self._open[name] = _Batch(self, SCRIPTS[name])
        batch.items.append((arguments, future))
        if len(batch.items) == _BATCH_MAX:
            self.close(batch)
            batch.post()
            self.pipeline.flush()  # so that Redis works while we prepare the next one
        elif not self._unanswered:
            batch.post()
        return future

    def alone(self, name: str, *arguments: Argument) -> asyncio.Future[Reply]:
        """Makes one transition in a call of its own, as `each` does."""
        future: asyncio.Future[Reply] = asyncio.get_running_loop().create_future()
        batch = _Batch(self, SCRIPTS[name])
        batch.items.append((arguments, future))
        batch.post()
        return future

    def close(self, batch: _Batch) -> None:
        """Lets a batch take nothing any more."""
        if self._open.get(batch.script.name) is batch:
            del self._open[batch.script.name]

    def sent(self) -> None:
        """A batch goes out."""
        self._unanswered += 1

    def answered(self) -> None:
        """A batch has been answered: what came meanwhile goes out."""
        self._unanswered -= 1
        if not self._unanswered:
            for batch in list(self._open.values()):
                batch.post()


class _Batch:
    """Transitions of one kind that go out as one call."""

    def __init__(self, runner: Runner, script: Script, *, reloaded: bool = False) -> None:
        self._runner = runner
        self._reloaded = reloaded
        self._posted = False
        self._packed = False
        self.script = script
        self.items: list[_Item] = []

    def post(self) -> None:
        """Has it go out at the end of this tick; until then it takes transitions."""
        if not self._posted:
            self._posted = True
            self._runner.pipeline.post(self)

    def done(self) -> bool:
        """Whether nobody waits: each for itself."""
        return False

    def pack(self) -> bytes:
        """The command; from now on it takes nothing any more."""
        runner, own = self._runner, self.script.own
        runner.close(self)
        runner.sent()
        self._packed = True
        alike: dict[tuple[Argument, ...], int] = {}
        flat: list[Argument] = []
        for arguments, _ in self.items:
            flat += arguments[:own]
            flat.append(alike.setdefault(arguments[own:], len(alike)))
        return packed("EVALSHA", self.script.digest, *runner.first, len(alike), *chain.from_iterable(alike), *flat)

    def set_result(self, result: Reply, /) -> None:
        """Gives everybody their reply."""
        self._runner.answered()
        for (_, future), reply in zip(self.items, result, strict=True):
            if future.done():
                continue  # its caller went away
            if isinstance(reply, Exception):
                future.set_exception(reply)
            else:
                future.set_result(reply)

    def set_exception(self, exception: Exception, /) -> None:
        """Tells everybody what went wrong, unless it helps to load the script, or to make each transition by itself."""
        runner, code = self._runner, exception.code if isinstance(exception, CommandError) else ""
        runner.close(self)
        if code == "NOSCRIPT" and not self._reloaded:
            # Commands of a connection are run in order. Whether the loading succeeds shows in what follows it.
            loading = runner.pipeline.send("SCRIPT", "LOAD", self.script.text)
            loading.add_done_callback(asyncio.Future.exception)
            self._again(self.items, reloaded=True)
        elif code == APART and len(self.items) > 1:
            for item in self.items:
                self._again([item])
        else:
            for _, future in self.items:
                if not future.done():
                    future.set_exception(exception)
        if self._packed:
            runner.answered()

    def _again(self, items: list[_Item], *, reloaded: bool = False) -> None:
        batch = _Batch(self._runner, self.script, reloaded=reloaded)
        batch.items = items
        batch.post()
