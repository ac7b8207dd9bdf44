"""The colours of states in drawings."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from lacewing.cli.graphs._view import NodeStatus, State


class Colour(NamedTuple):
    """How a state is drawn."""

    fill: str
    line: str


COLOURS: Mapping[State.ValueType, Colour] = {
    NodeStatus.STATE_UNSPECIFIED: Colour("#f6f8fa", "#8c959f"),
    NodeStatus.STATE_PENDING: Colour("#f6f8fa", "#8c959f"),
    NodeStatus.STATE_QUEUED: Colour("#fff8c5", "#bf8700"),
    NodeStatus.STATE_RUNNING: Colour("#ddf4ff", "#0969da"),
    NodeStatus.STATE_SUCCEEDED: Colour("#dafbe1", "#1a7f37"),
    NodeStatus.STATE_FAILED: Colour("#ffebe9", "#cf222e"),
    NodeStatus.STATE_TIMED_OUT: Colour("#ffe3d1", "#bc4c00"),
    NodeStatus.STATE_CANCELLED: Colour("#fbefff", "#8250df"),
    NodeStatus.STATE_SKIPPED: Colour("#ffffff", "#c4cad1"),
}
