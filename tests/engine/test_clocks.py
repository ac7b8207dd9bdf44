"""Timeouts that do what they say: four clocks, each with its own code, each judged by the server."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from google.protobuf import json_format

from engine.service import Attempt, Execution, Service, StreamWorker, eventually, value
from lacewing.v1 import execution_service_pb2, project_service_pb2, worker_service_pb2
from lacewing_server.domain import identity
from lacewing_server.store.redis import codec
from lacewing_server.testing import start_server
from lacewing_server.valkey import EmbeddedValkey
from server.world import PREFIX, World, acquisition, completion, connect, execution, registration, run_world

QUEUED, RUNNING, SUCCEEDED = Execution.STATE_QUEUED, Execution.STATE_RUNNING, Execution.STATE_SUCCEEDED
TIMED_OUT, FAILED = Execution.STATE_TIMED_OUT, Execution.STATE_FAILED
Reason = worker_service_pb2.Revocation
LONG = {"lease_duration": "3600s"}


async def test_the_attempt_timeout_counts_as_a_failure_and_is_retried(service: Service) -> None:
    """The first attempt outlives 20 s and is TIMED_OUT, the second one succeeds."""
    task = await service.register(
        metadata={"timeout": "20s", "retries": {"retries": 1}}, policy={"backoff": {"initial": "0s"}}
    )
    created = await service.create(task)
    lease = await service.lease(task, **LONG)
    assert lease.attempt_timeout.ToSeconds() == 20
    service.advance(19)
    assert (await service.get(created)).state == RUNNING
    service.advance(1)
    queued = await service.until(created, QUEUED)
    assert (queued.failure_count, queued.loss_count, queued.error.code) == (1, 0, "AttemptTimeout")
    assert (await service.succeed(lease, 666)).HasField("error"), "it came too late"
    await service.run(task, 5)
    assert value(await service.get(created)) == 5
    assert [each.state for each in await service.attempts(created)] == [
        Attempt.STATE_TIMED_OUT,
        Attempt.STATE_SUCCEEDED,
    ]


async def test_the_last_attempt_timeout_ends_the_execution(service: Service) -> None:
    """It is TIMED_OUT, not FAILED, and says after how many seconds."""
    task = await service.register(metadata={"timeout": "20s"})
    created = await service.create(task)
    await service.lease(task, **LONG)
    service.advance(21)
    found = await service.wait(created)
    assert (found.state, found.error.code, found.failure_count) == (TIMED_OUT, "AttemptTimeout", 1)
    assert "20 s" in found.error.message


async def test_without_a_timeout_the_default_applies(service: Service) -> None:
    """One hour, unless the server is set otherwise; registration warns of it."""
    task = await service.register()
    created = await service.create(task)
    lease = await service.lease(task, **LONG)
    assert lease.attempt_timeout.ToSeconds() == 3600
    service.advance(3599)
    assert (await service.get(created)).state == RUNNING
    service.advance(1)
    assert (await service.wait(created)).error.code == "AttemptTimeout"


async def test_a_project_may_set_the_default_for_its_tasks(service: Service) -> None:
    """One for the project, another for one of its domains; a task that declares its own keeps that."""
    project = {
        "id": "impatient",
        "defaults": {"task": {"attempt_timeout": "20s"}, "domains": {"production": {"attempt_timeout": "5s"}}},
    }
    create = json_format.ParseDict({"project": project}, project_service_pb2.CreateProjectRequest())
    await service.stubs.projects.CreateProject(create)
    for domain, declared, expected in (
        ("development", "", 20),
        ("production", "", 5),
        ("staging", "", 20),
        ("production", "7s", 7),
    ):
        name = f"timeout-of-{domain}-{declared}"
        metadata = {"timeout": declared} if declared else {}
        registered = registration(name, template={"metadata": metadata})
        request = execution(name)
        acquire = acquisition(name, **LONG)
        for part in (registered.id, request.task, acquire.offer):
            part.project, part.domain = "impatient", domain
        await service.stubs.tasks.RegisterTask(registered)
        create_execution = execution_service_pb2.CreateExecutionRequest(request=request)
        created = (await service.stubs.executions.CreateExecution(create_execution)).execution
        (lease,) = (await service.stubs.workers.AcquireLeases(acquire)).leases
        assert lease.attempt_timeout.ToSeconds() == expected
        service.advance(expected - 1)
        assert (await service.get(created)).state == RUNNING
        service.advance(1)
        found = await service.wait(created)
        assert (found.state, found.error.code) == (TIMED_OUT, "AttemptTimeout")


async def test_a_worker_may_report_the_timeout_itself(service: Service) -> None:
    """With where the body was; it counts the same."""
    task = await service.register(metadata={"timeout": "20s"})
    created = await service.create(task)
    completed = worker_service_pb2.Completion(token=(await service.lease(task)).token)
    completed.timed_out.stack_trace = "in the loop"
    assert not (await service.report(completed)).HasField("error")
    found = await service.get(created)
    assert (found.state, found.error.code, found.error.stack_trace) == (TIMED_OUT, "AttemptTimeout", "in the loop")


async def test_a_timed_out_attempt_on_a_stream_is_revoked(service: Service) -> None:
    """The worker is told, so that the body really stops."""
    task = await service.register(metadata={"timeout": "20s"})
    await service.create(task)
    worker = await StreamWorker(service.stubs, task).connect()
    lease = await worker.lease()
    service.advance(21)
    revoked = await worker.revocation()
    assert (revoked.token, revoked.reason) == (lease.token, Reason.REASON_TIMED_OUT)
    assert (await worker.succeed(lease, 666)).HasField("error")
    worker.close()


async def test_the_queue_timeout_runs_until_a_worker_takes_it(service: Service) -> None:
    """Nobody came within 20 s: TIMED_OUT with its own code, without an attempt."""
    task = await service.register(policy={"queue_timeout": "20s"})
    created = await service.create(task)
    service.advance(19)
    assert (await service.get(created)).state == QUEUED
    service.advance(1)
    found = await service.wait(created)
    assert (found.state, found.error.code, found.attempt_count) == (TIMED_OUT, "QueueTimeout", 0)
    await service.no_lease(task)


async def test_the_queue_timeout_begins_anew_and_not_during_a_backoff(service: Service) -> None:
    """A back-off of 60 s is not waiting for a worker; after it 20 s are counted again."""
    task = await service.register(
        metadata={"retries": {"retries": 1}, "timeout": "1000s"},
        policy={"queue_timeout": "20s", "backoff": {"initial": "60s", "jitter": "JITTER_NONE"}},
    )
    created = await service.create(task)
    lease = await service.lease(task, **LONG)
    service.advance(100)
    assert (await service.get(created)).state == RUNNING, "it does not run while an attempt does"
    await service.fail(lease)
    service.advance(59)
    assert (await service.get(created)).state == QUEUED
    service.advance(1)
    ready = await service.until(created, QUEUED)
    while ready.HasField("retry_time"):
        ready = await service.get(created)
    service.advance(19)
    assert (await service.get(created)).state == QUEUED
    service.advance(1)
    assert (await service.wait(created)).error.code == "QueueTimeout"


async def test_the_deadline_revokes_the_running_attempt(service: Service) -> None:
    """However many retries are left; the attempt is recorded as cancelled."""
    task = await service.register(metadata={"retries": {"retries": 5}}, policy={"deadline": "20s"})
    created = await service.create(task)
    worker = await StreamWorker(service.stubs, task).connect()
    lease = await worker.lease()
    assert lease.HasField("deadline")
    service.advance(21)
    revoked = await worker.revocation()
    assert (revoked.token, revoked.reason) == (lease.token, Reason.REASON_TIMED_OUT)
    found = await service.wait(created)
    assert (found.state, found.error.code, found.failure_count) == (TIMED_OUT, "DeadlineExceeded", 0)
    assert [each.state for each in await service.attempts(created)] == [Attempt.STATE_CANCELLED]
    assert (await worker.succeed(lease, 666)).HasField("error")
    worker.close()


async def test_the_deadline_runs_through_queue_and_backoff(service: Service) -> None:
    """From creation to the end, all waits included; a retry that would come later does not happen."""
    task = await service.register(
        metadata={"retries": {"retries": 5}},
        policy={"deadline": "30s", "backoff": {"initial": "100s", "jitter": "JITTER_NONE"}},
    )
    created = await service.create(task)
    service.advance(10)
    await service.fail(await service.lease(task))
    service.advance(19)
    assert (await service.get(created)).state == QUEUED
    service.advance(1)
    assert (await service.wait(created)).error.code == "DeadlineExceeded"


@pytest.mark.parametrize(("requested", "end"), [("10s", 10), ("60s", 30)])
async def test_the_shorter_deadline_rules(service: Service, requested: str, end: int) -> None:
    """That of the task or that of the request."""
    task = await service.register(policy={"deadline": "30s"})
    created = await service.create(task, deadline=requested)
    service.advance(end - 1)
    assert (await service.get(created)).state == QUEUED
    service.advance(1)
    found = await service.wait(created)
    assert found.error.code == "DeadlineExceeded"
    assert f"{end} s" in found.error.message


async def test_an_unary_lease_lives_as_long_as_it_is_extended(service: Service) -> None:
    """Extended twice it outlives its first 30 s; not extended, it is lost and given to another worker."""
    task = await service.register()
    created = await service.create(task)
    lease = await service.lease(task)
    for _ in range(2):
        service.advance(20)
        response = await service.stubs.workers.ExtendLeases(
            worker_service_pb2.ExtendLeasesRequest(heartbeats=[worker_service_pb2.Heartbeat(token=lease.token)])
        )
        assert not response.extensions[0].HasField("error")
    assert (await service.get(created)).state == RUNNING
    service.advance(31)
    assert (await service.lease(task)).attempt == 2
    response = await service.stubs.workers.ExtendLeases(
        worker_service_pb2.ExtendLeasesRequest(heartbeats=[worker_service_pb2.Heartbeat(token=lease.token)])
    )
    assert response.extensions[0].error.message.startswith("the lease is no longer current")
    assert (await service.attempts(created))[0].state == Attempt.STATE_LOST


# --- what takes real time: a stream's heartbeat, and clocks that fire by themselves


@pytest.fixture(scope="module")
def hasty() -> Iterator[World]:
    """A server with short defaults."""
    with run_world(
        tick=0.01,
        attempt_timeout=0.2,
        lease_duration=0.6,
        heartbeat_interval=0.1,
        server_lease=0.6,
        reconnect_grace=0.1,
    ) as world:
        yield world


async def test_the_default_attempt_timeout_can_be_set(hasty: World) -> None:
    """And fires in real time, within a few ticks."""
    async with connect(hasty.server.address) as stubs:
        service = Service(hasty, stubs, "default-timeout")
        task = await service.register()
        created = await service.create(task)
        lease = await service.lease(task, **LONG)
        assert lease.attempt_timeout.ToMilliseconds() == 200
        found = await service.wait(created)
        assert (found.state, found.error.code) == (TIMED_OUT, "AttemptTimeout")
        span = found.end_time.ToMilliseconds() - found.start_time.ToMilliseconds()
        assert span >= 200


async def test_a_silent_stream_loses_its_attempts(hasty: World) -> None:
    """A worker that is connected but says nothing is given up: LOST, and the next worker gets it."""
    async with connect(hasty.server.address) as stubs, connect(hasty.server.address) as others:
        service = Service(hasty, stubs, "silent")
        task = await service.register(metadata={"timeout": "60s"})
        created = await service.create(task)
        silent = await StreamWorker(others, task, name="silent").connect()
        lease = await silent.lease()
        assert (await service.lease(task)).attempt == 2
        (lost, _) = await service.attempts(created)
        assert (lost.state, lost.error.code, lost.worker) == (Attempt.STATE_LOST, "LeaseLost", "silent")
        assert (await service.succeed(lease, 666)).HasField("error")
        silent.close()


async def test_heartbeats_keep_a_stream_and_its_attempts_alive(hasty: World) -> None:
    """Longer than twice as long as a lease lives without them."""
    async with connect(hasty.server.address) as stubs:
        service = Service(hasty, stubs, "beating")
        task = await service.register(metadata={"timeout": "60s"})
        created = await service.create(task)
        worker = await StreamWorker(stubs, task).connect()
        assert worker.welcome.lease_duration.ToMilliseconds() == 600
        lease = await worker.lease()
        for _ in range(30):
            await asyncio.sleep(0.05)
            await worker.send(heartbeats=[worker_service_pb2.Heartbeat(token=lease.token)])
        await worker.send(completions=[completion(lease.token, 5)])
        found = await service.wait(created)
        assert (found.state, value(found), found.loss_count) == (SUCCEEDED, 5, 0)
        worker.close()


async def test_clocks_go_on_when_a_domain_is_no_longer_configured() -> None:
    """Its executions still end, and never keep those of other domains waiting."""
    with tempfile.TemporaryDirectory(prefix="lw") as directory:
        valkey = EmbeddedValkey(Path(directory), persist=False)
        try:
            ends = []
            with start_server(redis=valkey.url, domains="development,retired") as server:
                async with connect(server.address) as stubs:
                    service = Service(World(valkey, server), stubs, "retired")
                    for domain in ("development", "retired"):
                        task = await service.register(metadata={"timeout": "20s"}, domain=domain)
                        request = execution(task)
                        request.task.domain = domain
                        created = await service.stubs.executions.CreateExecution(
                            execution_service_pb2.CreateExecutionRequest(request=request)
                        )
                        acquire = acquisition(task, lease_duration="3600s")
                        acquire.offer.domain = domain
                        assert (await service.stubs.workers.AcquireLeases(acquire)).leases
                        ends.append(created.execution)
                    service.world.store.close()
            with start_server(redis=valkey.url, domains="development", tick=0.01) as server:
                async with connect(server.address) as stubs:
                    service = Service(World(valkey, server), stubs, "retired")
                    service.advance(21)
                    assert (await service.wait(ends[0])).error.code == "AttemptTimeout"

                    async def has_ended() -> bool:
                        value: Any = service.world.store.get(_key_of(ends[1]))
                        return codec.unpack_record(b"", value).state == TIMED_OUT

                    await eventually(has_ended)
                    service.world.store.close()
        finally:
            valkey.stop()


def _key_of(of: Execution) -> bytes:
    return PREFIX + b"x:" + identity.execution_id_of(of.id.project, of.id.domain, of.id.name)
