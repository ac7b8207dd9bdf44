"""The life of executions that run graphs under any order of calls: drivers come and go, and gates are answered."""

from __future__ import annotations

from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, multiple, rule, run_state_machine_as_test

from lacewing.v1 import (
    errors_pb2,
    execution_pb2,
    execution_service_pb2,
    task_pb2,
    worker_service_pb2,
    workflow_pb2,
)
from lacewing_server.domain import identity, lifecycle
from lacewing_server.domain.errors import DomainError
from lacewing_server.domain.offers import GRAPHS, QueueEntry
from lacewing_server.domain.record import GRAPH, ExecutionRecord
from lacewing_server.engine.terms import NodeOf, Terms
from store.tasks import inputs_of, outputs_of, seconds, spec, task_id
from store.test_lifecycle import REFUSALS, Known, Lifecycle, refusal_of
from store.world import Engine, World, dump, queue_of, records, token_of


def graph() -> task_pb2.Graph:
    """A graph of one node, which gives what that gives."""
    result = task_pb2.Graph()
    node = result.workflow.nodes.add(id="n0", task_node=workflow_pb2.TaskNode(reference_id=task_id("plain")))
    node.inputs.add(var="n").binding.scalar.primitive.integer = 1
    output = result.workflow.outputs.add(var="o0").binding.promise
    output.node_id, output.var = "n0", "o0"
    return result


def flow() -> task_pb2.TaskSpec:
    """A workflow of that graph."""
    result = spec(policy=task_pb2.TaskPolicy(deadline=seconds(500), retention=seconds(60)))
    result.template.type = "workflow"
    result.template.metadata.ClearField("timeout")
    result.template.metadata.ClearField("retries")
    result.graph.CopyFrom(graph())
    return result


class GraphLifecycle(Lifecycle):
    """Calls in any order, those of servers that drive graphs among them."""

    drives = Bundle("drives")
    """Leases of graphs."""

    def __init__(self) -> None:
        super().__init__()
        self.noted: dict[tuple[bytes, str], bytes] = {}
        for engine in self.world.engines:
            self.flow = self.world.run(engine.register("flow", flow()))
        self.by_ref[self.flow.ref] = self.flow

    # --- graphs begin

    @rule(target=Lifecycle.executions, server=st.integers(0, 1), n=st.integers(0, 1))
    def create_workflow(self, server, n):
        """Creates an execution that runs a graph from the start."""
        request = execution_service_pb2.ExecuteRequest(task=task_id("flow"), inputs=inputs_of(n))
        admitted = self.world.run(self.world.engines[server].executions.create(request, record_hit=True))
        self.known[admitted.record.id] = Known()
        return admitted.record.id

    @rule(server=st.integers(0, 1), token=Lifecycle.tokens, repeated=st.booleans())
    def expand(self, server, token, repeated):
        """A body gives a graph, perhaps with a token that is no longer current, and perhaps twice."""
        self.world.run(self._expand(self.world.engines[server], token, repeated=repeated))

    @rule(server=st.integers(0, 1))
    def give_graph(self, server):
        """The body of an execution gives a graph, as one that has just been created and leased."""
        self.world.run(self._give_graph(self.world.engines[server]))

    async def _give_graph(self, engine):
        request = execution_service_pb2.ExecuteRequest(task=task_id("bounded"), inputs=inputs_of(1))
        created = (await engine.executions.create(request, record_hit=True)).record
        self.known[created.id] = Known()
        leased = await engine.claim(self.tasks["bounded"])
        assert leased is not None
        token = token_of(leased)
        self.known[leased.id].tokens.append(token)
        await self._expand(engine, token, repeated=False)

    async def _expand(self, engine, token, *, repeated):
        completion = worker_service_pb2.Completion(token=token, graph=graph())
        current = await self._is_current(token)
        before = await dump(engine.store)
        refusal = await refusal_of(engine.attempts.complete(completion, None))
        if current:
            assert refusal is None
            record = (await records(engine.store))[token[:12]]
            assert record.flags & GRAPH
            assert record.state == lifecycle.QUEUED
        else:
            assert refusal in {None, errors_pb2.ERROR_REASON_LEASE_LOST}
            assert await dump(engine.store) == before, "a stale token changes nothing"
        if repeated:
            before = await dump(engine.store)
            await refusal_of(self.world.engines[1].attempts.complete(completion, None))
            assert await dump(engine.store) == before, "a repeated completion changes nothing"

    @rule(target=drives, server=st.integers(0, 1), given_by_body=st.booleans())
    def drive(self, server, given_by_body):
        """A server takes a graph up."""
        record = self.world.run(self._lease(self.world.engines[server], given_by_body=given_by_body))
        if record is None:
            return multiple()
        assert record.flags & GRAPH
        assert record.attempt == record.failures + record.losses + 1, "it is the same attempt, whoever drives it"
        return token_of(record)

    async def _lease(self, engine: Engine, *, given_by_body: bool) -> ExecutionRecord | None:
        queue: QueueEntry = GRAPHS if given_by_body else queue_of(self.flow)
        claimed = await engine.store.claim(queue, [(identity.new_nonce(), b"server-x")], 0)
        return claimed.records[0] if claimed.records else None

    # --- graphs run

    @rule(
        target=Lifecycle.executions,
        server=st.integers(0, 1),
        token=drives,
        path=st.sampled_from(["n0", "n1"]),
        repeated=st.booleans(),
    )
    def begin_node(self, server, token, path, repeated):
        """A server begins a node of a graph, perhaps of one that it drives no longer, and perhaps twice."""
        engine = self.world.engines[server]
        begun = self.world.run(self._begin_node(engine, token, path))
        if begun is not None and repeated:
            before = self.world.run(dump(engine.store))
            assert self.world.run(self._begin_node(self.world.engines[1], token, path)) == begun
            assert self.world.run(dump(engine.store)) == before, "a node is one execution"
        return multiple() if begun is None else begun

    async def _begin_node(self, engine, token, path):
        parent, nonce = token[:12], token[12:]
        child = identity.node_execution_id(parent, path)
        found = await records(engine.store)
        current = await self._is_current(token)
        own = execution_pb2.Execution(node=path, depth=1)
        if parent in found:
            own.parent.CopyFrom(found[parent].execution.id)
        task = {"n0": "plain", "n1": "cached"}[path]
        request = execution_service_pb2.ExecuteRequest(task=task_id(task), inputs=inputs_of(0))
        terms = Terms(own.SerializeToString(), node=NodeOf(child, parent, nonce))
        before = await dump(engine.store)
        refusal: int | None = None
        try:
            admitted = await engine.executions.create(request, record_hit=True, terms=terms)
        except DomainError as error:
            refusal = error.reason
        if refusal is not None:
            assert refusal in {errors_pb2.ERROR_REASON_LEASE_LOST, *REFUSALS}
            assert current == (refusal != errors_pb2.ERROR_REASON_LEASE_LOST)
            assert await dump(engine.store) == before, "who drives a graph no longer begins nothing"
            return None
        assert admitted.record.id == child
        assert admitted.replayed == (child in found)
        assert current or admitted.replayed
        self.known.setdefault(child, Known())
        return child

    @rule(server=st.integers(0, 1), token=drives, choice=st.integers(0, 1), again=st.booleans())
    def note(self, server, token, choice, again):
        """A server notes what it has decided; the first decision stays."""
        self.world.run(self._note(self.world.engines[server], token, str(choice).encode(), again=again))

    async def _note(self, engine, token, choice, *, again):
        field = "summary" if again else "branch:n0"
        current = await self._is_current(token)
        before = await dump(engine.store)
        reply = await engine.store.run("note", token[:12], token[12:], field, choice, b"1" if again else b"")
        if not current:
            assert reply == [b"lost"]
            assert await dump(engine.store) == before, "who drives a graph no longer notes nothing"
        elif again:
            assert reply == [b"done", choice]
        else:
            assert reply == [b"done", self.noted.setdefault((token[:12], field), choice)]

    @rule(server=st.integers(0, 1), token=drives, answer=st.integers(0, 1))
    def signal(self, server, token, answer):
        """Somebody answers a gate of a graph, and somebody else otherwise; the first answer stays."""
        for each in (answer, 1 - answer):
            self.world.run(self._signal(self.world.engines[server], token[:12], str(each).encode()))

    async def _signal(self, engine, execution_id, answer):
        found = (await records(engine.store)).get(execution_id)
        before = await dump(engine.store)
        reply = await engine.store.run("signal", execution_id, "signal:x", answer)
        if found is None or lifecycle.is_terminal(found.state):
            assert reply[0] == (b"gone" if found is None else b"ended")
            assert await dump(engine.store) == before
        else:
            assert reply == [b"done", self.noted.setdefault((execution_id, "signal:x"), answer)]

    # --- graphs end

    @rule(server=st.integers(0, 1), token=drives, succeeds=st.booleans())
    def end_graph(self, server, token, succeeds):
        """A server ends a graph, perhaps one that it drives no longer."""
        self.world.run(self._end_graph(self.world.engines[server], token, succeeds=succeeds))

    async def _end_graph(self, engine, token, *, succeeds):
        found = await records(engine.store)
        record = found.get(token[:12])
        if record is None:
            return
        if succeeds and (record.state != lifecycle.RUNNING or await self._living(engine, found, record)):
            succeeds = False  # nobody ends a graph well while something of it runs
        current = await self._is_current(token)
        record.nonce = token[12:]
        value = len(self.values)
        before = await dump(engine.store)
        error = execution_pb2.TaskError(code="NodeFailed")
        ended = engine.attempts.end_graph(record, outputs_of(value) if succeeds else None, error)
        refusal = await refusal_of(ended)
        if current:
            assert refusal is None
            if succeeds:
                self.values[value] = record.id
        else:
            assert refusal in {None, errors_pb2.ERROR_REASON_LEASE_LOST}
            assert await dump(engine.store) == before, "who drives a graph no longer ends nothing"

    async def _living(self, engine, found, record) -> bool:
        children = await engine.store.call("ZRANGE", engine.store.keys.child_index(record.id), 0, -1)
        return any(child in found and not lifecycle.is_terminal(found[child].state) for child in children)

    @rule(server=st.integers(0, 1), token=drives)
    def give_back(self, server, token):
        """A server that stops gives a graph back."""
        self.world.run(self._give_back(self.world.engines[server], token))

    async def _give_back(self, engine, token):
        record = (await records(engine.store)).get(token[:12])
        if record is None or not await self._is_current(token) or record.owner != engine.store.server:
            return
        await engine.attempts.give_back(record)
        now = (await records(engine.store))[record.id]
        assert (now.state, now.attempt, now.losses) == (lifecycle.QUEUED, record.attempt, record.losses)

    @rule(server=st.integers(0, 1), token=drives)
    def cancel_driven(self, server, token):
        """Somebody cancels an execution whose graph is, or was, driven."""
        record = self.world.run(self.world.engines[server].attempts.cancel(token[:12], "enough"))
        assert record is None or lifecycle.is_terminal(record.state)

    @rule(server=st.integers(0, 1))
    def close(self, server):
        """A server ends what still runs of graphs that have ended."""
        self.world.run(self._close(self.world.engines[server]))

    async def _close(self, engine):
        for execution_id in await engine.store.call("ZRANGE", engine.store.keys.graphs_to_close, 0, -1):
            await engine.closing._close(execution_id)

    async def _finish_all(self) -> None:
        one, other = self.world.engines
        await other.loops._reap(one.store.server)
        await one.loops._reap(other.store.server)
        for given_by_body in (True, False):
            while (record := await self._lease(one, given_by_body=given_by_body)) is not None:
                await self._end_graph(one, token_of(record), succeeds=True)
        while await one.store.call("ZCARD", one.store.keys.graphs_to_close):
            await self._close(one)
        keyspace = await self._holds()
        for parent, children in keyspace.children.items():
            if lifecycle.is_terminal(keyspace.records[parent].state):
                found = [keyspace.records[child] for child in children if child in keyspace.records]
                assert all(lifecycle.is_terminal(each.state) for each in found)
        await super()._finish_all()


def test_any_order_of_calls_keeps_the_promises_of_graphs(world: World) -> None:
    """One attempt whoever drives, nothing from who drives no longer, nothing left of what has ended."""
    GraphLifecycle.world = world
    run_state_machine_as_test(
        GraphLifecycle,
        settings=settings(
            max_examples=60,
            stateful_step_count=50,
            deadline=None,
            derandomize=True,
            phases=(Phase.explicit, Phase.generate),
            suppress_health_check=list(HealthCheck),
        ),
    )
