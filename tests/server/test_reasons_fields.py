"""Malformed requests: each is refused with the paths of all fields at fault, and leaves nothing behind."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
from google.protobuf import json_format

from lacewing.v1 import (
    cache_service_pb2,
    execution_service_pb2,
    project_service_pb2,
    task_service_pb2,
    worker_service_pb2,
)
from server.contract import refusal_of
from server.world import Stubs, World, connect, interface, run_world

_LONG = 11 * 366 * 24 * 3600
_OFFER = {"task_types": ["raw"]}
_MODULES = {
    "tasks": task_service_pb2,
    "executions": execution_service_pb2,
    "workers": worker_service_pb2,
    "projects": project_service_pb2,
    "cache": cache_service_pb2,
}


@pytest.fixture(scope="module")
def world() -> Iterator[World]:
    with run_world() as world:
        yield world


@pytest.fixture
async def stubs(world: World) -> AsyncIterator[Stubs]:
    async with connect(world.server.address) as stubs:
        await stubs.register("known")
        await stubs.create("known", name="known-1")
        yield stubs


def _spec(**template: Any) -> dict[str, Any]:
    return {"template": {"type": "raw", **template}}


def _metadata(**metadata: Any) -> dict[str, Any]:
    return {"id": {"name": "a"}, "spec": _spec(metadata=metadata)}


def _policy(**policy: Any) -> dict[str, Any]:
    return {"id": {"name": "a"}, "spec": {**_spec(), "policy": policy}}


def _name(name: str) -> dict[str, Any]:
    return {"id": {"name": name}, "spec": _spec()}


def _run(**request: Any) -> dict[str, Any]:
    return {"task": {"name": "known"}, "inputs_json": {"n": 1}, **request}


REGISTER = "tasks.RegisterTask"
EXECUTE = "executions.Execute"
CASES: list[tuple[str, dict[str, Any], set[str]]] = [
    # Names of tasks, in every script of the world.
    (REGISTER, {}, {"id.name", "spec.template.type"}),
    (REGISTER, _name("a" * 256), {"id.name"}),
    (REGISTER, _name("😀" * 256), {"id.name"}),
    (REGISTER, _name("cafe\u0301"), {"id.name"}),
    (REGISTER, _name("\u1112\u1161\u11ab"), {"id.name"}),
    (REGISTER, _name("a\x00b"), {"id.name"}),
    (REGISTER, _name("a\nb"), {"id.name"}),
    (REGISTER, _name("a\x85b"), {"id.name"}),
    (REGISTER, _name("\u00a0a"), {"id.name"}),
    (REGISTER, _name("a\u3000"), {"id.name"}),
    (REGISTER, _name(" "), {"id.name"}),
    (REGISTER, {"id": {"name": "a", "version": "1 2"}, "spec": _spec()}, {"id.version"}),
    (REGISTER, {"id": {"name": "a", "version": "1\u2003"}, "spec": _spec()}, {"id.version"}),
    (REGISTER, {"id": {"name": "a", "version": "\x7f"}, "spec": _spec()}, {"id.version"}),
    (REGISTER, {"id": {"name": "a", "version": "1" * 256}, "spec": _spec()}, {"id.version"}),
    # Specs.
    (REGISTER, _metadata(timeout="-1s"), {"spec.template.metadata.timeout"}),
    (REGISTER, _metadata(timeout=f"{_LONG}s"), {"spec.template.metadata.timeout"}),
    (REGISTER, _metadata(retries={"retries": 4_294_967_295}), {"spec.template.metadata.retries.retries"}),
    (REGISTER, _metadata(retries={"retries": 1_001}), {"spec.template.metadata.retries.retries"}),
    (REGISTER, _metadata(discoverable=True), {"spec.template.metadata.discovery_version"}),
    (REGISTER, _metadata(cacheIgnoreInputVars=["m"]), {"spec.template.metadata.cache_ignore_input_vars[0]"}),
    (REGISTER, _policy(max_losses=4_294_967_295), {"spec.policy.max_losses"}),
    (REGISTER, _policy(queue="No Label"), {"spec.policy.queue"}),
    (REGISTER, _policy(queue_timeout="0s"), {"spec.policy.queue_timeout"}),
    (REGISTER, _policy(deadline="-0.000000001s"), {"spec.policy.deadline"}),
    (REGISTER, _policy(retention=f"{_LONG}s"), {"spec.policy.retention"}),
    (REGISTER, _policy(cache={"ttl": "-5s", "scope": 77}), {"spec.policy.cache.ttl", "spec.policy.cache.scope"}),
    (REGISTER, _policy(backoff={"initial": "-1s"}), {"spec.policy.backoff.initial"}),
    (REGISTER, _policy(backoff={"multiplier": "NaN"}), {"spec.policy.backoff.multiplier"}),
    (REGISTER, _policy(backoff={"multiplier": "Infinity"}), {"spec.policy.backoff.multiplier"}),
    (
        REGISTER,
        _policy(backoff={"multiplier": -2, "jitter": 9}),
        {
            "spec.policy.backoff.multiplier",
            "spec.policy.backoff.jitter",
        },
    ),
    (REGISTER, _policy(non_retryable_codes=["E"] * 65), {"spec.policy.non_retryable_codes"}),
    (REGISTER, {"id": {"name": "a"}, "spec": {**_spec(), "description": "d" * 4_097}}, {"spec.description"}),
    (
        REGISTER,
        {"id": {"name": "a"}, "spec": _spec(interface=interface({"x": {"simple": 99}}, {"y": {}}))},
        {
            "spec.template.interface.inputs.x",
            "spec.template.interface.outputs.y",
        },
    ),
    (
        REGISTER,
        {
            "id": {"name": "a"},
            "spec": {
                **_spec(interface=interface({"x": "INTEGER"}, {})),
                "default_inputs": {
                    "parameters": {
                        "x": {"default": {"scalar": {"primitive": {"stringValue": "no"}}}},
                    }
                },
            },
        },
        {"spec.default_inputs.x"},
    ),
    # Requests to execute.
    (EXECUTE, {}, {"task.name"}),
    (EXECUTE, _run(name="Upper"), {"name"}),
    (EXECUTE, _run(name="1st"), {"name"}),
    (EXECUTE, _run(name="a" * 64), {"name"}),
    (EXECUTE, _run(name="a\n"), {"name"}),
    (EXECUTE, _run(name="ä"), {"name"}),
    (EXECUTE, _run(request_id="r" * 129), {"request_id"}),
    (EXECUTE, _run(request_id="a b"), {"request_id"}),
    (EXECUTE, _run(deadline="0s"), {"deadline"}),
    (EXECUTE, _run(deadline="-1s"), {"deadline"}),
    (EXECUTE, _run(deadline=f"{_LONG}s"), {"deadline"}),
    (EXECUTE, _run(wait_timeout="-1s"), {"wait_timeout"}),
    (EXECUTE, _run(cache_mode=42), {"cache_mode"}),
    (EXECUTE, _run(cache_mode=-1), {"cache_mode"}),
    (EXECUTE, _run(labels={f"k{index}": "" for index in range(33)}), {"labels"}),
    (EXECUTE, _run(labels={"": "v", "k": "v" * 256}), {"labels", 'labels["k"]'}),
    (EXECUTE, _run(inputs={"literals": {}}), {"inputs_json"}),
    (
        EXECUTE,
        _run(name="A", request_id=" ", deadline="0s", labels={"": ""}, cache_mode=9),
        {
            "name",
            "request_id",
            "deadline",
            "labels",
            "cache_mode",
        },
    ),
    # Reading.
    ("executions.GetExecution", {}, {"id.name"}),
    ("executions.GetExecution", {"id": {"name": "x!"}}, {"id.name"}),
    ("executions.GetExecution", {"id": {"name": "known-1"}, "view": 9}, {"view"}),
    ("executions.WaitExecution", {"id": {"name": "known-1"}, "wait_timeout": "-1s"}, {"wait_timeout"}),
    ("executions.WaitExecution", {"id": {"name": "known-1"}, "view": -3}, {"view"}),
    ("executions.ListExecutions", {"page_size": -1}, {"page_size"}),
    ("executions.ListExecutions", {"task_version": "1"}, {"task_version"}),
    ("executions.ListExecutions", {"states": ["STATE_QUEUED", 99], "view": 9}, {"states[1]", "view"}),
    ("executions.CancelExecution", {"id": {"name": "known-1"}, "reason": "r" * 1_025}, {"reason"}),
    ("executions.ListAttempts", {"id": {"name": "known-1"}, "page_size": -2_147_483_648}, {"page_size"}),
    ("tasks.GetTask", {}, {"id.name"}),
    ("tasks.GetTask", {"id": {"name": "known", "version": "a b"}}, {"id.version"}),
    ("tasks.ListTasks", {"page_size": -1}, {"page_size"}),
    ("tasks.ListTaskVersions", {}, {"id.name"}),
    ("tasks.ListTaskVersions", {"id": {"name": "known"}, "page_size": -1}, {"page_size"}),
    ("tasks.ArchiveTask", {"id": {"name": "a" * 300_000}}, {"id.name"}),
    ("tasks.RestoreTask", {"id": {"name": "\t"}}, {"id.name"}),
    ("cache.GetCacheEntry", {"key": "xyz"}, {"key"}),
    ("cache.GetCacheEntry", {"key": "00 11 22 33 44 55 66 77 88 99 aa"}, {"key"}),
    ("cache.EvictCacheEntries", {}, {"key"}),
    ("cache.EvictCacheEntries", {"key": "0" * 32, "task": {"name": "known"}}, {"key"}),
    ("cache.EvictCacheEntries", {"key": "0" * 32, "created_before": "2026-01-01T00:00:00Z"}, {"created_before"}),
    ("cache.ListCacheEntries", {"task": {"name": "known"}, "page_size": -1}, {"page_size"}),
    ("cache.ListCacheEntries", {}, {"task.name"}),
    ("cache.GetCacheStats", {}, {"task.name"}),
    # Projects.
    ("projects.CreateProject", {}, {"project.id"}),
    ("projects.CreateProject", {"project": {"id": "-a"}}, {"project.id"}),
    ("projects.CreateProject", {"project": {"id": "a" * 64}}, {"project.id"}),
    (
        "projects.CreateProject",
        {"project": {"id": "ä", "display_name": "d" * 65, "description": "d" * 301}},
        {
            "project.id",
            "project.display_name",
            "project.description",
        },
    ),
    ("projects.UpdateProject", {"project": {"id": "default", "state": 9}}, {"project.state"}),
    ("projects.ListProjects", {"page_size": -1}, {"page_size"}),
    # Workers.
    ("workers.AcquireLeases", {}, {"worker", "offer.task_types"}),
    (
        "workers.AcquireLeases",
        {"worker": "w w", "offer": _OFFER, "max_leases": -1, "wait_timeout": "61s"},
        {
            "worker",
            "max_leases",
            "wait_timeout",
        },
    ),
    ("workers.AcquireLeases", {"worker": "w", "offer": _OFFER, "wait_timeout": "-1s"}, {"wait_timeout"}),
    ("workers.AcquireLeases", {"worker": "w", "offer": _OFFER, "lease_duration": "0s"}, {"lease_duration"}),
    (
        "workers.AcquireLeases",
        {"worker": "w", "offer": {"task_types": ["t"] * 65, "project": "A", "domain": "?"}},
        {
            "offer.task_types",
            "offer.project",
            "offer.domain",
        },
    ),
    ("workers.ExtendLeases", {}, {"heartbeats"}),
    (
        "workers.ExtendLeases",
        {"heartbeats": [{}] * 1_001, "lease_duration": "3601s"},
        {
            "heartbeats",
            "lease_duration",
        },
    ),
    ("workers.CompleteLeases", {}, {"completions"}),
    ("workers.CompleteLeases", {"completions": [{}] * 1_001}, {"completions"}),
    ("workers.ListWorkers", {"page_size": -1}, {"page_size"}),
]


def _id(case: tuple[str, dict[str, Any], set[str]]) -> str:
    return f"{case[0]}-{json.dumps(case[1])[:60]}"


@pytest.mark.parametrize(("rpc", "content", "paths"), CASES, ids=map(_id, CASES))
async def test_every_field_at_fault_is_named(
    stubs: Stubs, world: World, rpc: str, content: dict[str, Any], paths: set[str]
) -> None:
    """The refusal is FIELD_INVALID with the paths of exactly the fields at fault; nothing is stored."""
    service, _, method = rpc.partition(".")
    request = json_format.ParseDict(content, getattr(_MODULES[service], f"{method}Request")())
    before = world.contents()
    refusal = await refusal_of(getattr(getattr(stubs, service), method)(request, timeout=20))
    assert refusal.reason == "FIELD_INVALID"
    assert set(refusal.violations) == paths
    assert all(refusal.violations.values())
    assert world.contents() == before


@pytest.mark.parametrize(
    "name", ["a", "a" * 255, "😀" * 255, "caf\u00e9", "\ud55c", "shop / prices (EUR)", "a\u200bb", "задача"]
)
async def test_every_name_within_the_rules_is_taken(stubs: Stubs, name: str) -> None:
    """The rules refuse no name that they allow: any script, blanks inside, 255 characters however long in bytes."""
    await stubs.register(name)
    found = await stubs.tasks.GetTask(task_service_pb2.GetTaskRequest(id={"name": name}))  # type: ignore[arg-type] # as JSON
    assert found.task_version.id.name == name
    assert (await stubs.create(name)).task.name == name
