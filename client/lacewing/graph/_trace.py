"""A graph while it is built: the calls that a body has made so far."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Literal, TypeAlias, get_args

from lacewing._tracing import current_tracer
from lacewing.graph._binding import Store, bind, fill
from lacewing.graph._errors import GraphBuildError
from lacewing.graph._node import NodeHandle, Nothing, of_node
from lacewing.graph._promise import Promise
from lacewing.task import AnyTask
from lacewing.types import ConversionError, FunctionInterface, GraphFailure, converter_for, explain_mismatch
from lacewing.v1 import bindings_pb2, identifiers_pb2, task_pb2, types_pb2, workflow_pb2

OnFailure: TypeAlias = Literal["fail_immediately", "fail_after_executable_nodes_complete"]
"""What happens to the other nodes when one fails: they are cancelled, or all that do not depend on it run."""

Registered: TypeAlias = Callable[[AnyTask], identifiers_pb2.TaskId | None]
"""Returns the identity that a task is registered under, if it is known to be."""

WORKFLOW_TYPE = "workflow"
"""The type of tasks that servers run themselves."""

_FAILURE_NODE = "failure"
_ERROR_INPUT = "err"


class Trace:
    """A graph that is being built; a `lacewing._tracing.Tracer`.

    Args:
        title: What builds it, for messages.
        interface: What the graph takes and gives.
        registered: Tells which tasks need not be brought along.
        store: Converts values that are known already.
    """

    def __init__(self, title: str, interface: FunctionInterface, registered: Registered, store: Store) -> None:
        self.title = title
        self.store = store
        self._interface = interface
        self._registered = registered
        self._handles: list[NodeHandle] = []
        self._scope = self._handles
        self._count = 0
        self._references: dict[AnyTask, identifiers_pb2.TaskId] = {}
        self._embedded: dict[tuple[str, str, str, str], task_pb2.TaskSpec] = {}
        self.open_conditionals: dict[object, str] = {}
        """The names of the conditionals that are not complete."""

    @property
    def is_empty(self) -> bool:
        """Whether no task was called."""
        return not self._count

    def new_id(self) -> str:
        """Return the id of the next node."""
        self._count += 1
        return f"n{self._count - 1}"

    def add(self, node: workflow_pb2.Node, outputs: Mapping[str, types_pb2.LiteralType] | None = None) -> NodeHandle:
        """Add a node, and return what stands for it."""
        handle = NodeHandle(self, node, outputs or {})
        self._scope.append(handle)
        return handle

    def promises(self, handle: NodeHandle, join: Callable[[Mapping[str, Promise]], Any] | None = None) -> Any:
        """Return what a call gives that made a node: in the form in which the function would return it.

        Args:
            handle: The node.
            join: Gives the outputs by name that form. Default: there is one output at most.
        """
        promised = {name: Promise(self, handle, name, kind) for name, kind in handle.outputs.items()}
        if not promised:
            return Nothing(handle)
        if join is None:
            (promise,) = promised.values()
            return promise
        return of_node(join(promised), handle)

    def call(self, task: AnyTask, arguments: tuple[Any, ...], inputs: Mapping[str, Any]) -> Any:
        """Make a call of a task a node.

        Raises:
            GraphBuildError: The arguments do not fit the function.
            TypeError: They are not those that it takes.
        """
        interface = task.interface
        given = interface.bind(arguments, inputs)
        node = workflow_pb2.Node(id=self.new_id())
        self.bind_inputs(node, task, given)
        self.refer(node, task)
        return self.promises(self.add(node, interface.output_types), interface.join_outputs)

    def bind_inputs(
        self, node: workflow_pb2.Node, task: AnyTask, given: Mapping[str, Any], *, bound: Collection[str] = ()
    ) -> None:
        """Bind each input of a task to what is given for it, or else to its default, except for what is bound."""
        for name, converter in task.interface.inputs.items():
            if name in given:
                where = f"{task.name}: {name}"
                try:
                    bind(_added(node, name), self, converter, given[name], where)
                except ConversionError as error:
                    raise GraphBuildError(f"{where}: {error}") from error
            elif name in task.interface.defaults.parameters and name not in bound:
                fill(_added(node, name), task.interface.defaults.parameters[name].default)

    def refer(self, node: workflow_pb2.Node, task: AnyTask, *, as_task: bool = False) -> None:
        """Let a node run a task, which is brought along unless it is registered; a workflow, if asked, as any task."""
        if task not in self._references:
            self._references[task] = task.id() if task.is_reference else self._registered(task) or self._embed(task)
        reference = self._references[task]
        if task.is_workflow and not as_task:
            node.workflow_node.sub_workflow_ref.CopyFrom(reference)
        else:
            node.task_node.reference_id.CopyFrom(reference)

    def _embed(self, task: AnyTask) -> identifiers_pb2.TaskId:
        identity = task.id()
        identity.version = task.exact_version
        spec = task_pb2.TaskSpec()
        spec.CopyFrom(task.spec)
        spec.template.id.CopyFrom(identity)
        if task.is_workflow:  # What it brings along comes along beside it.
            for brought in task.spec.graph.tasks:
                self._bring(brought, identity)
            spec.graph.ClearField("tasks")
        self._bring(spec, identity)
        return identity

    def _bring(self, spec: task_pb2.TaskSpec, place: identifiers_pb2.TaskId) -> None:
        brought = task_pb2.TaskSpec()
        brought.CopyFrom(spec)
        identity = brought.template.id
        identity.project, identity.domain = identity.project or place.project, identity.domain or place.domain
        key = (identity.project, identity.domain, identity.name, identity.version)
        if self._embedded.setdefault(key, brought) != brought:
            raise GraphBuildError(
                f"{self.title} calls two tasks that are both {identity.name}@{identity.version}; give one another name"
            )

    def input_promises(self) -> dict[str, Promise]:
        """Return promises of the inputs of the graph."""
        return {
            name: Promise(self, None, name, converter.literal_type)
            for name, converter in self._interface.inputs.items()
        }

    @contextmanager
    def branch_body(self) -> Iterator[list[NodeHandle]]:
        """Let calls in the block make nodes inside a branch, and give those."""
        before, self._scope = self._scope, []
        try:
            yield self._scope
        finally:
            self._scope = before

    def finish(
        self, result: Any, *, on_failure: OnFailure = "fail_immediately", failure_node: AnyTask | None = None
    ) -> task_pb2.Graph:
        """Return the graph.

        Args:
            result: What the body returned.
            on_failure: What happens to the other nodes when one fails.
            failure_node: What runs after the graph has failed.

        Raises:
            GraphBuildError: It is not complete.
            ConversionError: What the body returned does not fit its annotation.
        """
        if self.open_conditionals:
            names = ", ".join(map(repr, self.open_conditionals.values()))
            raise GraphBuildError(f"{self.title}: conditional {names} has no else_().then(...) nor else_().fail(...)")
        outputs = self._bind_outputs(result)
        graph = task_pb2.Graph(
            workflow=workflow_pb2.WorkflowTemplate(
                nodes=[handle.node for handle in self._handles],
                outputs=outputs,
                failure_node=None if failure_node is None else self._failure_node(failure_node),
            )
        )
        if on_failure != "fail_immediately":
            graph.workflow.metadata.on_failure = on_failure_policy(on_failure)
        graph.tasks.extend(self._embedded.values())
        return graph

    def _bind_outputs(self, result: Any) -> list[bindings_pb2.Binding]:
        if isinstance(result, Nothing):
            result = None
        bound: list[bindings_pb2.Binding] = []
        for name, value in self._interface.split_outputs(result).items():
            try:
                output = bindings_pb2.Binding(var=name)
                bind(output.binding, self, self._interface.outputs[name], value, f"{self.title}: {name}")
            except ConversionError as error:
                raise error.under(f"outputs.{name}") from error
            bound.append(output)
        return bound

    def _failure_node(self, task: AnyTask) -> workflow_pb2.Node:
        node = workflow_pb2.Node(id=_FAILURE_NODE)
        error = task.interface.inputs.get(_ERROR_INPUT)
        if error is not None and error.literal_type != converter_for(GraphFailure).literal_type:
            raise GraphBuildError(f"{task.name}, the failure node of {self.title}, takes `err` as a GraphFailure")
        promises = self.input_promises()
        given = {name: promises[name] for name in task.interface.inputs if name in promises and name != _ERROR_INPUT}
        self.bind_inputs(node, task, given)
        bound = {binding.var for binding in node.inputs} | {_ERROR_INPUT}
        missing = [name for name in task.interface.inputs if name not in bound]
        if missing:
            raise GraphBuildError(
                f"{task.name}, the failure node of {self.title}, takes {', '.join(missing)}, which the graph does not "
                "have: it is given the inputs of the graph that it has parameters for, and the error as `err`"
            )
        self.refer(node, task)
        return node


def _added(node: workflow_pb2.Node, name: str) -> bindings_pb2.BindingData:
    """Return a binding that is added to a node, and still empty."""
    binding = node.inputs.add()
    binding.var = name
    return binding.binding


def current_trace() -> Trace | None:
    """Return the graph that is being built where this is called; None if there is none."""
    tracer = current_tracer()
    return tracer if isinstance(tracer, Trace) else None


def on_failure_policy(on_failure: OnFailure) -> workflow_pb2.WorkflowMetadata.OnFailurePolicy.ValueType:
    """Return how the protocol says what happens when a node fails.

    Raises:
        ValueError: There is no such policy.
    """
    policies = get_args(OnFailure)
    if on_failure not in policies:
        raise ValueError(f"on_failure is one of {', '.join(map(repr, policies))}, not {on_failure!r}")
    return workflow_pb2.WorkflowMetadata.OnFailurePolicy.Value(f"ON_FAILURE_POLICY_{on_failure.upper()}")


def common_type(kinds: list[types_pb2.LiteralType]) -> types_pb2.LiteralType | None:
    """Return the one of the types that values of all of them have; None if there is none."""
    return next(
        (kind for kind in kinds if all(explain_mismatch(other, kind) is None for other in kinds)),
        None,
    )
