"""Tasks that the tests of graphs call."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import lacewing
from lacewing.v1 import bindings_pb2, task_pb2, workflow_pb2


@dataclass
class Config:
    """A record."""

    rate: float
    names: list[str]
    limits: dict[str, int]


class Split(NamedTuple):
    """Two outputs with names."""

    whole: int
    rest: int


@lacewing.task
def add(a: int, b: int = 2) -> int:
    return a + b


@lacewing.task
async def add_soon(a: int, b: int) -> int:
    return a + b


@lacewing.task
def configure(rate: float) -> Config:
    return Config(rate, ["a", "b"], {"low": 1})


@lacewing.task
def use(config: Config) -> str:
    return ",".join(config.names)


@lacewing.task
def split(n: int) -> Split:
    return Split(n // 10, n % 10)


@lacewing.task
def pair(n: int) -> tuple[int, str]:
    return n, str(n)


@lacewing.task
def total(numbers: list[int]) -> int:
    return sum(numbers)


@lacewing.task
def labelled(labels: dict[str, int] | None = None, numbers: list[int] | int = 0) -> int:
    return sum((labels or {}).values()) + (numbers if isinstance(numbers, int) else sum(numbers))


@lacewing.task
def note(text: str) -> None:
    print(text)


@lacewing.task
def say(text: str) -> str:
    return text


def nodes(workflow: lacewing.Workflow[..., Any]) -> list[workflow_pb2.Node]:
    """Returns the nodes of the graph of a workflow."""
    return list(graph(workflow).workflow.nodes)


def graph(workflow: lacewing.Workflow[..., Any]) -> task_pb2.Graph:
    """Returns the graph of a workflow."""
    return workflow.spec.graph


def source(binding: bindings_pb2.BindingData) -> str:
    """Returns where a value comes from, in a few words."""
    match binding.WhichOneof("value"):
        case "promise":
            steps = [step.string_value or str(step.int_value) for step in binding.promise.attr_path]
            return ".".join([binding.promise.node_id or "in", binding.promise.var, *steps])
        case "collection":
            return f"[{', '.join(map(source, binding.collection.bindings))}]"
        case "map":
            return f"{{{', '.join(f'{key}: {source(part)}' for key, part in sorted(binding.map.bindings.items()))}}}"
        case _:
            scalar = binding.scalar
            primitive = (scalar.union.value.scalar if scalar.HasField("union") else scalar).primitive
            return str(getattr(primitive, primitive.WhichOneof("value") or "integer"))


def inputs(node: workflow_pb2.Node) -> dict[str, str]:
    """Returns where each input of a node comes from."""
    return {binding.var: source(binding.binding) for binding in node.inputs}


def outputs(workflow: lacewing.Workflow[..., Any]) -> dict[str, str]:
    """Returns where each output of a workflow comes from."""
    return {binding.var: source(binding.binding) for binding in graph(workflow).workflow.outputs}
