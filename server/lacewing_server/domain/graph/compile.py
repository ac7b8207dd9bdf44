"""TEMPORARY: pins references only. To be replaced by the compiler."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from lacewing.v1 import identifiers_pb2, interface_pb2, task_pb2, workflow_pb2
from lacewing_server.domain.errors import Violation
from lacewing_server.domain.graph.plan import choices_of
from lacewing_server.domain.graph.references import reference_of


@dataclass(frozen=True)
class KnownTask:
    id: identifiers_pb2.TaskId
    spec: task_pb2.TaskSpec


@dataclass
class CompiledGraph:
    graph: task_pb2.Graph
    registrations: list[tuple[identifiers_pb2.TaskId, task_pb2.TaskSpec]] = field(default_factory=list)


class GraphInvalidError(Exception):
    def __init__(self, problems: Sequence[Violation]) -> None:
        self.problems = problems


def _refs(node: workflow_pb2.Node) -> Iterator[identifiers_pb2.TaskId]:
    r = reference_of(node)
    if r is not None:
        yield r
    if node.HasField("array_node"):
        yield from _refs(node.array_node.node)
    for inner in choices_of(node):
        yield from _refs(inner)


def _all(graph: task_pb2.Graph) -> Iterator[identifiers_pb2.TaskId]:
    for node in graph.workflow.nodes:
        yield from _refs(node)
    if graph.workflow.HasField("failure_node"):
        yield from _refs(graph.workflow.failure_node)


def _full(r: identifiers_pb2.TaskId, own: identifiers_pb2.TaskId) -> identifiers_pb2.TaskId:
    return identifiers_pb2.TaskId(
        project=r.project or own.project, domain=r.domain or own.domain, name=r.name, version=r.version
    )


def references(graph: task_pb2.Graph, own: identifiers_pb2.TaskId) -> list[identifiers_pb2.TaskId]:
    mine = {(t.template.id.name, t.template.id.version) for t in graph.tasks}
    found = {}
    for r in _all(graph):
        if (r.name, r.version) not in mine:
            full = _full(r, own)
            found[full.project, full.domain, full.name, full.version] = full
    return list(found.values())


def compile_graph(
    graph: task_pb2.Graph,
    own: identifiers_pb2.TaskId,
    interface: interface_pb2.TypedInterface,
    known: Mapping[tuple[str, str, str, str], KnownTask],
) -> CompiledGraph:
    compiled = task_pb2.Graph(workflow=graph.workflow)
    for r in _all(compiled):
        full = _full(r, own)
        k = known.get((full.project, full.domain, full.name, full.version))
        r.CopyFrom(k.id if k else full)
    regs = []
    for t in graph.tasks:
        regs.append((_full(t.template.id, own), t))
    return CompiledGraph(compiled, regs)
