"""The calls that show a graph and answer its gates."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import grpc
from google.protobuf import struct_pb2

from lacewing._channel import CALL_TIMEOUT, rpc_errors
from lacewing._connection import Connection
from lacewing.errors import FieldInvalid, Violation
from lacewing.types import AnnotationError, ConversionError, converter_for
from lacewing.v1 import execution_service_pb2, identifiers_pb2, literals_pb2

# Integers beyond it are no longer exact as numbers of JSON.
_EXACT = 2**53


class Graphs(Connection):
    """A connection, and the calls on graphs of executions."""

    async def get_graph(self, execution: identifiers_pb2.ExecutionId | str) -> execution_service_pb2.GetGraphResponse:
        """Return the graph that an execution runs or ran, and where each of its nodes stands: all pages as one.

        Args:
            execution: Its identity, its name, or `"project/domain/name"`.

        Raises:
            GraphNotFound: It runs no graph, or its body has not given one yet.
        """
        request = execution_service_pb2.GetGraphRequest(id=self._execution_id(execution))
        whole = execution_service_pb2.GetGraphResponse()
        while True:
            with rpc_errors():
                whole.MergeFrom(await self.executions.GetGraph(request, timeout=CALL_TIMEOUT))
            request.page_token = whole.next_page_token
            whole.ClearField("next_page_token")
            if not request.page_token:
                return whole

    async def signal(self, execution: identifiers_pb2.ExecutionId | str, signal_id: str, value: Any) -> None:
        """Answer a gate, also before it is reached. The same answer again is no error.

        Args:
            execution: The execution whose graph has the gate: its identity, its name, or `"project/domain/name"`.
            signal_id: The name of the gate.
            value: The answer. Of a gate that waits for approval, a boolean; else a value of its type: a plain one, as
                in JSON, an instance of a class that tasks can take, such as a dataclass or a datetime, or a Literal.

        Raises:
            GraphNotFound: The execution runs no graph, or none yet.
            SignalNotFound: No gate of the graph has this name.
            FieldInvalid: The value is not of the type that the gate takes.
            SignalConflict: The gate was answered otherwise.
            ExecutionEnded: The execution has ended.
        """
        request = execution_service_pb2.SignalExecutionRequest(id=self._execution_id(execution), signal_id=signal_id)
        if value is None or isinstance(value, bool | int | float | str | list | tuple | dict):
            request.value_json.CopyFrom(_json_value(value, "value"))
        else:
            request.value.CopyFrom(value if isinstance(value, literals_pb2.Literal) else _literal(value))
        with rpc_errors():
            await self.executions.SignalExecution(request, timeout=CALL_TIMEOUT)

    async def approve(self, execution: identifiers_pb2.ExecutionId | str, signal_id: str) -> None:
        """Agree where a node waits for approval: the graph goes on. Arguments and errors as of `signal`."""
        await self.signal(execution, signal_id, value=True)

    async def reject(self, execution: identifiers_pb2.ExecutionId | str, signal_id: str) -> None:
        """Refuse where a node waits for approval: the node fails. Arguments and errors as of `signal`."""
        await self.signal(execution, signal_id, value=False)


def _literal(value: Any) -> literals_pb2.Literal:
    try:
        return converter_for(type(value)).to_literal(value)
    except AnnotationError as error:
        raise _invalid("value", str(error)) from error
    except ConversionError as error:
        raise _invalid("value", "; ".join(map(str, error.problems))) from error


def _json_value(value: Any, path: str) -> struct_pb2.Value:  # noqa: PLR0911 one arm per kind of value
    """Return a plain value as a message; integers that a double cannot hold become texts."""
    match value:
        case None:
            return struct_pb2.Value(null_value=struct_pb2.NULL_VALUE)
        case bool():
            return struct_pb2.Value(bool_value=value)
        case int() if abs(value) > _EXACT:
            return struct_pb2.Value(string_value=str(value))
        case int() | float():
            return struct_pb2.Value(number_value=value)
        case str():
            return struct_pb2.Value(string_value=value)
        case list() | tuple():
            items = [_json_value(item, f"{path}[{index}]") for index, item in enumerate(value)]
            return struct_pb2.Value(list_value=struct_pb2.ListValue(values=items))
        case Mapping():
            fields = {str(name): _json_value(item, f"{path}.{name}") for name, item in value.items()}
            return struct_pb2.Value(struct_value=struct_pb2.Struct(fields=fields))
    raise _invalid(path, f"{type(value).__name__} is no plain value, as JSON has them")


def _invalid(path: str, description: str) -> FieldInvalid:
    return FieldInvalid(
        "the value of the signal cannot be converted",
        grpc.StatusCode.INVALID_ARGUMENT,
        violations=[Violation(path, description)],
    )
