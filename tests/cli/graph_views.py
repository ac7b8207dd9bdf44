"""Graphs as a server tells them, drawn at random."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

import type_strategies as make
from lacewing.cli.graphs._view import GraphView, NodeStatus
from lacewing.v1 import execution_pb2, identifiers_pb2

_KINDS = [NodeStatus.KIND_TASK, NodeStatus.KIND_GATE, NodeStatus.KIND_WORKFLOW]
_STATES = [state for state in NodeStatus.State.values() if state != NodeStatus.STATE_UNSPECIFIED]


def node(path: str, state: NodeStatus.State.ValueType = NodeStatus.STATE_SUCCEEDED, **fields: Any) -> NodeStatus:
    """Returns where a node stands; a task, unless said otherwise."""
    return NodeStatus(path=path, name=fields.pop("name", path), state=state, **{"kind": NodeStatus.KIND_TASK} | fields)


def view_of(*nodes: NodeStatus) -> GraphView:
    """Returns a graph of these nodes, whose execution runs."""
    execution = execution_pb2.Execution(
        id=identifiers_pb2.ExecutionId(project="p", domain="d", name="x1"),
        task=identifiers_pb2.TaskId(project="p", domain="d", name="flow", version="1"),
        state=execution_pb2.Execution.STATE_RUNNING,
    )
    view = GraphView(execution)
    view.update(nodes)
    return view


def chain(length: int) -> GraphView:
    """Returns a graph in which each node waits for the one before."""
    return view_of(*(node(f"n{i}", upstream_node_ids=[f"n{i - 1}"] if i else []) for i in range(length)))


def fan(width: int, **fields: Any) -> GraphView:
    """Returns a graph of one node, many that wait for it, and one that waits for these."""
    middle = [node(f"m{i}", upstream_node_ids=["first"], **fields) for i in range(width)]
    return view_of(node("first"), *middle, node("last", upstream_node_ids=[each.path for each in middle]))


def array(path: str, *states: NodeStatus.State.ValueType, **fields: Any) -> list[NodeStatus]:
    """Returns an array and its elements in these states."""
    elements = [node(f"{path}/{i}", state, kind=NodeStatus.KIND_ELEMENT) for i, state in enumerate(states)]
    return [node(path, kind=NodeStatus.KIND_ARRAY, element_count=len(states), **fields), *elements]


@st.composite
def views(draw: st.DrawFn, *, depth: int = 1) -> GraphView:
    """Draws graphs with nodes of every kind, with branches in branches, and with graphs in them."""
    nodes: list[NodeStatus] = []
    branches: list[str] = []
    nested: dict[str, GraphView] = {}
    for index in range(draw(st.integers(1, 12))):
        path = f"n{index}"
        upstream = draw(st.lists(st.sampled_from([each.path for each in nodes]), max_size=3)) if nodes else []
        one = node(
            path,
            draw(st.sampled_from(_STATES)),
            name=draw(make.texts),
            kind=draw(st.sampled_from([*_KINDS, NodeStatus.KIND_BRANCH, NodeStatus.KIND_ARRAY])),
            upstream_node_ids=[each for each in upstream if "/" not in each],
            branch=draw(st.sampled_from(["", *branches])),
            state_reason=draw(make.texts),
            cache_status=draw(st.sampled_from(execution_pb2.CacheInfo.Status.values())),
            attempt_count=draw(st.integers(0, 3)),
        )
        if draw(st.booleans()):
            one.error.code, one.error.message = "Broken", draw(make.texts)
        if draw(st.booleans()):
            one.create_time.CopyFrom(draw(make.timestamps))
            one.end_time.CopyFrom(draw(make.timestamps))
        if one.kind == NodeStatus.KIND_BRANCH:
            branches.append(path)
        nodes.append(one)
        if one.kind == NodeStatus.KIND_ARRAY:
            one.element_count = draw(st.integers(0, 5))
            known = range(draw(st.integers(0, one.element_count)))
            states = [draw(st.sampled_from(_STATES)) for _ in known]
            nodes += [node(f"{path}/{i}", states[i], kind=NodeStatus.KIND_ELEMENT) for i in known]
        if one.kind == NodeStatus.KIND_WORKFLOW and depth and draw(st.booleans()):
            nested[path] = draw(views(depth=depth - 1))
    view = view_of(*nodes)
    view.nested = nested
    return view
