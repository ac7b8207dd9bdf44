"""Tasks that exercise every rule of the store, registered without an SDK."""

from __future__ import annotations

from google.protobuf import duration_pb2

from lacewing.v1 import identifiers_pb2, literals_pb2, task_pb2, types_pb2


def seconds(value: float) -> duration_pb2.Duration:
    """A duration."""
    duration = duration_pb2.Duration()
    duration.FromMilliseconds(round(value * 1000))
    return duration


def spec(
    *,
    retries: int = 0,
    timeout: float = 0,
    cached: bool = False,
    serialized: bool = False,
    ignored: tuple[str, ...] = (),
    policy: task_pb2.TaskPolicy | None = None,
) -> task_pb2.TaskSpec:
    """A task from an integer ``n`` and a text ``pad`` to an integer ``o0``."""
    result = task_pb2.TaskSpec(policy=policy)
    template = result.template
    template.type = "python-task"
    inputs, outputs = template.interface.inputs.variables, template.interface.outputs.variables
    inputs["n"].type.simple = types_pb2.SIMPLE_TYPE_INTEGER
    inputs["pad"].type.simple = types_pb2.SIMPLE_TYPE_STRING
    outputs["o0"].type.simple = types_pb2.SIMPLE_TYPE_INTEGER
    result.default_inputs.parameters["pad"].default.scalar.primitive.string_value = ""
    metadata = template.metadata
    metadata.retries.retries = retries
    metadata.timeout.CopyFrom(seconds(timeout))
    if cached:
        metadata.discoverable, metadata.discovery_version = True, "1"
        metadata.cache_serializable = serialized
        metadata.cache_ignore_input_vars.extend(ignored)
    return result


def task_id(name: str, version: str = "") -> identifiers_pb2.TaskId:
    """A task in the default project and domain."""
    return identifiers_pb2.TaskId(project="default", domain="development", name=name, version=version)


def inputs_of(n: int, pad: str | None = None) -> literals_pb2.LiteralMap:
    """Inputs."""
    result = literals_pb2.LiteralMap()
    result.literals["n"].scalar.primitive.integer = n
    if pad is not None:
        result.literals["pad"].scalar.primitive.string_value = pad
    return result


def outputs_of(value: int) -> literals_pb2.LiteralMap:
    """Outputs."""
    result = literals_pb2.LiteralMap()
    result.literals["o0"].scalar.primitive.integer = value
    return result
