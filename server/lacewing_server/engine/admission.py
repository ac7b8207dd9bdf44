"""What a request to execute must be, checked before anything is stored."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from lacewing.types import ConversionError, literal_map_from_json
from lacewing.v1 import errors_pb2, execution_pb2, execution_service_pb2, literals_pb2
from lacewing_server.domain import limits, names
from lacewing_server.domain.durations import milliseconds
from lacewing_server.domain.errors import DomainError, Violation, Violations, invalid_field
from lacewing_server.domain.record import HIGH_PRIORITY, LOW_PRIORITY, NO_KEY
from lacewing_server.domain.task_version import ReadyTask

_CACHE_MODES: Final = frozenset(execution_pb2.CacheMode.values())
PRIORITY_FLAGS: Final[Mapping[int, int]] = {
    execution_pb2.PRIORITY_UNSPECIFIED: 0,
    execution_pb2.PRIORITY_HIGH: HIGH_PRIORITY,
    execution_pb2.PRIORITY_NORMAL: 0,
    execution_pb2.PRIORITY_LOW: LOW_PRIORITY,
}
"""What each priority that there is sets of the flags of a record."""
_REMEMBERED_MAX: Final = 4_096
_REMEMBERED_BYTES: Final = 4_096


class Admission:
    """Checks requests; remembers small inputs that were found well."""

    def __init__(self) -> None:
        self._keys: dict[tuple[bytes, str, bytes], bytes] = {}

    def check(
        self, request: execution_service_pb2.ExecuteRequest, task: ReadyTask
    ) -> tuple[literals_pb2.LiteralMap, bytes, bytes]:
        """Checks a request against a task.

        Returns:
            The inputs, the same serialized, and the key of their cache entry (`NO_KEY` if the task is not memoized).

        Raises:
            DomainError: ``FIELD_INVALID``, ``INPUTS_INVALID`` or ``VALUE_TOO_LARGE``.
        """
        _check_fields(request)
        inputs, packed = _read_inputs(request, task)
        return inputs, packed, self._admit(task, inputs, packed)

    def _admit(self, task: ReadyTask, inputs: literals_pb2.LiteralMap, packed: bytes) -> bytes:
        """Checks the inputs and computes the cache key; both are remembered for equal bytes."""
        small = len(packed) <= _REMEMBERED_BYTES
        remembered = (task.ref, task.id.version, packed)
        if small and (key := self._keys.get(remembered)) is not None:
            return key
        if problems := task.inputs.check(inputs):
            raise _bad_inputs(task, [Violation(each.path, each.message) for each in problems])
        key = task.cache_key(task.inputs.complete(inputs)) if task.cached else NO_KEY
        if small:
            if len(self._keys) >= _REMEMBERED_MAX:
                self._keys.clear()
            self._keys[remembered] = key
        return key


def _read_inputs(
    request: execution_service_pb2.ExecuteRequest, task: ReadyTask
) -> tuple[literals_pb2.LiteralMap, bytes]:
    inputs = request.inputs
    if request.HasField("inputs_json"):
        if request.HasField("inputs"):
            raise invalid_field("inputs_json", "must not be given together with inputs")
        try:
            inputs = literal_map_from_json(request.inputs_json, task.input_variables)
        except ConversionError as error:
            raise _bad_inputs(task, [Violation(each.path, each.message) for each in error.problems]) from error
    packed = inputs.SerializeToString()
    if len(packed) > limits.INPUTS_MAX_BYTES:
        raise DomainError(
            errors_pb2.ERROR_REASON_VALUE_TOO_LARGE,
            f"the inputs have {len(packed)} bytes, {limits.INPUTS_MAX_BYTES} are allowed",
            metadata={"field": "inputs", "bytes": str(len(packed)), "limit": str(limits.INPUTS_MAX_BYTES)},
        )
    return inputs, packed


def _check_fields(request: execution_service_pb2.ExecuteRequest) -> None:
    violations = Violations()
    if request.name:
        names.check_execution_name(request.name, "name", violations)
    if request.request_id:
        names.check_printable(request.request_id, limits.REQUEST_ID_MAX, "request_id", violations)
    if request.labels:
        names.check_labels(request.labels, "labels", violations)
    if request.HasField("deadline") and not 0 < milliseconds(request.deadline) <= limits.DURATION_MAX_SECONDS * 1_000:
        violations.add("deadline", "must be positive, and at most ten years")
    if request.HasField("wait_timeout") and milliseconds(request.wait_timeout) < 0:
        violations.add("wait_timeout", "must not be negative")
    if request.priority not in PRIORITY_FLAGS:
        violations.add("priority", f"must be a known priority, got {request.priority}")
    if request.cache_mode not in _CACHE_MODES:
        violations.add("cache_mode", f"must be a known mode, got {request.cache_mode}")
    violations.raise_if_any()


def _bad_inputs(task: ReadyTask, violations: list[Violation]) -> DomainError:
    shown = names.display_task(task.id)
    first = violations[0]
    more = f" (and {len(violations) - 1} more)" if len(violations) > 1 else ""
    return DomainError(
        errors_pb2.ERROR_REASON_INPUTS_INVALID,
        f"the inputs do not fit the interface of {shown}: {first.field}: {first.description}{more}",
        metadata={"task": shown},
        violations=violations,
    )
