"""The rules of registration: what a task spec must be, what it is called, and how two of them differ."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

from google.protobuf.message import Message

from lacewing.types import NOT_IDENTITY, ConversionError, InterfaceChecker, derived_version, digest_spec
from lacewing.v1 import errors_pb2, identifiers_pb2, interface_pb2, task_pb2
from lacewing_server.domain import limits, names
from lacewing_server.domain.bounds import check_bounds
from lacewing_server.domain.durations import check_duration
from lacewing_server.domain.errors import DomainError, Violation, Violations
from lacewing_server.domain.task_version import WORKFLOW, Defaults

_Field: TypeAlias = Any
"""A ``FieldDescriptor``; of which of the two implementations depends on how protobuf was built."""

_SHOWN_CHARACTERS: Final = 80


@dataclass(frozen=True, slots=True)
class Checked:
    """What registration found out about a valid spec."""

    version: str
    """The version: as given, or derived from the digest."""
    digest: str
    """The canonical digest, 64 hexadecimal digits."""
    warnings: tuple[str, ...]
    """What the author should know although it is no error."""


def check_task_id(project: str, domain: str, name: str, version: str, path: str) -> None:
    """Checks the identity of a task; an empty version is valid.

    Raises:
        DomainError: ``FIELD_INVALID``; paths begin with ``path``.
    """
    violations = Violations()
    _check_id(project, domain, name, version, path, violations)
    violations.raise_if_any()


def check(project: str, domain: str, name: str, version: str, spec: task_pb2.TaskSpec, defaults: Defaults) -> Checked:
    """Checks everything about a registration that needs no store.

    Raises:
        DomainError: ``VALUE_TOO_LARGE``, or ``FIELD_INVALID`` with every place at fault.
    """
    size = spec.ByteSize()
    if size > limits.SPEC_MAX_BYTES:
        raise DomainError(
            errors_pb2.ERROR_REASON_VALUE_TOO_LARGE,
            f"the spec has {size} bytes, {limits.SPEC_MAX_BYTES} are allowed",
            metadata={"field": "spec", "bytes": str(size), "limit": str(limits.SPEC_MAX_BYTES)},
        )
    violations = Violations()
    task = identifiers_pb2.TaskId(project=project, domain=domain, name=name, version=version)
    check_spec(task, spec, violations)
    violations.raise_if_any()
    digest = digest_spec(spec)
    return Checked(version or derived_version(digest), digest, tuple(_warnings(name, spec, defaults)))


def check_spec(task: identifiers_pb2.TaskId, spec: task_pb2.TaskSpec, violations: Violations) -> None:
    """Checks an identity and a spec, but not the graph of a workflow; paths begin with ``id`` and ``spec``."""
    _check_id(task.project, task.domain, task.name, task.version, "id", violations)
    if not spec.template.type:
        violations.add("spec.template.type", "is required: it says which workers can run the task")
    if spec.HasField("graph") != (spec.template.type == WORKFLOW):
        what = (
            f"is required of a task of the type {WORKFLOW}"
            if spec.template.type == WORKFLOW
            else (f"must be unset: only a task of the type {WORKFLOW} has one")
        )
        violations.add("spec.graph", what)
    if len(spec.description) > limits.DESCRIPTION_MAX:
        violations.add("spec.description", f"must have at most {limits.DESCRIPTION_MAX} characters")
    _check_metadata(spec, violations)
    _check_policy(spec.policy, violations)
    _check_interface(spec, violations)


def differences(existing: task_pb2.TaskSpec, given: task_pb2.TaskSpec) -> list[Violation]:
    """Lists where two specs differ, as far as it counts for their identity."""
    return list(_differences(existing, given, "spec"))


def _check_id(project: str, domain: str, name: str, version: str, path: str, violations: Violations) -> None:
    names.check_dns_label(project, f"{path}.project", violations)
    names.check_dns_label(domain, f"{path}.domain", violations)
    names.check_task_name(name, f"{path}.name", violations)
    if version:
        names.check_version(version, f"{path}.version", violations)


def _check_metadata(spec: task_pb2.TaskSpec, violations: Violations) -> None:
    metadata, policy = spec.template.metadata, spec.policy
    path = "spec.template.metadata"
    check_duration(metadata.timeout, f"{path}.timeout", violations)
    _check_count(metadata.retries.retries, f"{path}.retries.retries", violations)
    if metadata.discoverable and not metadata.discovery_version:
        violations.add(f"{path}.discovery_version", "is required because the task is discoverable")
    if len(metadata.discovery_version) > limits.VERSION_MAX:
        violations.add(f"{path}.discovery_version", f"must have at most {limits.VERSION_MAX} characters")
    if metadata.discoverable and policy.HasField("idempotent") and not policy.idempotent:
        violations.add(f"{path}.discoverable", "must be false because spec.policy.idempotent is false")
    inputs = spec.template.interface.inputs.variables
    for index, name in enumerate(metadata.cache_ignore_input_vars):
        if name not in inputs:
            violations.add(
                f"{path}.cache_ignore_input_vars[{index}]", f"names no input of the task: {name[:_SHOWN_CHARACTERS]!r}"
            )


def _check_policy(policy: task_pb2.TaskPolicy, violations: Violations) -> None:
    path = "spec.policy"
    backoff = policy.backoff
    _check_count(policy.max_losses, f"{path}.max_losses", violations)
    check_duration(backoff.initial, f"{path}.backoff.initial", violations)
    check_duration(backoff.max, f"{path}.backoff.max", violations)
    if backoff.multiplier != 0 and not 1 <= backoff.multiplier < float("inf"):
        violations.add(f"{path}.backoff.multiplier", f"must be 0 or at least 1, got {backoff.multiplier}")
    if backoff.jitter not in task_pb2.Backoff.Jitter.values():
        violations.add(f"{path}.backoff.jitter", f"must be a known jitter, got {backoff.jitter}")
    for name in ("queue_timeout", "deadline", "retention"):
        if policy.HasField(name):
            check_duration(getattr(policy, name), f"{path}.{name}", violations, positive=True)
    if policy.cache.HasField("ttl"):
        check_duration(policy.cache.ttl, f"{path}.cache.ttl", violations, positive=True)
    if policy.cache.scope not in task_pb2.CachePolicy.Scope.values():
        violations.add(f"{path}.cache.scope", f"must be a known scope, got {policy.cache.scope}")
    if not 0 <= policy.cache.audit_rate <= 1:
        violations.add(f"{path}.cache.audit_rate", f"must be from 0 to 1, got {policy.cache.audit_rate:g}")
    if len(policy.non_retryable_codes) > limits.CODES_MAX:
        violations.add(
            f"{path}.non_retryable_codes",
            f"must be at most {limits.CODES_MAX} codes, got {len(policy.non_retryable_codes)}",
        )
    check_bounds(policy, path, violations)
    if policy.queue:
        names.check_dns_label(policy.queue, f"{path}.queue", violations)


def _check_count(count: int, path: str, violations: Violations) -> None:
    if count > limits.RETRIES_MAX:
        violations.add(path, f"must be at most {limits.RETRIES_MAX}, got {count}")


def _check_interface(spec: task_pb2.TaskSpec, violations: Violations) -> None:
    interface = spec.template.interface
    for root, variables, defaults in (
        ("inputs", interface.inputs, spec.default_inputs),
        ("outputs", interface.outputs, None),
    ):
        try:
            checker = InterfaceChecker(variables, defaults, root=f"spec.template.interface.{root}")
        except ConversionError as error:
            for problem in error.problems:
                violations.add(problem.path, problem.message)
            continue
        if defaults is not None:
            _check_defaults(interface.inputs, defaults, checker, violations)


def _check_defaults(
    inputs: interface_pb2.VariableMap,
    defaults: interface_pb2.ParameterMap,
    checker: InterfaceChecker,
    violations: Violations,
) -> None:
    known = True
    for name, parameter in sorted(defaults.parameters.items()):
        path = f"spec.default_inputs{_segment(name)}"
        if name not in inputs.variables:
            violations.add(path, "names no input of the task")
            known = False
        elif parameter.HasField("var") and parameter.var != inputs.variables[name]:
            violations.add(f"{path}.var", "differs from the input of the interface; leave it out")
    if known:
        for problem in checker.check_defaults():
            violations.add(f"spec.{problem.path}" if problem.path else "spec.default_inputs", problem.message)


def _warnings(name: str, spec: task_pb2.TaskSpec, defaults: Defaults) -> Iterator[str]:
    metadata = spec.template.metadata
    if len(name) > limits.TASK_NAME_RECOMMENDED:
        yield f"the name has {len(name)} characters; at most {limits.TASK_NAME_RECOMMENDED} are recommended"
    if not metadata.timeout.seconds and not metadata.timeout.nanos and spec.template.type != WORKFLOW:
        seconds = defaults.attempt_timeout / 1_000
        yield f"no timeout is declared: the default of {seconds:g} s applies to each attempt"
    if metadata.deprecated_error_message:
        yield metadata.deprecated_error_message


def _differences(existing: Message, given: Message, path: str) -> Iterator[Violation]:
    for field in existing.DESCRIPTOR.fields:
        if field.full_name in NOT_IDENTITY:
            continue
        before, after = getattr(existing, field.name), getattr(given, field.name)
        place = f"{path}.{field.name}"
        if field.message_type is not None and field.message_type.GetOptions().map_entry:
            for key in sorted({*before, *after}):
                yield from _difference(before.get(key), after.get(key), f"{place}{_segment(str(key))}")
        elif not field.is_repeated:
            if field.has_presence:
                before = before if existing.HasField(field.name) else None
                after = after if given.HasField(field.name) else None
            yield from _difference(before, after, place, field)
        else:
            for index in range(max(len(before), len(after))):
                pair = (
                    before[index] if index < len(before) else None,
                    after[index] if index < len(after) else None,
                )
                yield from _difference(*pair, f"{place}[{index}]", field)


def _difference(before: Any, after: Any, path: str, field: _Field | None = None) -> Iterator[Violation]:
    if isinstance(before, Message) and isinstance(after, Message):
        yield from _differences(before, after, path)
    elif field is not None and field.has_presence and field.message_type is not None and before is not after:
        # Only one side has the message: what it holds tells more than that it is there.
        side = before if before is not None else after
        inner = list(_differences(before or type(side)(), after or type(side)(), path))
        yield from inner or [Violation(path, f"is {_shown(after, field)}, registered is {_shown(before, field)}")]
    elif before != after:
        yield Violation(path, f"is {_shown(after, field)}, registered is {_shown(before, field)}")


def _shown(value: Any, field: _Field | None) -> str:
    if value is None:
        return "not set"
    if isinstance(value, Message):
        return "set"
    if field is not None and field.enum_type is not None and value in field.enum_type.values_by_number:
        return str(field.enum_type.values_by_number[value].name)
    shown = repr(value)
    return shown if len(shown) <= _SHOWN_CHARACTERS else f"{shown[:_SHOWN_CHARACTERS]}…"


def _segment(name: str) -> str:
    if name.isidentifier():
        return f".{name}"
    escaped = name.replace("\\", "\\\\").replace('"', '\\"')
    return f'["{escaped}"]'
