"""Gates: nodes that wait for time, for agreement, or for a value."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import timedelta
from typing import Any, TypeVar

from lacewing._durations import duration as message_of
from lacewing.errors import NonRecoverableError
from lacewing.graph._errors import GraphBuildError
from lacewing.graph._node import Nothing, follow
from lacewing.graph._promise import Promise, refer, type_of
from lacewing.graph._trace import Trace, current_trace
from lacewing.types import converter_for, literal_type_of
from lacewing.v1 import workflow_pb2

_Value = TypeVar("_Value")

_APPROVED = "value"
_GIVEN = "o0"


def sleep(duration: timedelta) -> object:
    """Let the graph wait for some time; `in_order(sleep(timedelta(hours=1)), work())` says what waits.

    What is returned stands for the node, and for no value: it is for `in_order` and `approve`. Where no graph is built,
    this thread sleeps.

    Args:
        duration: How long, from the moment nothing else holds the node back. Not negative.

    Raises:
        ValueError: It is negative.
    """
    if duration < timedelta(0):
        raise ValueError(f"a gate sleeps for no less than nothing, not for {duration}")
    trace = current_trace()
    if trace is None:
        time.sleep(duration.total_seconds())
        return None
    gate = workflow_pb2.GateNode(sleep=workflow_pb2.SleepCondition(duration=message_of(duration)))
    slept: object = trace.promises(trace.add(workflow_pb2.Node(id=trace.new_id(), gate_node=gate)))
    return slept


def approve(value: _Value, name: str) -> _Value:
    """Let the graph wait until somebody agrees to a value; return that. If somebody refuses, the graph fails.

    Where no graph is built, the answer is one of `local_answers`.

    Args:
        value: What is agreed to: a promise. What a function gives that returns nothing is agreed to as well: that it
            has run.
        name: What the answer is given to, unique in the graph.

    Raises:
        GraphBuildError: The value is no promise, or there is no answer here.
        NonRecoverableError: The local answer is a refusal.
    """
    trace = current_trace()
    if trace is None:
        if _local_answer(name) is not True:
            raise NonRecoverableError(f"{name!r} was refused")
        return value
    node = _gate(trace, name)
    node.gate_node.approve.signal_id = name
    if not isinstance(value, Promise):
        if not isinstance(value, Nothing):
            raise GraphBuildError(f"approve takes a promise of one value, not {value!r}")
        approved: _Value = trace.promises(trace.add(node))
        follow(value, approved)
        return approved
    binding = node.inputs.add(var=_APPROVED)
    refer(binding.binding.promise, value, trace)
    promised: _Value = trace.promises(trace.add(node, {_APPROVED: type_of(value)}))
    return promised


def wait_for_input(name: str, kind: type[_Value]) -> _Value:
    """Let the graph wait until somebody gives a value; return that.

    Where no graph is built, the value is one of `local_answers`.

    Args:
        name: What the value is given to, unique in the graph.
        kind: The type of the value, as an annotation.

    Raises:
        AnnotationError: The type has no literal type.
        ConversionError: The local value is not of the type.
        GraphBuildError: There is no such value here.
    """
    trace = current_trace()
    literal_type = literal_type_of(kind)
    if trace is None:
        answer: _Value = _local_answer(name)
        converter_for(kind).to_literal(answer)
        return answer
    signal = workflow_pb2.SignalCondition(signal_id=name, type=literal_type, output_variable_name=_GIVEN)
    node = _gate(trace, name)
    node.gate_node.signal.CopyFrom(signal)
    promised: _Value = trace.promises(trace.add(node, {_GIVEN: literal_type}))
    return promised


_answers: ContextVar[Mapping[str, Any]] = ContextVar("lacewing_local_answers", default={})  # noqa: B039 never changed


@contextmanager
def local_answers(answers: Mapping[str, Any]) -> Iterator[None]:
    """Answer the gates of dynamic tasks and workflows that are called in the block like any function.

    Args:
        answers: For each gate by name, True or False if it asks for agreement, else the value.
    """
    token = _answers.set(answers)
    try:
        yield
    finally:
        _answers.reset(token)


def _local_answer(name: str) -> Any:
    answers = _answers.get()
    if name not in answers:
        raise GraphBuildError(
            f"nobody answers {name!r} where no graph is built; call it inside local_answers({{{name!r}: ...}})"
        )
    return answers[name]


def _gate(trace: Trace, name: str) -> workflow_pb2.Node:
    if not name:
        raise GraphBuildError("a gate needs a name, which it is answered by")
    return workflow_pb2.Node(id=trace.new_id(), metadata=workflow_pb2.NodeMetadata(name=name))
