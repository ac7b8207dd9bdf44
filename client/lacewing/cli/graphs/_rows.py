"""A graph as rows: a tree of nodes, with how each stands."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from shlex import quote
from typing import NamedTuple

from rich.table import Table
from rich.text import Text

from lacewing.cli._describe import state_name, state_text
from lacewing.cli._describe import took_text as execution_took
from lacewing.cli._messages import execution_text, task_text
from lacewing.cli.graphs._view import (
    GraphView,
    Item,
    NodeStatus,
    cache_word,
    choose,
    error_line,
    gates_of,
    items_of,
    state_word,
    tally_text,
    took_text,
)
from lacewing.cli.output import styled

ELEMENTS = 10
"""How many elements of an array are shown, if nothing else is said."""

_COLUMNS = ("NODE", "STATE", "TOOK", "ATTEMPTS", "CACHE", "")
_NARROW = frozenset({"STATE", "TOOK", "ATTEMPTS", "CACHE"})
# How many nodes of each graph are shown where there is no room for all: the first number of these with which it fits.
_TIGHT = (100, 70, 50, 40, 30, 24, 20, 16, 12, 9, 7, 5, 4, 3, 2, 1)
# How many nodes are named that another one waits for.
_MOST_NAMED = 8
# Lines of a terminal that are not rows of nodes: the heading, the columns, the last line, and some hints.
_AROUND = 6


class Row(NamedTuple):
    """One line of the tree."""

    node: Text
    state: Text
    took: str = ""
    attempts: str = ""
    cache: str = ""
    note: Text = Text()


def graph_rows(view: GraphView, *, elements: int = ELEMENTS, nodes: int | None = None) -> list[Row]:
    """Return the rows of a graph, each node before what it holds.

    Args:
        view: The graph.
        elements: An array with more elements than this is collapsed: only elements that are in trouble or active are
            shown, so many at most, and how many others there are in each state.
        nodes: The most nodes of each graph and each branch to show. Default: all.
    """
    tree = _Tree(elements, nodes)
    return [*tree.rows(items_of(view), "", is_top=True)]


def fitting_rows(view: GraphView, height: int, *, elements: int = ELEMENTS) -> list[Row]:
    """Return the rows of a graph that fit on a terminal of so many lines: where there is no room, fewer nodes."""
    items = items_of(view)
    room = max(height - _AROUND, 1)
    rows: list[Row] = []
    for most in (None, *_TIGHT):
        if most is None and len(view.nodes) > _TIGHT[0] + room:
            continue
        tree = _Tree(elements if most is None else min(elements, most), most)
        rows = [*tree.rows(items, "", is_top=True)]
        if len(rows) <= room:
            break
    return rows


def graph_table(rows: Sequence[Row], *, is_live: bool = False) -> Table:
    """Return the rows of a graph under their headings; where they live, each on one line."""
    table = Table(*_COLUMNS, box=None, pad_edge=False, header_style="bold")
    for column in table.columns:
        column.overflow = "ellipsis" if is_live else "fold"
        column.no_wrap = column.header in _NARROW or (is_live and column.header == "NODE")
    for row in rows:
        # What is cut where there is no room is the note: the other columns are then as wide as they need to be.
        note = Text("", no_wrap=is_live, overflow="ellipsis" if is_live else None).append_text(row.note)
        table.add_row(row.node, row.state, row.took, row.attempts, row.cache, note)
    return table


def heading(view: GraphView) -> Text:
    """Return one line on the execution that runs the graph."""
    execution = view.execution
    text = styled(task_text(execution.task), "bold").append("  ")
    text.append_text(state_text(state_name(execution.state))).append(f"  {execution_took(execution)}")
    return text.append_text(styled(f"  {execution_text(execution.id)}", "dim"))


def hints(view: GraphView) -> Iterator[str]:
    """Yield how to answer each gate that waits, of this graph and of those in it."""
    conditions = dict(gates_of(view.graph))
    reference = execution_text(view.execution.id)
    for path, status in view.nodes.items():
        gate = conditions.get(path)
        if status.state != NodeStatus.STATE_RUNNING or gate is None:
            continue
        if gate.HasField("approve"):
            yield f"{path} waits for approval: lacewing approve {reference} {quote(gate.approve.signal_id)}"
        elif gate.HasField("signal"):
            yield f"{path} waits for a value: lacewing signal {reference} {quote(gate.signal.signal_id)} VALUE"
    for nested in view.nested.values():
        yield from hints(nested)


class _Tree:
    """Draws nodes with the lines that lead to what they hold."""

    def __init__(self, elements: int, nodes: int | None) -> None:
        self._elements = elements
        self._nodes = nodes

    def rows(
        self, items: Sequence[Item], indent: str, *, is_top: bool = False, is_array: bool = False
    ) -> Iterator[Row]:
        """Yield the rows of nodes that stand beside each other, each before what it holds."""
        if is_array:
            shown, hidden = choose(items, self._elements, is_filled=False)
        else:
            shown, hidden = choose(items, len(items) if self._nodes is None else self._nodes, is_filled=True)
        for item in shown:
            is_last = item is shown[-1] and not hidden
            line, below = ("", "") if is_top else ("└─ ", "   ") if is_last else ("├─ ", "│  ")
            yield _row(item, indent + line)
            is_of_array = item.status.kind == NodeStatus.KIND_ARRAY
            yield from self.rows(item.parts, indent + below, is_array=is_of_array)
            yield from self.rows(item.inside, indent + below)
        if hidden:
            counts = tally_text(Counter(item.status.state for item in hidden))
            text = Text(f"{indent}{'' if is_top else '└─ '}… {len(hidden)} {'more' if shown else 'elements'}", "dim")
            yield Row(text, Text(), note=Text(counts, "dim"))


def _row(item: Item, lines: str) -> Row:
    status = item.status
    node = Text(lines, "dim").append_text(styled(item.title, "not dim bold"))
    if item.title != status.path:
        node.append_text(styled(f" {status.path}", "not bold dim"))
    return Row(
        node,
        state_text(state_word(status.state)),
        took_text(status),
        str(status.attempt_count or ""),
        cache_word(status),
        _note(item),
    )


def _note(item: Item) -> Text:
    status = item.status
    parts: list[Text] = []
    if error_line(status):
        parts.append(styled(error_line(status), "red"))
    if item.tally:
        parts.append(Text(tally_text(item.tally)))
    elif status.state_reason:
        parts.append(styled(status.state_reason))
    if status.upstream_node_ids:
        named = ", ".join(status.upstream_node_ids[:_MOST_NAMED])
        others = len(status.upstream_node_ids) - _MOST_NAMED
        parts.append(styled(f"after {named}{f' and {others} more' if others > 0 else ''}", "dim"))
    return Text("  ").join(parts)
