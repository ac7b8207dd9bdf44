"""The service through the wire: a caller, a worker without an SDK, and a clock that can be turned on."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Awaitable, Callable
from typing import Any

import grpc
from google.protobuf import json_format

from lacewing.v1 import (
    cache_pb2,
    cache_service_pb2,
    execution_pb2,
    execution_service_pb2,
    identifiers_pb2,
    worker_service_pb2,
)
from server.world import PREFIX, Stubs, World, acquisition, completion, execution, registration
from store.time_machine import command

Execution = execution_pb2.Execution
Attempt = execution_pb2.Attempt
Status = execution_pb2.CacheInfo
PATIENCE = 20.0


class Service:
    """A server as its callers and workers see it."""

    def __init__(self, world: World, stubs: Stubs, prefix: str) -> None:
        self.world = world
        self.stubs = stubs
        self.prefix = prefix
        self._versions = itertools.count(1)

    # --- authors

    async def register(self, name: str = "task", *, version: str = "", domain: str = "", **spec: Any) -> str:
        """Registers a task under a name of this test's own, which is returned; ``spec`` in the form of JSON.

        Fields of ``template.metadata`` may be given as ``metadata``.
        """
        full = f"{self.prefix}.{name}"
        template = {"metadata": spec.pop("metadata", {})} | spec.pop("template", {})
        request = registration(full, version=version or str(next(self._versions)), template=template, **spec)
        request.id.domain = domain
        await self.stubs.tasks.RegisterTask(request)
        return full

    async def register_cached(self, name: str = "task", **spec: Any) -> str:
        """Registers a memoized task."""
        metadata = {"discoverable": True, "discovery_version": "1", **spec.pop("metadata", {})}
        return await self.register(name, metadata=metadata, **spec)

    # --- callers

    async def create(self, task: str, **request: Any) -> Execution:
        """Creates an execution."""
        return await self.stubs.create(task, **request)

    async def execute(self, task: str, **request: Any) -> Execution:
        """Creates an execution and waits for its end, at most 10 s."""
        content = execution(task, **{"wait_timeout": "10s", **request})
        response: execution_service_pb2.ExecuteResponse = await self.stubs.executions.Execute(content)
        return response.execution

    async def get(self, of: Execution) -> Execution:
        """The execution as it is now."""
        request = execution_service_pb2.GetExecutionRequest(id=of.id)
        response: execution_service_pb2.GetExecutionResponse = await self.stubs.executions.GetExecution(request)
        return response.execution

    async def wait(self, of: Execution, seconds: float = 10) -> Execution:
        """Waits for the end of an execution."""
        request = execution_service_pb2.WaitExecutionRequest(id=of.id)
        request.wait_timeout.FromMilliseconds(round(seconds * 1000))
        response: execution_service_pb2.WaitExecutionResponse = await self.stubs.executions.WaitExecution(request)
        return response.execution

    async def until(self, of: Execution, *states: int) -> Execution:
        """Watches an execution until it is in one of these states."""
        request = execution_service_pb2.WatchExecutionRequest(id=of.id)
        async with asyncio.timeout(PATIENCE):
            call = self.stubs.executions.WatchExecution(request)
            async for response in call:
                if response.execution.state in states:
                    call.cancel()
                    found: Execution = response.execution
                    return found
        raise AssertionError("the execution ended in another state")

    async def cancel(self, of: Execution, reason: str = "") -> Execution:
        """Cancels an execution."""
        request = execution_service_pb2.CancelExecutionRequest(id=of.id, reason=reason)
        response: execution_service_pb2.CancelExecutionResponse = await self.stubs.executions.CancelExecution(request)
        return response.execution

    async def attempts(self, of: Execution) -> list[Attempt]:
        """The attempts of an execution."""
        request = execution_service_pb2.ListAttemptsRequest(id=of.id)
        return list((await self.stubs.executions.ListAttempts(request)).attempts)

    # --- workers

    async def lease(self, task: str, **request: Any) -> worker_service_pb2.Lease:
        """Leases the next attempt of a task, waiting for it."""
        acquire = acquisition(task, **request)
        response: worker_service_pb2.AcquireLeasesResponse = await self.stubs.workers.AcquireLeases(acquire)
        assert len(response.leases) == 1, "there was no attempt to lease"
        return response.leases[0]

    async def no_lease(self, task: str) -> None:
        """Sees that there is no attempt to lease."""
        response = await self.stubs.workers.AcquireLeases(acquisition(task, wait_timeout="0.05s"))
        assert not response.leases

    async def report(self, completed: worker_service_pb2.Completion) -> worker_service_pb2.CompletionResult:
        """Reports the result of an attempt."""
        request = worker_service_pb2.CompleteLeasesRequest(completions=[completed])
        response: worker_service_pb2.CompleteLeasesResponse = await self.stubs.workers.CompleteLeases(request)
        return response.results[0]

    async def succeed(self, lease: worker_service_pb2.Lease, value: int) -> worker_service_pb2.CompletionResult:
        """Reports an output."""
        return await self.report(completion(lease.token, value))

    async def fail(
        self, lease: worker_service_pb2.Lease, code: str = "Oops", **error: Any
    ) -> worker_service_pb2.CompletionResult:
        """Reports an error, recoverable unless said otherwise; ``error`` in the form of JSON."""
        content = {"code": code, "message": f"{code} at attempt {lease.attempt}", "recoverable": True, **error}
        completed = worker_service_pb2.Completion(
            token=lease.token, error=json_format.ParseDict(content, execution_pb2.TaskError())
        )
        return await self.report(completed)

    async def run(self, task: str, value: int) -> worker_service_pb2.Lease:
        """Leases the next attempt, and succeeds."""
        lease = await self.lease(task)
        result = await self.succeed(lease, value)
        assert not result.HasField("error"), result.error
        return lease

    # --- operators

    async def stats(self, task: str) -> cache_pb2.CacheStats:
        """What the cache did for a task, up to a second ago."""
        request = cache_service_pb2.GetCacheStatsRequest(task=identifiers_pb2.TaskId(name=task))
        response: cache_service_pb2.GetCacheStatsResponse = await self.stubs.cache.GetCacheStats(request)
        return response.stats

    async def evict(self, **request: Any) -> int:
        """Evicts cache entries; says how many."""
        content = json_format.ParseDict(request, cache_service_pb2.EvictCacheEntriesRequest())
        response: cache_service_pb2.EvictCacheEntriesResponse = await self.stubs.cache.EvictCacheEntries(content)
        return response.evicted_count

    def advance(self, seconds: float) -> None:
        """Makes it so much later."""
        self.world.store.execute_command(*command(PREFIX, seconds))


def value(of: Execution) -> int:
    """The output of an execution."""
    return of.outputs.literals["o0"].scalar.primitive.integer


async def eventually(condition: Callable[[], Awaitable[bool]]) -> None:
    """Waits until a condition holds that nothing tells of."""
    async with asyncio.timeout(PATIENCE):
        while not await condition():
            await asyncio.sleep(0.02)


class StreamWorker:
    """A worker on a ``Work`` stream, without an SDK."""

    def __init__(self, stubs: Stubs, task: str, *, name: str = "streamer", held: tuple[bytes, ...] = ()) -> None:
        self._call: Any = stubs.workers.Work()
        self.hello = json_format.ParseDict(
            {"worker": name, "offer": {"task_types": ["raw"], "task_names": [task]}}, worker_service_pb2.Hello()
        )
        self.hello.held_leases.extend(held)
        self._leases: list[worker_service_pb2.Lease] = []
        self._revocations: list[worker_service_pb2.Revocation] = []
        self._results: list[worker_service_pb2.CompletionResult] = []
        self.welcome = worker_service_pb2.Welcome()

    async def connect(self, credit: int = 1) -> StreamWorker:
        """Says hello, and is welcomed."""
        await self._call.write(worker_service_pb2.WorkRequest(hello=self.hello, credit=credit))
        await self._receive(lambda: self.welcome.HasField("lease_duration"))
        return self

    async def send(self, **message: Any) -> None:
        """Sends a message."""
        await self._call.write(worker_service_pb2.WorkRequest(**message))

    async def lease(self) -> worker_service_pb2.Lease:
        """Waits for a lease."""
        await self._receive(lambda: bool(self._leases))
        return self._leases.pop(0)

    async def revocation(self) -> worker_service_pb2.Revocation:
        """Waits for a revocation."""
        await self._receive(lambda: bool(self._revocations))
        return self._revocations.pop(0)

    async def succeed(self, lease: worker_service_pb2.Lease, result: int) -> worker_service_pb2.CompletionResult:
        """Reports an output, and waits for the acknowledgement."""
        await self.send(completions=[completion(lease.token, result)])
        await self._receive(lambda: bool(self._results))
        return self._results.pop(0)

    async def ended(self) -> grpc.StatusCode:
        """Waits until the server ends the stream; says how."""
        async with asyncio.timeout(PATIENCE):
            while await self._call.read() is not grpc.aio.EOF:
                pass
            code: grpc.StatusCode = await self._call.code()
            return code

    def close(self) -> None:
        """Breaks the stream."""
        self._call.cancel()

    async def _receive(self, enough: Callable[[], bool]) -> None:
        async with asyncio.timeout(PATIENCE):
            while not enough():
                response = await self._call.read()
                assert isinstance(response, worker_service_pb2.WorkResponse), "the server ended the stream"
                self._leases.extend(response.leases)
                self._revocations.extend(response.revocations)
                self._results.extend(response.results)
                self.welcome.MergeFrom(response.welcome)
