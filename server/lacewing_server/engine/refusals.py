"""Refusals of requests to execute."""

from __future__ import annotations

from typing import Final

from lacewing.v1 import errors_pb2
from lacewing_server.domain import names
from lacewing_server.domain.errors import DomainError
from lacewing_server.domain.record import ExecutionRecord
from lacewing_server.domain.task_version import ReadyTask
from lacewing_server.store.redis.transitions import Created

_FULL_RETRY_SECONDS: Final = 1.0


def archived(task: ReadyTask) -> DomainError:
    """Its task takes no requests any more."""
    shown = f"{task.id.project}/{task.id.domain}/{task.id.name}"
    return DomainError(
        errors_pb2.ERROR_REASON_TASK_ARCHIVED,
        f"task {shown} is archived; restore it with RestoreTask",
        metadata={"task": shown},
    )


def orphaned() -> DomainError:
    """It is a node of a graph that this server no longer drives."""
    return DomainError(
        errors_pb2.ERROR_REASON_LEASE_LOST,
        "the graph has ended, or another server drives it; begin nothing more",
    )


def conflicting(record: ExecutionRecord) -> DomainError:
    """Its name or request id is taken by an execution that is another."""
    shown = names.display_execution(record.execution.id)
    return DomainError(
        errors_pb2.ERROR_REASON_EXECUTION_CONFLICT,
        f"the name or request id belongs to execution {shown} of another task version or with other inputs",
        metadata={"execution": shown},
    )


def full(task: ReadyTask, created: Created) -> DomainError:
    """As many wait as its task or project may have."""
    shown = names.display_task(task.id) if created.full == "task" else task.id.project
    return DomainError(
        errors_pb2.ERROR_REASON_QUEUE_FULL,
        f"{created.bound} executions of {created.full} {shown} are waiting already; try again later",
        metadata={created.full: shown, "limit": str(created.bound)},
        retry_seconds=_FULL_RETRY_SECONDS,
    )


def absent(task: ReadyTask) -> DomainError:
    """It is to be answered from the cache only, and there is no entry."""
    shown = names.display_task(task.id)
    return DomainError(
        errors_pb2.ERROR_REASON_CACHE_ENTRY_NOT_FOUND,
        f"the cache has no entry of {shown} for these inputs",
        metadata={"task": shown},
    )
