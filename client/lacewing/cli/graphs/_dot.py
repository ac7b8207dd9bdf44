"""A graph as text in the language of Graphviz."""

from __future__ import annotations

from collections.abc import Iterator

from lacewing.cli._messages import execution_text
from lacewing.cli.graphs._colours import COLOURS
from lacewing.cli.graphs._picture import Box, Picture, picture_of
from lacewing.cli.graphs._view import GraphView, NodeStatus, tally_text

_SHAPES = {
    NodeStatus.KIND_WORKFLOW: "component",
    NodeStatus.KIND_BRANCH: "diamond",
    NodeStatus.KIND_GATE: "octagon",
    NodeStatus.KIND_ARRAY: "box3d",
}


def graph_dot(view: GraphView) -> str:
    """Return a graph in the language of Graphviz: each node by the paths that lead to it, coloured by its state.

    What holds nodes has a dashed arrow to each of them, which stand together in a cluster.
    """
    lines = [
        f"digraph {_quoted(execution_text(view.execution.id))} {{",
        '  node [shape=box, style="rounded,filled", fontname="sans-serif", fontsize=11];',
        '  edge [color="#8c959f"];',
        *_lines(picture_of(view), "  "),
        "}",
    ]
    return "\n".join(lines) + "\n"


def _lines(picture: Picture, indent: str) -> Iterator[str]:
    for box in picture.boxes:
        yield f"{indent}{_quoted(box.key)} [{', '.join(_attributes(box))}];"
    for begin, end in picture.arrows:
        yield f"{indent}{_quoted(picture.boxes[begin].key)} -> {_quoted(picture.boxes[end].key)};"
    for box in picture.boxes:
        if not box.inside.boxes:
            continue
        yield f"{indent}subgraph {_quoted('cluster ' + box.key)} {{"
        yield f'{indent}  label={_quoted(box.title)}; style=dashed; fontname="sans-serif"; fontsize=10;'
        yield from _lines(box.inside, indent + "  ")
        yield f"{indent}}}"
        for inner in box.inside.boxes:
            yield f"{indent}{_quoted(box.key)} -> {_quoted(inner.key)} [style=dashed];"


def _attributes(box: Box) -> Iterator[str]:
    colour = COLOURS[box.state]
    label = "\n".join(dict.fromkeys(filter(None, (box.title, box.detail, tally_text(box.tally)))))
    tooltip = "\n".join(box.notes)
    yield f"label={_quoted(label)}"
    yield f'fillcolor="{colour.fill}", color="{colour.line}"'
    if box.kind in _SHAPES:
        yield f"shape={_SHAPES[box.kind]}, style=filled"
    yield f"tooltip={_quoted(tooltip)}"


def _quoted(text: str) -> str:
    """Return a text as a string of Graphviz, which knows escapes of its own in some places."""
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n") + '"'
