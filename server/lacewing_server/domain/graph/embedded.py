"""What a graph brings along: tasks and workflows that are registered with it. Pure."""

from __future__ import annotations

from collections.abc import Iterator

from lacewing.v1 import identifiers_pb2, task_pb2
from lacewing_server.domain import limits, registration
from lacewing_server.domain.errors import Violations
from lacewing_server.domain.graph.binding_check import Report
from lacewing_server.domain.graph.cycles import in_order
from lacewing_server.domain.graph.references import complete, references_in

_Key = tuple[str, str, str, str]


class Embedded:
    """The specs that a graph brings along."""

    def __init__(self, graph: task_pb2.Graph, own: identifiers_pb2.TaskId, path: str) -> None:
        self._own = own
        self._path = path
        self._specs = graph.tasks
        self._by_id: dict[_Key, task_pb2.TaskSpec] = {}
        for spec in graph.tasks:
            self._by_id.setdefault(_key(complete(spec.template.id, own)), spec)

    def specs(self) -> Iterator[task_pb2.TaskSpec]:
        """All of them."""
        return iter(self._specs)

    def find(self, reference: identifiers_pb2.TaskId) -> task_pb2.TaskSpec | None:
        """What a complete reference means, if it is brought along."""
        return self._by_id.get(_key(reference))

    def workflows(self) -> Iterator[tuple[str, task_pb2.TaskSpec]]:
        """Those that are workflows, and where they are."""
        for index, spec in enumerate(self._specs):
            if spec.HasField("graph"):
                yield f"{self._path}[{index}]", spec

    def check(self, report: Report) -> None:
        """Checks them by the rules of registration, except for their graphs."""
        if len(self._specs) > limits.GRAPH_TASKS_MAX:
            report(self._path, f"are {len(self._specs)}, {limits.GRAPH_TASKS_MAX} are allowed")
            return
        seen: set[_Key] = set()
        for index, spec in enumerate(self._specs):
            path = f"{self._path}[{index}]"
            full = complete(spec.template.id, self._own)
            if not full.version:
                report(f"{path}.template.id.version", "is required of what a graph brings along")
            if _key(full) in seen:
                report(f"{path}.template.id", f"{full.name}@{full.version} is brought along twice")
            seen.add(_key(full))
            if spec.graph.tasks:
                report(f"{path}.graph.tasks", "brings tasks along by itself: bring them along with the graph")
            violations = Violations()
            registration.check_spec(full, spec, violations)
            for violation in violations.items:
                place = violation.field.removeprefix("spec.")
                report(f"{path}.{'template.' if place.startswith('id.') else ''}{place}", violation.description)
        _, circle = in_order(self._waits())
        if circle:
            report(self._path, f"workflows run each other in a circle: {' -> '.join(circle)}")

    def in_order(self) -> list[tuple[identifiers_pb2.TaskId, task_pb2.TaskSpec]]:
        """Copies of them with their identities, each after those it refers to."""
        ordered, _ = in_order(self._waits())
        names = {_name(key): key for key in self._by_id}
        found = []
        for name in ordered:
            spec = task_pb2.TaskSpec()
            spec.CopyFrom(self._by_id[names[name]])
            found.append((complete(spec.template.id, self._own), spec))
        return found

    def _waits(self) -> dict[str, list[str]]:
        return {
            _name(key): [_name(_key(complete(each, self._own))) for each in references_in(spec.graph.workflow)]
            for key, spec in self._by_id.items()
        }


def _key(task: identifiers_pb2.TaskId) -> _Key:
    return task.project, task.domain, task.name, task.version


def _name(key: _Key) -> str:
    project, domain, name, version = key
    return f"{project}/{domain}/{name}@{version}"
