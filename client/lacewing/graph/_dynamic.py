"""Dynamic tasks: bodies that look at their inputs and decide what runs."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar, Unpack, overload

from lacewing.graph._binding import Store
from lacewing.graph._trace import OnFailure, Registered, Trace, on_failure_policy
from lacewing.task import AnyTask, Task, TaskOptions
from lacewing.v1 import task_pb2

_Parameters = ParamSpec("_Parameters")
_Result = TypeVar("_Result")


class DynamicOptions(TaskOptions, total=False):
    """The options of a dynamic task; `dynamic` says what each means."""

    max_parallelism: int
    on_failure: OnFailure
    failure_node: AnyTask | None


class Dynamic(Task[_Parameters, _Result]):
    """A task whose body decides what runs. Made by `dynamic`; calling it runs everything here and now."""

    def __init__(
        self,
        function: Callable[_Parameters, _Result],
        *,
        max_parallelism: int = 0,
        on_failure: OnFailure = "fail_immediately",
        failure_node: AnyTask | None = None,
        **options: Unpack[TaskOptions],
    ) -> None:
        """Make a dynamic task of a function; see `dynamic` for the arguments."""
        super().__init__(function, **options)
        if max_parallelism < 0:
            raise ValueError(f"max_parallelism is at least 0, not {max_parallelism}")
        on_failure_policy(on_failure)
        self._policy.max_parallelism = max_parallelism
        self._on_failure = on_failure
        self._failure_node = failure_node

    def trace(self, registered: Registered, store: Store) -> Trace:
        """Return an empty graph, for the calls of the body."""
        return Trace(self.name, self.interface, registered, store)

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


@overload
def dynamic(function: Callable[_Parameters, _Result], /) -> Dynamic[_Parameters, _Result]: ...


@overload
def dynamic(
    **options: Unpack[DynamicOptions],
) -> Callable[[Callable[_Parameters, _Result]], Dynamic[_Parameters, _Result]]: ...


def dynamic(function: Callable[..., Any] | None = None, /, **options: Any) -> Any:
    """Make a dynamic task of an annotated function, sync or async; use as `@dynamic` or `@dynamic(retries=3, ...)`.

    Its body gets its inputs as values and calls other tasks. In a worker such a call does not run the task: it makes a
    node of a graph, and gives promises of the outputs, which can be passed to further tasks and returned. When the body
    has ended, the server runs the graph; what the body returned are then the outputs of the dynamic task. A body that
    calls no task is an ordinary one.

    Called like a function, it runs everything here and now. Calls from threads that the body starts run there and then.

    Args:
        function: The function, where the decorator is used without arguments.
        max_parallelism: How many nodes may run at a time. Default 0: without bound.
        on_failure: What happens to the other nodes when one fails: `"fail_immediately"` cancels them,
            `"fail_after_executable_nodes_complete"` lets all run that do not depend on it.
        failure_node: A task that runs after the graph has failed. It is given the inputs that it has parameters for,
            and the error as `err: GraphFailure`.
        **options: Those of `task`. Retries and timeout are those of the body; nodes have their own. A result is
            memoized as a whole.

    Raises:
        ConversionError: An annotation is missing, or is no type that Lacewing knows.
        TypeError: It is not a function.
        ValueError: An option is out of its bounds.
    """
    if function is not None:
        return Dynamic(function, **options)
    return functools.partial(Dynamic, **options)
