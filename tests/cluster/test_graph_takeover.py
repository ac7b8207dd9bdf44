"""Graphs whose server dies, goes away, or is suspected wrongly: another one goes on where it was."""

from __future__ import annotations

import asyncio
import os
import signal
import tempfile
from collections import Counter
from contextlib import ExitStack
from functools import partial

import pytest

import lacewing
from cluster import graph_bodies as bodies
from cluster.deaf import wire_to
from cluster.graph_world import NodeStatus, name_of, pair, until_node, until_status
from cluster.world import QUICK, World, store, suspended
from lacewing import testing
from lacewing.testing import RunningServer
from lacewing.v1 import execution_pb2
from lacewing_server.valkey import EmbeddedValkey
from worker.leases import until

Execution = execution_pb2.Execution
COUNT = 60


@pytest.mark.parametrize("shape", bodies.EXPECTED)
async def test_another_server_goes_on_with_a_workflow(world: World, shape: str) -> None:
    """What has run does not run again, what ran meanwhile is taken, and it is the same attempt."""
    value, expected, held = bodies.EXPECTED[shape]
    async with pair(world) as servers:
        with bodies.holding(held) as door:
            handle = await servers.begin(bodies.WORKFLOWS[shape], n=1)
            await until(lambda: held in bodies.runs)
            servers.first.kill()
            door.set()
            assert await handle.result(timeout=20) == value
        await servers.check_driven_once(handle, expected)
        assert (await handle.status()).worker == await name_of(servers.second)


@pytest.mark.parametrize("shape", bodies.EXPECTED)
async def test_another_server_goes_on_with_the_graph_of_a_body(world: World, shape: str) -> None:
    """The body does not run again; a step that outlasts the change of servers is waited for."""
    value, expected, held = bodies.EXPECTED[shape]
    async with pair(world, dynamic=bodies.DYNAMICS[shape]) as servers:
        with bodies.holding(held) as door:
            handle = await servers.begin(bodies.DYNAMICS[shape], n=1)
            await until(lambda: held in bodies.runs)
            servers.first.kill()
            successor = await name_of(servers.second)
            await until_status(handle, lambda execution: execution.worker == successor)
            door.set()
            assert await handle.result(timeout=20) == value
        await servers.check_driven_once(handle, expected)
        assert [attempt.number async for attempt in handle.attempts()] == [1]


async def test_a_server_that_is_stopped_hands_its_graphs_over_at_once(world: World) -> None:
    """Long before its lease would have ended."""
    value, expected, held = bodies.EXPECTED["nested"]
    async with pair(world, server_lease=60.0) as servers:
        with bodies.holding(held) as door:
            handle = await servers.begin(bodies.WORKFLOWS["nested"], n=1)
            await until(lambda: held in bodies.runs)
            servers.first.stop()
            successor = await name_of(servers.second)
            assert (await until_status(handle, lambda execution: execution.worker == successor)).loss_count == 0
            door.set()
            assert await handle.result(timeout=20) == value
        await servers.check_driven_once(handle, expected)


async def test_a_server_that_is_stopped_in_the_middle_of_wide_graphs_loses_nothing(world: World) -> None:
    """It has begun some nodes, is beginning others, and has workers of its own: each step runs once."""
    async with pair(world, shutdown_grace=5.0) as servers:
        both = f"ipv4:{servers.first.address},{servers.second.address}"
        with bodies.holding("none"), testing.worker(both, bodies.STEPS):
            graphs = [await servers.begin(bodies.wide, numbers=list(range(4 * COUNT))) for _ in range(2)]
            await until(lambda: len(bodies.runs) > COUNT)
            await asyncio.to_thread(servers.first.stop)
            for handle in graphs:
                assert await handle.result(timeout=30) == sum(range(4 * COUNT)) + 8 * COUNT
            for handle in graphs:
                for execution in [await handle.status(), *await servers.descendants(handle)]:
                    assert (execution.attempt_count, execution.loss_count) == (1, 0)
        assert len(bodies.runs) == 2 * (8 * COUNT + 1)


async def test_the_only_server_goes_on_with_its_graphs_when_it_starts_again() -> None:
    """SIGKILL to it, and with it its store; the next one on the same directory finds where each graph stood."""
    value, expected, held = bodies.EXPECTED["branch"]
    with ExitStack() as stack:
        directory = stack.enter_context(tempfile.TemporaryDirectory(prefix="lw"))
        first = _start_embedded(stack, directory, 0)
        stack.enter_context(testing.worker(first.address, bodies.STEPS))
        async with lacewing.Client(first.address) as client:
            await client.register(bodies.WORKFLOWS["branch"])
            with bodies.holding(held) as door:
                handle = await client.submit(bodies.WORKFLOWS["branch"], n=1)
                await until(lambda: held in bodies.runs)
                first.kill()
                _start_embedded(stack, directory, int(first.address.rpartition(":")[2]))
                door.set()
                assert await handle.result(timeout=20) == value
            execution = await handle.status()
            assert (execution.attempt_count, execution.loss_count) == (1, 0)
            # What runs while its server is away for longer than the grace may be lost, and run again.
            bodies.runs[:] = [*(label for label in bodies.runs if label != held), held]
            assert Counter(bodies.runs) == expected


@pytest.mark.parametrize("kind", ["workflow", "dynamic"])
async def test_a_cancelled_graph_is_closed_by_another_server(world: World, kind: str) -> None:
    """The server that drives it stands still when the cancellation is recorded, and dies before it has heard of it."""
    task = bodies.WORKFLOWS["nested"] if kind == "workflow" else bodies.DYNAMICS["nested"]
    async with pair(world, dynamic=task if kind == "dynamic" else None) as servers:
        with bodies.holding("held"):
            handle = await servers.begin(task, n=1)
            await until(lambda: "held" in bodies.runs)
            os.kill(servers.first.pid, signal.SIGSTOP)
            cancelled = await handle.cancel()
            servers.first.kill()
            assert cancelled.state == Execution.STATE_CANCELLED
            await until(lambda: not world.keys("gx"))
        states = {each.task.name: each.state for each in await servers.descendants(handle)}
        assert states["inner"] == states["innermost"] == Execution.STATE_CANCELLED
        assert (await handle.status()).revision == cancelled.revision
        assert [attempt.number async for attempt in handle.attempts()] == [1]
        assert "after" not in bodies.runs
        servers.check_lives()


async def test_a_server_that_was_taken_for_dead_begins_nothing_more(world: World) -> None:
    """When it goes on, its graphs are another one's: it neither begins nor ends anything of them."""
    value, expected, _ = bodies.EXPECTED["chain"]
    async with pair(world) as servers:
        successor = await name_of(servers.second)
        with bodies.holding("held") as door:
            handle = await servers.begin(bodies.WORKFLOWS["chain"], n=1)
            await until(lambda: "held" in bodies.runs)
            with suspended(servers.first):
                await until_status(handle, lambda execution: execution.worker == successor)
            # It has dealt with what it came back to.
            assert await servers.near.execute(bodies.step, label="other") == 1
            assert [each.state for each in await servers.descendants(handle)].count(Execution.STATE_RUNNING) == 1
            door.set()
            assert await handle.result(timeout=20) == value
        await servers.check_driven_once(handle, {**expected, "other": 1})


async def test_a_server_that_was_taken_for_dead_ends_nothing(world: World) -> None:
    """What another one has ended stays as it is, although the first one comes to its own end of it."""
    value, expected, held = bodies.EXPECTED["fan"]
    async with pair(world) as servers:
        with bodies.holding(held) as door:
            handle = await servers.begin(bodies.WORKFLOWS["fan"], n=1)
            await until(lambda: held in bodies.runs)
            with suspended(servers.first):
                door.set()
                assert await handle.result(timeout=20) == value
                ended = await handle.status()
            assert await servers.near.execute(bodies.step, label="other") == 1
            assert await handle.status() == ended
        await servers.check_driven_once(handle, {**expected, "other": 1})
        assert world.server_count() == 2


async def test_a_deadline_ends_a_graph_that_nobody_drives(world: World) -> None:
    """The server that drives it is gone for good, and all in it ends with it."""
    async with pair(world, server_lease=60.0) as servers:
        with bodies.holding("held"):
            handle = await servers.begin(bodies.hurried, n=1)
            await until(lambda: "held" in bodies.runs)
            servers.first.kill()
            with pytest.raises(lacewing.TaskTimedOut, match="not finished within 2 s"):
                await handle.result(timeout=20)
            await until(lambda: not world.keys("gx"))
        children = await servers.descendants(handle)
        alive = [each for each in children if each.state in {Execution.STATE_QUEUED, Execution.STATE_RUNNING}]
        assert alive == []
        assert "after" not in bodies.runs
        servers.check_lives()


async def test_answers_given_at_any_server_and_time_are_taken(world: World) -> None:
    """One before its gate is reached, and one while nobody drives the graph."""
    async with pair(world) as servers:
        with bodies.holding("before") as door:
            handle = await servers.begin(bodies.gated, n=1)
            await until(lambda: "before" in bodies.runs)
            await handle.approve("agree")
            servers.first.kill()
            await handle.signal("number", 40)
            door.set()
            assert await handle.result(timeout=20) == 43
        await servers.check_driven_once(handle, {"before": 1, "total": 1, "after": 1})


async def test_an_answer_given_at_another_server_is_taken_at_once(world: World) -> None:
    """The server that drives the graph is told."""
    async with pair(world) as servers:
        with bodies.holding("none"):
            handle = await servers.begin(bodies.gated, n=1)
            await until_node(handle, NodeStatus.KIND_GATE, NodeStatus.STATE_RUNNING)
            await handle.signal("number", 40)
            await handle.approve("agree")
            assert await handle.result(timeout=20) == 43
        assert (await handle.status()).worker == await name_of(servers.first)


async def test_a_sleep_is_not_begun_again(world: World) -> None:
    """It ends when it would have ended, whoever drives the graph then."""
    async with pair(world) as servers:
        with bodies.holding("none"):
            handle = await servers.begin(bodies.sleeping, n=1)
            await until_node(handle, NodeStatus.KIND_GATE, NodeStatus.STATE_RUNNING)
            servers.first.kill()
            assert await handle.result(timeout=20) == 4
        await servers.check_driven_once(handle, {"before": 1, "after": 1, "total": 1})
        (gate,) = [node for node in (await handle.graph()).nodes if node.kind == NodeStatus.KIND_GATE]
        assert gate.end_time.ToMilliseconds() - gate.create_time.ToMilliseconds() >= 2000


async def test_a_server_that_hears_nothing_drives_its_graphs_nevertheless(world: World) -> None:
    """The ends of nodes and the answers to gates are found by the tick."""
    async with wire_to(world.url) as wire:
        deaf = await asyncio.to_thread(world.start, redis=wire.url)
        other = await asyncio.to_thread(world.start)
        with ExitStack() as stack:
            stack.enter_context(testing.worker(other.address, bodies.STEPS, slots=16))
            async with lacewing.Client(deaf.address) as near, lacewing.Client(other.address) as far:
                await near.register(bodies.gated)
                with bodies.holding("before") as door:
                    driver = await name_of(deaf)
                    with suspended(other):
                        submitted = await near.submit(bodies.gated, n=1)
                        await until_status(submitted, lambda execution: execution.worker == driver)
                    handle = far.handle(submitted.id, bodies.gated)
                    await until(lambda: "before" in bodies.runs)
                    wire.is_deaf = True
                    door.set()
                    await handle.signal("number", 40)
                    await handle.approve("agree")
                    assert await handle.result(timeout=20) == 43
                assert (await handle.status()).worker == driver
                assert wire.dropped > 0
        await asyncio.to_thread(deaf.stop)  # while it has its wire


async def test_a_store_that_is_killed_in_the_middle_of_a_graph_loses_nothing_of_it() -> None:
    """SIGKILL to Valkey, and a start from its file: the graph gives what it should, by one attempt."""
    with store(persist=True, fsync="always") as valkey, ExitStack() as stack:
        world = World(valkey.url, stack)
        async with pair(world) as servers:
            held = str(COUNT // 2)
            with bodies.holding(held) as door:
                handle = await servers.begin(bodies.wide, numbers=[2 * number for number in range(COUNT)])
                await until(lambda: held in bodies.runs)
                os.kill(valkey.pid, signal.SIGKILL)
                door.set()
                restarted = EmbeddedValkey(valkey.socket.parent, persist=True, fsync="always")
                stack.callback(restarted.stop)
                assert await handle.result(timeout=30) == COUNT * (COUNT - 1) + 2 * COUNT
            execution = await handle.status()
            assert (execution.attempt_count, execution.loss_count) == (1, 0)
            children = await servers.descendants(handle)
            assert len(children) == 2 * COUNT + 1
            assert all(each.failure_count == 0 for each in children)


def _start_embedded(stack: ExitStack, directory: str, port: int) -> RunningServer:
    start = partial(testing.server, data_dir=directory, persist=True, fsync="always", port=port)
    return stack.enter_context(start(**QUICK))
