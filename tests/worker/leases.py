"""Leases and what tests wait for, for tests of the worker."""

from __future__ import annotations

import asyncio
import itertools
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from lacewing.task import AnyTask
from lacewing.v1 import worker_service_pb2

_numbers = itertools.count(1)


def lease(task: AnyTask, *, timeout: float = 60.0, **inputs: Any) -> worker_service_pb2.Lease:
    """Returns a lease of a task, with a token of its own and the defaults of its inputs filled in, as a server does."""
    number = next(_numbers)
    result = worker_service_pb2.Lease(token=f"token-{number}".encode(), task=task.id(), attempt=1)
    result.execution.name = f"x{number}"
    result.inputs.CopyFrom(task.interface.inputs_to_literals(inputs))
    for name, parameter in task.interface.defaults.parameters.items():
        if name not in result.inputs.literals:
            result.inputs.literals[name].CopyFrom(parameter.default)
    result.attempt_timeout.FromMicroseconds(int(timeout * 1e6))
    return result


async def until(condition: Callable[[], Any]) -> Any:
    """Waits until a condition holds, and returns what made it true."""
    async with asyncio.timeout(20):
        while not (result := condition()):
            await asyncio.sleep(0.002)
        return result


def read_pid(path: Path) -> int:
    """Returns the process id in a file, or 0 while there is none, or it is being written."""
    return int(path.read_text() or 0) if path.exists() else 0


def is_alive(pid: int) -> bool:
    """Whether there is such a process and it is more than a zombie."""
    try:
        os.kill(pid, 0)
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (ProcessLookupError, FileNotFoundError):
        return False


async def until_ended(pid: int) -> None:
    """Waits until there is no such process."""
    await until(lambda: not is_alive(pid))
