"""The rules of identity: what projects, domains, tasks, versions, executions and labels may be called.

Sources: DNS-1123 for projects and domains, the Flyte rule for execution names, our own for the rest
(``identifiers.proto``).
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping

from lacewing.v1 import identifiers_pb2
from lacewing_server.domain import limits
from lacewing_server.domain.errors import Violations

_DNS_LABEL = re.compile(r"[a-z0-9](?:[-a-z0-9]*[a-z0-9])?")
_EXECUTION_NAME = re.compile(r"[a-z][a-z0-9-]*")


def check_dns_label(value: str, path: str, violations: Violations) -> None:
    """Checks a project, domain or queue."""
    if not 1 <= len(value) <= limits.LABEL_MAX or not _DNS_LABEL.fullmatch(value):
        violations.add(path, f"must be 1 to {limits.LABEL_MAX} of a-z, 0-9 and inner hyphens, got {value[:80]!r}")


def check_task_name(value: str, path: str, violations: Violations) -> None:
    """Checks the name of a task."""
    if not 1 <= len(value) <= limits.TASK_NAME_MAX:
        violations.add(path, f"must have 1 to {limits.TASK_NAME_MAX} characters, got {len(value)}")
    elif value != value.strip():
        violations.add(path, "must not begin or end with blanks")
    elif any(unicodedata.category(character) in {"Cc", "Cs"} for character in value):
        violations.add(path, "must not contain control characters")
    elif not unicodedata.is_normalized("NFC", value):
        violations.add(path, "must be in Unicode normalization form NFC")


def check_version(value: str, path: str, violations: Violations) -> None:
    """Checks a version that is not empty."""
    if len(value) > limits.VERSION_MAX or not _printable(value):
        violations.add(path, f"must be 1 to {limits.VERSION_MAX} printable characters without blanks")


def check_execution_name(value: str, path: str, violations: Violations) -> None:
    """Checks the name of an execution."""
    if not 1 <= len(value) <= limits.LABEL_MAX or not _EXECUTION_NAME.fullmatch(value):
        violations.add(
            path,
            f"must be 1 to {limits.LABEL_MAX} of a-z, 0-9 and hyphens, beginning with a letter, got {value[:80]!r}",
        )


def check_printable(value: str, maximum: int, path: str, violations: Violations) -> None:
    """Checks a worker's name or a request id: printable, not empty, bounded."""
    if not 1 <= len(value) <= maximum or not _printable(value):
        violations.add(path, f"must be 1 to {maximum} printable characters without blanks")


def check_labels(labels: Mapping[str, str], path: str, violations: Violations) -> None:
    """Checks the labels of an execution or a worker."""
    if len(labels) > limits.LABELS_MAX:
        violations.add(path, f"must be at most {limits.LABELS_MAX} labels, got {len(labels)}")
    for key, value in labels.items():
        if not 1 <= len(key) <= limits.LABEL_KEY_MAX or not _printable(key):
            violations.add(path, f"a key must be 1 to {limits.LABEL_KEY_MAX} printable characters, got {key[:80]!r}")
        elif len(value) > limits.LABEL_VALUE_MAX:
            violations.add(f'{path}["{key}"]', f"must have at most {limits.LABEL_VALUE_MAX} characters")


def display_task(task: identifiers_pb2.TaskId) -> str:
    """The display form of a task id."""
    base = f"{task.project}/{task.domain}/{task.name}"
    return f"{base}@{task.version}" if task.version else base


def display_execution(execution: identifiers_pb2.ExecutionId) -> str:
    """The display form of an execution id."""
    return f"{execution.project}/{execution.domain}/{execution.name}"


def _printable(value: str) -> bool:
    return value.isprintable() and " " not in value  # the only blank that counts as printable
