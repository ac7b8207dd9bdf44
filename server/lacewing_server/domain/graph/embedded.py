"""What a graph brings along: tasks and workflows that are registered with it. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from lacewing.types import digest_spec
from lacewing.v1 import identifiers_pb2, task_pb2
from lacewing_server.domain import limits, registration
from lacewing_server.domain.errors import Violations
from lacewing_server.domain.graph.binding_check import Report
from lacewing_server.domain.graph.cycles import in_order
from lacewing_server.domain.graph.references import Key, complete, key_of, references_in


class Brought(NamedTuple):
    """A spec that is brought along."""

    id: identifiers_pb2.TaskId
    """Its identity; project and domain are those of the task whose graph brings it, where it names none."""
    spec: task_pb2.TaskSpec
    path: str
    """Where it is."""


class Embedded:
    """The specs that a graph brings along, and those that these do, if they are workflows."""

    def __init__(self, graph: task_pb2.Graph, own: identifiers_pb2.TaskId, path: str) -> None:
        self._path = path
        self.all = list(_brought(graph, own, path))
        self._by_id: dict[Key, Brought] = {}
        for each in self.all:
            self._by_id.setdefault(key_of(each.id), each)

    def find(self, reference: identifiers_pb2.TaskId) -> task_pb2.TaskSpec | None:
        """What a complete reference means, if it is brought along."""
        found = self._by_id.get(key_of(reference))
        return found.spec if found is not None else None

    def workflows(self) -> Iterator[Brought]:
        """Those that are workflows, each once."""
        return (each for each in self._by_id.values() if each.spec.HasField("graph"))

    def check(self, report: Report) -> None:
        """Checks them by the rules of registration, except for their graphs."""
        if len(self.all) > limits.GRAPH_TASKS_MAX:
            report(self._path, f"are {len(self.all)}, {limits.GRAPH_TASKS_MAX} are allowed")
            return
        for each in self.all:
            path = each.path
            if not each.id.version:
                report(f"{path}.template.id.version", "is required of what a graph brings along")
            first = self._by_id[key_of(each.id)].spec
            if first is not each.spec and digest_spec(first) != digest_spec(each.spec):
                report(f"{path}.template.id", f"{each.id.name}@{each.id.version} is brought along twice, and differs")
            size = each.spec.ByteSize()
            if size > limits.SPEC_MAX_BYTES:
                report(path, f"has {size} bytes, {limits.SPEC_MAX_BYTES} are allowed")
            violations = Violations()
            registration.check_spec(each.id, each.spec, violations)
            for violation in violations.items:
                place = violation.field.removeprefix("spec.")
                report(f"{path}.{'template.' if place.startswith('id.') else ''}{place}", violation.description)
        _, circle = in_order(self._waits())
        if circle:
            report(self._path, f"workflows run each other in a circle: {' -> '.join(circle)}")

    def in_order(self) -> list[tuple[identifiers_pb2.TaskId, task_pb2.TaskSpec]]:
        """All of them, each after those it refers to."""
        ordered, _ = in_order(self._waits())
        by_name = {_name(key): each for key, each in self._by_id.items()}
        return [(by_name[name].id, by_name[name].spec) for name in ordered]

    def _waits(self) -> dict[str, list[str]]:
        return {
            _name(key): [
                _name(key_of(complete(reference, each.id))) for reference in references_in(each.spec.graph.workflow)
            ]
            for key, each in self._by_id.items()
        }


def _brought(graph: task_pb2.Graph, own: identifiers_pb2.TaskId, path: str) -> Iterator[Brought]:
    for index, spec in enumerate(graph.tasks):
        each = Brought(complete(spec.template.id, own), spec, f"{path}[{index}]")
        yield each
        yield from _brought(spec.graph, each.id, f"{each.path}.graph.tasks")


def _name(key: Key) -> str:
    project, domain, name, version = key
    return f"{project}/{domain}/{name}@{version}"
