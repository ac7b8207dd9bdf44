"""The load: clients that ask for executions at all servers, wait for them, watch them, and cancel some."""

from __future__ import annotations

import asyncio
import contextlib
import random
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeVar

import lacewing
from faults import bodies
from faults.graphs import Tree
from faults.history import History, Request, State
from lacewing._handle import TERMINAL
from lacewing.errors import CallFailed, RefusedError, ShuttingDown, StoreUnavailable, TaskDidNotSucceed
from lacewing.task import AnyTask
from lacewing.v1 import execution_pb2, identifiers_pb2

T = TypeVar("T")

_PAUSE: Final = 0.2
_LOOK_SECONDS: Final = 5.0
_WATCHED_SHARE: Final = 0.2
_CACHE_KEYS: Final = 6
_OUTAGES: Final = (CallFailed, StoreUnavailable, ShuttingDown)
"""What a client has to expect of a server that is killed, suspended or cut off: it asks another one."""


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of request.

    Attributes:
        task: What is executed.
        weight: How likely it is.
        inputs: Makes the inputs.
        way: How it is asked for: ``submit``; ``execute`` on the stream of a client, by name; ``twice`` by name, at two
            servers at once.
        cancel: Between how many seconds after its acceptance it is cancelled.
        mode: How it uses the cache.
    """

    task: AnyTask
    weight: int
    inputs: Callable[[random.Random], dict[str, Any]]
    way: str = "submit"
    cancel: tuple[float, float] | None = None
    mode: execution_pb2.CacheMode.ValueType = execution_pb2.CACHE_MODE_UNSPECIFIED


def _number(chance: random.Random) -> dict[str, Any]:
    return {"n": chance.randrange(1_000_000)}


def _key(chance: random.Random) -> dict[str, Any]:
    return {"n": chance.randrange(_CACHE_KEYS)}


def _seconds(least: float, most: float) -> Callable[[random.Random], dict[str, Any]]:
    return lambda chance: {"seconds": round(chance.uniform(least, most), 2)}


def _sizes(chance: random.Random) -> dict[str, Any]:
    return {"given": "y" * chance.choice([10, 20_000, 150_000]), "size": chance.choice([100, 40_000, 300_000])}


KINDS: Final = (
    Kind(bodies.quick, 10, _number),
    Kind(bodies.quick, 8, _number, way="execute"),
    Kind(bodies.quick, 6, _number, way="twice"),
    Kind(bodies.eager, 6, _number),
    Kind(bodies.slow, 10, _seconds(0.2, 3.0)),
    Kind(bodies.flaky, 8, lambda chance: {"failures": chance.randint(1, 3)}),
    Kind(bodies.broken, 4, _number),
    Kind(bodies.hopeless, 2, _number),
    Kind(bodies.overdue, 3, lambda chance: {"stubborn": chance.choice([0, 0, 1])}),
    Kind(bodies.endless, 5, _number, cancel=(0.0, 4.0)),
    Kind(bodies.quick, 4, _number, cancel=(0.0, 0.1)),
    Kind(bodies.hurried, 4, _seconds(0.5, 4.0)),
    Kind(bodies.ignored, 2, _number),
    Kind(bodies.once, 6, _number),
    Kind(bodies.big, 5, _sizes),
    Kind(bodies.narrow, 6, _number),
    Kind(bodies.cached, 6, _key),
    Kind(bodies.cached, 2, _key, mode=execution_pb2.CACHE_MODE_REFRESH),
    Kind(bodies.cached, 1, _key, mode=execution_pb2.CACHE_MODE_BYPASS),
    Kind(bodies.brief, 6, _key),
    Kind(bodies.serialized, 10, lambda chance: {"n": chance.randrange(40)}),
    Kind(bodies.widening, 4, lambda chance: {"n": chance.randrange(15)}),
    Kind(bodies.widening, 2, lambda chance: {"n": chance.randrange(15)}, way="execute"),
    Kind(bodies.choosing, 4, lambda chance: {"n": chance.randrange(2 * bodies.MIDDLE)}),
    Kind(bodies.bearing, 4, lambda chance: {"numbers": chance.sample(range(30), chance.randint(1, 8))}),
    Kind(bodies.nested, 3, lambda chance: {"n": chance.randrange(3)}, way="twice"),
    Kind(bodies.nested, 2, lambda chance: {"n": 2}, cancel=(0.0, 2.0)),
    Kind(bodies.pausing, 3, _number),
    Kind(bodies.hanging, 3, lambda chance: {"n": chance.randrange(3)}, cancel=(0.5, 4.0)),
)
"""All kinds."""


class Load:
    """Makes requests.

    Args:
        addresses: Where the servers are.
        history: Is told of every request.
        seed: Of what is asked for, and when.
        rate: Requests per second.
    """

    def __init__(self, addresses: Sequence[str], history: History, seed: int, rate: float) -> None:
        self._clients = [lacewing.Client(address) for address in addresses]
        self._history = history
        self._chance = random.Random(f"load {seed}")
        self._evicting = random.Random(f"evictions {seed}")
        self._rate = rate
        self._run = f"r{seed}"
        self._under_way: set[asyncio.Task[None]] = set()
        self.ended = 0

    async def register(self) -> None:
        """Registers the tasks."""
        await self._clients[0].register(*bodies.ALL)

    async def run(self, seconds: float) -> None:
        """Makes requests for so many seconds, without waiting for what becomes of them."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            task = asyncio.create_task(self._follow(self._request()))
            self._under_way.add(task)
            task.add_done_callback(self._followed)
            await asyncio.sleep(self._chance.expovariate(self._rate))

    async def evict(self, seconds: float) -> None:
        """Evicts the entries of `cached` now and then, for so many seconds."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            await asyncio.sleep(self._evicting.uniform(1.0, 5.0))
            client = self._clients[self._evicting.randrange(len(self._clients))]
            # An eviction that does not come through is none: nothing waits for it.
            with contextlib.suppress(*_OUTAGES):
                await client.evict_cache(task=bodies.cached)

    async def listed(self) -> list[str]:
        """The names of all executions that the servers list."""
        return [execution.id.name async for execution in self._clients[0].list()]

    async def settle(self, seconds: float) -> None:
        """Waits until all that was asked for has ended, but not longer than so many seconds."""
        if self._under_way:
            await asyncio.wait(self._under_way, timeout=seconds)
        for task in list(self._under_way):
            task.cancel()

    async def result(self, request: Request) -> str:
        """The result of an execution that succeeded, fetched if it is large."""
        client = self._clients[request.number % len(self._clients)]
        return str(await client.handle(request.name, request.task).result())

    async def tree(self, request: Request) -> Tree:
        """Reads an execution with all in its graph."""
        return await self._tree(self._clients[request.number % len(self._clients)], request.name)

    async def _tree(self, client: lacewing.Client, execution: identifiers_pb2.ExecutionId | str) -> Tree:
        read = await client.get(execution)
        handle = client.handle(read.id, read.task.name)
        tree = Tree(read, [attempt async for attempt in handle.attempts()])
        if read.HasField("graph"):
            tree.nodes = list((await handle.graph()).nodes)
            ids = [child.id async for child in client.list(parent=read.id)]
            tree.children = await asyncio.gather(*(self._tree(client, each) for each in ids))
        return tree

    async def read(self, request: Request) -> tuple[list[execution_pb2.Execution], list[execution_pb2.Attempt]]:
        """Reads an execution from every server, and its attempts from one."""
        handles = [client.handle(request.name, request.task) for client in self._clients]
        executions = await asyncio.gather(*(client.get(request.name) for client in self._clients))
        for execution in executions:
            # Whether its entry is still there depends on when one asks.
            if execution.cache.status == execution_pb2.CacheInfo.STATUS_EVICTED:
                execution.cache.status = execution_pb2.CacheInfo.STATUS_POPULATED
        return list(executions), [attempt async for attempt in handles[0].attempts()]

    async def close(self) -> None:
        """Ends the connections."""
        for client in self._clients:
            await client.close()

    def _request(self) -> tuple[Request, Kind, random.Random]:
        (kind,) = self._chance.choices(KINDS, [kind.weight for kind in KINDS])
        number = len(self._history.requests)
        request = Request(number, kind.way, kind.task, kind.inputs(self._chance))
        if kind.way != "submit":
            request.name = f"{self._run}-{number}"
        self._history.requests.append(request)
        return request, kind, random.Random(self._chance.random())

    def _followed(self, task: asyncio.Task[None]) -> None:
        self._under_way.discard(task)
        self.ended += 1

    async def _follow(self, made: tuple[Request, Kind, random.Random]) -> None:
        request, kind, chance = made
        try:
            if kind.way == "execute":
                await self._execute(request, chance)
            else:
                await self._submit(request, kind, chance)
            async with asyncio.TaskGroup() as group:
                group.create_task(self._wait(request, chance))
                if chance.random() < _WATCHED_SHARE:
                    group.create_task(self._watch(request, chance))
                if kind.cancel is not None:
                    group.create_task(self._cancel(request, chance.uniform(*kind.cancel), chance))
        except RefusedError as error:
            request.problems.append(f"was refused: {error}")
        except ExceptionGroup as group_error:
            request.problems.extend(f"{type(error).__name__}: {error}" for error in group_error.exceptions)

    async def _submit(self, request: Request, kind: Kind, chance: random.Random) -> None:
        request_id = "" if request.name else f"{self._run}-{request.number}"

        async def submit(client: lacewing.Client) -> str:
            options = client.with_options(name=request.name, request_id=request_id, cache_mode=kind.mode)
            handle = await options.submit(request.task, **request.inputs)
            request.accepted = request.accepted or time.monotonic()
            return handle.id.name

        times = 2 if kind.way == "twice" else 1
        names = await asyncio.gather(*(self._somewhere(request, chance, "submit", submit) for _ in range(times)))
        if len(set(names)) > 1 or (request.name and names[0] != request.name):
            request.problems.append(f"one request became executions {names}")
        request.name = names[0]

    async def _execute(self, request: Request, chance: random.Random) -> None:
        """Executes on the stream of a client, with all the patience of the SDK."""

        async def execute(client: lacewing.Client) -> None:
            try:
                outputs = await client.with_options(name=request.name).execute(request.task, **request.inputs)
            except TaskDidNotSucceed as error:
                request.see("execute", error.execution)
            else:
                request.note(f"execute: {outputs}")
                request.outputs = str(outputs)
            request.accepted = request.accepted or time.monotonic()

        await self._somewhere(request, chance, "execute", execute)

    async def _wait(self, request: Request, chance: random.Random) -> None:
        async def wait(client: lacewing.Client) -> execution_pb2.Execution:
            return await client.handle(request.name, request.task).wait(_LOOK_SECONDS)

        while True:
            execution = await self._somewhere(request, chance, "wait", wait)
            if execution.state in TERMINAL:
                request.see("wait", execution)
                return

    async def _watch(self, request: Request, chance: random.Random) -> None:
        revision = 0

        async def watch(client: lacewing.Client) -> None:
            nonlocal revision
            async for execution in client.handle(request.name, request.task).watch():
                if execution.revision < revision:
                    request.problems.append(f"a watcher saw revision {execution.revision} after {revision}")
                revision = execution.revision
                if execution.state in TERMINAL:
                    request.see("watch", execution)
                else:
                    request.note(f"watch: {State.Name(execution.state)} revision {revision}")

        await self._somewhere(request, chance, "watch", watch)

    async def _cancel(self, request: Request, seconds: float, chance: random.Random) -> None:
        await asyncio.sleep(seconds)
        request.cancelled = time.monotonic()
        request.note("cancel: asked")
        execution = await self._somewhere(request, chance, "cancel", lambda client: client.cancel(request.name))
        if execution.state not in TERMINAL:
            request.problems.append(f"cancelling answered with {State.Name(execution.state)}")
        request.see("cancel", execution)

    async def _somewhere(
        self, request: Request, chance: random.Random, what: str, call: Callable[[lacewing.Client], Awaitable[T]]
    ) -> T:
        """Makes a call that is safe to repeat at one server after the other, until one answers."""
        first = chance.randrange(len(self._clients))
        tried = 0
        while True:
            server = (first + tried) % len(self._clients)
            try:
                return await call(self._clients[server])
            except _OUTAGES as error:
                request.note(f"{what} at s{server}: {type(error).__name__}")
                tried += 1
                await asyncio.sleep(_PAUSE)
