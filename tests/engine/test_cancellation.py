"""Cancellation, in every state."""

from __future__ import annotations

import asyncio

from engine.service import Attempt, Execution, Service, StreamWorker, value
from lacewing.v1 import execution_service_pb2, worker_service_pb2
from server.contract import refusal_of
from server.world import execution

QUEUED, RUNNING, CANCELLED = Execution.STATE_QUEUED, Execution.STATE_RUNNING, Execution.STATE_CANCELLED
SUCCEEDED, FAILED = Execution.STATE_SUCCEEDED, Execution.STATE_FAILED


async def test_a_queued_execution_is_cancelled_at_once(service: Service) -> None:
    """No worker ever sees it, and its message is the given reason."""
    task = await service.register()
    created = await service.create(task)
    found = await service.cancel(created, "not needed")
    assert (found.state, found.error.code, found.error.message) == (CANCELLED, "Cancelled", "not needed")
    assert found.attempt_count == 0
    assert not await service.attempts(created)
    await service.no_lease(task)


async def test_a_running_attempt_is_revoked(service: Service) -> None:
    """It is CANCELLED when the call returns; the worker is told, and what it reports later is refused."""
    task = await service.register(metadata={"retries": {"retries": 5}})
    created = await service.create(task)
    worker = await StreamWorker(service.stubs, task).connect()
    lease = await worker.lease()
    assert (await service.cancel(created)).state == CANCELLED
    revoked = await worker.revocation()
    assert (revoked.token, revoked.reason) == (lease.token, worker_service_pb2.Revocation.REASON_CANCELLED)
    assert (await worker.succeed(lease, 666)).HasField("error")
    assert (await service.get(created)).state == CANCELLED
    (attempt,) = await service.attempts(created)
    assert (attempt.state, attempt.error.code) == (Attempt.STATE_CANCELLED, "Cancelled")
    worker.close()


async def test_a_unary_worker_learns_of_it_when_it_extends(service: Service) -> None:
    """There is no stream to tell it by."""
    task = await service.register()
    created = await service.create(task)
    lease = await service.lease(task)
    await service.cancel(created)
    response = await service.stubs.workers.ExtendLeases(
        worker_service_pb2.ExtendLeasesRequest(heartbeats=[worker_service_pb2.Heartbeat(token=lease.token)])
    )
    assert response.extensions[0].HasField("error")
    assert (await service.succeed(lease, 666)).HasField("error")


async def test_an_execution_that_waits_out_a_backoff_is_cancelled(service: Service) -> None:
    """The retry does not happen; the failure before stays in the list of attempts."""
    task = await service.register(
        metadata={"retries": {"retries": 1}}, policy={"backoff": {"initial": "10s", "jitter": "JITTER_NONE"}}
    )
    created = await service.create(task)
    await service.fail(await service.lease(task))
    assert (await service.cancel(created)).state == CANCELLED
    service.advance(11)
    await service.no_lease(task)
    assert [each.state for each in await service.attempts(created)] == [Attempt.STATE_FAILED]


async def test_cancelling_after_the_end_answers_with_the_end(service: Service) -> None:
    """Whatever it was; nothing changes, not even the revision."""
    task = await service.register()
    created = await service.create(task)
    await service.run(task, 5)
    before = await service.get(created)
    for _ in range(2):
        found = await service.cancel(created, "too late")
        assert (found.state, value(found), found.revision) == (SUCCEEDED, 5, before.revision)


async def test_cancelling_twice_keeps_the_first_reason(service: Service) -> None:
    """The second call is answered with what the first one reached."""
    task = await service.register()
    created = await service.create(task)
    first = await service.cancel(created, "first")
    second = await service.cancel(created, "second")
    assert second == first


async def test_many_cancel_at_once(service: Service) -> None:
    """All get the same answer, and one revision was made."""
    task = await service.register()
    created = await service.create(task)
    answers = await asyncio.gather(*(service.cancel(created, f"reason {number}") for number in range(8)))
    assert {each.state for each in answers} == {CANCELLED}
    assert len({each.error.message for each in answers}) == 1
    assert {each.revision for each in answers} == {created.revision + 1}


async def test_the_caller_that_waits_learns_of_it(service: Service) -> None:
    """Execute returns when somebody else cancels."""
    task = await service.register()
    waiting = asyncio.create_task(service.execute(task, name="to-be-cancelled"))
    lease = await service.lease(task)
    await service.cancel(Execution(id=lease.execution))
    assert (await waiting).state == CANCELLED


async def test_a_caller_that_goes_away_cancels_if_it_said_so(service: Service) -> None:
    """``cancel_on_disconnect`` ends the execution of a call that was dropped; without it the execution goes on."""
    for task, wanted in ((await service.register("stays"), False), (await service.register("goes"), True)):
        call = service.stubs.executions.Execute(execution(task, cancel_on_disconnect=wanted))
        lease = await service.lease(task)
        call.cancel()
        running = Execution(id=lease.execution)
        if wanted:
            found = await service.wait(running)
            assert (found.state, found.error.message) == (CANCELLED, "the caller went away")
        else:
            await service.succeed(lease, 5)
            assert (await service.wait(running)).state == SUCCEEDED


async def test_a_stream_that_goes_away_cancels_what_said_so(service: Service) -> None:
    """Each item of an ``ExecuteStream`` for itself."""
    task = await service.register()
    stream = service.stubs.executions.ExecuteStream()
    message = execution_service_pb2.ExecuteStreamRequest()
    for tag, name in enumerate(("stays", "goes")):
        message.items.add(tag=tag, request=execution(task, name=name, cancel_on_disconnect=name == "goes"))
    await stream.write(message)
    leases = [await service.lease(task) for _ in range(2)]
    stream.cancel()
    for lease in leases:
        if lease.execution.name == "goes":
            assert (await service.wait(Execution(id=lease.execution))).state == CANCELLED
        else:
            await service.succeed(lease, 5)
            assert (await service.wait(Execution(id=lease.execution))).state == SUCCEEDED


async def test_what_is_not_there_cannot_be_cancelled(service: Service) -> None:
    """It is refused with the reason that Get gives."""
    request = execution_service_pb2.CancelExecutionRequest()
    request.id.name = "never-was"
    assert (await refusal_of(service.stubs.executions.CancelExecution(request))).reason == "EXECUTION_NOT_FOUND"
