"""Every reason for refusing a request, raised once through the wire: status, details, and that nothing was stored."""

from __future__ import annotations

import hashlib
import os
import shutil
import signal
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from graph.service import bound, graph, node, number, promise
from lacewing.v1 import (
    blob_service_pb2,
    cache_service_pb2,
    errors_pb2,
    execution_service_pb2,
    graph_pb2,
    identifiers_pb2,
    project_pb2,
    project_service_pb2,
    task_service_pb2,
    worker_service_pb2,
)
from lacewing_server.domain import identity
from server.contract import Refusal, promises, read_request_error, refusal_of, refusal_of_stream
from server.world import PREFIX, Stubs, World, completion, connect, execution, registration, run_world

# The one that leaves a traceback in the log comes last.
REASONS = sorted(
    (name.removeprefix("ERROR_REASON_") for name, number in errors_pb2.ErrorReason.items() if number),
    key=lambda name: name == "INTERNAL",
)

TaskId = identifiers_pb2.TaskId
ExecutionId = identifiers_pb2.ExecutionId


@dataclass
class Case:
    """What a case of the walk works with."""

    world: World
    stubs: Stubs

    async def refused(self, call: Callable[[], Awaitable[object]]) -> Refusal:
        """Makes a call that has to be refused and to leave nothing in the store."""
        before = self.world.contents()
        refusal = await refusal_of(call())
        assert self.world.contents() == before
        return refusal


CASES: dict[str, Callable[[Case], Awaitable[Refusal]]] = {}


def raises(reason: errors_pb2.ErrorReason.ValueType) -> Callable[..., None]:
    """Names the reason that a case raises."""

    def note(case: Callable[[Case], Awaitable[Refusal]]) -> None:
        name = errors_pb2.ErrorReason.Name(reason).removeprefix("ERROR_REASON_")
        assert name not in CASES
        CASES[name] = case

    return note


@pytest.fixture(scope="module")
def world() -> Iterator[World]:
    with run_world() as world:
        yield world


@pytest.fixture
async def case(world: World) -> AsyncIterator[Case]:
    async with connect(world.server.address) as stubs:
        yield Case(world, stubs)


@pytest.mark.parametrize("reason", REASONS)
async def test_each_reason_is_raised_through_the_wire(reason: str, case: Case) -> None:
    """A reason comes with the status, the metadata and the details that its comment promises; nothing is stored."""
    refusal = await CASES[reason](case)
    assert refusal.reason == reason
    assert "Traceback" not in case.world.server.log or reason == "INTERNAL"


def test_the_walk_covers_the_whole_enum() -> None:
    """A reason that is added without a case, or without a promise that can be read, fails here."""
    assert set(CASES) == set(REASONS)
    assert set(promises()) == set(REASONS)


@raises(errors_pb2.ERROR_REASON_FIELD_INVALID)
async def _field_invalid(case: Case) -> Refusal:
    refusal = await case.refused(lambda: case.stubs.tasks.RegisterTask(registration(" bad ", version="a b")))
    assert set(refusal.violations) == {"id.name", "id.version"}
    return refusal


@raises(errors_pb2.ERROR_REASON_INPUTS_INVALID)
async def _inputs_invalid(case: Case) -> Refusal:
    await case.stubs.register("walk-inputs")
    refusal = await case.refused(
        lambda: case.stubs.executions.Execute(execution("walk-inputs", inputs_json={"n": "x"}))
    )
    assert refusal.metadata == {"task": "default/development/walk-inputs@1"}
    assert set(refusal.violations) == {"inputs.n"}
    return refusal


@raises(errors_pb2.ERROR_REASON_OUTPUTS_INVALID)
async def _outputs_invalid(case: Case) -> Refusal:
    await case.stubs.register("walk-outputs")
    created = await case.stubs.create("walk-outputs")
    lease = await case.stubs.lease("walk-outputs")
    request = worker_service_pb2.CompleteLeasesRequest(completions=[completion(lease.token, "no integer")])
    response = await case.stubs.workers.CompleteLeases(request)
    refusal = read_request_error(response.results[0].error)
    assert refusal.metadata == {
        "execution": f"default/development/{created.id.name}",
        "task": "default/development/walk-outputs@1",
    }
    assert set(refusal.violations) == {"outputs.o0"}
    return refusal


@raises(errors_pb2.ERROR_REASON_PAGE_TOKEN_INVALID)
async def _page_token_invalid(case: Case) -> Refusal:
    request = execution_service_pb2.ListExecutionsRequest(page_token="garbage")
    return await case.refused(lambda: case.stubs.executions.ListExecutions(request))


@raises(errors_pb2.ERROR_REASON_PROTOCOL_VIOLATED)
async def _protocol_violated(case: Case) -> Refusal:
    before = case.world.contents()
    refusal = await refusal_of_stream(case.stubs.workers.Work(), worker_service_pb2.WorkRequest(credit=1))
    assert case.world.contents() == before
    return refusal


@raises(errors_pb2.ERROR_REASON_PROJECT_NOT_FOUND)
async def _project_not_found(case: Case) -> Refusal:
    request = registration("walk")
    request.id.project = "nowhere"
    refusal = await case.refused(lambda: case.stubs.tasks.RegisterTask(request))
    assert refusal.metadata == {"project": "nowhere"}
    return refusal


@raises(errors_pb2.ERROR_REASON_DOMAIN_NOT_FOUND)
async def _domain_not_found(case: Case) -> Refusal:
    request = registration("walk")
    request.id.domain = "moon"
    refusal = await case.refused(lambda: case.stubs.tasks.RegisterTask(request))
    assert refusal.metadata == {"domain": "moon", "configured": "development,staging,production"}
    return refusal


@raises(errors_pb2.ERROR_REASON_TASK_NOT_FOUND)
async def _task_not_found(case: Case) -> Refusal:
    await case.stubs.register("walk-known")
    refusal = await case.refused(lambda: case.stubs.executions.Execute(execution("walk-knwon")))
    assert refusal.metadata == {"task": "default/development/walk-knwon", "nearest": "walk-known"}
    assert 'did you mean "walk-known"?' in refusal.message
    return refusal


@raises(errors_pb2.ERROR_REASON_TASK_VERSION_NOT_FOUND)
async def _task_version_not_found(case: Case) -> Refusal:
    await case.stubs.register("walk-versions")
    request = execution("walk-versions", task={"name": "walk-versions", "version": "2"})
    refusal = await case.refused(lambda: case.stubs.executions.Execute(request))
    assert refusal.metadata == {"task": "default/development/walk-versions@2", "latest": "1"}
    return refusal


@raises(errors_pb2.ERROR_REASON_EXECUTION_NOT_FOUND)
async def _execution_not_found(case: Case) -> Refusal:
    request = execution_service_pb2.GetExecutionRequest(id=ExecutionId(name="nobody"))
    refusal = await case.refused(lambda: case.stubs.executions.GetExecution(request))
    assert refusal.metadata == {"execution": "default/development/nobody"}
    return refusal


@raises(errors_pb2.ERROR_REASON_CACHE_ENTRY_NOT_FOUND)
async def _cache_entry_not_found(case: Case) -> Refusal:
    await case.stubs.register("walk-cache", template={"metadata": {"discoverable": True, "discoveryVersion": "1"}})
    only = execution("walk-cache", cache_mode="CACHE_MODE_ONLY")
    refusal = await case.refused(lambda: case.stubs.executions.Execute(only))
    assert refusal.metadata == {"task": "default/development/walk-cache@1"}
    key = "0" * 32
    refusal = await case.refused(
        lambda: case.stubs.cache.GetCacheEntry(cache_service_pb2.GetCacheEntryRequest(key=key))
    )
    assert refusal.metadata == {"key": key}
    return refusal


@raises(errors_pb2.ERROR_REASON_TASK_VERSION_CONFLICT)
async def _task_version_conflict(case: Case) -> Refusal:
    await case.stubs.register("walk-conflict")
    other = registration("walk-conflict", template={"metadata": {"retries": {"retries": 3}}})
    refusal = await case.refused(lambda: case.stubs.tasks.RegisterTask(other))
    assert refusal.metadata["task"] == "default/development/walk-conflict@1"
    assert refusal.metadata["existing_digest"] != refusal.metadata["given_digest"]
    assert refusal.violations == {"spec.template.metadata.retries.retries": "is 3, registered is 0"}
    return refusal


@raises(errors_pb2.ERROR_REASON_EXECUTION_CONFLICT)
async def _execution_conflict(case: Case) -> Refusal:
    await case.stubs.register("walk-replay")
    await case.stubs.create("walk-replay", name="walk-replay-1")
    other = execution("walk-replay", name="walk-replay-1", inputs_json={"n": 2})
    refusal = await case.refused(lambda: case.stubs.executions.Execute(other))
    assert refusal.metadata == {"execution": "default/development/walk-replay-1"}
    return refusal


@raises(errors_pb2.ERROR_REASON_PROJECT_ALREADY_EXISTS)
async def _project_already_exists(case: Case) -> Refusal:
    request = project_service_pb2.CreateProjectRequest(project=project_pb2.Project(id="default"))
    refusal = await case.refused(lambda: case.stubs.projects.CreateProject(request))
    assert refusal.metadata == {"project": "default"}
    return refusal


@raises(errors_pb2.ERROR_REASON_PROJECT_ARCHIVED)
async def _project_archived(case: Case) -> Refusal:
    project = project_pb2.Project(id="walk-attic")
    await case.stubs.projects.CreateProject(project_service_pb2.CreateProjectRequest(project=project))
    request = registration("walk")
    request.id.project = project.id
    await case.stubs.tasks.RegisterTask(request)
    project.state = project_pb2.Project.STATE_ARCHIVED
    await case.stubs.projects.UpdateProject(project_service_pb2.UpdateProjectRequest(project=project))
    run = execution("walk", task={"project": "walk-attic", "name": "walk"})
    refusal = await case.refused(lambda: case.stubs.executions.Execute(run))
    request.id.version = "2"
    assert refusal.metadata == {"project": "walk-attic"}
    assert refusal == await case.refused(lambda: case.stubs.tasks.RegisterTask(request))
    return refusal


@raises(errors_pb2.ERROR_REASON_TASK_ARCHIVED)
async def _task_archived(case: Case) -> Refusal:
    await case.stubs.register("walk-archived")
    await case.stubs.tasks.ArchiveTask(task_service_pb2.ArchiveTaskRequest(id=TaskId(name="walk-archived")))
    refusal = await case.refused(lambda: case.stubs.executions.Execute(execution("walk-archived")))
    assert refusal.metadata == {"task": "default/development/walk-archived"}
    return refusal


@raises(errors_pb2.ERROR_REASON_LEASE_LOST)
async def _lease_lost(case: Case) -> Refusal:
    await case.stubs.register("walk-lease")
    created = await case.stubs.create("walk-lease")
    lease = await case.stubs.lease("walk-lease")
    cancel = execution_service_pb2.CancelExecutionRequest(id=created.id)
    await case.stubs.executions.CancelExecution(cancel)
    before = case.world.contents()
    request = worker_service_pb2.CompleteLeasesRequest(completions=[completion(lease.token)])
    response = await case.stubs.workers.CompleteLeases(request)
    assert case.world.contents() == before
    refusal = read_request_error(response.results[0].error)
    assert refusal.metadata == {"execution": f"default/development/{created.id.name}"}
    return refusal


@raises(errors_pb2.ERROR_REASON_VALUE_TOO_LARGE)
async def _value_too_large(case: Case) -> Refusal:
    request = registration("walk-large")
    request.spec.template.custom["text"] = "x" * (1 << 20)
    refusal = await case.refused(lambda: case.stubs.tasks.RegisterTask(request))
    size = str(request.spec.ByteSize())
    assert refusal.metadata == {"field": "spec", "bytes": size, "limit": str(1 << 20)}
    return refusal


@raises(errors_pb2.ERROR_REASON_QUEUE_FULL)
async def _queue_full(case: Case) -> Refusal:
    await case.stubs.register("walk-queue", policy={"max_queued": 1})
    await case.stubs.create("walk-queue")
    refusal = await case.refused(lambda: case.stubs.create("walk-queue"))
    assert refusal.metadata == {"task": "default/development/walk-queue@1", "limit": "1"}
    return refusal


@raises(errors_pb2.ERROR_REASON_STORE_FULL)
async def _store_full(case: Case) -> Refusal:
    await case.stubs.register("walk-full")
    case.world.store.config_set("maxmemory", 1)
    try:
        return await case.refused(lambda: case.stubs.create("walk-full"))
    finally:
        case.world.store.config_set("maxmemory", 0)


@raises(errors_pb2.ERROR_REASON_STORE_UNAVAILABLE)
async def _store_unavailable(case: Case) -> Refusal:
    with run_world() as world:
        world.valkey.stop()
        async with connect(world.server.address) as stubs:
            return await refusal_of(stubs.tasks.RegisterTask(registration("walk")))


@raises(errors_pb2.ERROR_REASON_SHUTTING_DOWN)
async def _shutting_down(case: Case) -> Refusal:
    with run_world() as world:
        async with connect(world.server.address) as stubs:
            await stubs.register("walk")
            call = stubs.executions.Execute(execution("walk", request_id="walk"))
            await stubs.lease("walk")
            os.kill(world.server.pid, signal.SIGTERM)
            refusal = await refusal_of(call)
    assert refusal.metadata.keys() == {"execution"}
    return refusal


@raises(errors_pb2.ERROR_REASON_INTERNAL)
async def _internal(case: Case) -> Refusal:
    await case.stubs.register("walk-broken")
    created = await case.stubs.create("walk-broken", name="walk-broken-1")
    key = PREFIX + b"x:" + identity.execution_id_of("default", "development", created.id.name)
    intact: Any = case.world.store.getset(key, b"secret")
    request = execution_service_pb2.GetExecutionRequest(id=created.id)
    refusal = await case.refused(lambda: case.stubs.executions.GetExecution(request))
    case.world.store.set(key, intact)
    assert f"error {refusal.metadata['error_id']}" in case.world.server.log
    assert "secret" not in str(refusal)
    return refusal


@raises(errors_pb2.ERROR_REASON_BLOB_NOT_FOUND)
async def _blob_not_found(case: Case) -> Refusal:
    request = blob_service_pb2.DownloadBlobRequest(digest="0" * 64)
    refusal = await case.refused(lambda: case.stubs.blobs.DownloadBlob(request).read())
    assert refusal.metadata == {"digest": "0" * 64}
    assert refusal == await case.refused(
        lambda: case.stubs.blobs.GetBlob(blob_service_pb2.GetBlobRequest(digest="0" * 64))
    )
    return refusal


@raises(errors_pb2.ERROR_REASON_BLOB_DIGEST_MISMATCH)
async def _blob_digest_mismatch(case: Case) -> Refusal:
    refusal = await case.refused(lambda: case.stubs.blobs.UploadBlob(iter(upload(b"other"))))
    assert refusal.metadata == {"digest": upload(b"other")[0].header.digest}
    return refusal


@raises(errors_pb2.ERROR_REASON_BLOB_STORE_UNAVAILABLE)
async def _blob_store_unavailable(case: Case) -> Refusal:
    with tempfile.TemporaryDirectory() as directory, run_world(blob_url=f"file://{directory}/blobs") as world:
        shutil.rmtree(f"{directory}/blobs")
        async with connect(world.server.address) as stubs:
            refusal = await refusal_of_stream(stubs.blobs.UploadBlob(), upload(b"some")[0])
        assert directory not in str(refusal)
        assert directory in world.server.log
        return refusal


def upload(sent: bytes) -> list[blob_service_pb2.UploadBlobRequest]:
    """An upload of ``some`` that sends other bytes."""
    header = blob_service_pb2.UploadBlobRequest.Header(digest=hashlib.sha256(b"some").hexdigest(), size_bytes=len(sent))
    return [blob_service_pb2.UploadBlobRequest(header=header), blob_service_pb2.UploadBlobRequest(chunk=sent)]


def workflow(name: str, *nodes: dict[str, Any]) -> task_service_pb2.RegisterTaskRequest:
    """A registration of a workflow that gives the output of its last node."""
    return registration(name, template={"type": "workflow"}, graph=graph(*nodes))


@raises(errors_pb2.ERROR_REASON_GRAPH_INVALID)
async def _graph_invalid(case: Case) -> Refusal:
    request = workflow("walk-graph", node("a", "walk-nobody"), node("a", "walk-nobody"))
    refusal = await case.refused(lambda: case.stubs.tasks.RegisterTask(request))
    assert refusal.metadata["task"] == "default/development/walk-graph@1"
    assert any(path.startswith("spec.graph.workflow.nodes[1]") for path in refusal.violations)
    return refusal


@raises(errors_pb2.ERROR_REASON_GRAPH_NOT_FOUND)
async def _graph_not_found(case: Case) -> Refusal:
    await case.stubs.register("walk-no-graph")
    created = await case.stubs.create("walk-no-graph")
    request = execution_service_pb2.GetGraphRequest(id=created.id)
    return await case.refused(lambda: case.stubs.executions.GetGraph(request))


async def _gated(case: Case, name: str) -> ExecutionId:
    """An execution that waits at a gate, behind which a node waits for a worker that never comes."""
    gate = {"id": "gate", "gate_node": {"approve": {"signal_id": "release"}}, "inputs": bound(n=number(1))}
    await case.stubs.register("walk-held")
    await case.stubs.tasks.RegisterTask(workflow(name, gate, node("after", "walk-held", n=promise("gate", "n"))))
    created = await case.stubs.create(name)
    await _begun(case, created.id, "gate")
    return created.id


_BEGUN = {graph_pb2.NodeStatus.STATE_QUEUED, graph_pb2.NodeStatus.STATE_RUNNING}


async def _begun(case: Case, execution_id: ExecutionId, path: str) -> None:
    """Waits until a node has begun, so that what it stores is stored."""
    request = execution_service_pb2.WatchExecutionRequest(id=execution_id, nodes=True)
    async for response in case.stubs.executions.WatchExecution(request):
        if any(each.path == path and each.state in _BEGUN for each in response.nodes):
            return
    raise AssertionError(f"the graph ended without {path}")


def _answer(execution_id: ExecutionId, signal_id: str, *, agrees: bool) -> execution_service_pb2.SignalExecutionRequest:
    request = execution_service_pb2.SignalExecutionRequest(id=execution_id, signal_id=signal_id)
    request.value.scalar.primitive.boolean = agrees
    return request


@raises(errors_pb2.ERROR_REASON_SIGNAL_NOT_FOUND)
async def _signal_not_found(case: Case) -> Refusal:
    gated = await _gated(case, "walk-signal")
    refusal = await refusal_of(case.stubs.executions.SignalExecution(_answer(gated, "relaese", agrees=True)))
    assert refusal.metadata["similar"] == "release"
    return refusal


@raises(errors_pb2.ERROR_REASON_SIGNAL_CONFLICT)
async def _signal_conflict(case: Case) -> Refusal:
    gated = await _gated(case, "walk-answered")
    await case.stubs.executions.SignalExecution(_answer(gated, "release", agrees=True))
    await _begun(case, gated, "after")
    return await refusal_of(case.stubs.executions.SignalExecution(_answer(gated, "release", agrees=False)))


@raises(errors_pb2.ERROR_REASON_EXECUTION_ENDED)
async def _execution_ended(case: Case) -> Refusal:
    gated = await _gated(case, "walk-ended")
    await case.stubs.executions.CancelExecution(execution_service_pb2.CancelExecutionRequest(id=gated))
    refusal = await refusal_of(case.stubs.executions.SignalExecution(_answer(gated, "release", agrees=True)))
    assert refusal.metadata["state"] == "CANCELLED"
    return refusal


@raises(errors_pb2.ERROR_REASON_EXECUTION_NOT_FAILED)
async def _execution_not_failed(case: Case) -> Refusal:
    await case.stubs.register("walk-queued")
    created = await case.stubs.create("walk-queued")
    request = execution_service_pb2.RetryExecutionRequest(id=created.id)
    refusal = await case.refused(lambda: case.stubs.executions.RetryExecution(request))
    assert refusal.metadata["state"] == "QUEUED"
    return refusal
