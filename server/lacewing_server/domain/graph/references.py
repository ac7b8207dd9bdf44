"""What a node runs, and what it says instead of its task. Pure."""

from __future__ import annotations

from collections.abc import Iterator

from lacewing.v1 import execution_pb2, identifiers_pb2, workflow_pb2

Key = tuple[str, str, str, str]
"""What a reference says: project, domain, name and version."""


def reference_of(node: workflow_pb2.Node) -> identifiers_pb2.TaskId | None:
    """The task or workflow that a node runs as one execution, or None: it is a branch, a gate or an array."""
    if node.HasField("task_node"):
        return node.task_node.reference_id
    if node.HasField("workflow_node"):
        workflow = node.workflow_node
        return workflow.launchplan_ref if workflow.HasField("launchplan_ref") else workflow.sub_workflow_ref
    return None


def overrides_of(node: workflow_pb2.Node) -> execution_pb2.NodeOverrides | None:
    """What a node says instead of its task, if anything; of an array, what it says for its elements."""
    sayers = (node, node.array_node.node) if node.HasField("array_node") else (node,)
    if not any(map(_says_anything, sayers)):
        return None
    overrides = execution_pb2.NodeOverrides()
    for each in sayers:
        overrides.metadata.MergeFrom(each.metadata)
        overrides.task.MergeFrom(each.task_node.overrides)
    overrides.metadata.ClearField("name")
    if not overrides.metadata.ByteSize():
        overrides.ClearField("metadata")
    if not overrides.task.ByteSize():
        overrides.ClearField("task")
    return overrides if overrides.ByteSize() else None


def _says_anything(node: workflow_pb2.Node) -> bool:
    if node.task_node.HasField("overrides"):
        return True
    return node.HasField("metadata") and any(field.name != "name" for field, _ in node.metadata.ListFields())


def references_in(workflow: workflow_pb2.WorkflowTemplate) -> Iterator[identifiers_pb2.TaskId]:
    """Everything that the nodes of a graph refer to, those inside of others and the failure node included."""
    for node in workflow.nodes:
        if (reference := reference_of(node)) is not None:  # nearly all
            yield reference
        else:
            yield from _references(node)
    if workflow.HasField("failure_node"):
        yield from _references(workflow.failure_node)


def _references(node: workflow_pb2.Node) -> Iterator[identifiers_pb2.TaskId]:
    reference = reference_of(node)
    if reference is not None:
        yield reference
    elif node.HasField("array_node"):
        yield from _references(node.array_node.node)
    elif node.HasField("branch_node"):
        if_else = node.branch_node.if_else
        for block in (if_else.case, *if_else.other):
            yield from _references(block.then_node)
        yield from _references(if_else.else_node)


def key_of(reference: identifiers_pb2.TaskId) -> Key:
    """A reference as a key."""
    return reference.project, reference.domain, reference.name, reference.version


def complete(reference: identifiers_pb2.TaskId, own: identifiers_pb2.TaskId) -> identifiers_pb2.TaskId:
    """A reference with the project and domain of the task whose graph it is in, where it names none."""
    return identifiers_pb2.TaskId(
        project=reference.project or own.project,
        domain=reference.domain or own.domain,
        name=reference.name,
        version=reference.version,
    )
