"""Map tasks: one task for each element of lists."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import math
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass
from typing import Any, Generic, TypeVar, overload

from lacewing.graph._binding import bind
from lacewing.graph._errors import GraphBuildError
from lacewing.graph._promise import Promise, type_of
from lacewing.graph._trace import Trace, current_trace
from lacewing.task import AnyTask, Task
from lacewing.types import ConversionError, Converter, ListConverter, admits_none, assignable
from lacewing.v1 import bindings_pb2, types_pb2, workflow_pb2

_Result = TypeVar("_Result")


@overload
def map_task(  # type: ignore[overload-overlap] # what a coroutine gives is more exact than that it is one
    function: Task[..., Coroutine[Any, Any, _Result]] | functools.partial[Coroutine[Any, Any, _Result]],
    *,
    concurrency: int | None = None,
) -> MapTask[Coroutine[Any, Any, list[_Result]]]: ...


@overload
def map_task(
    function: Task[..., _Result] | functools.partial[_Result], *, concurrency: int | None = None
) -> MapTask[list[_Result]]: ...


@overload
def map_task(  # type: ignore[overload-overlap] # as above
    function: Task[..., Coroutine[Any, Any, _Result]] | functools.partial[Coroutine[Any, Any, _Result]],
    *,
    concurrency: int | None = None,
    min_success_ratio: float | None = None,
    min_successes: int | None = None,
) -> MapTask[Coroutine[Any, Any, list[_Result | None]]]: ...


@overload
def map_task(
    function: Task[..., _Result] | functools.partial[_Result],
    *,
    concurrency: int | None = None,
    min_success_ratio: float | None = None,
    min_successes: int | None = None,
) -> MapTask[list[_Result | None]]: ...


def map_task(
    function: AnyTask | functools.partial[Any],
    *,
    concurrency: int | None = None,
    min_success_ratio: float | None = None,
    min_successes: int | None = None,
) -> MapTask[Any]:
    """Make a function that runs a task for each element of lists: `map_task(price)(item=items, currency="EUR")`.

    An input for which a list of what the task takes is given is taken element by element; all such lists are equally
    long. Any other input is given to every element whole, as is what `functools.partial` has set. It gives a list of
    what the task gives; of a task with several outputs, a list for each.

    In the body of a dynamic task or a workflow it makes one node, and each element is an execution of its own, with its
    own retries and cache. Anywhere else it runs the function here and now, one element after the other; of an
    asynchronous one all together, when the result is awaited.

    Args:
        function: The task, dynamic task or workflow, or `functools.partial` of it.
        concurrency: How many elements run at the same time. Default: as many as the execution allows. 0: without bound.
        min_success_ratio: The share of the elements that must succeed, from 0 to 1, rounded up to whole ones; those
            that fail give None. Default: all must.
        min_successes: The same as a number of elements. Only one of the two can be given.

    Raises:
        TypeError: It is not a task.
        ValueError: A number is out of its bounds, or both are given.
    """
    bound: Mapping[str, Any] = {}
    task: Any = function
    if isinstance(function, functools.partial):
        task = function.func
        if isinstance(task, Task):
            bound = task.interface.signature.bind_partial(*function.args, **function.keywords).arguments
    if not isinstance(task, Task):
        raise TypeError(f"map_task runs a @task, @dynamic or @workflow function, not {task!r}")
    if concurrency is not None and concurrency < 0:
        raise ValueError(f"concurrency is at least 0, not {concurrency}")
    if min_success_ratio is not None and min_successes is not None:
        raise ValueError("either min_success_ratio or min_successes is given, not both")
    if min_success_ratio is not None and not 0 <= min_success_ratio <= 1:
        raise ValueError(f"min_success_ratio is from 0 to 1, not {min_success_ratio}")
    if min_successes is not None and min_successes < 0:
        raise ValueError(f"min_successes is at least 0, not {min_successes}")
    return MapTask(task, bound, _Criteria(concurrency, min_success_ratio, min_successes))


@dataclass(frozen=True, slots=True)
class _Criteria:
    """How many elements run at a time, and how many must succeed."""

    concurrency: int | None
    min_success_ratio: float | None
    min_successes: int | None

    @property
    def may_fail(self) -> bool:
        """Whether elements may fail."""
        return self.min_success_ratio is not None or self.min_successes is not None

    def required(self, count: int) -> int:
        """Return how many of so many must succeed."""
        if self.min_success_ratio is not None:
            return math.ceil(round(self.min_success_ratio * count, 4))
        return count if self.min_successes is None else min(self.min_successes, count)


class MapTask(Generic[_Result]):
    """A task for each element of lists. Made by `map_task`."""

    def __init__(self, task: AnyTask, bound: Mapping[str, Any], criteria: _Criteria) -> None:
        self._task = task
        self._bound = bound
        self._criteria = criteria

    def __repr__(self) -> str:
        return f"<map of {self._task!r}>"

    def __call__(self, *args: Any, **inputs: Any) -> _Result:
        """Run the task for each element, or make that a node of the graph that is built.

        Raises:
            GraphBuildError: No input is a list of what the task takes, or the lists are not equally long.
            TypeError: The inputs are not those of the function.
        """
        given = self._task.interface.bind(args, {**self._bound, **inputs})
        trace = current_trace()
        result: _Result = self._run(given) if trace is None else self._note(trace, given)
        return result

    def _note(self, trace: Trace, given: Mapping[str, Any]) -> Any:
        interface = self._task.interface
        node = workflow_pb2.Node(id=trace.new_id())
        array = node.array_node
        array.is_original_sub_node_interface.value = True
        array.node.id = node.id
        mapped: dict[str, int | None] = {}
        for name, value in given.items():
            lists = None if name in self._bound else _as_list(trace, interface.inputs[name], value, name, self._task)
            if lists is not None:
                mapped[name] = len(lists.collection.bindings) if lists.HasField("collection") else None
                node.inputs.add(var=name, binding=lists)
        self._require_lists(mapped)
        whole = {name: value for name, value in given.items() if name not in mapped}
        trace.bind_inputs(node, self._task, whole, bound=mapped)
        array.bound_inputs.extend(sorted(binding.var for binding in node.inputs if binding.var not in mapped))
        trace.refer(array.node, self._task, as_task=True)
        self._set_criteria(array)
        outputs = {name: self._listed(converter) for name, converter in interface.outputs.items()}
        return trace.promises(trace.add(node, outputs), interface.join_outputs)

    def _set_criteria(self, array: workflow_pb2.ArrayNode) -> None:
        criteria = self._criteria
        if criteria.concurrency is not None:
            array.parallelism = criteria.concurrency
        if criteria.min_success_ratio is not None:
            array.min_success_ratio = criteria.min_success_ratio
        if criteria.min_successes is not None:
            array.min_successes = criteria.min_successes

    def _require_lists(self, mapped: Mapping[str, int | None]) -> None:
        if not mapped:
            raise GraphBuildError(
                f"{self!r} is given no list of what {self._task.name} takes, so there is nothing to map"
            )
        known = {name: length for name, length in mapped.items() if length is not None}
        if len(set(known.values())) > 1:
            lengths = ", ".join(f"{name} has {length}" for name, length in known.items())
            raise GraphBuildError(f"{self!r} is given lists that are not equally long: {lengths}")

    def _listed(self, converter: Converter) -> types_pb2.LiteralType:
        kind = converter.literal_type
        if not self._criteria.may_fail or admits_none(kind):
            return types_pb2.LiteralType(collection_type=kind)
        variants = kind.union_type.variants if kind.HasField("union_type") else [kind]
        none = types_pb2.LiteralType(simple=types_pb2.SIMPLE_TYPE_NONE)
        union = types_pb2.LiteralType(union_type=types_pb2.UnionType(variants=[*variants, none]))
        return types_pb2.LiteralType(collection_type=union)

    def _run(self, given: Mapping[str, Any]) -> Any:
        inputs = self._task.interface.inputs
        mapped = {
            name: list(value)
            for name, value in given.items()
            if name not in self._bound and _is_list_of(inputs[name], value)
        }
        self._require_lists({name: len(value) for name, value in mapped.items()})
        count = len(next(iter(mapped.values())))
        calls: list[Callable[[], Any]] = [
            functools.partial(
                self._task.function, **{**given, **{name: value[index] for name, value in mapped.items()}}
            )
            for index in range(count)
        ]
        if self._task.is_async:
            return self._gather(calls)
        return self._results([_outcome(call) for call in calls])

    async def _gather(self, calls: list[Callable[[], Any]]) -> Any:
        return self._results(await asyncio.gather(*(call() for call in calls), return_exceptions=True))

    def _results(self, outcomes: list[Any]) -> Any:
        failures = [outcome for outcome in outcomes if isinstance(outcome, BaseException)]
        if failures and len(outcomes) - len(failures) < self._criteria.required(len(outcomes)):
            raise failures[0]
        interface = self._task.interface
        parts = [
            dict.fromkeys(interface.outputs) if isinstance(outcome, BaseException) else interface.split_outputs(outcome)
            for outcome in outcomes
        ]
        return interface.join_outputs({name: [part[name] for part in parts] for name in interface.outputs})


def _outcome(call: Callable[[], Any]) -> Any:
    try:
        return call()
    except Exception as error:  # noqa: BLE001 it is the outcome of the element, and raised if it must succeed
        return error


def _as_list(
    trace: Trace, converter: Converter, value: Any, name: str, task: AnyTask
) -> bindings_pb2.BindingData | None:
    """Return the binding of a list of what the input takes; None if the value is for every element."""
    where = f"{task.name}: {name}"
    bound = bindings_pb2.BindingData()
    if isinstance(value, Promise):
        listed = ListConverter(list, converter)
        if not assignable(type_of(value), listed.literal_type):
            return None
        bind(bound, trace, listed, value, where)
        return bound
    if not isinstance(value, list):
        return None
    bound.collection.SetInParent()
    try:
        # One by one, so that a list as a whole is never kept elsewhere: its elements go to different executions.
        for index, item in enumerate(value):
            _bind_element(bound.collection.bindings.add(), trace, converter, item, f"{where}[{index}]")
    except GraphBuildError:
        with contextlib.suppress(GraphBuildError, ConversionError):
            bind(bindings_pb2.BindingData(), trace, converter, value, where)
            return None
        raise
    return bound


def _bind_element(data: bindings_pb2.BindingData, trace: Trace, converter: Converter, item: Any, where: str) -> None:
    try:
        bind(data, trace, converter, item, where)
    except ConversionError as error:
        raise GraphBuildError(f"{where}: {error}") from error


def _is_list_of(converter: Converter, value: Any) -> bool:
    """Return whether a list is taken element by element where no graph is built: unless only the whole of it fits."""
    if not isinstance(value, list):
        return False
    try:
        ListConverter(list, converter).to_plain(value)
    except ConversionError:
        with contextlib.suppress(ConversionError):
            converter.to_plain(value)
            return False
    return True
