"""Page tokens: only that of the page before, with all other fields the same, leads to the next one."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import AsyncIterator, Callable
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
from server.world import Stubs, completion, connect, run_world

_MODULES = {
    "tasks": task_service_pb2,
    "executions": execution_service_pb2,
    "workers": worker_service_pb2,
    "projects": project_service_pb2,
    "cache": cache_service_pb2,
}
_ID = {"name": "paged"}
# Each list, with the change that makes another list of it.
LISTS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "tasks.ListTasks": ({}, {"name_prefix": "p"}),
    "tasks.ListTaskVersions": ({"id": _ID}, {"id": {"name": "paged-too"}}),
    "executions.ListExecutions": ({"task_name": "paged"}, {"states": ["STATE_QUEUED"]}),
    "executions.ListAttempts": ({"id": {"name": "paged-0"}}, {"id": {"name": "paged-1"}}),
    "projects.ListProjects": ({}, {"include_archived": True}),
    "cache.ListCacheEntries": ({"task": _ID}, {"task": {"name": "paged", "version": "1"}}),
    "workers.ListWorkers": ({}, {}),
}
_BY_NAME = {"tasks.ListTasks", "projects.ListProjects"}


@pytest.fixture
async def stubs() -> AsyncIterator[Stubs]:
    with run_world(server_lease=0.6) as world:
        async with connect(world.server.address) as stubs:
            yield stubs


async def _list(stubs: Stubs, rpc: str, **fields: Any) -> Any:
    service, _, method = rpc.partition(".")
    request = json_format.ParseDict(LISTS[rpc][0] | fields, getattr(_MODULES[service], f"{method}Request")())
    return await getattr(getattr(stubs, service), method)(request, timeout=20)


async def _fill(stubs: Stubs) -> None:
    """Makes two items of everything that can be listed."""
    template = {"metadata": {"discoverable": True, "discoveryVersion": "1", "retries": {"retries": 3}}}
    for version in ("1", "2"):
        await stubs.register("paged", version=version, template=template, policy={"backoff": {"max": "0s"}})
        await stubs.register("paged-too", version=version)
    for number in range(2):
        await stubs.create("paged", name=f"paged-{number}", inputs_json={"n": number})
    failure = worker_service_pb2.Completion(token=(await stubs.lease("paged")).token)
    failure.error.code, failure.error.recoverable = "Busy", True
    await stubs.workers.CompleteLeases(worker_service_pb2.CompleteLeasesRequest(completions=[failure]))
    for _ in range(2):
        done = completion((await stubs.lease("paged")).token)
        await stubs.workers.CompleteLeases(worker_service_pb2.CompleteLeasesRequest(completions=[done]))
    create = json_format.ParseDict({"project": {"id": "paged"}}, project_service_pb2.CreateProjectRequest())
    await stubs.projects.CreateProject(create)


async def _token(stubs: Stubs, rpc: str) -> str:
    """The token of the second page of a list."""
    async with asyncio.timeout(20):
        while not (token := (await _list(stubs, rpc, page_size=1)).next_page_token):
            await asyncio.sleep(0.02)  # servers tell of their workers now and then
        return str(token)


def _edited(token: str, edit: Callable[[list[Any]], Any]) -> str:
    content = json.loads(base64.urlsafe_b64decode(token + "=" * (-len(token) % 4)))
    return base64.urlsafe_b64encode(json.dumps(edit(content)).encode()).decode().rstrip("=")


async def test_a_token_leads_to_the_next_page_of_its_list_only(stubs: Stubs) -> None:
    """Garbage, tokens of another list, and tokens that somebody edited are refused by every list."""
    await _fill(stubs)
    hello = worker_service_pb2.Hello(worker="w")
    hello.offer.task_types.append("other")
    works = [stubs.workers.Work() for _ in range(2)]
    for work in works:
        await work.write(worker_service_pb2.WorkRequest(hello=hello))
        await work.read()
    tokens = {rpc: await _token(stubs, rpc) for rpc in LISTS}
    for rpc, token in tokens.items():
        assert len((await _list(stubs, rpc, page_size=1, page_token=token)).ListFields()) >= 1, rpc
        await _list(stubs, rpc, page_size=2, page_token=token)  # the size of pages may change
        bad = [
            "garbage",
            "é",
            "=",
            "A" * 1_000_000,
            token[:-2],
            token + token,
            *(other for other_rpc, other in tokens.items() if other_rpc != rpc),
            _edited(token, lambda content: ["0" * 12, content[1]]),
            _edited(token, lambda content: content[:1]),
            _edited(token, lambda content: [content[0], None]),
            _edited(token, lambda content: [content[0], [1]]),
            _edited(token, lambda content: [content[0], True]),
            _edited(token, lambda content: {"a": content}),
            _edited(token, lambda content: [content[0], 7 if rpc in _BY_NAME else "name"]),  # noqa: B023 - called at once
            _edited(token, lambda content: [content[0], -1 if rpc not in _BY_NAME else 0]),  # noqa: B023 - likewise
            _edited(token, lambda content: [content[0], 2**70]),
            _edited(token, lambda content: [content[0], 1.5]),
        ]
        for each in bad:
            refusal = await refusal_of(_list(stubs, rpc, page_token=each))
            assert refusal.reason == "PAGE_TOKEN_INVALID", (rpc, each[:80])
        if LISTS[rpc][1]:
            refusal = await refusal_of(_list(stubs, rpc, page_token=token, **LISTS[rpc][1]))
            assert refusal.reason == "PAGE_TOKEN_INVALID", rpc
            assert "all other fields" in refusal.message
    for work in works:
        work.cancel()
