"""Whether calls of tasks run them, or note that they are to be run: in the body of a dynamic task or a workflow."""

from __future__ import annotations

from collections.abc import Mapping
from contextvars import ContextVar
from typing import Any, Protocol

from lacewing._scoped import Scoped


class Tracer(Protocol):
    """Takes note of calls."""

    def call(self, task: Any, arguments: tuple[Any, ...], inputs: Mapping[str, Any]) -> Any:
        """Note a call of a task, and return promises of what it gives."""


_tracer: ContextVar[Tracer | None] = ContextVar("lacewing_tracer", default=None)


def current_tracer() -> Tracer | None:
    """Return what takes note of calls where this is called; None if they run."""
    return _tracer.get()


def tracing(tracer: Tracer | None) -> Scoped[Tracer | None]:
    """Let calls in the block be noted, or with None run."""
    return Scoped(_tracer, tracer)
