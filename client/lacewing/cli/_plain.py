"""Executions with plain inputs and outputs, as JSON has them, converted by the interface of their task."""

from __future__ import annotations

from typing import Any

from lacewing.cli.output import document
from lacewing.client import Client
from lacewing.types import literal_map_to_json
from lacewing.v1 import execution_pb2, interface_pb2

# The name of the output of a task whose result has no parts with names.
_SINGLE_OUTPUT = "o0"


async def interface_of(client: Client, execution: execution_pb2.Execution) -> interface_pb2.TypedInterface:
    """Return the interface of the version that an execution runs."""
    return (await client.get_task(execution.task)).task_version.spec.template.interface


def inputs_of(execution: execution_pb2.Execution, interface: interface_pb2.TypedInterface) -> dict[str, Any]:
    """Return the inputs as they were given, plain."""
    return literal_map_to_json(execution.inputs, interface.inputs, "inputs")


def outputs_of(execution: execution_pb2.Execution, interface: interface_pb2.TypedInterface) -> dict[str, Any]:
    """Return the outputs by name, plain; empty if there are none."""
    return literal_map_to_json(execution.outputs, interface.outputs)


def result_of(execution: execution_pb2.Execution, interface: interface_pb2.TypedInterface) -> Any:
    """Return what the task returned, plain: None, the value of the only output if it has no name, or all by name."""
    outputs = outputs_of(execution, interface)
    return outputs.get(_SINGLE_OUTPUT) if outputs.keys() <= {_SINGLE_OUTPUT} else outputs


def execution_document(
    execution: execution_pb2.Execution, interface: interface_pb2.TypedInterface | None = None
) -> dict[str, Any]:
    """Return an execution as JSON, like a plain answer of the server: with `inputs_json` and `outputs_json`.

    Args:
        execution: The execution.
        interface: The interface of its task. None: leave inputs and outputs out.
    """
    result = document(execution)
    for name in ("inputs", "outputs"):
        result.pop(name, None)
    if interface is not None:
        if execution.HasField("inputs"):
            result["inputs_json"] = inputs_of(execution, interface)
        if execution.HasField("outputs"):
            result["outputs_json"] = outputs_of(execution, interface)
    return result
