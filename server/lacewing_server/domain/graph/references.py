"""What a node runs, and what it says instead of its task. Pure."""

from __future__ import annotations

from lacewing.v1 import execution_pb2, identifiers_pb2, workflow_pb2


def reference_of(node: workflow_pb2.Node) -> identifiers_pb2.TaskId | None:
    """The task or workflow that a node runs as one execution, or None: it is a branch, a gate or an array."""
    if node.HasField("task_node"):
        return node.task_node.reference_id
    if node.HasField("workflow_node"):
        workflow = node.workflow_node
        return workflow.launchplan_ref if workflow.HasField("launchplan_ref") else workflow.sub_workflow_ref
    return None


def overrides_of(node: workflow_pb2.Node) -> execution_pb2.NodeOverrides | None:
    """What a node says instead of its task, if it says anything that counts."""
    overrides = execution_pb2.NodeOverrides()
    if node.HasField("metadata"):
        overrides.metadata.CopyFrom(node.metadata)
        overrides.metadata.ClearField("name")
        if not overrides.metadata.ByteSize():
            overrides.ClearField("metadata")
    if node.task_node.overrides.ByteSize():
        overrides.task.CopyFrom(node.task_node.overrides)
    return overrides if overrides.ByteSize() else None
