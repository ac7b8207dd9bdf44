"""Where to draw boxes and the arrows between them: in layers, so that arrows lead forward and seldom cross.

After Sugiyama: each box is in the layer after the last one that has an arrow to it; an arrow that passes layers has a
point in each; boxes and points of a layer are ordered by the mean of their neighbours, then moved towards it as far as
order and sizes allow. Layers are rows, or columns where that is less wide: people scroll down, not sideways.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import NamedTuple

Size = tuple[float, float]
Point = tuple[float, float]
Arrow = tuple[int, int]

_BESIDE = 22.0
_BETWEEN = 46.0
_PASSING = 8.0
# Beyond so many points, arrows that pass layers lead straight through them.
_MOST_POINTS = 50_000
# With more boxes and points than this, fewer rounds have to do.
_LARGE = 3000
# How much more a point wants to stand in line than a box does, so that long arrows are straight.
_STRAIGHT = 4.0


class Placed(NamedTuple):
    """Where everything is."""

    places: list[Point]
    """The upper left corner of each box."""
    routes: list[list[Point]]
    """The points of each arrow, an even number: straight from the first to the second, curved from there to the third,
    and so on."""
    size: Size
    is_across: bool
    """Whether layers are columns, and arrows lead to the right."""


def place(sizes: Sequence[Size], arrows: Sequence[Arrow]) -> Placed:
    """Place boxes of these widths and heights.

    Args:
        sizes: The size of each box.
        arrows: Each from and to, by the index of the box. A circle of them is drawn like any other arrows.
    """
    if not sizes:
        return Placed([], [[] for _ in arrows], (0.0, 0.0), is_across=False)
    layers = layers_of(len(sizes), arrows)
    is_across = _is_across(sizes, layers)
    # From here on: how much each takes of its layer, and how thick it makes that.
    breadths = [size[1] if is_across else size[0] for size in sizes]
    depths = [size[0] if is_across else size[1] for size in sizes]
    grid = _Grid(layers, breadths, arrows)
    centres = grid.centres()
    thickness = [0.0] * len(grid.rows)
    for layer, depth in zip(layers, depths, strict=True):
        thickness[layer] = max(thickness[layer], depth)
    tops = [0.0]
    for each in thickness:
        tops.append(tops[-1] + each + _BETWEEN)
    begins = [tops[layer] + (thickness[layer] - depth) / 2 for layer, depth in zip(layers, depths, strict=True)]

    def route(chain: Sequence[int]) -> list[Point]:
        first, *passed, last = chain
        points = [(centres[first], begins[first] + depths[first])]
        points.append((centres[first], tops[layers[first]] + thickness[layers[first]]))
        for point in passed:
            top = tops[grid.layers[point]]
            points += [(centres[point], top), (centres[point], top + thickness[grid.layers[point]])]
        return [*points, (centres[last], tops[layers[last]]), (centres[last], begins[last])]

    turn = _turned if is_across else _kept
    ends = (centre + breadth / 2 for centre, breadth in zip(centres, grid.breadths, strict=True))
    return Placed(
        [turn((centres[box] - breadths[box] / 2, begins[box])) for box in range(len(sizes))],
        [[turn(point) for point in route(chain)] for chain in grid.chains],
        turn((max(ends), tops[-1] - _BETWEEN)),
        is_across,
    )


def layers_of(count: int, arrows: Iterable[Arrow]) -> list[int]:
    """Return the layer of each box: after those that have arrows to it, and what nothing leads to as late as it can."""
    befores = [0] * count
    afters: list[list[int]] = [[] for _ in range(count)]
    for begin, end in arrows:
        befores[end] += 1
        afters[begin].append(end)
    waiting = [*befores]
    layers = [0] * count
    is_done = [False] * count
    for first in (*(box for box in range(count) if not befores[box]), *range(count)):  # the latter for circles
        ready = [] if is_done[first] else [first]
        while ready:
            box = ready.pop()
            is_done[box] = True
            for end in afters[box]:
                waiting[end] -= 1
                if not is_done[end]:
                    layers[end] = max(layers[end], layers[box] + 1)
                    if not waiting[end]:
                        ready.append(end)
    for box in range(count):
        if not befores[box] and afters[box]:
            layers[box] = max(0, min(layers[end] for end in afters[box]) - 1)
    return layers


def _is_across(sizes: Sequence[Size], layers: Sequence[int]) -> bool:
    rows = [0.0] * (max(layers) + 1)
    columns = [*rows]
    for layer, (width, _) in zip(layers, sizes, strict=True):
        rows[layer] += width + _BESIDE
        columns[layer] = max(columns[layer], width + _BETWEEN)
    return sum(columns) < max(rows)


def _kept(point: Point) -> Point:
    return point


def _turned(point: Point) -> Point:
    return point[1], point[0]


class _Grid:
    """Boxes and points in layers.

    Attributes:
        layers: The layer of each box, then of each point.
        breadths: How much each takes of its layer.
        rows: What stands in each layer, in its order.
        chains: The way of each arrow: the box it comes from, the points it passes, the box it leads to.
    """

    def __init__(self, layers: Sequence[int], breadths: Sequence[float], arrows: Sequence[Arrow]) -> None:
        self._box_count = len(layers)
        self.layers = [*layers]
        self.breadths = [*breadths]
        passed = sum(max(layers[end] - layers[begin] - 1, 0) for begin, end in arrows)
        self.chains = [self._chain(arrow, has_points=passed <= _MOST_POINTS) for arrow in arrows]
        self.rows: list[list[int]] = [[] for _ in range(max(layers) + 1)]
        for item, layer in enumerate(self.layers):
            self.rows[layer].append(item)
        self._befores: list[list[int]] = [[] for _ in self.layers]
        self._afters: list[list[int]] = [[] for _ in self.layers]
        for chain in self.chains:
            for begin, end in pairwise(chain):
                if self.layers[end] == self.layers[begin] + 1:
                    self._afters[begin].append(end)
                    self._befores[end].append(begin)
        self._rounds = 10 if len(self.layers) <= _LARGE else 2

    def _chain(self, arrow: Arrow, *, has_points: bool) -> list[int]:
        begin, end = arrow
        between = range(self.layers[begin] + 1, self.layers[end]) if has_points else ()
        points = range(len(self.layers), len(self.layers) + len(between))
        self.layers += between
        self.breadths += [0.0] * len(between)
        return [begin, *points, end]

    def centres(self) -> list[float]:
        """Return where in its layer the middle of each box and point is; the first box begins at 0."""
        self._order()
        centres = [0.0] * len(self.layers)
        for row in self.rows:
            for item, centre in zip(row, _settled([0.0] * len(row), [1.0] * len(row), self._gaps(row)), strict=True):
                centres[item] = centre
        for turn in range(self._rounds):
            is_forward = turn % 2 == 0
            for row in self.rows if is_forward else reversed(self.rows):
                neighbours = self._befores if is_forward else self._afters
                wanted = [_mean(centres, neighbours[item], centres[item]) for item in row]
                weights = [1.0 if item < self._box_count else _STRAIGHT for item in row]
                for item, centre in zip(row, _settled(wanted, weights, self._gaps(row)), strict=True):
                    centres[item] = centre
        least = min(centre - breadth / 2 for centre, breadth in zip(centres, self.breadths, strict=True))
        return [centre - least for centre in centres]

    def _order(self) -> None:
        """Order each layer so that few arrows cross."""
        places = [0.0] * len(self.layers)
        for row in self.rows:
            _number(row, places)
        best, least = [[*row] for row in self.rows], self._crossings(places)
        for turn in range(self._rounds):
            if not least:
                break
            is_forward = turn % 2 == 0
            neighbours = self._befores if is_forward else self._afters
            for row in self.rows if is_forward else reversed(self.rows):
                means = {item: _mean(places, neighbours[item], places[item]) for item in row}
                row.sort(key=means.__getitem__)
                _number(row, places)
            crossings = self._crossings(places)
            if crossings < least:
                best, least = [[*row] for row in self.rows], crossings
        self.rows = best

    def _crossings(self, places: Sequence[float]) -> int:
        """Return how many pairs of arrows cross between neighbouring layers."""
        count = 0
        for row, following in pairwise(self.rows):
            seen = _Ranks(len(following))
            for item in row:
                ends = sorted(int(places[end]) for end in self._afters[item])
                count += sum(seen.above(end) for end in ends)
                for end in ends:
                    seen.add(end)
        return count

    def _gaps(self, row: Sequence[int]) -> list[float]:
        """Return how far the middle of each must be from that of the one before; of the first, 0."""
        gaps = [0.0]
        for before, item in pairwise(row):
            apart = _BESIDE if before < self._box_count and item < self._box_count else _PASSING
            gaps.append((self.breadths[before] + self.breadths[item]) / 2 + apart)
        return gaps


class _Ranks:
    """Counts numbers from 0, and tells how many were above one (a tree of Fenwick)."""

    def __init__(self, size: int) -> None:
        self._counts = [0] * (size + 1)
        self._total = 0

    def add(self, number: int) -> None:
        """Count a number."""
        self._total += 1
        index = number + 1
        while index < len(self._counts):
            self._counts[index] += 1
            index += index & -index

    def above(self, number: int) -> int:
        """Return how many of those counted were greater."""
        index, below = number + 1, 0
        while index:
            below += self._counts[index]
            index -= index & -index
        return self._total - below


def _number(row: Sequence[int], places: list[float]) -> None:
    for place_, item in enumerate(row):
        places[item] = float(place_)


def _mean(values: Sequence[float], items: Sequence[int], default: float) -> float:
    return sum(values[item] for item in items) / len(items) if items else default


def _settled(wanted: Sequence[float], weights: Sequence[float], gaps: Sequence[float]) -> list[float]:
    """Return positions as near as possible to the wanted ones (least squares) that keep order and gaps.

    Less the gaps before it, each position must not be less than the one before: pools of those that would be get their
    mean.
    """
    offset = 0.0
    offsets = []
    pools: list[tuple[float, float, int]] = []  # weight, weighted mean, how many
    for want, weight, gap in zip(wanted, weights, gaps, strict=True):
        offset += gap
        offsets.append(offset)
        pool = (weight, want - offset, 1)
        while pools and pools[-1][1] > pool[1]:
            before = pools.pop()
            total = before[0] + pool[0]
            pool = (total, (before[0] * before[1] + pool[0] * pool[1]) / total, before[2] + pool[2])
        pools.append(pool)
    means = (mean for _, mean, count in pools for _ in range(count))
    return [mean + offset for mean, offset in zip(means, offsets, strict=True)]
