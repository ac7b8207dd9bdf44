"""Where the nodes of a graph stand, as far as that is written down: for whoever looks at it, at any server. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final

from google.protobuf import timestamp_pb2

from lacewing.v1 import execution_pb2, graph_pb2
from lacewing_server.domain import lifecycle
from lacewing_server.domain.graph.arrays import needed_of
from lacewing_server.domain.graph.plan import Plan, PlanNode
from lacewing_server.domain.graph.references import reference_of
from lacewing_server.domain.record import ExecutionRecord

_Status = graph_pb2.NodeStatus

END_STATES: Final[Mapping[int, int]] = {
    lifecycle.SUCCEEDED: _Status.STATE_SUCCEEDED,
    lifecycle.FAILED: _Status.STATE_FAILED,
    lifecycle.TIMED_OUT: _Status.STATE_TIMED_OUT,
    lifecycle.CANCELLED: _Status.STATE_CANCELLED,
}
"""What the end of an execution means for the node that it runs."""
_STATES: Final[Mapping[int, int]] = {
    **END_STATES,
    lifecycle.QUEUED: _Status.STATE_QUEUED,
    lifecycle.WAITING: _Status.STATE_QUEUED,
    lifecycle.RUNNING: _Status.STATE_RUNNING,
}
_FAILURES: Final = (_Status.STATE_FAILED, _Status.STATE_TIMED_OUT, _Status.STATE_CANCELLED)


def summary_of(nodes: bytearray, arrays: Mapping[int, bytearray]) -> execution_pb2.GraphSummary:
    """Counts nodes by their states; those of the elements of an array count instead of its own."""
    counted = nodes[:]
    for index in sorted(arrays, reverse=True):
        counted[index : index + 1] = arrays[index]
    return execution_pb2.GraphSummary(
        node_count=len(counted),
        active_count=counted.count(_Status.STATE_RUNNING) + counted.count(_Status.STATE_QUEUED),
        succeeded_count=counted.count(_Status.STATE_SUCCEEDED),
        failed_count=sum(counted.count(state) for state in _FAILURES),
        skipped_count=counted.count(_Status.STATE_SKIPPED),
    )


def paths_of(plan: Plan, journal: Mapping[str, bytes]) -> Iterator[str]:
    """The paths of all nodes and elements that may have an execution."""
    for node in (*plan.nodes, *([plan.failure] if plan.failure is not None else [])):
        if node.is_execution:
            yield node.node.id
        elif (width := journal.get(f"width:{node.node.id}")) is not None:
            yield from (f"{node.node.id}/{element}" for element in range(int(width)))


def statuses(
    plan: Plan, journal: Mapping[str, bytes], records: Mapping[str, ExecutionRecord], *, has_ended: bool
) -> list[graph_pb2.NodeStatus]:
    """Says where each node and each element stands.

    Args:
        plan: The graph.
        journal: What was noted of it.
        records: The executions of nodes and elements by path.
        has_ended: Whether the graph has ended: what has not begun never will.
    """
    found = [_status(node, plan, journal, records, has_ended=has_ended) for node in plan.nodes]
    _settle(plan, found, journal, has_ended=has_ended)
    result: list[graph_pb2.NodeStatus] = []
    for node, status in zip(plan.nodes, found, strict=True):
        result.append(status)
        for element in range(status.element_count):
            path = f"{node.node.id}/{element}"
            one = _Status(path=path, name=path, kind=_Status.KIND_ELEMENT)
            _fill(one, path, journal, records, has_ended=has_ended)
            result.append(one)
    if plan.failure is not None:
        result.append(_status(plan.failure, plan, journal, records, has_ended=has_ended))
    return result


def _status(
    node: PlanNode,
    plan: Plan,
    journal: Mapping[str, bytes],
    records: Mapping[str, ExecutionRecord],
    *,
    has_ended: bool,
) -> graph_pb2.NodeStatus:
    path = node.node.id
    status = _Status(path=path, name=node.node.metadata.name or path, kind=node.kind)
    status.upstream_node_ids.extend(plan.nodes[each].node.id for each in node.upstream)
    if node.branch is not None:
        status.branch = plan.nodes[node.branch].node.id
    reference = reference_of(node.node)
    if reference is not None:
        status.task.CopyFrom(reference)
    _fill(status, path, journal, records, has_ended=has_ended)
    if (width := journal.get(f"width:{path}")) is not None:
        _gather(status, node, int(width), records, has_ended=has_ended)
    if (begun := journal.get(f"begun:{path}")) is not None:
        _set_time(status.create_time, int(begun))
        status.start_time.CopyFrom(status.create_time)
        ended = journal.get(f"ended:{path}")
        if ended is not None:
            _set_time(status.end_time, int(ended))
            status.state = _Status.STATE_SUCCEEDED
        elif status.state == _Status.STATE_PENDING:
            status.state = _Status.STATE_CANCELLED if has_ended else _Status.STATE_RUNNING
            gate = node.node.gate_node
            signal = gate.approve.signal_id or gate.signal.signal_id
            status.state_reason = f"waits for the answer {signal}" if signal else "waits for its time"
    return status


def _fill(
    status: graph_pb2.NodeStatus,
    path: str,
    journal: Mapping[str, bytes],
    records: Mapping[str, ExecutionRecord],
    *,
    has_ended: bool,
) -> None:
    """What an execution, or its absence, says."""
    status.state = _Status.STATE_PENDING
    record = records.get(path)
    if record is not None:
        status.state = _STATES[record.state]  # type: ignore[assignment] # the table holds plain numbers
        status.execution.CopyFrom(record.execution.id)
        status.task.CopyFrom(record.execution.task)
        status.cache_status = record.cache_status  # type: ignore[assignment] # likewise
        status.attempt_count = record.attempt
        _set_time(status.create_time, record.create_ms)
        if record.start_ms:
            _set_time(status.start_time, record.start_ms)
        if record.end_ms:
            _set_time(status.end_time, record.end_ms)
        if record.outcome and record.state != lifecycle.SUCCEEDED:
            status.error.ParseFromString(record.outcome)
    elif (failed := journal.get(f"failed:{path}")) is not None:
        status.state = _Status.STATE_FAILED
        status.error.ParseFromString(failed)
        status.end_time.CopyFrom(status.error.time)
    elif has_ended and status.kind == _Status.KIND_ELEMENT:
        status.state = _Status.STATE_SKIPPED


def _gather(
    status: graph_pb2.NodeStatus, node: PlanNode, width: int, records: Mapping[str, ExecutionRecord], *, has_ended: bool
) -> None:
    """What the elements of an array say of it."""
    status.element_count = width
    found = [record for i in range(width) if (record := records.get(f"{node.node.id}/{i}")) is not None]
    succeeded = sum(record.state == lifecycle.SUCCEEDED for record in found)
    failed = sum(lifecycle.is_terminal(record.state) for record in found) - succeeded
    status.state_reason = f"{succeeded} of {width} elements have succeeded" + (f", {failed} have not" if failed else "")
    if found:
        _set_time(status.create_time, min(record.create_ms for record in found))
        status.start_time.CopyFrom(status.create_time)
    living = len(found) - succeeded - failed
    is_lost = width - failed < needed_of(node.node.array_node, width)
    if living or (succeeded + failed < width and not is_lost and not has_ended):
        status.state = _Status.STATE_RUNNING
        return
    status.state = _Status.STATE_FAILED if is_lost else _Status.STATE_SUCCEEDED
    if not is_lost and succeeded + failed < width:
        status.state = _Status.STATE_CANCELLED
    if found:
        _set_time(status.end_time, max(record.end_ms for record in found))


def _settle(plan: Plan, found: list[graph_pb2.NodeStatus], journal: Mapping[str, bytes], *, has_ended: bool) -> None:
    """Gives branches the states of what they chose, and lets what cannot begin any more be skipped."""
    for node in reversed(plan.nodes):  # What is inside of a branch comes after it.
        status = found[node.index]
        if node.kind != _Status.KIND_BRANCH or (choice := journal.get(f"branch:{node.node.id}")) is None:
            continue
        inner = found[node.inner[int(choice)]]
        status.state_reason = f"chose {inner.path}"
        status.state = _Status.STATE_RUNNING if inner.state == _Status.STATE_PENDING and not has_ended else inner.state
        for field, value in inner.ListFields():
            if field.name in {"create_time", "start_time", "end_time"}:
                getattr(status, field.name).CopyFrom(value)
        for other in node.inner:
            if found[other] is not inner:
                found[other].state = _Status.STATE_SKIPPED
    dead = {*_FAILURES, _Status.STATE_SKIPPED}
    waiting = [node.index for node in plan.nodes if found[node.index].state in dead]
    if has_ended:
        waiting = [node.index for node in plan.nodes]
    while waiting:
        index = waiting.pop()
        if has_ended and found[index].state == _Status.STATE_PENDING:
            found[index].state = _Status.STATE_SKIPPED
        if found[index].state not in dead:
            continue
        for following in (*plan.nodes[index].downstream, *plan.nodes[index].inner):
            if found[following].state == _Status.STATE_PENDING:
                found[following].state = _Status.STATE_SKIPPED
                waiting.append(following)


def _set_time(time: timestamp_pb2.Timestamp, milliseconds: int) -> None:
    time.FromMilliseconds(milliseconds)
