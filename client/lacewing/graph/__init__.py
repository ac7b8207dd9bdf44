"""Graphs: dynamic tasks and workflows, whose bodies call tasks that the server then runs.

`dynamic` and `workflow` make them of functions. In their bodies a call of a task gives promises; `map_task`,
`conditional`, `sleep`, `approve` and `wait_for_input` make the other kinds of nodes.
"""

from __future__ import annotations

from lacewing.graph._conditional import conditional
from lacewing.graph._dynamic import Dynamic, dynamic
from lacewing.graph._errors import GraphBuildError, PromiseAttributeError, PromiseUsedAsValueError
from lacewing.graph._gates import approve, local_answers, sleep, wait_for_input
from lacewing.graph._map import MapTask, map_task
from lacewing.graph._order import in_order, with_overrides
from lacewing.graph._promise import Promise
from lacewing.graph._reference import Reference, reference_task
from lacewing.graph._trace import OnFailure
from lacewing.graph._workflow import Workflow, workflow
from lacewing.types import GraphFailure

__all__ = [
    "Dynamic",
    "GraphBuildError",
    "GraphFailure",
    "MapTask",
    "OnFailure",
    "Promise",
    "PromiseAttributeError",
    "PromiseUsedAsValueError",
    "Reference",
    "Workflow",
    "approve",
    "conditional",
    "dynamic",
    "in_order",
    "local_answers",
    "map_task",
    "reference_task",
    "sleep",
    "wait_for_input",
    "with_overrides",
    "workflow",
]
