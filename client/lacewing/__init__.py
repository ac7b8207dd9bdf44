"""Lacewing: typed, versioned, retried, timed out and memoized tasks over gRPC.

Declare tasks with `task`, and graphs of them with `dynamic` and `workflow`; run them with `Client` (or
`lacewing.sync.Client`), and serve them with `lacewing.worker.Worker`. What can go wrong is in `lacewing.errors`; for
tests there is `lacewing.testing`.
"""

from __future__ import annotations

import importlib as _importlib
import sys as _sys
import typing as _typing
from types import ModuleType as _ModuleType

# gRPC and protobuf take a quarter of a second to import. They are imported with the first name that is used, so that
# what needs neither, such as the help of the command line, does not wait for them.
if _typing.TYPE_CHECKING:
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
    from lacewing.graph import (
        Dynamic,
        GraphBuildError,
        GraphFailure,
        PromiseUsedAsValueError,
        Workflow,
        approve,
        conditional,
        dynamic,
        in_order,
        local_answers,
        map_task,
        reference_task,
        sleep,
        wait_for_input,
        with_overrides,
        workflow,
    )
    from lacewing.task import Backoff, Cache, RateLimit, Task, load_tasks, task
    from lacewing.types import Columns, Directory, File, Format

__all__ = [
    "AttemptContext",
    "Backoff",
    "Cache",
    "CallFailed",
    "Client",
    "Columns",
    "Directory",
    "Dynamic",
    "File",
    "Format",
    "GraphBuildError",
    "GraphFailure",
    "Handle",
    "LacewingError",
    "NonRecoverableError",
    "Options",
    "PromiseUsedAsValueError",
    "RateLimit",
    "RecoverableError",
    "RefusedError",
    "Task",
    "TaskCancelled",
    "TaskDidNotSucceed",
    "TaskFailed",
    "TaskTimedOut",
    "WaitTimedOut",
    "Workflow",
    "approve",
    "conditional",
    "current_attempt",
    "dynamic",
    "in_order",
    "load_tasks",
    "local_answers",
    "map_task",
    "reference_task",
    "sleep",
    "task",
    "wait_for_input",
    "with_overrides",
    "workflow",
]

_HOMES = {
    **dict.fromkeys(("AttemptContext", "current_attempt"), "lacewing._context"),
    "Handle": "lacewing._handle",
    **dict.fromkeys(("Client", "Options"), "lacewing.client"),
    **dict.fromkeys(
        (
            "Dynamic",
            "GraphBuildError",
            "GraphFailure",
            "PromiseUsedAsValueError",
            "Workflow",
            "approve",
            "conditional",
            "dynamic",
            "in_order",
            "local_answers",
            "map_task",
            "reference_task",
            "sleep",
            "wait_for_input",
            "with_overrides",
            "workflow",
        ),
        "lacewing.graph",
    ),
    **dict.fromkeys(("Columns", "Directory", "File", "Format"), "lacewing.types"),
    **dict.fromkeys(("Backoff", "Cache", "RateLimit", "Task", "load_tasks", "task"), "lacewing.task"),
}


if not _typing.TYPE_CHECKING:  # To a type checker only the names above are there.

    def __getattr__(name: str) -> object:
        if name not in __all__:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        value = getattr(_importlib.import_module(_HOMES.get(name, "lacewing.errors")), name)
        globals()[name] = value
        return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


class _Package(_ModuleType):
    """This package: its `task` is the decorator, and stays so when the module of the same name is imported."""

    def __setattr__(self, name: str, value: object) -> None:
        if name != "task" or not isinstance(value, _ModuleType):
            super().__setattr__(name, value)


_sys.modules[__name__].__class__ = _Package
