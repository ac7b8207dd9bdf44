"""What a project sets where its tasks declare nothing: in force for executions created later, domain before project."""

from __future__ import annotations

from typing import Any

import pytest
from google.protobuf import json_format

from engine.service import Execution, Service, Status, eventually
from lacewing.v1 import cache_service_pb2, project_pb2, project_service_pb2, task_service_pb2, worker_service_pb2
from server.contract import refusal_of
from server.world import execution, registration

DRAINED = worker_service_pb2.Completion.Abandoned(reason="drained")


class Shop:
    """A project of a test's own, with one task."""

    def __init__(self, service: Service, name: str) -> None:
        self.service = service
        self.id = name
        self.task = "shop.task"

    async def create(self, **project: Any) -> project_pb2.Project:
        """Creates it."""
        content = json_format.ParseDict({"id": self.id, **project}, project_pb2.Project())
        request = project_service_pb2.CreateProjectRequest(project=content)
        response: project_service_pb2.CreateProjectResponse = await self.service.stubs.projects.CreateProject(request)
        return response.project

    async def update(self, **project: Any) -> project_pb2.Project:
        """Updates it."""
        content = json_format.ParseDict({"id": self.id, **project}, project_pb2.Project())
        request = project_service_pb2.UpdateProjectRequest(project=content)
        response: project_service_pb2.UpdateProjectResponse = await self.service.stubs.projects.UpdateProject(request)
        return response.project

    async def register(self, domain: str = "", **spec: Any) -> task_service_pb2.RegisterTaskResponse:
        """Registers its task in a domain."""
        request = registration(self.task, **spec)
        request.id.project, request.id.domain = self.id, domain
        response: task_service_pb2.RegisterTaskResponse = await self.service.stubs.tasks.RegisterTask(request)
        return response

    async def execute(self, domain: str = "", **request: Any) -> Execution:
        """Executes its task, without waiting."""
        content = execution(self.task, wait_timeout="0s", **request)
        content.task.project, content.task.domain = self.id, domain
        return (await self.service.stubs.executions.Execute(content)).execution  # type: ignore[no-any-return] # its stub

    async def lease(self, domain: str = "") -> worker_service_pb2.Lease:
        """Leases the next attempt of its task."""
        offer = {"task_types": ["raw"], "task_names": [self.task], "project": self.id, "domain": domain}
        return await self.service.lease(self.task, offer=offer)

    async def run(self, value: int, domain: str = "") -> None:
        """Leases the next attempt, and succeeds."""
        await self.service.succeed(await self.lease(domain), value)


@pytest.fixture
def shop(service: Service, request: pytest.FixtureRequest) -> Shop:
    """Named after the test."""
    return Shop(service, request.node.originalname.removeprefix("test_").replace("_", "-")[:50])


EVERYTHING = {
    "attempt_timeout": "10s",
    "queue_timeout": "20s",
    "deadline": "100s",
    "retention": "1000s",
    "max_losses": 0,
    "cache_ttl": "50s",
}


async def test_defaults_apply_where_nothing_is_declared(shop: Shop) -> None:
    """The attempt timeout, the deadline and the retention of an execution are those of the project."""
    await shop.create(defaults={"task": EVERYTHING})
    registered = await shop.register()
    assert any("default of 10 s" in warning for warning in registered.warnings)
    created = await shop.execute()
    lease = await shop.lease()
    assert lease.attempt_timeout.ToSeconds() == 10
    assert lease.deadline.ToMilliseconds() == created.create_time.ToMilliseconds() + 100_000
    await shop.service.succeed(lease, 1)
    ended = await shop.service.get(created)
    assert ended.expire_time.ToMilliseconds() == ended.end_time.ToMilliseconds() + 1_000_000


async def test_what_a_task_declares_comes_first(shop: Shop) -> None:
    """Its own clocks, not the project's."""
    await shop.create(defaults={"task": EVERYTHING})
    policy = {"deadline": "7s", "retention": "60s", "max_losses": 1}
    await shop.register(template={"metadata": {"timeout": "3s"}}, policy=policy)
    created = await shop.execute()
    lease = await shop.lease()
    assert lease.attempt_timeout.ToSeconds() == 3
    assert lease.deadline.ToMilliseconds() == created.create_time.ToMilliseconds() + 7_000
    await shop.service.report(worker_service_pb2.Completion(token=lease.token, abandoned=DRAINED))
    assert (await shop.service.get(created)).state == Execution.STATE_QUEUED
    await shop.run(1)
    ended = await shop.service.get(created)
    assert ended.expire_time.ToMilliseconds() == ended.end_time.ToMilliseconds() + 60_000


async def test_the_queue_timeout_of_a_project(shop: Shop) -> None:
    """Nobody takes it: it times out."""
    await shop.create(defaults={"task": EVERYTHING})
    await shop.register()
    created = await shop.execute()
    shop.service.advance(21)
    assert (await shop.service.until(created, Execution.STATE_TIMED_OUT)).error.code == "QueueTimeout"


async def test_the_losses_of_a_project(shop: Shop) -> None:
    """With none allowed, the first loss is the last."""
    await shop.create(defaults={"task": EVERYTHING})
    await shop.register()
    created = await shop.execute()
    lease = await shop.lease()
    await shop.service.report(worker_service_pb2.Completion(token=lease.token, abandoned=DRAINED))
    ended = await shop.service.get(created)
    assert (ended.state, ended.error.code) == (Execution.STATE_FAILED, "LossesExhausted")


async def test_the_time_to_live_of_a_project(shop: Shop) -> None:
    """Entries of tasks without one live as long as the project says."""
    await shop.create(defaults={"task": EVERYTHING})
    await shop.register(template={"metadata": {"discoverable": True, "discovery_version": "1"}})
    await shop.execute()
    await shop.run(5)
    shop.service.advance(45)
    assert (await shop.execute()).cache.status == Status.STATUS_HIT
    shop.service.advance(6)
    assert (await shop.execute()).cache.status == Status.STATUS_MISS


async def test_a_domain_comes_before_its_project(shop: Shop) -> None:
    """Value by value: what the domain leaves open is the project's, what that leaves open is the server's."""
    domains = {"production": {"attempt_timeout": "0.5s"}}
    await shop.create(defaults={"task": {"attempt_timeout": "10s", "deadline": "100s"}, "domains": domains})
    for domain, timeout in (("production", 500), ("development", 10_000)):
        await shop.register(domain)
        created = await shop.execute(domain)
        lease = await shop.lease(domain)
        assert lease.attempt_timeout.ToMilliseconds() == timeout
        assert lease.deadline.ToMilliseconds() == created.create_time.ToMilliseconds() + 100_000
        await shop.service.succeed(lease, 1)
        ended = await shop.service.get(created)
        assert ended.expire_time.ToSeconds() - ended.end_time.ToSeconds() == 7 * 86_400


async def test_a_change_applies_to_executions_created_later(shop: Shop) -> None:
    """Those that exist keep their clocks; without defaults an update leaves them, an empty message ends them."""
    await shop.create(defaults={"task": {"attempt_timeout": "10s"}})
    await shop.register()
    await shop.execute()
    updated = await shop.update(defaults={"task": {"attempt_timeout": "20s"}})
    assert updated.defaults.task.attempt_timeout.ToSeconds() == 20
    timeouts = []
    changes: tuple[dict[str, Any], ...] = ({}, {"display_name": "Shop"}, {"defaults": {}})
    for change in changes:
        if change:
            await shop.update(**change)
        await shop.execute()
        lease = await shop.lease()
        timeouts.append(lease.attempt_timeout.ToSeconds())
        await shop.service.succeed(lease, 1)
    lease = await shop.lease()
    timeouts.append(lease.attempt_timeout.ToSeconds())
    assert timeouts == [10, 20, 20, 3_600]


@pytest.mark.parametrize(
    ("project", "field"),
    [
        ({"defaults": {"task": {"deadline": "0s"}}}, "project.defaults.task.deadline"),
        ({"defaults": {"task": {"retention": "-1s"}}}, "project.defaults.task.retention"),
        ({"defaults": {"task": {"max_losses": 1_001}}}, "project.defaults.task.max_losses"),
        (
            {"defaults": {"domains": {"production": {"cache_ttl": "0s"}}}},
            'project.defaults.domains["production"].cache_ttl',
        ),
        ({"defaults": {"domains": {"moon": {}}}}, 'project.defaults.domains["moon"]'),
        ({"limits": {"cache_max_bytes": "0"}}, "project.limits.cache_max_bytes"),
    ],
)
async def test_what_is_out_of_bounds_is_refused(shop: Shop, project: dict[str, Any], field: str) -> None:
    """At creation and at update, with the place."""
    assert list((await refusal_of(shop.create(**project))).violations) == [field]
    shop.id = "default"
    assert list((await refusal_of(shop.update(**project))).violations) == [field]


async def test_the_bound_of_a_cache_is_the_projects(shop: Shop) -> None:
    """Lowered, it evicts; an entry that is larger than all of it is not kept, which is no fault of its execution."""
    await shop.create()
    await shop.register(template={"metadata": {"discoverable": True, "discovery_version": "1"}})
    for n in range(5):
        await shop.execute(inputs_json={"n": n})
        await shop.run(n)

    async def stats() -> Any:
        request = cache_service_pb2.GetCacheStatsRequest(project=shop.id)
        return (await shop.service.stubs.cache.GetCacheStats(request)).stats

    full = await stats()
    assert (full.entry_count, full.eviction_count) == (5, 0)
    await shop.update(limits={"cache_max_bytes": str(2 * full.size_bytes // 5 + 10)})

    async def shrunk() -> bool:
        return bool((await stats()).entry_count == 2)

    await eventually(shrunk)
    now = await stats()
    assert now.eviction_count == 3
    assert now.size_bytes <= 2 * full.size_bytes // 5 + 10
    statuses = [(await shop.execute(inputs_json={"n": n}, cache_mode="CACHE_MODE_USE")).cache.status for n in (3, 4)]
    assert statuses == [Status.STATUS_HIT] * 2
    await shop.update(limits={"cache_max_bytes": "100"})
    created = await shop.execute(inputs_json={"n": 9})
    await shop.run(9)
    ended = await shop.service.get(created)
    assert (ended.state, ended.cache.status) == (Execution.STATE_SUCCEEDED, Status.STATUS_PUT_FAILURE)
