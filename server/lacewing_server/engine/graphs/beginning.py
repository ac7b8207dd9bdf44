"""What it takes to begin a node: its inputs, its execution, or what is decided and noted instead of one."""

from __future__ import annotations

from collections.abc import Callable

from lacewing.v1 import execution_pb2, identifiers_pb2, interface_pb2, literals_pb2, types_pb2
from lacewing_server.domain.graph.arrays import Array
from lacewing_server.domain.graph.conditions import holds
from lacewing_server.domain.graph.plan import PlanNode
from lacewing_server.domain.graph.references import overrides_of, reference_of
from lacewing_server.domain.record import ExecutionRecord
from lacewing_server.engine.graphs.children import Child, Children
from lacewing_server.engine.graphs.gates import Gates
from lacewing_server.engine.graphs.journal import Journal
from lacewing_server.engine.graphs.values import Values
from lacewing_server.engine.tasks import Tasks

Tell = Callable[[Child, ExecutionRecord | None], None]


class NothingHoldsError(Exception):
    """No condition of a branch holds, and the graph has an error for that."""


class Beginning:
    """Begins the nodes of one graph.

    Every method raises ``BindingError``, ``ConditionError``, ``ArrayError`` or ``NothingHoldsError`` if the node cannot
    be begun, and ``DomainError`` as ``CreateExecution`` does, or with ``LEASE_LOST``.
    """

    def __init__(
        self, tasks: Tasks, children: Children, values: Values, gates: Gates, journal: Journal, tell: Tell
    ) -> None:
        self._tasks = tasks
        self._children = children
        self._values = values
        self._gates = gates
        self._journal = journal
        self._tell = tell

    async def task(self, node: PlanNode) -> tuple[Child, ExecutionRecord]:
        """Begins a node that runs a task or a workflow."""
        reference = reference_of(node.node)
        assert reference is not None
        task = await self._tasks.pinned(reference)
        inputs = await self._values.resolved(node.node.inputs, task.input_variables.variables)
        child = self._child(node.node.id, node.index, None)
        overrides = overrides_of(node.node)
        return child, await self._children.begin(node.node.id, child, task.id, inputs, overrides)

    async def element(self, node: PlanNode, array: Array, element: int) -> tuple[Child, ExecutionRecord]:
        """Begins an element of an array."""
        path = f"{node.node.id}/{element}"
        child = self._child(path, node.index, element)
        overrides = overrides_of(node.node)
        inputs = array.inputs_of(element)
        return child, await self._children.begin(path, child, inner_task(node), inputs, overrides)

    async def failure(
        self, node: PlanNode, error: execution_pb2.TaskError, failed_path: str
    ) -> tuple[Child, ExecutionRecord]:
        """Begins the node that follows a failure, and tells it of that if it wants to know."""
        reference = reference_of(node.node)
        assert reference is not None
        task = await self._tasks.pinned(reference)
        variables = task.input_variables.variables
        inputs = await self._values.resolved((each for each in node.node.inputs if each.var != "err"), variables)
        if "err" in variables:
            told = literals_pb2.Error(failed_node_id=failed_path, message=error.message)
            inputs.literals["err"].scalar.error.CopyFrom(told)
        child = self._child(node.node.id, node.index, None)
        overrides = overrides_of(node.node)
        return child, await self._children.begin(node.node.id, child, task.id, inputs, overrides)

    async def array(self, node: PlanNode) -> Array:
        """Takes the lists of an array apart; its elements begin one by one."""
        task = await self._tasks.pinned(inner_task(node))
        variables = task.input_variables.variables
        bound = set(node.node.array_node.bound_inputs)
        inputs = await self._values.resolved(
            node.node.inputs, {name: each if name in bound else _list_of(each) for name, each in variables.items()}
        )
        inputs = await self._values.opened(inputs, inputs.literals.keys() - bound)
        array = Array(node.node.array_node, inputs)
        await self._journal.note(f"width:{node.node.id}", array.width)
        return array

    async def branch(self, node: PlanNode) -> int:
        """Chooses a node of a branch."""
        inputs = await self._values.resolved(node.node.inputs, {})
        block = node.node.branch_node.if_else
        field = f"branch:{node.node.id}"
        if field not in self._journal.known:
            given = dict(inputs.literals)
            blocks = (block.case, *block.other)
            choice = next((i for i, each in enumerate(blocks) if holds(each.condition, given)), len(blocks))
            if choice == len(blocks) and block.WhichOneof("default") == "error":
                raise NothingHoldsError(block.error.message or "no condition of the branch holds")
            await self._journal.note(field, choice)
        return node.inner[int(self._journal.known[field])]

    async def gate(self, node: PlanNode) -> literals_pb2.LiteralMap:
        """Reaches a gate; gives its inputs."""
        inputs = await self._values.resolved(node.node.inputs, {})
        await self._gates.reach(node.index, node.node)
        return inputs

    def _child(self, path: str, index: int, element: int | None) -> Child:
        return Child(self._children.id_of(path), index, element, self._tell)


def inner_task(node: PlanNode) -> identifiers_pb2.TaskId:
    """The task that the elements of an array run."""
    return node.node.array_node.node.task_node.reference_id


def _list_of(variable: interface_pb2.Variable) -> interface_pb2.Variable:
    """What an array takes element by element, as a whole."""
    return interface_pb2.Variable(type=types_pb2.LiteralType(collection_type=variable.type))
