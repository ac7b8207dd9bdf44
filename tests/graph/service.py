"""Graphs through the wire: built by hand, and run by a worker whose every attempt the test decides."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from google.protobuf import json_format

from engine.service import PATIENCE, Execution, Service
from lacewing.v1 import execution_service_pb2, graph_pb2, task_pb2, worker_service_pb2
from server.world import interface

NodeStatus = graph_pb2.NodeStatus
Json = dict[str, Any]


def number(value: int) -> Json:
    """A binding to an integer."""
    return {"scalar": {"primitive": {"integer": value}}}


def promise(node: str, var: str = "o0") -> Json:
    """A binding to the output of a node, or with the node ``start-node`` to an input of the graph."""
    return {"promise": {"node_id": node, "var": var}}


def bound(**bindings: Json) -> list[Json]:
    """Bindings of variables."""
    return [{"var": name, "binding": binding} for name, binding in bindings.items()]


def node(
    node_id: str, task: str, /, *, after: tuple[str, ...] = (), metadata: Json | None = None, **inputs: Json
) -> Json:
    """A node that runs a task; without inputs it is given the number 1 as ``n``."""
    content: Json = {
        "id": node_id,
        "task_node": {"reference_id": {"name": task}},
        "inputs": bound(**(inputs or {"n": number(1)})),
        "upstream_node_ids": list(after),
    }
    return content | ({"metadata": metadata} if metadata is not None else {})


def graph(*nodes: Json, outputs: Json | None = None, **workflow: Any) -> Json:
    """A graph; its outputs are by default the output ``o0`` of its last node."""
    given = {"o0": promise(nodes[-1]["id"])} if outputs is None else outputs
    return {"workflow": {"nodes": list(nodes), "outputs": bound(**given), **workflow}}


class GraphService(Service):
    """A server as those see it who run graphs."""

    async def workflow(
        self,
        content: Json,
        *,
        inputs: Json | None = None,
        outputs: Json | None = None,
        name: str = "workflow",
        **spec: Any,
    ) -> str:
        """Registers a workflow; it takes an integer ``n`` and gives an integer ``o0`` unless said otherwise."""
        takes = {"n": "INTEGER"} if inputs is None else inputs
        gives = {"o0": "INTEGER"} if outputs is None else outputs
        template = {"type": "workflow", "interface": interface(takes, gives)}
        return await self.register(name, template=template, graph=content, **spec)

    async def expand(
        self, lease: worker_service_pb2.Lease, content: Json, log_tail: str = ""
    ) -> worker_service_pb2.CompletionResult:
        """Completes an attempt with a graph."""
        given = json_format.ParseDict(content, task_pb2.Graph())
        return await self.report(worker_service_pb2.Completion(token=lease.token, graph=given, log_tail=log_tail))

    async def nodes(self, of: Execution) -> dict[str, graph_pb2.NodeStatus]:
        """Where the nodes of an execution's graph stand, by path."""
        request = execution_service_pb2.GetGraphRequest(id=of.id)
        response: execution_service_pb2.GetGraphResponse = await self.stubs.executions.GetGraph(request)
        return {each.path: each for each in response.nodes}

    async def states(self, of: Execution) -> dict[str, str]:
        """The states of the nodes by path."""
        return {
            path: NodeStatus.State.Name(each.state).removeprefix("STATE_")
            for path, each in (await self.nodes(of)).items()
        }

    async def until_nodes(self, of: Execution, holds: Callable[[dict[str, str]], bool]) -> dict[str, str]:
        """Watches the nodes of an execution's graph until their states are as wanted."""
        request = execution_service_pb2.WatchExecutionRequest(id=of.id, nodes=True)
        states: dict[str, str] = {}
        async with asyncio.timeout(PATIENCE):
            call = self.stubs.executions.WatchExecution(request)
            async for response in call:
                for each in response.nodes:
                    states[each.path] = NodeStatus.State.Name(each.state).removeprefix("STATE_")
                if states and holds(states):
                    call.cancel()
                    return states
        raise AssertionError(f"it ended with {states}")

    async def signal(self, of: Execution, signal: str, value: Any) -> None:
        """Answers a gate."""
        request = execution_service_pb2.SignalExecutionRequest(id=of.id, signal_id=signal)
        json_format.ParseDict(value, request.value_json)
        await self.stubs.executions.SignalExecution(request)

    async def retry(self, of: Execution, *, failed_only: bool = False) -> Execution:
        """Executes again what did not succeed."""
        request = execution_service_pb2.RetryExecutionRequest(id=of.id, failed_only=failed_only)
        response: execution_service_pb2.RetryExecutionResponse = await self.stubs.executions.RetryExecution(request)
        return response.execution

    async def children(self, of: Execution) -> list[Execution]:
        """The executions of the nodes of an execution's graph."""
        request = execution_service_pb2.ListExecutionsRequest(parent=of.id)
        return list((await self.stubs.executions.ListExecutions(request)).executions)
