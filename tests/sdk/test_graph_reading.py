"""Graphs: reading them, watching them, answering their gates, repeating executions."""

from __future__ import annotations

import dataclasses
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any

import grpc
import pytest
from hypothesis import given
from hypothesis import strategies as st

import lacewing
import lacewing.sync
from lacewing._graphs import _json_value
from lacewing.errors import FieldInvalid
from lacewing.types import converter_for
from lacewing.types._msgpack import struct_tree
from lacewing.v1 import execution_pb2, execution_service_pb2, graph_pb2, identifiers_pb2
from sdk.execute_server import Context, ExecuteServer, TaskServer, serving
from sdk.test_sync import blocking

Execution = execution_pb2.Execution
NodeStatus = graph_pb2.NodeStatus
RUNNING = Execution(state=Execution.STATE_RUNNING, revision=2)
ENDED = Execution(state=Execution.STATE_SUCCEEDED, revision=3)
X1 = identifiers_pb2.ExecutionId(name="x1")


@lacewing.task(name="same")
def same(a: int) -> int:
    """Returns what it is given."""
    return a


@dataclasses.dataclass
class Choice:
    """A value that only tasks can take."""

    name: str
    count: int


class GraphServer(ExecuteServer):
    """Answers with nodes in pages and in changes; records what it is asked.

    Attributes:
        pages: How many nodes are in each page of a graph.
        watched: What each watch answers before it ends; None breaks it.
        asked: Every request about a graph.
    """

    def __init__(self) -> None:
        super().__init__()
        self.pages = [2, 0, 1]
        self.watched: list[list[execution_service_pb2.WatchExecutionResponse | None]] = []
        self.asked: list[Any] = []

    async def GetGraph(  # noqa: N802 named by the protocol
        self, request: execution_service_pb2.GetGraphRequest, context: Context
    ) -> execution_service_pb2.GetGraphResponse:
        """Answers a page; the first one has the graph."""
        self.asked.append(request)
        page = int(request.page_token or "0")
        response = execution_service_pb2.GetGraphResponse(
            nodes=[NodeStatus(path=f"n{page}-{index}") for index in range(self.pages[page])],
            next_page_token=str(page + 1) if page + 1 < len(self.pages) else "",
        )
        if not page:
            response.graph.workflow.nodes.add(id="n")
        return response

    async def SignalExecution(  # noqa: N802 named by the protocol
        self, request: execution_service_pb2.SignalExecutionRequest, context: Context
    ) -> execution_service_pb2.SignalExecutionResponse:
        """Takes any answer."""
        self.asked.append(request)
        return execution_service_pb2.SignalExecutionResponse()

    async def RetryExecution(  # noqa: N802 named by the protocol
        self, request: execution_service_pb2.RetryExecutionRequest, context: Context
    ) -> execution_service_pb2.RetryExecutionResponse:
        """Takes each request with an id once more after it was unavailable."""
        self.asked.append(request)
        if len(self.asked) == 1:
            await context.abort(grpc.StatusCode.UNAVAILABLE, "broken on purpose")
        return execution_service_pb2.RetryExecutionResponse(execution=Execution(id=X1))

    async def GetExecution(  # noqa: N802 named by the protocol
        self, request: execution_service_pb2.GetExecutionRequest, context: Context
    ) -> execution_service_pb2.GetExecutionResponse:
        """Answers that it runs `same`."""
        found = Execution(id=request.id, task=identifiers_pb2.TaskId(name="same", version="1"))
        return execution_service_pb2.GetExecutionResponse(execution=found)

    async def WatchExecution(  # noqa: N802 named by the protocol
        self, request: execution_service_pb2.WatchExecutionRequest, context: Context
    ) -> AsyncIterator[execution_service_pb2.WatchExecutionResponse]:
        """Streams what is next."""
        self.asked.append(request)
        for answer in self.watched.pop(0):
            if answer is None:
                await context.abort(grpc.StatusCode.UNAVAILABLE, "broken on purpose")
            yield answer

    async def ListExecutions(  # noqa: N802 named by the protocol
        self, request: execution_service_pb2.ListExecutionsRequest, context: Context
    ) -> execution_service_pb2.ListExecutionsResponse:
        """Lists nothing."""
        self.asked.append(request)
        return execution_service_pb2.ListExecutionsResponse()


def _message(execution: Execution, *paths: str) -> execution_service_pb2.WatchExecutionResponse:
    return execution_service_pb2.WatchExecutionResponse(
        execution=execution, nodes=[NodeStatus(path=path) for path in paths]
    )


@pytest.fixture
async def server() -> GraphServer:
    return GraphServer()  # type: ignore[abstract] # it serves what is tested


async def test_a_graph_is_all_its_pages(server: GraphServer) -> None:
    """With the graph of the first, and no token for more; also a page without nodes is one."""
    async with serving(server) as port, lacewing.Client(f"127.0.0.1:{port}") as client:
        for found in (await client.get_graph("x1"), await client.handle("x1", same).graph()):
            assert [node.path for node in found.nodes] == ["n0-0", "n0-1", "n2-0"]
            assert [node.id for node in found.graph.workflow.nodes] == ["n"]
            assert not found.next_page_token
    assert [request.page_token for request in server.asked[:3]] == ["", "1", "2"]
    assert {request.id.name for request in server.asked} == {"x1"}


async def test_nodes_are_watched_to_the_last_change(server: GraphServer) -> None:
    """Also those that are told after the end of the execution; after a break all come again."""
    server.watched = [
        [_message(RUNNING, "a", "b"), None],
        [_message(RUNNING, "a", "b"), _message(ENDED, "a"), _message(ENDED, "b")],
    ]
    async with serving(server) as port, lacewing.Client(f"127.0.0.1:{port}") as client:
        told = [now async for now in client.handle("x1", same).watch(nodes=True)]
    assert [[node.path for node in now.nodes] for now in told] == [["a", "b"], ["a", "b"], ["a"], ["b"]]
    assert told[-1].execution == ENDED
    assert [(request.nodes, request.after_revision) for request in server.asked] == [(True, 0), (True, 0)]


async def test_without_nodes_a_watch_ends_with_the_execution(server: GraphServer) -> None:
    """And goes on from the revision that it had."""
    server.watched = [[_message(RUNNING), None], [_message(ENDED), _message(ENDED)]]
    async with serving(server) as port, lacewing.Client(f"127.0.0.1:{port}") as client:
        assert [now async for now in client.handle("x1", same).watch()] == [RUNNING, ENDED]
    assert [(request.nodes, request.after_revision) for request in server.asked] == [(False, 0), (False, 2)]


async def test_gates_are_answered(server: GraphServer) -> None:
    """With plain values as JSON, with others as literals, with yes and no; by the client and by handles."""
    time = datetime(2026, 5, 1, tzinfo=UTC)
    literal = converter_for(int).to_literal(3)
    async with serving(server) as port, lacewing.Client(f"127.0.0.1:{port}", project="p", domain="d") as client:
        await client.signal("x1", "number", 3)
        await client.handle("x1", same).signal("when", time)
        await client.signal("a/b/x1", "who", Choice("me", 1))
        await client.signal("x1", "exact", literal)
        await client.approve("x1", "go")
        await client.handle("x1", same).approve("go")
        await client.reject("x1", "go")
        await client.handle("x1", same).reject("go")
    number, when, who, exact, *approvals = server.asked
    assert (number.id.project, number.id.name, number.signal_id) == ("p", "x1", "number")
    assert (number.value_json.number_value, number.HasField("value")) == (3, False)
    assert when.value == converter_for(datetime).to_literal(time)
    assert (who.value, who.id.project) == (converter_for(Choice).to_literal(Choice("me", 1)), "a")
    assert exact.value == literal
    assert [request.value_json.bool_value for request in approvals] == [True, True, False, False]


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
        max_leaves=8,
    )
)
def test_plain_values_keep_all_that_they_say(value: Any) -> None:
    """Integers that a number of JSON cannot hold become texts, as the server reads them."""

    def expected(given: Any) -> Any:
        if isinstance(given, list):
            return [expected(item) for item in given]
        if isinstance(given, dict):
            return {name: expected(item) for name, item in given.items()}
        is_large = isinstance(given, int) and abs(given) > 2**53
        return str(given) if is_large else given

    assert struct_tree(_json_value({"v": value}, "").struct_value) == expected({"v": value})


@pytest.mark.parametrize(
    ("value", "place"), [({"a": [object()]}, "value.a[0]"), (object(), "value"), ([1, b"x"], "value[1]")]
)
async def test_values_that_no_gate_takes_are_refused_here(server: GraphServer, value: Any, place: str) -> None:
    """With the place in the value; nothing is sent."""
    async with serving(server) as port, lacewing.Client(f"127.0.0.1:{port}") as client:
        with pytest.raises(FieldInvalid) as raised:
            await client.signal("x1", "number", value)
    assert [violation.field for violation in raised.value.violations] == [place]
    assert server.asked == []


async def test_executions_are_repeated(server: GraphServer) -> None:
    """By a request that is safe to repeat; the handle is one on the new execution, with the same type of result."""
    succeeded = Execution(
        state=Execution.STATE_SUCCEEDED,
        outputs=same.interface.outputs_to_literals(7),
        task=identifiers_pb2.TaskId(name="same", version="1"),
    )
    server.wait_answers = [succeeded, succeeded]
    tasks = TaskServer(same.spec)  # type: ignore[abstract] # it serves what is tested
    async with serving(server, tasks=tasks) as port, lacewing.Client(f"127.0.0.1:{port}") as client:
        handle = await client.handle("x0", same).retry(failed_only=True)
        assert (handle.id.name, await handle.result()) == ("x1", 7)
        plain = await client.retry("x0", name="again", request_id="r1")
        assert (plain.id.name, await plain.result()) == ("x1", 7)
    first, again, named = server.asked
    assert first == again
    assert (first.id.name, first.failed_only, bool(first.request_id)) == ("x0", True, True)
    assert (named.failed_only, named.name, named.request_id) == (False, "again", "r1")


async def test_what_bounds_a_graph_is_an_option(server: GraphServer) -> None:
    """And what lists its nodes is a filter."""
    async with serving(server) as port, lacewing.Client(f"127.0.0.1:{port}") as client:
        await client.with_options(max_parallelism=5).submit(same, 1)
        assert [each async for each in client.list(parent="a/b/x1")] == []
    assert [request.max_parallelism for request in server.requests] == [5]
    assert server.asked[0].parent == identifiers_pb2.ExecutionId(project="a", domain="b", name="x1")


async def test_the_blocking_client_does_the_same(server: GraphServer) -> None:
    """Each of it."""
    server.watched = [[_message(ENDED, "a")]]
    server.asked.append(None)

    def use(client: lacewing.sync.Client) -> None:
        handle = client.handle("x1", same)
        assert len(client.get_graph("x1").nodes) == len(handle.graph().nodes) == 3
        assert [now.nodes[0].path for now in handle.watch(nodes=True)] == ["a"]
        for one in (handle.approve, handle.reject):
            one("go")
        handle.signal("number", 3)
        client.approve("x1", "go")
        client.reject("x1", "go")
        client.signal("x1", "number", 3)
        assert handle.retry().id == client.retry("x1", same).id == X1

    await blocking(server, use)
    signals = [each for each in server.asked if isinstance(each, execution_service_pb2.SignalExecutionRequest)]
    assert [each.value_json.WhichOneof("kind") for each in signals] == [
        *("bool_value", "bool_value", "number_value"),
        *("bool_value", "bool_value", "number_value"),
    ]
