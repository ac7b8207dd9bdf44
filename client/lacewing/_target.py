"""What a request runs: the identity of the task, and how its values become literals and back."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Protocol, TypeAlias

import grpc

from lacewing._values import Values, offloaded
from lacewing.errors import InputsInvalid, OutputsInvalid, Violation
from lacewing.task import AnyTask, Task
from lacewing.types import ConversionError, JsonConverter
from lacewing.v1 import (
    execution_pb2,
    execution_service_pb2,
    identifiers_pb2,
    interface_pb2,
    literals_pb2,
    task_pb2,
)

# As many as a server lists.
_MAX_VIOLATIONS = 20

TaskReference: TypeAlias = AnyTask | str | identifiers_pb2.TaskId
"""A task: the Task itself, `"name"`, `"name@version"`, or a TaskId."""

FetchVersion: TypeAlias = Callable[[identifiers_pb2.TaskId], Awaitable[task_pb2.TaskVersion]]

# The name of the output of a task whose result has no parts with names.
_SINGLE_OUTPUT = "o0"


class Target(Protocol):
    """Something that can be executed."""

    @property
    def id(self) -> identifiers_pb2.TaskId:
        """Its identity."""

    @property
    def request(self) -> bytes:
        """A serialized `ExecuteRequest` with nothing but its identity."""

    async def inputs(self, values: Mapping[str, Any]) -> literals_pb2.LiteralMap:
        """Return the literals of inputs.

        Raises:
            InputsInvalid: A value does not fit.
        """

    async def result(self, execution: execution_pb2.Execution) -> Any:
        """Return the result of an execution that succeeded.

        Raises:
            OutputsInvalid: The outputs do not fit the function that is here.
        """

    def refused(self) -> None:
        """Take note that the server refused the inputs."""


class FunctionTarget:
    """A task whose function is here."""

    def __init__(self, task: AnyTask, project: str, domain: str, values: Values) -> None:
        self.id = task.id(project, domain)
        self.request = _request_of(self.id)
        self._interface = task.interface
        self._values = values

    async def inputs(self, values: Mapping[str, Any]) -> literals_pb2.LiteralMap:
        """Return the literals of inputs, by the annotations of the function."""
        interface = self._interface
        try:
            return await self._values.to_literals_async(
                interface.inputs_to_literals,
                values,
                interface.typed_interface.inputs,
                has_stored=interface.has_stored_inputs,
            )
        except ConversionError as error:
            raise _inputs_invalid(self.id, error) from error

    async def result(self, execution: execution_pb2.Execution) -> Any:
        """Return what the function returned."""
        interface = self._interface
        try:
            return await self._values.from_literals_async(
                interface.literals_to_outputs, execution.outputs, has_stored=interface.has_stored_outputs
            )
        except ConversionError as error:
            raise _outputs_invalid(execution, error) from error

    def refused(self) -> None:
        """Do nothing: the interface is that of the function, whatever the server thinks of it."""


class NamedTarget:
    """A task that is only known by its name: values are plain, as in JSON, and converted by its interface.

    The interface is fetched from the server when it is first needed. Where no version is named, each request runs the
    one that is registered last, and the interface follows when that changes.
    """

    def __init__(self, task_id: identifiers_pb2.TaskId, fetch: FetchVersion, values: Values) -> None:
        self.id = task_id
        self.request = _request_of(task_id)
        self._fetch = fetch
        self._values = values
        self._latest = ""
        self._versions: dict[str, tuple[JsonConverter, JsonConverter, interface_pb2.TypedInterface]] = {}

    async def inputs(self, values: Mapping[str, Any]) -> literals_pb2.LiteralMap:
        """Return the literals of inputs that are plain values."""
        try:
            converter, _, interface = await self._converters(self.id.version or self._latest)
            return await self._values.to_literals_async(
                converter.to_literals, values, interface.inputs, has_stored=False
            )
        except ConversionError as error:
            self.refused()
            raise _inputs_invalid(self.id, error) from error

    async def result(self, execution: execution_pb2.Execution) -> Any:
        """Return the outputs as plain values: None, the value of the only output if it has no name, or a dict."""
        _, converter, _ = await self._converters(execution.task.version)
        self._latest = execution.task.version

        def convert(literals: literals_pb2.LiteralMap) -> dict[str, Any]:
            if offloaded(literals):
                raise ConversionError("has to be fetched first")
            return converter.to_json(literals)

        outputs = await self._values.from_literals_async(convert, execution.outputs, has_stored=False)
        if outputs.keys() <= {_SINGLE_OUTPUT}:
            return outputs.get(_SINGLE_OUTPUT)
        return outputs

    def refused(self) -> None:
        """Look for the interface anew: a version that was registered since may take the inputs."""
        self._latest = ""

    async def _converters(self, version: str) -> tuple[JsonConverter, JsonConverter, interface_pb2.TypedInterface]:
        if version not in self._versions:
            wanted = identifiers_pb2.TaskId()
            wanted.CopyFrom(self.id)
            wanted.version = version
            fetched = await self._fetch(wanted)
            version = self._latest = fetched.id.version
            interface = fetched.spec.template.interface
            converters = JsonConverter(interface.inputs), JsonConverter(interface.outputs, "outputs")
            self._versions[version] = (*converters, interface)
        return self._versions[version]


def task_id(reference: TaskReference, project: str, domain: str) -> identifiers_pb2.TaskId:
    """Return the identity of a task, completed by the client's project and domain."""
    if isinstance(reference, Task):
        return reference.id(project, domain)
    if isinstance(reference, str):
        name, at, version = reference.partition("@")
        return identifiers_pb2.TaskId(project=project, domain=domain, name=name, version=version if at else "")
    return identifiers_pb2.TaskId(
        project=reference.project or project,
        domain=reference.domain or domain,
        name=reference.name,
        version=reference.version,
    )


def execution_id(
    reference: identifiers_pb2.ExecutionId | str, project: str, domain: str
) -> identifiers_pb2.ExecutionId:
    """Return the identity of an execution: of itself, of `"name"`, or of `"project/domain/name"`."""
    if isinstance(reference, str):
        parts = reference.split("/")
        if len(parts) not in (1, 3):
            raise ValueError(f'an execution is "name" or "project/domain/name", not {reference!r}')
        *place, name = parts
        project, domain = place or (project, domain)
        return identifiers_pb2.ExecutionId(project=project, domain=domain, name=name)
    return identifiers_pb2.ExecutionId(
        project=reference.project or project, domain=reference.domain or domain, name=reference.name
    )


def _request_of(task: identifiers_pb2.TaskId) -> bytes:
    return execution_service_pb2.ExecuteRequest(task=task).SerializeToString()


def _inputs_invalid(task: identifiers_pb2.TaskId, error: ConversionError) -> InputsInvalid:
    return InputsInvalid(
        f"the inputs do not fit the interface of {task.name}",
        grpc.StatusCode.INVALID_ARGUMENT,
        metadata={"task": task.name, **_omitted(error)},
        violations=_violations(error),
    )


def _outputs_invalid(execution: execution_pb2.Execution, error: ConversionError) -> OutputsInvalid:
    task = execution.task
    return OutputsInvalid(
        f"the outputs of {task.name}@{task.version} do not fit the function that is here: is it another version?",
        grpc.StatusCode.INVALID_ARGUMENT,
        metadata={"execution": execution.id.name, "task": task.name, **_omitted(error)},
        violations=_violations(error),
    )


def _violations(error: ConversionError) -> list[Violation]:
    return [Violation(problem.path, problem.message) for problem in error.problems[:_MAX_VIOLATIONS]]


def _omitted(error: ConversionError) -> dict[str, str]:
    more = len(error.problems) - _MAX_VIOLATIONS
    return {"omitted": str(more)} if more > 0 else {}
