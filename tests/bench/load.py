"""The caller that is measured: a process that takes one order a line on its input and answers each with one line.

An order is the JSON of the arguments of `Load.measure`, an answer that of a `Sample`.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import statistics
import sys
import time
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import grpc
from redis.asyncio import Redis

import lacewing
from lacewing.task import AnyTask
from lacewing.v1 import execution_pb2, execution_service_pb2, execution_service_pb2_grpc, identifiers_pb2

if TYPE_CHECKING:
    from bench import echo, tasks
else:
    import echo  # the modules beside this one
    import tasks

Call = Callable[[], Awaitable[object]]
_ECHOED = b"x" * 64
_KEY = "bench"
_HOLD_SECONDS = 60


@dataclass(frozen=True, slots=True)
class Sample:
    """What one measurement gave."""

    count: int
    seconds: float
    """From the first call to the end of the last."""
    p50_us: float
    """The median of how long a call took; 0 if calls were not timed one by one."""
    cpu_us: float
    """Processor time of this process per call."""


class Load:
    """Calls Lacewing, and what it is compared with.

    Args:
        address: Where Lacewing is.
        echo_port: Where the empty service is.
        redis_url: The Redis of that Lacewing.
    """

    def __init__(self, address: str, echo_port: int, redis_url: str) -> None:
        self._numbers = itertools.count()
        self._client = lacewing.Client(address)
        channel = grpc.aio.insecure_channel(address)
        self._executions = execution_service_pb2_grpc.ExecutionServiceStub(channel)
        echo_channel = grpc.aio.insecure_channel(f"127.0.0.1:{echo_port}")
        self._echo: Any = echo_channel.unary_unary(echo.METHOD)
        self._redis = Redis.from_url(redis_url)
        self._held: lacewing.Handle[int]
        self._unary: dict[str, Call] = {
            "echo": lambda: self._echo(_ECHOED),
            "get": lambda: self._redis.get(_KEY),
            "hit": lambda: self._execute("tasks.remembered", 0),
            "execution": lambda: self._execute("tasks.noop", next(self._numbers)),
        }
        self._graphs: dict[str, lacewing.Dynamic[[int], Coroutine[Any, Any, int]]] = {
            "fan": tasks.fan,
            "chain": tasks.chain,
            "spread": tasks.spread,
        }

    async def prepare(self) -> None:
        """Fill the cache, and open every connection."""
        await self._redis.set(_KEY, _ECHOED, px=3_600_000)
        await self._execute("tasks.remembered", 0)
        for call in self._unary.values():
            await asyncio.gather(*(call() for _ in range(64)))

    async def measure(self, case: str, *, seconds: float = 0.0, flight: int = 1, count: int = 0) -> Sample:
        """Measure one case.

        Args:
            case: `echo`, `get`, `hit` or `execution`: one call after the other in each of `flight` loops. `map`: many
                executions of the SDK over one stream. `keep`, `brief`: the same, of those tasks. `fan`, `chain`,
                `spread`: one execution of that dynamic task, of so many nodes. `hold`: the same, of `waiting_fan`,
                until all nodes wait; `release` cancels it.
            seconds: How long to go on. 0: until there are `count`.
            flight: How many calls are under way at a time.
            count: How many calls to make, if `seconds` is 0; of a graph, its nodes.
        """
        times: list[float] = []
        cpu, start = time.process_time(), time.perf_counter()
        if case in self._unary:
            end = start + seconds if seconds else None
            await asyncio.gather(*(_repeat(self._unary[case], end, count, times) for _ in range(flight)))
            count = len(times)
        elif case in self._graphs:
            if await self._client.execute(self._graphs[case], count) != count:
                raise RuntimeError(f"the {case} of {count} nodes gave something else")
        elif case == "hold":
            self._held = await self._client.submit(tasks.waiting_fan, count)
            async with asyncio.timeout(_HOLD_SECONDS):
                while (await self._held.status()).graph.active_count < count:
                    await asyncio.sleep(0.02)
        elif case == "release":
            await self._held.cancel()
            await self._held.wait()
        else:
            count = await self._map(case, flight, start + seconds if seconds else None, count)
        wall = time.perf_counter() - start
        used = time.process_time() - cpu
        return Sample(count, wall, statistics.median(times) * 1e6 if times else 0.0, used / count * 1e6)

    async def _map(self, case: str, flight: int, end: float | None, count: int) -> int:
        numbers = itertools.takewhile(lambda _: time.perf_counter() < end, itertools.count()) if end else range(count)
        chosen: dict[str, tuple[AnyTask, Iterator[dict[str, Any]]]] = {
            "map": (tasks.noop, ({"number": number} for number in numbers)),
            "brief": (tasks.brief, ({"number": number} for number in numbers)),
            "keep": (tasks.keep, ({"text": f"{number:0400}"} for number in numbers)),
        }
        task, inputs = chosen[case]
        done = 0
        async for _ in self._client.map(task, inputs, concurrency=flight):
            done += 1
        return done

    async def _execute(self, task: str, number: int) -> None:
        request = execution_service_pb2.ExecuteRequest(task=identifiers_pb2.TaskId(name=task))
        request.inputs.literals["number"].scalar.primitive.integer = number
        response = await self._executions.Execute(request)
        if response.execution.state != execution_pb2.Execution.STATE_SUCCEEDED:
            raise RuntimeError(f"an execution did not succeed: {response.execution}")


async def _repeat(call: Call, end: float | None, count: int, times: list[float]) -> None:
    now = time.perf_counter()
    while len(times) < count if end is None else now < end:
        await call()
        now, before = time.perf_counter(), now
        times.append(now - before)


async def main(address: str, echo_port: int, redis_url: str) -> None:
    """Take orders until there are no more."""
    load = Load(address, echo_port, redis_url)
    await load.prepare()
    print("ready", flush=True)
    while order := await asyncio.to_thread(sys.stdin.readline):
        sample = await load.measure(**json.loads(order))
        print(json.dumps(asdict(sample)), flush=True)


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], int(sys.argv[2]), sys.argv[3]))
