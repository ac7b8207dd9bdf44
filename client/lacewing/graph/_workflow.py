"""Workflows: graphs that are registered by name, and run by the server itself."""

from __future__ import annotations

import functools
import traceback
from collections.abc import Callable, Coroutine
from contextvars import ContextVar
from datetime import timedelta
from typing import Any, ClassVar, ParamSpec, TypedDict, TypeVar, Unpack, cast, overload

from lacewing._tracing import tracing
from lacewing.graph._errors import GraphBuildError
from lacewing.graph._graph_task import GraphTask
from lacewing.graph._trace import WORKFLOW_TYPE, OnFailure, Trace
from lacewing.task import AnyTask, Cache
from lacewing.types import ConversionError
from lacewing.v1 import task_pb2

_Parameters = ParamSpec("_Parameters")
_Result = TypeVar("_Result")


class WorkflowOptions(TypedDict, total=False):
    """The options of a workflow; `workflow` says what each means."""

    name: str
    version: str
    project: str
    domain: str
    description: str
    cache: bool | str | Cache
    deadline: timedelta | float | None
    retention: timedelta | float | None
    max_parallelism: int
    on_failure: OnFailure
    failure_node: AnyTask | None


class Workflow(GraphTask[_Parameters, _Result]):
    """A graph with a name. Made by `workflow`; calling it runs everything here and now."""

    is_workflow: ClassVar[bool] = True

    def __init__(
        self,
        function: Callable[_Parameters, _Result],
        *,
        name: str = "",
        version: str = "",
        project: str = "",
        domain: str = "",
        description: str = "",
        cache: bool | str | Cache = False,
        deadline: timedelta | float | None = None,
        retention: timedelta | float | None = None,
        max_parallelism: int = 0,
        on_failure: OnFailure = "fail_immediately",
        failure_node: AnyTask | None = None,
    ) -> None:
        """Make a workflow of a function; see `workflow` for the arguments."""
        super().__init__(
            function,
            name=name,
            version=version,
            project=project,
            domain=domain,
            cache=cache,
            deadline=deadline,
            retention=retention,
            task_type=WORKFLOW_TYPE,
            max_parallelism=max_parallelism,
            on_failure=on_failure,
            failure_node=failure_node,
        )
        self._description = description or self._description

    @functools.cached_property
    def spec(self) -> task_pb2.TaskSpec:
        """What is registered, with the graph that the body builds and all tasks it calls. Not to be changed.

        Raises:
            GraphBuildError: The body builds a graph that cannot be, or raises something else. The message says where.
        """
        spec = task_pb2.TaskSpec()
        spec.CopyFrom(self._declaration())
        spec.graph.CopyFrom(self._graph())
        return spec

    def _graph(self) -> task_pb2.Graph:
        around = _being_built.get()
        if self in around:
            raise GraphBuildError(f"{self.name} calls itself, so that its graph has no end; use a @dynamic task")
        token = _being_built.set((*around, self))
        try:
            return self._build()
        except ConversionError as error:
            raise GraphBuildError(f"what workflow {self.name} returns does not fit its annotation: {error}") from error
        except GraphBuildError as error:
            raise type(error)(f"workflow {self.name}{self._line(error)}: {error}") from error
        except Exception as error:
            what = f"{type(error).__name__}: {error}"
            raise GraphBuildError(f"workflow {self.name}{self._line(error)}: {what}") from error
        finally:
            _being_built.reset(token)

    def _build(self) -> task_pb2.Graph:
        trace = Trace(
            self.name,
            self.interface,
            registered=lambda _: None,
            store=lambda converter, value: converter.to_literal(value),
        )
        with tracing(trace):
            inputs = cast("dict[str, Any]", trace.input_promises())
            result = self.function(**inputs)  # type: ignore[call-arg] # it gets promises of its inputs
            if self.is_async:
                result = _run_to_its_end(cast("Coroutine[Any, Any, Any]", result))
        if trace.is_empty:
            raise GraphBuildError("it calls no task, so that there is nothing to run")
        return self.finish(trace, result)

    def _line(self, error: Exception) -> str:
        """Return where the body was when it raised, to be put behind its name; nothing if it had ended."""
        file = self.function.__code__.co_filename
        lines = [line for frame, line in traceback.walk_tb(error.__traceback__) if frame.f_code.co_filename == file]
        return f" ({file}:{lines[-1]})" if lines else ""


_being_built: ContextVar[tuple[AnyTask, ...]] = ContextVar("lacewing_workflows_being_built", default=())


def _run_to_its_end(body: Coroutine[Any, Any, Any]) -> Any:
    try:
        body.send(None)
    except StopIteration as end:
        return end.value
    body.close()
    raise GraphBuildError("it waits for something else than a task, which is never there when it is built")


@overload
def workflow(function: Callable[_Parameters, _Result], /) -> Workflow[_Parameters, _Result]: ...


@overload
def workflow(
    **options: Unpack[WorkflowOptions],
) -> Callable[[Callable[_Parameters, _Result]], Workflow[_Parameters, _Result]]: ...


def workflow(function: Callable[..., Any] | None = None, /, **options: Any) -> Any:  # noqa: D417 they are named one by one
    """Make a workflow of an annotated function, sync or async; use as `@workflow` or `@workflow(deadline=60, ...)`.

    Its body is run once, when the workflow is registered: with promises for its inputs, it calls tasks, which makes the
    nodes of a graph. The workflow is registered with its graph and all that it calls, and is executed like a task; the
    server runs it, and workers run its tasks. Whatever the inputs decide is said by `conditional` and `map_task`, or by
    a `dynamic` task.

    Called like a function, it runs everything here and now.

    Args:
        function: The function, where the decorator is used without arguments.
        name: The name. Default: as of a task, the module, a dot, and the name of the function.
        version: The version. Default: the server derives it from the spec, so that it changes with the graph and with
            what the tasks in it declare.
        project: The project. Default: that of the client.
        domain: The domain. Default: that of the client.
        description: What it is for. Default: the first paragraph of the docstring.
        cache: Whether results are memoized as a whole: False, True (cache version `"1"`), a cache version, a `Cache`.
        deadline: How long it may take in all, from creation to end, in seconds if a number. Default: without bound.
        retention: How long a finished execution can be read. Default: the server's, 7 days unless changed.
        max_parallelism: How many nodes may run at a time. Default 0: without bound.
        on_failure: What happens to the other nodes when one fails: `"fail_immediately"` cancels them,
            `"fail_after_executable_nodes_complete"` lets all run that do not depend on it.
        failure_node: A task that runs after the graph has failed. It is given the inputs that it has parameters for,
            and the error as `err: GraphFailure`.

    Raises:
        ConversionError: An annotation is missing, or is no type that Lacewing knows.
        TypeError: It is not a function.
        ValueError: An option is out of its bounds.
    """
    if function is not None:
        return Workflow(function, **options)
    return functools.partial(Workflow, **options)
