"""Which worker may run which task. Pure."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import Any, Final

from lacewing.v1 import worker_service_pb2
from lacewing_server.domain import identity, limits, names
from lacewing_server.domain.errors import Violations
from lacewing_server.domain.task_version import QUEUE_DEFAULT, WORKFLOW

_ANY = "*"


@dataclass(frozen=True, slots=True)
class QueueEntry:
    """What the catalog knows of a ready queue."""

    project: str
    domain: str
    name: str
    task_type: str
    label: str

    @property
    def ref(self) -> bytes:
        """The short identity of the queue."""
        return identity.queue_ref(self.project, self.domain, self.name, self.task_type, self.label)

    @property
    def task_ref(self) -> bytes:
        """The short identity of its task."""
        return identity.task_ref(self.project, self.domain, self.name)

    @property
    def project_ref(self) -> bytes:
        """The short identity of its project."""
        return identity.project_ref(self.project)

    def pack(self) -> bytes:
        """Serializes the entry."""
        return json.dumps([self.project, self.domain, self.name, self.task_type, self.label]).encode()

    @classmethod
    def unpack(cls, value: bytes) -> QueueEntry:
        """Reads a serialized entry."""
        parts: list[Any] = json.loads(value)
        return cls(*parts)


class Offer:
    """A worker's offer, made ready to be matched."""

    def __init__(self, offer: worker_service_pb2.Offer, default_project: str, default_domain: str) -> None:
        self.message = offer
        self._types = frozenset(offer.task_types)
        self._project = offer.project or default_project
        self._domain = offer.domain or default_domain
        self._labels = frozenset(offer.queues) or frozenset({QUEUE_DEFAULT})
        self._names = frozenset(name for name in offer.task_names if _ANY not in name)
        patterns = [name for name in offer.task_names if _ANY in name]
        self._pattern = re.compile("|".join(map(_translate, patterns))) if patterns else None

    def fits(self, entry: QueueEntry) -> bool:
        """Whether the worker may be given work of this queue."""
        return (
            entry.task_type in self._types
            and self._project in {_ANY, entry.project}
            and self._domain in {_ANY, entry.domain}
            and entry.label in self._labels
            and self._fits_name(entry.name)
        )

    def _fits_name(self, name: str) -> bool:
        if not self.message.task_names or name in self._names:
            return True
        return self._pattern is not None and self._pattern.fullmatch(name) is not None


GRAPHS: Final = QueueEntry("", "", "", "graph", "\0")
"""The queue of graphs that bodies have given. Its label is none that a worker can offer."""


class GraphOffer:
    """What a server offers to run by itself: workflows, and graphs that bodies have given."""

    def fits(self, entry: QueueEntry) -> bool:
        """Whether the server may be given work of this queue."""
        return entry.task_type == WORKFLOW or entry == GRAPHS


def _translate(pattern: str) -> str:
    return ".*".join(re.escape(part) for part in pattern.split(_ANY))


def check_offer(offer: worker_service_pb2.Offer, path: str, violations: Violations) -> None:
    """Checks an offer's bounds."""
    if not 1 <= len(offer.task_types) <= limits.CODES_MAX:
        violations.add(f"{path}.task_types", f"must name 1 to {limits.CODES_MAX} task types")
    if WORKFLOW in offer.task_types:
        violations.add(f"{path}.task_types", f"must not name {WORKFLOW}: the servers run those")
    if len(offer.task_names) > limits.OFFER_NAMES_MAX:
        violations.add(f"{path}.task_names", f"must be at most {limits.OFFER_NAMES_MAX}")
    if len(offer.queues) > limits.CODES_MAX:
        violations.add(f"{path}.queues", f"must be at most {limits.CODES_MAX}")
    for field in ("project", "domain"):
        value = getattr(offer, field)
        if value and value != _ANY:
            names.check_dns_label(value, f"{path}.{field}", violations)
