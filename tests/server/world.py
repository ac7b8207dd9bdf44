"""A server with a store that tests can look into, and stubs without the SDK, as other languages have them."""

from __future__ import annotations

import tempfile
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import grpc
import redis
from google.protobuf import json_format

from lacewing.v1 import (
    blob_service_pb2_grpc,
    cache_service_pb2_grpc,
    execution_pb2,
    execution_service_pb2,
    execution_service_pb2_grpc,
    project_service_pb2_grpc,
    task_service_pb2,
    task_service_pb2_grpc,
    worker_service_pb2,
    worker_service_pb2_grpc,
)
from lacewing_server.testing import ServerProcess, start_server
from lacewing_server.valkey import EmbeddedValkey

PREFIX = b"lw:{0}:"
# What a server writes by itself.
_SUMMARY = b"summary"  # of a graph that is under way
_OWN = tuple(PREFIX + each for each in (b"server:", b"servers", b"janitor", b"ms:", b"mp:"))


class World:
    """A server, and the store behind it."""

    def __init__(self, valkey: EmbeddedValkey, server: ServerProcess) -> None:
        self.valkey = valkey
        self.server = server
        self.store = redis.Redis.from_url(valkey.url)

    def contents(self) -> dict[bytes, object]:
        """Everything that is stored, but what the server writes by itself."""
        keys = [key for key in self.store.scan_iter(count=1_000) if not key.startswith(_OWN)]
        return {key: self._value(key) for key in keys}

    def _value(self, key: bytes) -> object:
        read: dict[bytes, Callable[[], Any]] = {
            b"string": lambda: self.store.get(key),
            b"hash": lambda: {field: value for field, value in self.store.hgetall(key).items() if field != _SUMMARY},
            b"list": lambda: self.store.lrange(key, 0, -1),
            b"set": lambda: self.store.smembers(key),
            b"zset": lambda: self.store.zrange(key, 0, -1, withscores=True),
        }
        kind: Any = self.store.type(key)
        return read[kind]() if kind in read else None


@contextmanager
def run_world(**settings: Any) -> Iterator[World]:
    """Runs a Valkey and a server on it."""
    with tempfile.TemporaryDirectory(prefix="lw") as directory:
        valkey = EmbeddedValkey(Path(directory), persist=False)
        try:
            with start_server(redis=valkey.url, **settings) as server:
                world = World(valkey, server)
                try:
                    yield world
                finally:
                    world.store.close()
        finally:
            valkey.stop()


class Stubs:
    """One stub for each service."""

    def __init__(self, channel: grpc.aio.Channel) -> None:
        self.channel = channel
        self.tasks: Any = task_service_pb2_grpc.TaskServiceStub(channel)
        self.executions: Any = execution_service_pb2_grpc.ExecutionServiceStub(channel)
        self.workers: Any = worker_service_pb2_grpc.WorkerServiceStub(channel)
        self.projects: Any = project_service_pb2_grpc.ProjectServiceStub(channel)
        self.blobs: Any = blob_service_pb2_grpc.BlobServiceStub(channel)
        self.cache: Any = cache_service_pb2_grpc.CacheServiceStub(channel)

    async def register(self, name: str, /, **spec: Any) -> None:
        """Registers a task that takes an integer ``n``, and gives one named ``o0``, unless the spec says otherwise."""
        await self.tasks.RegisterTask(registration(name, **spec))

    async def create(self, task: str, /, **request: Any) -> execution_pb2.Execution:
        """Creates an execution with the input ``n`` of 1, unless the request says otherwise."""
        create = execution_service_pb2.CreateExecutionRequest(request=execution(task, **request))
        response = await self.executions.CreateExecution(create)
        found: execution_pb2.Execution = response.execution
        return found

    async def lease(self, name: str) -> worker_service_pb2.Lease:
        """Leases the attempt of a task that is ready, as a unary worker."""
        response = await self.workers.AcquireLeases(acquisition(name))
        lease: worker_service_pb2.Lease = response.leases[0]
        return lease


@asynccontextmanager
async def connect(address: str, *options: tuple[str, int]) -> AsyncIterator[Stubs]:
    """Opens a channel with gRPC's own settings but for those given: what is refused is not repeated."""
    async with grpc.aio.insecure_channel(address, options=options) as channel:
        yield Stubs(channel)


def registration(name: str, /, version: str = "1", **spec: Any) -> task_service_pb2.RegisterTaskRequest:
    """A registration; the fields of the spec's template may be given as ``template``, in the form of JSON."""
    template = {"type": "raw", "interface": interface({"n": "INTEGER"}, {"o0": "INTEGER"})} | spec.pop("template", {})
    content = {"id": {"name": name, "version": version}, "spec": {"template": template, **spec}}
    return json_format.ParseDict(content, task_service_pb2.RegisterTaskRequest())


def interface(inputs: Mapping[str, Any], outputs: Mapping[str, Any]) -> dict[str, Any]:
    """An interface in the form of JSON; a type that is a text is a simple one."""

    def variables(types: Mapping[str, Any]) -> dict[str, Any]:
        return {
            "variables": {
                name: {"type": {"simple": f"SIMPLE_TYPE_{each}"} if isinstance(each, str) else each}
                for name, each in types.items()
            }
        }

    return {"inputs": variables(inputs), "outputs": variables(outputs)}


def execution(task: str, /, **request: Any) -> execution_service_pb2.ExecuteRequest:
    """A request to execute, in the form of JSON; the inputs are ``{"n": 1}`` unless given."""
    given = {"inputs", "inputs_json"} & request.keys()
    content = {"task": {"name": task}, **({} if given else {"inputs_json": {"n": 1}}), **request}
    return json_format.ParseDict(content, execution_service_pb2.ExecuteRequest())


def acquisition(name: str, **request: Any) -> worker_service_pb2.AcquireLeasesRequest:
    """A request of a unary worker for the attempts of a task, waiting for one."""
    offer = {"task_types": ["raw"], "task_names": [name]}
    content = {"worker": "w", "offer": offer, "wait_timeout": "10s", **request}
    return json_format.ParseDict(content, worker_service_pb2.AcquireLeasesRequest())


def completion(token: bytes, value: Any = 1) -> worker_service_pb2.Completion:
    """A completion with the output ``o0``: an integer, or what gives an output that does not fit."""
    result = worker_service_pb2.Completion(token=token)
    primitive = result.outputs.literals["o0"].scalar.primitive
    if isinstance(value, int):
        primitive.integer = value
    else:
        primitive.string_value = value
    return result
