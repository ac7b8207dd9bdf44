"""The nodes of one graph: what each is, what it takes and gives, and what is wrong with it by itself. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Final

from lacewing.types import ConversionError, compile_checker
from lacewing.v1 import identifiers_pb2, task_pb2, workflow_pb2
from lacewing_server.domain import limits
from lacewing_server.domain.durations import milliseconds
from lacewing_server.domain.graph.binding_check import Report
from lacewing_server.domain.graph.hints import Nearest
from lacewing_server.domain.graph.plan import TERMINALS, choices_of
from lacewing_server.domain.graph.references import Key, key_of, reference_of
from lacewing_server.domain.graph.signatures import UNKNOWN, Signature, of_array, of_task
from lacewing_server.domain.task_version import WORKFLOW

Lookup = Callable[[identifiers_pb2.TaskId], task_pb2.TaskSpec | None]
"""Finds the spec of what a node refers to; None if there is none."""
_TEN_YEARS_MS: Final = limits.DURATION_MAX_SECONDS * 1_000


class Place:
    """A node and where it is. What is often asked of a node is read once: each look into a message costs time.

    Attributes:
        node: The node.
        path: Where it is.
        branch: The id of the branch it is inside; '' if it is inside of none.
        id: Its id.
        target: What it has to do: the name of the field that says it.
        inputs: What is bound to its inputs.
        signature: What it takes and gives, once it has been checked by itself.
    """

    __slots__ = ("branch", "id", "inputs", "node", "path", "signature", "target")

    def __init__(self, node: workflow_pb2.Node, path: str, branch: str) -> None:
        self.node = node
        self.path = path
        self.branch = branch
        self.id = node.id
        self.target = node.WhichOneof("target")
        self.inputs = list(node.inputs)
        self.signature = UNKNOWN


def places_of(workflow: workflow_pb2.WorkflowTemplate, path: str) -> Iterator[Place]:
    """Every node, those inside of branches after these; without the failure node."""
    for index, node in enumerate(workflow.nodes):
        place = Place(node, f"{path}.nodes[{index}]", "")
        if place.target == "branch_node":
            yield from _with_inner(place)
        elif place.target is not None or place.id not in TERMINALS - {""}:
            yield place


def _with_inner(place: Place) -> Iterator[Place]:
    yield place
    node = place.node
    block = f"{place.path}.branch_node.if_else"
    places = [f"{block}.case.then_node"]
    places += [f"{block}.other[{index}].then_node" for index in range(len(node.branch_node.if_else.other))]
    places.append(f"{block}.else_node")
    for inner, path in zip(choices_of(node), places, strict=False):
        yield from _with_inner(Place(inner, path, place.id))


class NodesCheck:
    """Checks nodes by themselves, and finds what they take and give."""

    def __init__(self, lookup: Lookup, report: Report, nearest: Nearest) -> None:
        self.nearest = nearest
        self._lookup = lookup
        self._report = report
        self._signatures: dict[Key, Signature | None] = {}
        self._ids: dict[str, str] = {}
        self._signals: dict[str, str] = {}

    def check(self, place: Place) -> None:
        """Checks a node, and completes its place."""
        node, path = place.node, place.path
        self._check_id(place.id, path)
        target = place.target
        if target is None:
            self._report(path, f"node {node.id}: has no target: it does nothing")
            return
        if node.HasField("metadata"):
            self._check_metadata(node, path, f"node {node.id}")
        if node.output_aliases:
            self._check_aliases(node, path)
        if target == "gate_node":
            place.signature = self._gate(node, f"{path}.gate_node")
        elif target == "array_node":
            place.signature = self._array(node, f"{path}.array_node")
        elif target == "branch_node":
            place.signature = Signature(outputs=None)
            self._check_branch(node, f"{path}.branch_node.if_else")
        else:
            place.signature = self._task(node, path, target)

    def _check_id(self, node_id: str, path: str) -> None:
        if not node_id:
            self._report(f"{path}.id", "is required")
        elif node_id in TERMINALS:
            self._report(f"{path}.id", f"{node_id} stands for the inputs or outputs of the graph; choose another id")
        elif len(node_id) > limits.NODE_ID_MAX or not node_id.isprintable() or "/" in node_id:
            self._report(
                f"{path}.id",
                f"must be at most {limits.NODE_ID_MAX} printable characters without /, got {node_id[:80]!r}",
            )
        elif node_id in self._ids:
            self._report(
                f"{path}.id", f"node {node_id}: is the id of {self._ids[node_id]} too; ids are unique in a graph"
            )
        else:
            self._ids[node_id] = path

    def _task(self, node: workflow_pb2.Node, path: str, target: str, node_id: str = "") -> Signature:
        """Checks what a node runs; that inside of an array is called by the id of the array."""
        reference = reference_of(node)
        signature = self._of(reference) if reference is not None and reference.name else None
        if signature is not None and target == "task_node" and not node.HasField("metadata"):  # nearly all
            return signature
        shown_node = f"node {node_id or node.id}"
        place = f"{path}.{target}"
        if reference is None or not reference.name:
            self._report(place, f"{shown_node}: refers to no task")
            return UNKNOWN
        shown = f"{reference.name}@{reference.version}" if reference.version else reference.name
        if signature is None:
            self._report(place, f"{shown_node}: there is no task {shown}; register it first, or bring it along")
            return UNKNOWN
        if target == "workflow_node" or node.metadata.cacheable:
            spec = self._lookup(reference)
            if spec is not None and target == "workflow_node" and spec.template.type != WORKFLOW:
                self._report(place, f"{shown_node}: {shown} is no workflow; refer to it by task_node")
            if spec is not None and node.metadata.cacheable:
                self._check_cacheable(node.metadata, spec, f"{path}.metadata", shown_node)
        return signature

    def _check_cacheable(
        self, metadata: workflow_pb2.NodeMetadata, spec: task_pb2.TaskSpec, path: str, shown_node: str
    ) -> None:
        """Asks of a task that a node memoizes what registration asks of one that is memoized anyway."""
        given = metadata.HasField("cache_version")
        if not (metadata.cache_version if given else spec.template.metadata.discovery_version):
            self._report(f"{path}.cache_version", f"{shown_node}: is required because cacheable is true")
        if spec.policy.HasField("idempotent") and not spec.policy.idempotent:
            self._report(f"{path}.cacheable", f"{shown_node}: must be false because the task is not idempotent")

    def _of(self, reference: identifiers_pb2.TaskId) -> Signature | None:
        key = key_of(reference)
        if key not in self._signatures:
            spec = self._lookup(reference)
            self._signatures[key] = of_task(spec) if spec is not None else None
        return self._signatures[key]

    def _array(self, node: workflow_pb2.Node, path: str) -> Signature:
        array = node.array_node
        if not array.node.HasField("task_node"):
            self._report(f"{path}.node", f"node {node.id}: an array runs a task: set task_node in its inner node")
            return UNKNOWN
        if not array.is_original_sub_node_interface.value:
            self._report(
                f"{path}.is_original_sub_node_interface",
                f"node {node.id}: must be true: each element is an execution of the task with its own inputs",
            )
        if not 0 <= array.min_success_ratio <= 1:
            self._report(f"{path}.min_success_ratio", f"node {node.id}: must be from 0 to 1")
        self._check_metadata(array.node, f"{path}.node", f"node {node.id}")
        inner = self._task(array.node, f"{path}.node", "task_node", node.id)
        if inner.inputs is None:
            return UNKNOWN
        for index, name in enumerate(array.bound_inputs):
            if name not in inner.inputs:
                hint = self.nearest(name, inner.inputs)
                self._report(f"{path}.bound_inputs[{index}]", f"node {node.id}: the task has no input {name}{hint}")
        return of_array(array, inner)

    def _gate(self, node: workflow_pb2.Node, path: str) -> Signature:
        gate = node.gate_node
        condition = gate.WhichOneof("condition")
        if condition is None:
            self._report(path, f"node {node.id}: waits for nothing: set approve, signal or sleep")
            return UNKNOWN
        if condition == "sleep":
            if not 0 <= milliseconds(gate.sleep.duration) <= _TEN_YEARS_MS:
                self._report(f"{path}.sleep.duration", f"node {node.id}: must be from 0 to ten years")
            return Signature({})
        signal = gate.approve.signal_id or gate.signal.signal_id
        place = f"{path}.{condition}.signal_id"
        if not signal:
            self._report(place, f"node {node.id}: is required")
        elif len(signal) > limits.NODE_ID_MAX or not signal.isprintable():
            self._report(place, f"node {node.id}: must be at most {limits.NODE_ID_MAX} printable characters")
        elif signal in self._signals:
            self._report(place, f"node {node.id}: {signal} is the signal of node {self._signals[signal]} too")
        self._signals.setdefault(signal, node.id)
        if condition == "approve":
            return Signature(outputs=None)  # its inputs, once these are known
        if not gate.signal.output_variable_name:
            self._report(f"{path}.signal.output_variable_name", f"node {node.id}: is required")
        try:
            compile_checker(gate.signal.type)
        except ConversionError as error:
            self._report(f"{path}.signal.type", f"node {node.id}: {error}")
            return UNKNOWN
        return Signature({}, outputs={gate.signal.output_variable_name: gate.signal.type})

    def _check_branch(self, node: workflow_pb2.Node, path: str) -> None:
        if_else = node.branch_node.if_else
        blocks = [(if_else.case, f"{path}.case")]
        blocks += [(each, f"{path}.other[{index}]") for index, each in enumerate(if_else.other)]
        for block, place in blocks:
            if not block.HasField("condition"):
                self._report(f"{place}.condition", f"node {node.id}: is required")
            if not block.HasField("then_node"):
                self._report(f"{place}.then_node", f"node {node.id}: is required")
        if if_else.WhichOneof("default") is None:
            self._report(path, f"node {node.id}: says not what happens if nothing holds: set else_node or error")

    def _check_aliases(self, node: workflow_pb2.Node, path: str) -> None:
        seen: set[str] = set()
        for index, alias in enumerate(node.output_aliases):
            if not alias.alias or alias.alias in seen:
                self._report(f"{path}.output_aliases[{index}].alias", f"node {node.id}: must be set, and once only")
            seen.add(alias.alias)

    def _check_metadata(self, node: workflow_pb2.Node, path: str, shown_node: str) -> None:
        metadata = node.metadata
        if metadata.retries.retries > limits.RETRIES_MAX:
            self._report(f"{path}.metadata.retries.retries", f"{shown_node}: must be at most {limits.RETRIES_MAX}")
        if not 0 <= milliseconds(metadata.timeout) <= _TEN_YEARS_MS:
            self._report(f"{path}.metadata.timeout", f"{shown_node}: must be from 0 to ten years")
        if len(metadata.cache_version) > limits.VERSION_MAX:
            self._report(
                f"{path}.metadata.cache_version", f"{shown_node}: must have at most {limits.VERSION_MAX} characters"
            )
