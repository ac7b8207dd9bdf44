"""Dynamic tasks: bodies that look at their inputs and decide what runs."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar, Unpack, overload

from lacewing.graph._binding import Store
from lacewing.graph._graph_task import GraphTask
from lacewing.graph._trace import OnFailure, Registered, Trace
from lacewing.task import AnyTask, TaskOptions

_Parameters = ParamSpec("_Parameters")
_Result = TypeVar("_Result")


class DynamicOptions(TaskOptions, total=False):
    """The options of a dynamic task; `dynamic` says what each means."""

    max_parallelism: int
    on_failure: OnFailure
    failure_node: AnyTask | None


class Dynamic(GraphTask[_Parameters, _Result]):
    """A task whose body decides what runs. Made by `dynamic`; calling it runs everything here and now."""

    def trace(self, registered: Registered, store: Store) -> Trace:
        """Return an empty graph, for the calls of the body."""
        return Trace(self.name, self.interface, registered, store)


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
