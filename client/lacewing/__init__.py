"""Lacewing: typed, versioned, retried, timed out and memoized tasks over gRPC.

Declare tasks with `task`, run them with `Client` (or `lacewing.sync.Client`), and serve them with
`lacewing.worker.Worker`. What can go wrong is in `lacewing.errors`; for tests there is `lacewing.testing`.
"""

from __future__ import annotations

from lacewing._context import AttemptContext, current_attempt
from lacewing._handle import Handle
from lacewing.client import Client, Options
from lacewing.errors import (
    CallFailed,
    LacewingError,
    NonRecoverableError,
    RecoverableError,
    RefusedError,
    TaskCancelled,
    TaskDidNotSucceed,
    TaskFailed,
    TaskTimedOut,
    WaitTimedOut,
)
from lacewing.task import Backoff, Cache, Task, load_tasks, task

__all__ = [
    "AttemptContext",
    "Backoff",
    "Cache",
    "CallFailed",
    "Client",
    "Handle",
    "LacewingError",
    "NonRecoverableError",
    "Options",
    "RecoverableError",
    "RefusedError",
    "Task",
    "TaskCancelled",
    "TaskDidNotSucceed",
    "TaskFailed",
    "TaskTimedOut",
    "WaitTimedOut",
    "current_attempt",
    "load_tasks",
    "task",
]
