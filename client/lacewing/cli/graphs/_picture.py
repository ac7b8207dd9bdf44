"""A graph as boxes with arrows between them, for drawings: arrows lead only between boxes that stand beside each other.

An array is one box with a tally of its elements. What holds nodes, a branch or a graph in the graph, is a box with a
picture inside; an arrow into it or out of it leads to the box.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from lacewing.cli._messages import execution_text, task_text
from lacewing.cli.graphs._view import (
    TROUBLED,
    GraphView,
    Item,
    NodeStatus,
    State,
    cache_word,
    error_line,
    items_of,
    state_word,
    tally_text,
    took_text,
)
from lacewing.cli.output import safe

_FOLDED_BEYOND = 500
"""In a graph with more boxes than this, those that differ in nothing but their results are drawn as one."""

_LEAST_FOLDED = 3


@dataclass(slots=True)
class Box:
    """A node, or several that were folded."""

    key: str
    """Unique in the whole picture: the paths that lead to it."""
    title: str
    detail: str
    """How it stands, on one line."""
    notes: list[str]
    """What else there is to say, a line each."""
    kind: NodeStatus.Kind.ValueType
    state: State.ValueType
    tally: Counter[State.ValueType]
    """How many nodes or elements it stands for are in each state. Empty: it is one node."""
    inside: Picture


@dataclass(slots=True)
class Picture:
    """Boxes beside each other, and arrows between them."""

    boxes: list[Box] = field(default_factory=list)
    arrows: list[tuple[int, int]] = field(default_factory=list)
    """From and to, by the index of the box; each pair once."""


def picture_of(view: GraphView) -> Picture:
    """Return the picture of a graph, with the graphs in it that were looked at."""
    return _picture(items_of(view), "")


def _picture(items: Sequence[Item], prefix: str) -> Picture:
    """Return the picture of a whole graph, whose paths are unique below the prefix."""
    ways = dict(_ways(items, ()))
    arrows: defaultdict[str, dict[tuple[int, int], None]] = defaultdict(dict)
    for path, way in ways.items():
        for upstream in way[-1][1].status.upstream_node_ids:
            if upstream in ways and upstream != path:
                arrow = _arrow(ways[upstream], way)
                if arrow is not None:
                    arrows[arrow[0]][arrow[1]] = None
    return _level(items, "", prefix, arrows)


_Way = tuple[tuple[int, Item], ...]


def _ways(items: Sequence[Item], way: _Way) -> Iterator[tuple[str, _Way]]:
    """Yield the way to each node through the branches that hold it: of each the index beside the others."""
    for index, item in enumerate(items):
        here = (*way, (index, item))
        yield item.status.path, here
        if item.status.kind == NodeStatus.KIND_BRANCH:
            yield from _ways(item.parts, here)


def _arrow(begin: _Way, end: _Way) -> tuple[str, tuple[int, int]] | None:
    """Return the arrow between what holds two nodes where their ways part, and the branch in which that is."""
    holder = ""
    for (begin_index, item), (end_index, _) in zip(begin, end, strict=False):
        if begin_index != end_index:
            return holder, (begin_index, end_index)
        holder = item.status.path
    return None  # One holds the other.


def _level(
    items: Sequence[Item], holder: str, prefix: str, arrows: defaultdict[str, dict[tuple[int, int], None]]
) -> Picture:
    boxes = []
    for item in items:
        key = prefix + item.status.path
        if item.status.kind == NodeStatus.KIND_BRANCH:
            inside = _level(item.parts, item.status.path, prefix, arrows)
        else:
            inside = _picture(item.inside, f"{key}/")
        boxes.append(_box(item, key, inside))
    picture = Picture(boxes, [*arrows[holder]])
    return _folded(picture, [_look(item) for item in items]) if len(boxes) > _FOLDED_BEYOND else picture


def _box(item: Item, key: str, inside: Picture) -> Box:
    status = item.status
    tally = item.tally
    cache = "cache hit" if cache_word(status) == "hit" else ""
    attempts = f"{status.attempt_count} attempts" if status.attempt_count > 1 else ""
    notes = [
        key,
        task_text(status.task) if status.HasField("task") else "",
        execution_text(status.execution) if status.HasField("execution") else "",
        tally_text(tally) or status.state_reason,
        error_line(status),
        *(f"{part.status.path} {error_line(part.status)}" for part in _troubled(item)),
    ]
    return Box(
        key,
        safe(item.title),
        " · ".join(filter(None, (state_word(status.state), took_text(status), attempts, cache))),
        [safe(note) for note in notes if note],
        status.kind,
        status.state,
        tally,
        inside,
    )


def _troubled(item: Item) -> list[Item]:
    """Return the first elements of an array that are in trouble."""
    if item.status.kind != NodeStatus.KIND_ARRAY:
        return []
    return [part for part in item.parts if part.status.state in TROUBLED][:10]


def _look(item: Item) -> tuple[str, str, int] | None:
    """Return what nodes that can be drawn as one have in common; None of one that stands for itself."""
    status = item.status
    if status.kind != NodeStatus.KIND_TASK or status.state in TROUBLED or item.inside:
        return None
    return status.task.name, status.task.version, status.kind


def _folded(picture: Picture, looks: Sequence[tuple[str, str, int] | None]) -> Picture:
    """Draw boxes as one that look the same and have arrows from and to the same boxes."""
    befores: defaultdict[int, set[int]] = defaultdict(set)
    afters: defaultdict[int, set[int]] = defaultdict(set)
    for begin, end in picture.arrows:
        befores[end].add(begin)
        afters[begin].add(end)
    twins: defaultdict[object, list[int]] = defaultdict(list)
    for index, look in enumerate(looks):
        alike = index if look is None else (look, frozenset(befores[index]), frozenset(afters[index]))
        twins[alike].append(index)
    folded = Picture()
    places: dict[int, int] = {}
    for indexes in twins.values():
        for group in [indexes] if len(indexes) >= _LEAST_FOLDED else [[index] for index in indexes]:
            places |= dict.fromkeys(group, len(folded.boxes))
            boxes = [picture.boxes[index] for index in group]
            folded.boxes.append(boxes[0] if len(boxes) == 1 else _one_of(boxes))
    folded.arrows = [*dict.fromkeys((places[begin], places[end]) for begin, end in picture.arrows)]
    return folded


def _one_of(boxes: Sequence[Box]) -> Box:
    first = boxes[0]
    tally = Counter(box.state for box in boxes)
    states = [state for state in (NodeStatus.STATE_RUNNING, NodeStatus.STATE_QUEUED) if state in tally]
    state = (states or [max(tally, key=lambda each: tally[each])])[0]
    return Box(
        first.key,
        f"{len(boxes)} × {first.title}",
        tally_text(tally),
        [f"{first.key} and {len(boxes) - 1} others", tally_text(tally)],
        NodeStatus.KIND_ARRAY,
        state,
        tally,
        Picture(),
    )
