"""Bounds on what runs, starts and waits; priorities; turns between projects. All through the wire."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import grpc
import pytest
from google.protobuf import json_format

from engine.service import Execution, Service, StreamWorker, eventually
from lacewing.v1 import execution_pb2, execution_service_pb2, identifiers_pb2, project_service_pb2, worker_service_pb2
from lacewing_server.domain import limits
from server.contract import refusal_of
from server.world import acquisition, execution, registration

HEAD_START = limits.PRIORITY_HEAD_START_SECONDS
PROJECT = {"project": "", "domain": ""}


async def _project(service: Service, name: str, **bounds: Any) -> str:
    """Creates a project with bounds."""
    content = {"project": {"id": name, "limits": bounds}}
    request = json_format.ParseDict(content, project_service_pb2.CreateProjectRequest())
    await service.stubs.projects.CreateProject(request)
    return name


async def _set_bounds(service: Service, project: str, **bounds: Any) -> None:
    content = {"project": {"id": project, "limits": bounds}}
    request = json_format.ParseDict(content, project_service_pb2.UpdateProjectRequest())
    await service.stubs.projects.UpdateProject(request)


async def _register(service: Service, project: str, name: str, **spec: Any) -> identifiers_pb2.TaskId:
    request = registration(name, **spec)
    request.id.project = project
    await service.stubs.tasks.RegisterTask(request)
    return identifiers_pb2.TaskId(project=project, name=name)


async def _create(service: Service, task: identifiers_pb2.TaskId, **request: Any) -> Execution:
    content = execution(task.name, **request)
    content.task.CopyFrom(task)
    create = execution_service_pb2.CreateExecutionRequest(request=content)
    response: execution_service_pb2.CreateExecutionResponse = await service.stubs.executions.CreateExecution(create)
    return response.execution


async def _leases(
    service: Service, project: str, names: Sequence[str], count: int, *, wait: str = "0.1s"
) -> list[worker_service_pb2.Lease]:
    """As many leases of a project's tasks as there are, at most `count`."""
    request = acquisition(names[0], max_leases=count, wait_timeout=wait)
    del request.offer.task_names[:]
    request.offer.task_names.extend(names)
    request.offer.project = project
    leases: list[worker_service_pb2.Lease] = []
    while len(leases) < count:
        response = await service.stubs.workers.AcquireLeases(request)
        if not response.leases:
            return leases
        leases.extend(response.leases)
        request.max_leases = max(count - len(leases), 1)
    return leases


async def _order(service: Service, task: str, count: int) -> list[str]:
    """The names of executions in the order in which a worker gets them."""
    return [(await service.lease(task)).execution.name for _ in range(count)]


async def test_a_higher_priority_goes_ahead_in_its_queue(service: Service) -> None:
    """In the order of being queued otherwise; and each execution says its priority."""
    task = await service.register()
    priorities = ["PRIORITY_LOW", "PRIORITY_NORMAL", "PRIORITY_HIGH", "PRIORITY_UNSPECIFIED", "PRIORITY_HIGH"]
    created = [await service.create(task, priority=each) for each in priorities]
    assert [execution_pb2.Priority.Name(each.priority) for each in created] == [
        each.replace("UNSPECIFIED", "NORMAL") for each in priorities
    ]
    assert await _order(service, task, 5) == [created[each].id.name for each in (2, 4, 1, 3, 0)]


async def test_a_low_priority_does_not_starve(service: Service) -> None:
    """What waits longer than the head start is overtaken by nothing that comes later."""
    task = await service.register()
    low = await service.create(task, priority="PRIORITY_LOW")
    service.advance(HEAD_START + 1)
    normal = await service.create(task)
    service.advance(HEAD_START + 1)
    high = await service.create(task, priority="PRIORITY_HIGH")
    assert await _order(service, task, 3) == [each.id.name for each in (low, normal, high)]


async def test_a_lost_attempt_goes_back_ahead_of_what_came_later(service: Service) -> None:
    """It takes its place by the time of its creation."""
    task = await service.register()
    first = await service.create(task)
    lease = await service.lease(task)
    await service.create(task)
    await service.report(
        worker_service_pb2.Completion(token=lease.token, abandoned=worker_service_pb2.Completion.Abandoned(reason="x"))
    )
    assert await _order(service, task, 1) == [first.id.name]


async def test_an_unknown_priority_is_refused(service: Service) -> None:
    """As any unknown value of an enum."""
    task = await service.register()
    request = execution(task)
    request.priority = 9  # type: ignore[assignment] # what a newer client may send
    refusal = await refusal_of(service.stubs.executions.Execute(request))
    assert list(refusal.violations) == ["priority"]


async def test_no_more_attempts_run_than_the_task_allows(service: Service) -> None:
    """Neither by unary workers nor by streams; the next one starts as soon as one ends, however it ends."""
    task = await service.register(policy={"max_concurrency": 2})
    created = [await service.create(task) for _ in range(4)]
    first, second = [await service.lease(task) for _ in range(2)]
    await service.no_lease(task)
    worker = await StreamWorker(service.stubs, task).connect(credit=4)

    async def says_why() -> bool:
        return "as many attempts run" in (await service.get(created[3])).state_reason

    await eventually(says_why)
    await service.succeed(first, 1)
    third = await worker.lease()
    await service.fail(second, recoverable=False)
    fourth = await worker.lease()
    for lease in (third, fourth):
        await worker.succeed(lease, 1)
    states = [(await service.wait(each)).state for each in created]
    assert sorted(states) == [Execution.STATE_SUCCEEDED] * 3 + [Execution.STATE_FAILED]
    worker.close()


async def test_a_bounded_task_is_not_leased_past_its_bound_when_it_is_created(service: Service) -> None:
    """The short way from the caller to an idle worker minds the bound as well."""
    task = await service.register(policy={"max_concurrency": 1})
    worker = await StreamWorker(service.stubs, task).connect(credit=4)
    created = [await service.create(task) for _ in range(2)]
    lease = await worker.lease()
    assert lease.execution == created[0].id
    assert (await service.get(created[1])).state == Execution.STATE_QUEUED
    await worker.succeed(lease, 1)
    assert (await worker.lease()).execution == created[1].id
    worker.close()


async def test_a_cancelled_attempt_frees_its_place(service: Service) -> None:
    """And a new version with another bound applies to what waits."""
    task = await service.register(policy={"max_concurrency": 1})
    created = [await service.create(task) for _ in range(4)]
    assert (await service.lease(task)).execution == created[0].id
    await service.cancel(created[0])
    assert (await service.lease(task)).execution == created[1].id
    await service.no_lease(task)
    await service.register(policy={"max_concurrency": 3})
    assert await _order(service, task, 2) == [created[2].id.name, created[3].id.name]


async def test_attempts_start_at_the_declared_rate(service: Service) -> None:
    """A whole count at once, then one in each part of the period."""
    task = await service.register(policy={"rate_limit": {"count": 3, "period": "3600s"}})
    created = [await service.create(task) for _ in range(6)]
    for _ in range(3):
        await service.run(task, 1)
    await service.no_lease(task)
    service.advance(1190)
    await service.no_lease(task)
    service.advance(11)
    await service.run(task, 1)
    await service.no_lease(task)
    service.advance(3600)
    for _ in range(2):
        await service.run(task, 1)
    assert {(await service.wait(each)).state for each in created} == {Execution.STATE_SUCCEEDED}


async def test_what_may_not_start_yet_starts_by_itself(service: Service) -> None:
    """The server asks again when the rate allows it: nobody has to create or grant anything."""
    task = await service.register(policy={"rate_limit": {"count": 20, "period": "1s"}})
    for _ in range(22):
        await service.create(task)
    worker = await StreamWorker(service.stubs, task).connect(credit=30)
    names = {(await worker.lease()).execution.name for _ in range(22)}
    assert len(names) == 22
    worker.close()


async def test_what_waits_of_a_project_is_bounded(service: Service) -> None:
    """Over all its tasks; nothing is stored of what is refused; what was taken by a worker does not count."""
    project = await _project(service, "crowded", max_queued=2)
    tasks = [await _register(service, project, name) for name in ("one", "two")]
    created = [await _create(service, task) for task in tasks]
    refusal = await refusal_of(_create(service, tasks[0]))
    assert (refusal.code, refusal.reason) == (grpc.StatusCode.RESOURCE_EXHAUSTED, "QUEUE_FULL")
    assert refusal.metadata == {"project": "crowded", "limit": "2"}
    assert refusal.retry
    assert len(await _leases(service, project, ["one", "two"], 1)) == 1
    created.append(await _create(service, tasks[0]))
    with pytest.raises(grpc.aio.AioRpcError):
        await _create(service, tasks[1])
    await _set_bounds(service, project)
    await _create(service, tasks[1])


async def test_no_more_attempts_run_than_the_project_allows(service: Service) -> None:
    """Over all its tasks; raising the bound lets more start at once."""
    project = await _project(service, "narrow", max_concurrency=2)
    tasks = [await _register(service, project, name) for name in ("one", "two")]
    for task in tasks:
        for _ in range(3):
            await _create(service, task)
    leases = await _leases(service, project, ["one", "two"], 6)
    assert len(leases) == 2
    await service.succeed(leases[0], 1)
    leases = await _leases(service, project, ["one", "two"], 6)
    assert len(leases) == 1
    await _set_bounds(service, project, max_concurrency=3)
    assert len(await _leases(service, project, ["one", "two"], 6)) == 1


async def test_attempts_of_a_project_start_at_its_rate(service: Service) -> None:
    """Over all its tasks."""
    project = await _project(service, "steady", rate_limit={"count": 3, "period": "3600s"})
    tasks = [await _register(service, project, name) for name in ("one", "two")]
    for task in tasks:
        for _ in range(3):
            await _create(service, task)
    assert len(await _leases(service, project, ["one", "two"], 6)) == 3
    service.advance(1201)
    assert len(await _leases(service, project, ["one", "two"], 6)) == 1


@pytest.mark.parametrize(
    ("bounds", "path"),
    [
        ({"max_concurrency": 0}, "max_concurrency"),
        ({"rate_limit": {"count": 0}}, "rate_limit.count"),
        ({"rate_limit": {"count": 1_000_001}}, "rate_limit.count"),
        ({"rate_limit": {"count": 1, "period": "0s"}}, "rate_limit.period"),
        ({"rate_limit": {"count": 1, "period": "86401s"}}, "rate_limit.period"),
    ],
)
async def test_bounds_that_make_no_sense_are_refused(service: Service, bounds: dict[str, Any], path: str) -> None:
    """In a task and in a project alike."""
    refusal = await refusal_of(service.register(policy=bounds))
    assert list(refusal.violations) == [f"spec.policy.{path}"]
    refusal = await refusal_of(_project(service, "senseless", **bounds))
    assert list(refusal.violations) == [f"project.limits.{path}"]


async def test_projects_take_turns_at_a_worker_that_serves_all(service: Service) -> None:
    """A project with ten times the work of another one does not get ten times its turns."""
    projects = [await _project(service, f"turn-{each}") for each in "ab"]
    tasks = [await _register(service, project, "fair") for project in projects]
    for _ in range(30):
        await _create(service, tasks[0])
    for _ in range(3):
        await _create(service, tasks[1])
    worker = StreamWorker(service.stubs, "fair")
    worker.hello.offer.project = "*"
    await worker.connect(credit=1)
    served = []
    for _ in range(8):
        lease = await worker.lease()
        served.append(lease.task.project)
        await worker.succeed(lease, 1)
        await worker.send(credit=1)
    assert served[:6].count("turn-b") == 3
    worker.close()


async def test_the_count_of_what_waits_is_exact_in_the_end(service: Service) -> None:
    """Also when executions end while they wait."""
    project = await _project(service, "counted", max_queued=1)
    task = await _register(service, project, "one")
    for _ in range(3):
        await service.cancel(await _create(service, task))
    timed = await _create(service, task, deadline="5s")
    service.advance(6)

    async def ended() -> bool:
        return (await service.get(timed)).state == Execution.STATE_TIMED_OUT

    await eventually(ended)
    assert (await _create(service, task)).state == Execution.STATE_QUEUED
