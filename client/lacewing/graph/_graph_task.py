"""What dynamic tasks and workflows have in common: their bodies build graphs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar, Unpack

from lacewing.graph._trace import OnFailure, Trace, on_failure_policy
from lacewing.task import AnyTask, Task, TaskOptions
from lacewing.v1 import task_pb2

_Parameters = ParamSpec("_Parameters")
_Result = TypeVar("_Result")


class GraphTask(Task[_Parameters, _Result]):
    """A task whose body builds a graph. Calling it runs everything here and now."""

    def __init__(
        self,
        function: Callable[_Parameters, _Result],
        *,
        max_parallelism: int = 0,
        on_failure: OnFailure = "fail_immediately",
        failure_node: AnyTask | None = None,
        **options: Unpack[TaskOptions],
    ) -> None:
        """Make it of a function; see `dynamic` and `workflow` for the arguments."""
        super().__init__(function, **options)
        if max_parallelism < 0:
            raise ValueError(f"max_parallelism is at least 0, not {max_parallelism}")
        on_failure_policy(on_failure)
        self._policy.max_parallelism = max_parallelism
        self._on_failure = on_failure
        self._failure_node = failure_node

    def finish(self, trace: Trace, result: Any) -> task_pb2.Graph:
        """Return the graph of the calls of the body.

        Args:
            trace: The calls.
            result: What the body returned.

        Raises:
            GraphBuildError: The graph is not complete.
            ConversionError: What the body returned does not fit its annotation.
        """
        return trace.finish(result, on_failure=self._on_failure, failure_node=self._failure_node)
