"""The one way the server refuses a request: a :class:`DomainError` with a reason of ``lacewing.v1.ErrorReason``.

The layers below ``rpc`` raise it; ``rpc.status`` turns it into a gRPC status. Which status code belongs to which
reason is decided here and nowhere else.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, TypeAlias

from lacewing.v1 import errors_pb2

Reason: TypeAlias = "errors_pb2.ErrorReason.ValueType"

# Values of google.rpc.Code, which are those of grpc.StatusCode; named here so that the rules need no gRPC.
INVALID_ARGUMENT: Final = 3
NOT_FOUND: Final = 5
ALREADY_EXISTS: Final = 6
RESOURCE_EXHAUSTED: Final = 8
FAILED_PRECONDITION: Final = 9
INTERNAL: Final = 13
UNAVAILABLE: Final = 14

CODES: Final[Mapping[int, int]] = {
    errors_pb2.ERROR_REASON_FIELD_INVALID: INVALID_ARGUMENT,
    errors_pb2.ERROR_REASON_INPUTS_INVALID: INVALID_ARGUMENT,
    errors_pb2.ERROR_REASON_OUTPUTS_INVALID: INVALID_ARGUMENT,
    errors_pb2.ERROR_REASON_PAGE_TOKEN_INVALID: INVALID_ARGUMENT,
    errors_pb2.ERROR_REASON_PROTOCOL_VIOLATED: INVALID_ARGUMENT,
    errors_pb2.ERROR_REASON_PROJECT_NOT_FOUND: NOT_FOUND,
    errors_pb2.ERROR_REASON_DOMAIN_NOT_FOUND: NOT_FOUND,
    errors_pb2.ERROR_REASON_TASK_NOT_FOUND: NOT_FOUND,
    errors_pb2.ERROR_REASON_TASK_VERSION_NOT_FOUND: NOT_FOUND,
    errors_pb2.ERROR_REASON_EXECUTION_NOT_FOUND: NOT_FOUND,
    errors_pb2.ERROR_REASON_CACHE_ENTRY_NOT_FOUND: NOT_FOUND,
    errors_pb2.ERROR_REASON_TASK_VERSION_CONFLICT: ALREADY_EXISTS,
    errors_pb2.ERROR_REASON_EXECUTION_CONFLICT: ALREADY_EXISTS,
    errors_pb2.ERROR_REASON_PROJECT_ALREADY_EXISTS: ALREADY_EXISTS,
    errors_pb2.ERROR_REASON_PROJECT_ARCHIVED: FAILED_PRECONDITION,
    errors_pb2.ERROR_REASON_TASK_ARCHIVED: FAILED_PRECONDITION,
    errors_pb2.ERROR_REASON_LEASE_LOST: FAILED_PRECONDITION,
    errors_pb2.ERROR_REASON_VALUE_TOO_LARGE: RESOURCE_EXHAUSTED,
    errors_pb2.ERROR_REASON_QUEUE_FULL: RESOURCE_EXHAUSTED,
    errors_pb2.ERROR_REASON_STORE_FULL: RESOURCE_EXHAUSTED,
    errors_pb2.ERROR_REASON_STORE_UNAVAILABLE: UNAVAILABLE,
    errors_pb2.ERROR_REASON_SHUTTING_DOWN: UNAVAILABLE,
    errors_pb2.ERROR_REASON_INTERNAL: INTERNAL,
    errors_pb2.ERROR_REASON_BLOB_NOT_FOUND: NOT_FOUND,
    errors_pb2.ERROR_REASON_BLOB_DIGEST_MISMATCH: INVALID_ARGUMENT,
    errors_pb2.ERROR_REASON_BLOB_STORE_UNAVAILABLE: UNAVAILABLE,
    errors_pb2.ERROR_REASON_GRAPH_INVALID: INVALID_ARGUMENT,
    errors_pb2.ERROR_REASON_GRAPH_NOT_FOUND: NOT_FOUND,
    errors_pb2.ERROR_REASON_SIGNAL_NOT_FOUND: NOT_FOUND,
    errors_pb2.ERROR_REASON_SIGNAL_CONFLICT: ALREADY_EXISTS,
    errors_pb2.ERROR_REASON_EXECUTION_NOT_FAILED: FAILED_PRECONDITION,
    errors_pb2.ERROR_REASON_EXECUTION_ENDED: FAILED_PRECONDITION,
}
"""The status code of every reason."""


@dataclass(frozen=True, slots=True)
class Violation:
    """One place of a request that is at fault."""

    field: str
    """The path of the field, as ``inputs.config.items[3].rate``."""
    description: str
    """What is wrong and what is expected."""


class DomainError(Exception):
    """A request that cannot be taken.

    Attributes:
        reason: A value of ``lacewing.v1.ErrorReason``.
        message: What is wrong and what to do, for a person.
        metadata: The dynamic parts of the message, for programs.
        violations: The places at fault: all of them, a client is shown the first ones and the number of the others.
        retry_seconds: When trying again may help, or None if it does not.
    """

    def __init__(
        self,
        reason: Reason,
        message: str,
        *,
        metadata: Mapping[str, str] | None = None,
        violations: Sequence[Violation] = (),
        retry_seconds: float | None = None,
    ) -> None:
        super().__init__(message)
        self.reason: Reason = reason
        self.message = message
        self.metadata: dict[str, str] = dict(metadata or {})
        self.violations = tuple(violations)
        self.retry_seconds = retry_seconds

    @property
    def code(self) -> int:
        """The status code, a value of ``google.rpc.Code``."""
        return CODES[self.reason]

    @property
    def reason_name(self) -> str:
        """The reason as clients see it: the name of the enum value without its prefix."""
        return errors_pb2.ErrorReason.Name(self.reason).removeprefix("ERROR_REASON_")


@dataclass(slots=True)
class Violations:
    """Collects what is wrong with a request, so that its author learns everything at once."""

    items: list[Violation] = field(default_factory=list)

    def add(self, path: str, description: str) -> None:
        """Notes one place at fault."""
        self.items.append(Violation(path, description))

    def raise_if_any(self) -> None:
        """Raises ``FIELD_INVALID`` if anything was noted."""
        if self.items:
            raise invalid(self.items)


def invalid(violations: Sequence[Violation]) -> DomainError:
    """Builds a ``FIELD_INVALID`` error; its message tells the first fault and how many more there are."""
    first = violations[0]
    more = f" (and {len(violations) - 1} more)" if len(violations) > 1 else ""
    return DomainError(
        errors_pb2.ERROR_REASON_FIELD_INVALID,
        f"{first.field}: {first.description}{more}",
        violations=violations,
    )


def invalid_field(path: str, description: str) -> DomainError:
    """Builds a ``FIELD_INVALID`` error for one field."""
    return invalid([Violation(path, description)])
