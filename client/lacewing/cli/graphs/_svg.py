"""A graph as a picture: SVG that any browser shows, complete in itself."""

from __future__ import annotations

import re
from collections.abc import Iterator
from html import escape
from itertools import pairwise
from typing import NamedTuple

from rich.cells import cell_len, set_cell_size

from lacewing.cli._describe import state_name
from lacewing.cli._describe import took_text as execution_took
from lacewing.cli._messages import execution_text, task_text
from lacewing.cli.graphs._colours import COLOURS
from lacewing.cli.graphs._layout import Placed, Point, place
from lacewing.cli.graphs._picture import Box, Picture, picture_of
from lacewing.cli.graphs._view import GraphView, NodeStatus
from lacewing.cli.output import safe

_MARGIN = 24.0
_HEAD = 64.0
_PADDING = 14.0
_HEIGHT = 46.0
_BAR = 10.0
_LEAST_WIDTH = 120.0
_MOST_CELLS = 40
# How wide a letter is, at most nearly always: the title is larger than what is below it.
_TITLE_CELL = 7.6
_DETAIL_CELL = 6.4
# What XML 1.0 cannot say, even escaped.
_NOT_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_STYLE = (
    "text{font-family:ui-sans-serif,system-ui,sans-serif;fill:#1f2328}"
    ".t{font-size:13px;font-weight:600}.d{font-size:11px;fill:#57606a}"
    ".a{fill:none;stroke:#8c959f;stroke-width:1.3}.b{stroke-width:1.5}"
)
_HEAD_OF_ARROW = (
    '<defs><marker id="head" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7" orient="auto">'
    '<path d="M0 0L8 4L0 8z" fill="#8c959f"/></marker></defs>'
)
_SKIPPED = NodeStatus.STATE_SKIPPED
_NOT_BEGUN = frozenset({NodeStatus.STATE_PENDING, _SKIPPED})
_ROUND = {NodeStatus.KIND_GATE: 22.0, NodeStatus.KIND_BRANCH: 2.0}


class _Drawn(NamedTuple):
    """A picture and where its boxes are."""

    picture: Picture
    inner: list[_Drawn]
    sizes: list[tuple[float, float]]
    placed: Placed


def graph_svg(view: GraphView) -> str:
    """Return a graph as SVG: each node a box in the colour of its state, what holds nodes a box around them."""
    drawn = _drawn(picture_of(view))
    execution = view.execution
    title = task_text(execution.task)
    detail = " · ".join((state_name(execution.state), execution_took(execution), execution_text(execution.id)))
    least = max(cell_len(title) * _TITLE_CELL * 1.2, cell_len(detail) * _DETAIL_CELL)
    width = max(drawn.placed.size[0], least) + 2 * _MARGIN
    height = drawn.placed.size[1] + _HEAD + 2 * _MARGIN
    extent = f'width="{width:.0f}" height="{height:.0f}" viewBox="0 0 {width:.0f} {height:.0f}"'
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" {extent} role="img">',
        f"<title>{_text(title)}</title>",
        f"<style>{_STYLE}</style>",
        _HEAD_OF_ARROW,
        '<rect width="100%" height="100%" fill="#ffffff"/>',
        f'<text class="t" x="{_MARGIN}" y="36" style="font-size:15px">{_text(title)}</text>',
        f'<text class="d" x="{_MARGIN}" y="56">{_text(detail)}</text>',
        *_lines(drawn, (_MARGIN, _HEAD + _MARGIN)),
        "</svg>",
    ]
    return "\n".join(lines) + "\n"


def _drawn(picture: Picture) -> _Drawn:
    inner = [_drawn(box.inside) for box in picture.boxes]
    sizes = [_size(box, held.placed.size) for box, held in zip(picture.boxes, inner, strict=True)]
    return _Drawn(picture, inner, sizes, place(sizes, picture.arrows))


def _size(box: Box, inside: tuple[float, float]) -> tuple[float, float]:
    title, detail = (min(cell_len(text), _MOST_CELLS) for text in (box.title, box.detail))
    width = max(_LEAST_WIDTH, title * _TITLE_CELL + 24, detail * _DETAIL_CELL + 24)
    height = _HEIGHT + (_BAR if box.tally else 0)
    if not box.inside.boxes:
        return width, height
    return max(width, inside[0] + 2 * _PADDING), height + inside[1] + _PADDING


def _lines(drawn: _Drawn, corner: Point) -> Iterator[str]:
    for route in drawn.placed.routes:
        yield f'<path class="a" marker-end="url(#head)" d="{_path(route, corner, is_across=drawn.placed.is_across)}"/>'
    for box, inner, size, place_ in zip(
        drawn.picture.boxes, drawn.inner, drawn.sizes, drawn.placed.places, strict=True
    ):
        left, top = corner[0] + place_[0], corner[1] + place_[1]
        yield "<g>"
        yield f"<title>{_text(chr(10).join(box.notes))}</title>"
        yield from _box_lines(box, left, top, *size)
        yield "</g>"
        if box.inside.boxes:
            indent = (size[0] - inner.placed.size[0]) / 2
            yield from _lines(inner, (left + indent, top + size[1] - inner.placed.size[1] - _PADDING))


def _box_lines(box: Box, left: float, top: float, width: float, height: float) -> Iterator[str]:
    fill, line = COLOURS[box.state]
    rounding = _ROUND.get(box.kind, 6.0)
    frame = f'width="{width:.1f}" height="{height:.1f}" rx="{rounding}" stroke="{line}"'
    if box.kind == NodeStatus.KIND_ARRAY:
        yield f'<rect class="b" x="{left + 4:.1f}" y="{top + 4:.1f}" {frame} fill="{fill}"/>'
    # What holds others is pale, so that their colours are seen.
    is_holder = bool(box.inside.boxes)
    dashes = ' stroke-dasharray="5 4"' if box.kind == NodeStatus.KIND_BRANCH or box.state == _SKIPPED else ""
    opacity = ' fill-opacity="0.35"' if is_holder else ""
    yield f'<rect class="b" x="{left:.1f}" y="{top:.1f}" {frame} fill="{fill}"{opacity}{dashes}/>'
    yield f'<text class="t" x="{left + 12:.1f}" y="{top + 19:.1f}">{_text(_cut(box.title))}</text>'
    yield f'<text class="d" x="{left + 12:.1f}" y="{top + 36:.1f}">{_text(_cut(box.detail))}</text>'
    yield from _bar(box, left + 12, top + 43, width - 24)


def _bar(box: Box, left: float, top: float, width: float) -> Iterator[str]:
    """Yield the parts of a bar, as wide as the nodes in each state are many."""
    total = sum(box.tally.values())
    for state, colour in COLOURS.items():
        if box.tally[state]:
            share = width * box.tally[state] / total
            yield (
                f'<rect x="{left:.1f}" y="{top:.1f}" width="{share:.1f}" height="6" fill="{colour.line}"'
                f' fill-opacity="{0.3 if state in _NOT_BEGUN else 1}"/>'
            )
            left += share


def _path(route: list[Point], corner: Point, *, is_across: bool) -> str:
    points = [(corner[0] + x, corner[1] + y) for x, y in route]
    parts = [f"M{points[0][0]:.1f} {points[0][1]:.1f}"]
    for index, ((x, y), (to_x, to_y)) in enumerate(pairwise(points)):
        if index % 2 == 0:
            parts.append(f"L{to_x:.1f} {to_y:.1f}")
        elif is_across:
            middle = (x + to_x) / 2
            parts.append(f"C{middle:.1f} {y:.1f} {middle:.1f} {to_y:.1f} {to_x:.1f} {to_y:.1f}")
        else:
            middle = (y + to_y) / 2
            parts.append(f"C{x:.1f} {middle:.1f} {to_x:.1f} {middle:.1f} {to_x:.1f} {to_y:.1f}")
    return "".join(parts)


def _cut(text: str) -> str:
    return text if cell_len(text) <= _MOST_CELLS else set_cell_size(text, _MOST_CELLS - 1).rstrip() + "…"


def _text(text: str) -> str:
    return escape(_NOT_XML.sub("�", safe(text)))
