"""Graphs that a chosen server drives, and what must be so of them when they have ended."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import ExitStack, asynccontextmanager, nullcontext
from dataclasses import dataclass
from typing import Any

import lacewing
from cluster import graph_bodies
from cluster.raw import working
from cluster.world import World, suspended
from lacewing import testing
from lacewing._handle import Handle
from lacewing.task import AnyTask
from lacewing.testing import RunningServer
from lacewing.v1 import execution_pb2, graph_pb2

Execution = execution_pb2.Execution
NodeStatus = graph_pb2.NodeStatus
TERMINAL = {
    Execution.STATE_SUCCEEDED,
    Execution.STATE_FAILED,
    Execution.STATE_TIMED_OUT,
    Execution.STATE_CANCELLED,
}


@dataclass
class Pair:
    """Two servers: graphs begin at the first, and their steps run on a worker of the second."""

    world: World
    first: RunningServer
    second: RunningServer
    near: lacewing.Client
    """Of the first server."""
    far: lacewing.Client
    """Of the second one."""

    async def begin(self, task: AnyTask, **inputs: Any) -> Handle[Any]:
        """Begins a graph, and waits until the first server drives it; gives its handle at the second."""
        driver = await name_of(self.first)
        with suspended(self.second):
            handle = await self.near.submit(task, **inputs)
            await until_status(handle, lambda execution: execution.worker == driver)
        return self.far.handle(handle.id, task)

    async def descendants(self, of: Handle[Any]) -> list[execution_pb2.Execution]:
        """All executions of the nodes of a graph, and of the graphs in it."""
        found = []
        parents = [of.id]
        while parents:
            for child in [each async for each in self.far.list(parent=parents.pop())]:
                found.append(child)
                parents.append(child.id)
        return found

    async def check_driven_once(self, handle: Handle[Any], expected: dict[str, int]) -> None:
        """Asserts that an execution and all in its graph have ended, had one attempt each, and were not lost."""
        assert Counter(graph_bodies.runs) == expected
        for execution in [await handle.status(), *await self.descendants(handle)]:
            assert execution.state in TERMINAL
            assert (execution.attempt_count, execution.loss_count) == (1, 0), execution
        self.check_lives()

    def check_lives(self) -> None:
        """Asserts that nothing in the store of executions that have ended is there for ever, or still to be closed."""
        kept = [key for kind in ("x:", "a:", "b:", "g:") for key in self.world.keys(kind)]
        assert [key for key in kept if self.world.redis.pttl(key) < 0] == []
        assert self.world.keys("gx") == []


@asynccontextmanager
async def pair(world: World, *, dynamic: AnyTask | None = None, **settings: Any) -> AsyncIterator[Pair]:
    """Starts two servers and the worker of the steps; bodies that give graphs run at the first, if one is named."""
    first, second = await world.servers(2, **settings)
    steps = [*graph_bodies.STEPS, graph_bodies.inner]
    giving = testing.worker(f"ipv4:{first.address},{second.address}", [dynamic]) if dynamic else nullcontext()
    with ExitStack() as stack:
        stack.enter_context(testing.worker(f"ipv4:{second.address},{first.address}", steps, slots=16))
        stack.enter_context(giving)
        async with lacewing.Client(first.address) as near, lacewing.Client(second.address) as far:
            await near.register(graph_bodies.innermost)  # what the others refer to
            await near.register(*graph_bodies.ALL)
            yield Pair(world, first, second, near, far)


async def name_of(server: RunningServer) -> str:
    """What an execution calls a server that drives its graph."""
    async with working(server.address, credit=0) as stream:
        assert stream.welcome is not None
        return f"server-{stream.welcome.server}"


async def until_status(
    handle: Handle[Any], holds: Callable[[execution_pb2.Execution], bool]
) -> execution_pb2.Execution:
    """Waits until an execution is as wanted."""
    async with asyncio.timeout(20):
        while not holds(execution := await handle.status()):
            await asyncio.sleep(0.005)
        return execution


async def until_node(handle: Handle[Any], kind: int, state: int) -> None:
    """Waits until a node of a kind is in a state."""
    async with asyncio.timeout(20):
        while not any((node.kind, node.state) == (kind, state) for node in (await handle.graph()).nodes):
            await asyncio.sleep(0.01)
