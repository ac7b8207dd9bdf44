"""The compiler of graphs: everything a graph must be, checked before any of its nodes runs. Pure.

Theory of operation. A graph is walked once to collect its nodes, each with its path; each is checked by itself, which
shows what it takes and gives. Then the nodes are brought into an order, so that what a node gives is known before it is
promised to another: the outputs of a branch are those of what it chooses from, those of an approval its inputs. Last,
everything that is bound is compared with what it is bound to. Problems do not stop it: where one leaves a type unknown,
nothing that depends on it is judged.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from lacewing.types import ConversionError, explain_mismatch
from lacewing.v1 import bindings_pb2, identifiers_pb2, interface_pb2, task_pb2, types_pb2, workflow_pb2
from lacewing_server.domain import limits
from lacewing_server.domain.errors import Violation
from lacewing_server.domain.graph.binding_check import BindingCheck
from lacewing_server.domain.graph.bindings import promises_of
from lacewing_server.domain.graph.conditions_check import check_condition
from lacewing_server.domain.graph.cycles import in_order
from lacewing_server.domain.graph.embedded import Embedded
from lacewing_server.domain.graph.hints import Hints
from lacewing_server.domain.graph.nodes_check import Lookup, NodesCheck, Place, places_of
from lacewing_server.domain.graph.plan import INPUTS, TERMINALS, choices_of
from lacewing_server.domain.graph.references import Key, complete, key_of, references_in
from lacewing_server.domain.graph.signatures import Signature, Type, any_of

_ERROR = types_pb2.LiteralType(simple=types_pb2.SIMPLE_TYPE_ERROR)


@dataclass(frozen=True, slots=True)
class KnownTask:
    """A registered task or workflow that a graph refers to."""

    id: identifiers_pb2.TaskId
    """Its identity, complete."""
    spec: task_pb2.TaskSpec


@dataclass(frozen=True, slots=True)
class CompiledGraph:
    """A graph that holds."""

    graph: task_pb2.Graph
    """The graph with complete references, and without what it brought along."""
    registrations: list[tuple[identifiers_pb2.TaskId, task_pb2.TaskSpec]]
    """What it brought along, in the order in which it can be registered."""


class GraphInvalidError(Exception):
    """A graph does not hold.

    Attributes:
        problems: Everything that is wrong with it, at least one.
    """

    def __init__(self, problems: Sequence[Violation]) -> None:
        super().__init__(f"{len(problems)} problems, first: {problems[0].field}: {problems[0].description}")
        self.problems = problems


Known = Mapping[Key, KnownTask]
"""Registered tasks; the version of a key is '' for the one registered last."""


def references(graph: task_pb2.Graph, own: identifiers_pb2.TaskId) -> list[identifiers_pb2.TaskId]:
    """The tasks and workflows that a graph refers to and does not bring along, each once."""
    embedded = Embedded(graph, own, "")
    found: dict[Key, identifiers_pb2.TaskId] = {}
    graphs = [(graph.workflow, own), *((each.spec.graph.workflow, each.id) for each in embedded.workflows())]
    for workflow, whose in graphs:
        seen: set[Key] = set()
        for reference in references_in(workflow):
            if not reference.name or (key := key_of(reference)) in seen:
                continue
            seen.add(key)
            full = complete(reference, whose)
            if embedded.find(full) is None:
                found[key_of(full)] = full
    return list(found.values())


def compile_graph(
    graph: task_pb2.Graph,
    own: identifiers_pb2.TaskId,
    interface: interface_pb2.TypedInterface,
    known: Known,
    path: str = "graph",
) -> CompiledGraph:
    """Compiles a graph.

    Args:
        graph: The graph.
        own: The task that runs it.
        interface: What that takes and gives.
        known: What `references` has listed, as far as it is registered.
        path: What the paths of problems begin with.

    Raises:
        GraphInvalidError: With everything that is wrong.
    """
    problems: list[Violation] = []

    def report(place: str, what: str) -> None:
        problems.append(Violation(place, what))

    size = graph.ByteSize()
    if size > limits.GRAPH_MAX_BYTES:
        report(path, f"has {size} bytes, {limits.GRAPH_MAX_BYTES} are allowed")
        raise GraphInvalidError(problems)
    embedded = Embedded(graph, own, f"{path}.tasks")
    embedded.check(report)

    def lookup_for(whose: identifiers_pb2.TaskId) -> Lookup:
        def lookup(reference: identifiers_pb2.TaskId) -> task_pb2.TaskSpec | None:
            full = complete(reference, whose)
            found = known.get(key_of(full))
            return embedded.find(full) or (found.spec if found is not None else None)

        return lookup

    nearest = Hints().nearest
    nodes = NodesCheck(lookup_for(own), report, nearest)
    _Compiler(graph.workflow, interface, nodes, f"{path}.workflow", problems).check()
    for each in embedded.workflows():
        nodes = NodesCheck(lookup_for(each.id), report, nearest)
        inner = each.spec.graph.workflow
        _Compiler(inner, each.spec.template.interface, nodes, f"{each.path}.graph.workflow", problems).check()
    if problems:
        raise GraphInvalidError(problems)
    compiled = task_pb2.Graph(workflow=graph.workflow)
    meant: dict[Key, identifiers_pb2.TaskId] = {}
    for reference in references_in(compiled.workflow):
        key = key_of(reference)
        if key not in meant:
            full = complete(reference, own)
            found = known.get(key_of(full))
            meant[key] = full if found is None or embedded.find(full) is not None else found.id
        reference.CopyFrom(meant[key])
    return CompiledGraph(compiled, embedded.in_order())


class _Compiler:
    """Checks one graph."""

    def __init__(
        self,
        workflow: workflow_pb2.WorkflowTemplate,
        interface: interface_pb2.TypedInterface,
        nodes: NodesCheck,
        path: str,
        problems: list[Violation],
    ) -> None:
        self._workflow = workflow
        self._interface = interface
        self._nodes = nodes
        self._path = path
        self._problems = problems
        self._places: dict[str, Place] = {}
        self._outputs: dict[str, Mapping[str, Type] | None] = {}
        self._nearest = nodes.nearest
        self._bindings = BindingCheck(self._promised, nodes.nearest)

    def check(self) -> None:
        """Reports everything that is wrong."""
        places = list(places_of(self._workflow, self._path))
        if len(places) > limits.GRAPH_NODES_MAX:
            self._report(f"{self._path}.nodes", f"are {len(places)}, {limits.GRAPH_NODES_MAX} are allowed")
            return
        for place in places:
            self._nodes.check(place)
            self._places.setdefault(place.id, place)
        self._find_outputs(places)
        for place in places:
            self._check_bindings(place)
        self._check_failure_node()
        declared = {name: each.type for name, each in self._interface.outputs.variables.items()}
        bound = self._bindings.all(
            self._workflow.outputs, declared, f"{self._path}.outputs", self._report, what="output"
        )
        for name in sorted(declared.keys() - bound):
            self._report(f"{self._path}.outputs", f"the output {name} is not bound")

    def _report(self, path: str, what: str) -> None:
        self._problems.append(Violation(path, what))

    # --- what nodes give

    def _find_outputs(self, places: list[Place]) -> None:
        """Finds the outputs of all nodes, in an order in which each comes after what it needs."""
        needs = {place.id: self._needs(place) for place in places}
        ordered, circle = in_order(needs)
        if circle:
            self._report(f"{self._path}.nodes", f"nodes wait for each other in a circle: {' -> '.join(circle)}")
        for node_id in ordered:
            place = self._places[node_id]
            outputs = self._outputs_of(place)
            if place.node.output_aliases:
                self._check_aliases(place, outputs)
                outputs = _renamed(outputs, place.node)
            self._outputs[node_id] = outputs
        for node_id in needs:
            if node_id not in self._outputs:  # it is in a circle, or behind one
                self._outputs[node_id] = _renamed(self._places[node_id].signature.outputs, self._places[node_id].node)

    def _needs(self, place: Place) -> list[str]:
        """The nodes that must be known before the outputs of a node are: what it waits for or chooses from."""
        promises = promises_of(place.inputs)
        needs = [node_id for promise in promises if (node_id := promise.node_id) not in TERMINALS]
        if upstream := place.node.upstream_node_ids:
            needs += upstream
        if place.target == "branch_node":
            needs += (inner.id for inner in choices_of(place.node))
        return needs

    def _outputs_of(self, place: Place) -> Mapping[str, Type] | None:
        node = place.node
        if place.target == "gate_node" and node.gate_node.HasField("approve"):
            return {each.var: self._bindings.type_of(each.binding) for each in place.inputs}
        if place.target != "branch_node":
            return place.signature.outputs
        alternatives = [self._outputs.get(inner.id) for inner in choices_of(node)]
        given = [each for each in alternatives if each is not None]
        if len(given) < len(alternatives) or not given:
            return None
        # What every alternative gives. Where types differ, it may be any of them: each has to fit what it is bound to.
        names = set(given[0]).intersection(*given[1:])
        return {name: any_of(each[name] for each in given) for name in names}

    def _check_aliases(self, place: Place, outputs: Mapping[str, Type] | None) -> None:
        aliases = place.node.output_aliases
        if outputs is None:
            return
        renamed = {each.var for each in aliases}
        for index, each in enumerate(aliases):
            path = f"{place.path}.output_aliases[{index}]"
            if each.var not in outputs:
                hint = self._nearest(each.var, outputs)
                self._report(f"{path}.var", f"node {place.node.id}: gives no output {each.var}{hint}")
            elif each.alias in outputs and each.alias not in renamed:
                self._report(f"{path}.alias", f"node {place.node.id}: {each.alias} is the name of another output")

    def _promised(self, promise: bindings_pb2.OutputReference) -> Type:
        name = promise.var
        if promise.node_id in INPUTS:
            variables = self._interface.inputs.variables
            if name not in variables:
                raise ConversionError(f"the graph has no input {name}{self._nearest(name, variables)}")
            return variables[name].type
        if why := self._unreachable(promise.node_id):
            raise ConversionError(why)
        outputs = self._outputs.get(promise.node_id)
        if outputs is None:
            return None
        if name not in outputs:
            raise ConversionError(f"node {promise.node_id} gives no output {name}{self._nearest(name, outputs)}")
        return outputs[name]

    def _unreachable(self, node_id: str) -> str:
        """Why no node can wait for one with this id; '' if it can."""
        place = self._places.get(node_id)
        if place is None:
            return f"there is no node {node_id}{self._nearest(node_id, self._places)}"
        if place.branch:
            branch = place.branch
            return f"node {node_id} is inside of the branch {branch}, which gives its outputs: refer to {branch}"
        return ""

    # --- what they are given

    def _check_bindings(self, place: Place) -> None:
        node, signature = place.node, place.signature
        if place.target is None:
            return

        def report(path: str, what: str) -> None:
            self._report(path, f"node {node.id}: {what}")

        inputs = signature.inputs
        if inputs is None and signature.outputs is not None:
            inputs = {}
        bound = self._bindings.all(place.inputs, inputs, f"{place.path}.inputs", report, what="input")
        if not signature.required <= bound:
            for name in sorted(signature.required - bound):
                report(f"{place.path}.inputs", f"the input {name} is not bound")
        if upstream := node.upstream_node_ids:
            for index, node_id in enumerate(upstream):
                if node_id not in TERMINALS and (why := self._unreachable(node_id)):
                    report(f"{place.path}.upstream_node_ids[{index}]", why)
        if place.target == "branch_node":
            types = {each.var: self._bindings.type_of(each.binding) for each in place.inputs}
            if_else, path = node.branch_node.if_else, f"{place.path}.branch_node.if_else"
            check_condition(if_else.case.condition, types, f"{path}.case.condition", report, self._nearest)
            for index, block in enumerate(if_else.other):
                check_condition(block.condition, types, f"{path}.other[{index}].condition", report, self._nearest)

    def _check_failure_node(self) -> None:
        if not self._workflow.HasField("failure_node"):
            return
        node = self._workflow.failure_node
        place = Place(node, f"{self._path}.failure_node", "")
        self._nodes.check(place)
        if place.target not in {None, "task_node", "workflow_node"}:
            self._report(place.path, f"node {node.id}: what follows a failure runs a task or a workflow")
            return
        for index, node_id in enumerate(node.upstream_node_ids):
            if node_id not in TERMINALS:
                self._report(
                    f"{place.path}.upstream_node_ids[{index}]",
                    f"node {node.id}: waits for no other node: it runs when the graph has failed",
                )
        for promise in promises_of(place.inputs):
            if promise.node_id not in INPUTS:
                self._report(
                    f"{place.path}.inputs",
                    f"node {node.id}: takes an output of node {promise.node_id}, which may have failed; only inputs of "
                    "the graph can be bound",
                )
                return
        inputs = place.signature.inputs
        if inputs is not None and "err" in inputs:
            err = inputs["err"]
            if err is not None and explain_mismatch(_ERROR, err) is None:
                required = place.signature.required - {"err"}
                place.signature = Signature(inputs, required, place.signature.outputs)
        self._check_bindings(place)


def _renamed(outputs: Mapping[str, Type] | None, node: workflow_pb2.Node) -> Mapping[str, Type] | None:
    if outputs is None or not node.output_aliases:
        return outputs
    aliases = {each.var: each.alias for each in node.output_aliases}
    return {aliases.get(name, name): each for name, each in outputs.items()}
