"""Graphs drawn as rows, as text for Graphviz, and as pictures."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from itertools import combinations, pairwise
from xml.etree import ElementTree as ET

import pytest
from hypothesis import given
from hypothesis import strategies as st

import type_strategies as make
from cli.graph_views import array, chain, fan, node, view_of, views
from lacewing.cli.graphs._dot import graph_dot
from lacewing.cli.graphs._layout import layers_of, place
from lacewing.cli.graphs._picture import Box, Picture, picture_of
from lacewing.cli.graphs._rows import fitting_rows, graph_rows, graph_table, heading, hints
from lacewing.cli.graphs._svg import graph_svg
from lacewing.cli.graphs._view import GraphView, NodeStatus, state_word
from lacewing.cli.output import show
from lacewing.v1 import identifiers_pb2, workflow_pb2

FAILED, RUNNING, SUCCEEDED = NodeStatus.STATE_FAILED, NodeStatus.STATE_RUNNING, NodeStatus.STATE_SUCCEEDED
PENDING, SKIPPED = NodeStatus.STATE_PENDING, NodeStatus.STATE_SKIPPED
SVG = "{http://www.w3.org/2000/svg}"
# A statement of Graphviz: a node, an arrow, or a cluster with what belongs to it on lines of their own.
STRING = r'"(?:[^"\\\n]|\\["\\n])*"'
STATEMENT = re.compile(
    rf"digraph {STRING} {{|}}|(?:node|edge) \[.*\];|{STRING} \[label={STRING}.*tooltip={STRING}\];"
    rf"|{STRING} -> {STRING}(?: \[style=dashed\])?;|subgraph {STRING} {{|label={STRING};.*"
)


def every_node(view: GraphView) -> Iterator[tuple[NodeStatus, str]]:
    """Yields each node but elements, with what is before its path in pictures; those of graphs in the graph too."""
    for path, status in view.nodes.items():
        if status.kind != NodeStatus.KIND_ELEMENT:
            yield status, path
        if path in view.nested:
            yield from ((inner, f"{path}/{key}") for inner, key in every_node(view.nested[path]))


def every_box(picture: Picture) -> Iterator[Box]:
    for box in picture.boxes:
        yield box
        yield from every_box(box.inside)


def texts(view: GraphView, **arguments: int) -> list[str]:
    return [row.node.plain for row in graph_rows(view, **arguments)]


def size(picture: str) -> tuple[float, float]:
    root = ET.fromstring(picture)
    return float(root.attrib["width"]), float(root.attrib["height"])


@make.thorough
@given(views())
def test_every_node_has_a_row(view: GraphView) -> None:
    """Also in branches, and in graphs in the graph; elements too if all are asked for."""
    rows = texts(view, elements=1000)
    nodes = [status for each in (view, *view.nested.values()) for status in each.nodes.values()]
    elements = sum(status.kind == NodeStatus.KIND_ELEMENT for status in nodes)
    wanted = sum(1 for _ in every_node(view)) + elements
    assert len(rows) == wanted
    for status, _ in every_node(view):
        assert any(row.endswith(status.path) for row in rows)
    show(graph_table(graph_rows(view)))
    assert "RUNNING" in heading(view).plain


@make.thorough
@given(views(), st.integers(1, 40))
def test_rows_fit_where_there_is_little_room(view: GraphView, height: int) -> None:
    """As far as graphs in the graph allow; what is left out is counted."""
    rows = fitting_rows(view, height)
    assert len(rows) <= max(len(graph_rows(view)), 1)
    plain = view_of(*(each for each in view.nodes.values() if each.kind == NodeStatus.KIND_TASK and not each.branch))
    shown = fitting_rows(plain, height)
    assert len(shown) <= max(height - 6, 2)
    hidden = [int(found[1]) for row in shown if (found := re.match(r"… (\d+)", row.node.plain))]
    assert len(shown) - len(hidden) + sum(hidden) == len(plain.nodes)


def test_rows_tell_how_nodes_stand(capsys: pytest.CaptureFixture[str]) -> None:
    """Name, id, state, time, attempts, cache, error, and what they wait for."""
    load = node("n0", name="load", attempt_count=2, cache_status=4)
    load.create_time.FromSeconds(100)
    load.start_time.FromSeconds(110)
    load.end_time.FromSeconds(185)
    broken = node("n1", FAILED, upstream_node_ids=["n0"])
    broken.error.code, broken.error.message = "ValueError", "no such thing\nin three lines"
    show(graph_table(graph_rows(view_of(load, broken, node("n2", SKIPPED, upstream_node_ids=["n0", "n1"])))))
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert lines == [
        ["NODE", "STATE", "TOOK", "ATTEMPTS", "CACHE"],
        ["load", "n0", "SUCCEEDED", "1", "min", "15", "s", "2", "populated"],
        ["n1", "FAILED", "ValueError:", "no", "such", "thing", "after", "n0"],
        ["n2", "SKIPPED", "after", "n0,", "n1"],
    ]


def test_what_is_waited_for_is_named_shortly() -> None:
    """However much it is."""
    assert graph_rows(fan(8))[-1].note.plain == "after m0, m1, m2, m3, m4, m5, m6, m7"
    assert graph_rows(fan(11))[-1].note.plain == "after m0, m1, m2, m3, m4, m5, m6, m7 and 3 more"


def test_nodes_are_called_by_what_they_run() -> None:
    """If they have no name of their own; an array by what its elements run."""
    task = identifiers_pb2.TaskId(name="shop.prices.fetch", version="1")
    named, unnamed = node("n0", name="first", task=task), node("n1", task=task)
    many, element, _ = array("n2", SUCCEEDED, SUCCEEDED)
    element.task.CopyFrom(task)
    assert texts(view_of(named, unnamed, many, element, node("n3"))) == [
        *("first n0", "fetch n1", "fetch n2", "└─ n2/0", "n3"),
    ]


def test_arrays_are_collapsed() -> None:
    """Elements that failed are shown, then active ones; of the others it is told how many there are in each state."""
    states = [SUCCEEDED] * 40 + [FAILED] * 2 + [RUNNING] * 4 + [PENDING] * 4
    rows = graph_rows(view_of(*array("a", *states)), elements=5)
    assert [row.node.plain for row in rows] == [
        "a", "├─ a/40", "├─ a/41", "├─ a/42", "├─ a/43", "├─ a/44", "└─ … 45 more",
    ]  # fmt: skip
    assert rows[0].note.plain == "2 failed, 4 running, 4 pending, 40 succeeded"
    assert rows[-1].note.plain == "1 running, 4 pending, 40 succeeded"
    assert len(graph_rows(view_of(*array("a", *states)), elements=50)) == 51
    assert texts(view_of(*array("a", *[SUCCEEDED] * 11))) == ["a", "└─ … 11 elements"]


def test_elements_that_are_not_known_are_pending() -> None:
    """Of an array it is known how many there are before each is told."""
    (row,) = graph_rows(view_of(node("a", RUNNING, kind=NodeStatus.KIND_ARRAY, element_count=7)))
    assert row.note.plain == "7 pending"


def test_what_a_node_holds_is_below_it() -> None:
    """Nodes of branches, and graphs in the graph, in the order of the graph."""
    view = view_of(
        node("b", kind=NodeStatus.KIND_BRANCH),
        node("n1", branch="b"),
        node("n2", kind=NodeStatus.KIND_BRANCH, branch="b"),
        node("n3", branch="n2"),
        node("w", kind=NodeStatus.KIND_WORKFLOW),
    )
    view.nested["w"] = chain(2)
    assert texts(view) == ["b", "├─ n1", "└─ n2", "   └─ n3", "w", "├─ n0", "└─ n1"]


def test_gates_that_wait_are_told_with_how_to_answer_them() -> None:
    """Also those in graphs in the graph, which are gates of another execution."""
    view = view_of(node("a", RUNNING, kind=NodeStatus.KIND_GATE), node("c", RUNNING, kind=NodeStatus.KIND_GATE))
    view.graph.workflow.nodes.add(id="a").gate_node.approve.signal_id = "is it ok?"
    branch = workflow_pb2.Node(id="b")
    branch.branch_node.if_else.case.then_node.id = "c"
    branch.branch_node.if_else.case.then_node.gate_node.signal.signal_id = "number"
    view.graph.workflow.nodes.append(branch)
    view.graph.workflow.nodes.add(id="z").gate_node.sleep.duration.seconds = 1
    assert [*hints(view)] == [
        "a waits for approval: lacewing approve p/d/x1 'is it ok?'",
        "c waits for a value: lacewing signal p/d/x1 number VALUE",
    ]
    outer = view_of(node("w", RUNNING, kind=NodeStatus.KIND_WORKFLOW))
    outer.nested["w"] = view
    assert [*hints(outer)] == [*hints(view)]
    view.nodes["a"].state = view.nodes["c"].state = SUCCEEDED
    assert [*hints(outer)] == []


@make.thorough
@given(views())
def test_every_node_has_a_box(view: GraphView) -> None:
    """Once, in the box of the node that holds it."""
    assert Counter(box.key for box in every_box(picture_of(view))) == Counter(key for _, key in every_node(view))


@make.thorough
@given(views(depth=0))
def test_every_arrow_is_drawn_where_ways_part(view: GraphView) -> None:
    """Between the boxes that hold the two nodes and stand beside each other; not between a node and what holds it."""

    def holders(path: str) -> list[str]:
        way = [path]
        while holder := view.nodes[way[0]].branch:
            way.insert(0, holder)
        return way

    wanted = set()
    for path, status in view.nodes.items():
        for upstream in status.upstream_node_ids:
            parted = [pair for pair in zip(holders(upstream), holders(path), strict=False) if pair[0] != pair[1]]
            wanted |= {*parted[:1]}
    drawn = []
    for picture in [picture_of(view), *(box.inside for box in every_box(picture_of(view)))]:
        drawn += [(picture.boxes[begin].key, picture.boxes[end].key) for begin, end in picture.arrows]
    assert len(drawn) == len({*drawn})
    assert {*drawn} == wanted


@make.thorough
@given(views())
def test_pictures_are_xml_with_all_that_is_to_be_seen(view: GraphView) -> None:
    """Whatever texts hold: each node has its box with title and state, each arrow its line, all within the picture."""
    root = ET.fromstring(graph_svg(view))
    width, height = size(graph_svg(view))
    groups = root.findall(f"{SVG}g")
    notes = [group.findtext(f"{SVG}title", "").split("\n")[0] for group in groups]
    assert Counter(notes) == Counter(key for _, key in every_node(view))
    pictures = [picture_of(view), *(box.inside for box in every_box(picture_of(view)))]
    assert len(root.findall(f"{SVG}path")) == sum(len(picture.arrows) for picture in pictures)
    for frame in root.iterfind(f"{SVG}g/{SVG}rect"):
        left, top, wide, high = (float(frame.attrib[name]) for name in ("x", "y", "width", "height"))
        assert left >= 0
        assert top >= 0
        assert left + wide <= width
        assert top + high <= height
    states = Counter((group.findall(f"{SVG}text")[1].text or "").split(" · ")[0] for group in groups)
    assert states == Counter(state_word(status.state) for status, _ in every_node(view))


@make.thorough
@given(views())
def test_text_for_graphviz_is_well_formed(view: GraphView) -> None:
    """Whatever texts hold: each line is a statement, braces close, nodes and arrows are there."""
    lines = [line.strip() for line in graph_dot(view).splitlines()]
    assert [line for line in lines if not STATEMENT.fullmatch(line)] == []
    assert sum(line.endswith("{") for line in lines) == lines.count("}")
    nodes = Counter(line.split('"')[1] for line in lines if " [label=" in line)
    assert nodes == Counter(key for _, key in every_node(view))
    boxes = [*every_box(picture_of(view))]
    arrows = len(picture_of(view).arrows) + sum(len(box.inside.arrows) + len(box.inside.boxes) for box in boxes)
    assert sum('" -> "' in line for line in lines) >= arrows


@make.thorough
@given(st.integers(1, 30), st.data())
def test_boxes_are_placed_apart_and_in_order(count: int, data: st.DataObject) -> None:
    """No two overlap, and arrows lead forward from the edge of one to the edge of the other, whatever the circles."""
    indexes = st.integers(0, count - 1)
    sizes = data.draw(st.lists(st.tuples(*[st.floats(10, 300)] * 2), min_size=count, max_size=count))
    arrows = [(a, b) for a, b in data.draw(st.lists(st.tuples(indexes, indexes), max_size=40, unique=True)) if a != b]
    placed = place(sizes, arrows)
    boxes = [(x, y, x + w, y + h) for (x, y), (w, h) in zip(placed.places, sizes, strict=True)]
    for one, two in combinations(boxes, 2):
        assert one[0] >= two[2] or two[0] >= one[2] or one[1] >= two[3] or two[1] >= one[3]
    slack = 1e-6
    assert min(box[0] for box in boxes) >= -slack
    assert max(box[2] for box in boxes) <= placed.size[0] + slack
    assert max(box[3] for box in boxes) <= placed.size[1] + slack
    along = 0 if placed.is_across else 1
    layers = layers_of(count, arrows)
    for (begin, end), route in zip(arrows, placed.routes, strict=True):
        assert len(route) % 2 == 0
        assert route[0][along] == pytest.approx(boxes[begin][along + 2])
        assert route[-1][along] == pytest.approx(boxes[end][along])
        if layers[begin] < layers[end]:
            assert all(one[along] <= two[along] + slack for one, two in pairwise(route))


@make.thorough
@given(st.integers(1, 30), st.data())
def test_what_follows_is_in_a_later_layer(count: int, data: st.DataObject) -> None:
    """If there is no circle."""
    pairs = st.tuples(st.integers(0, count - 1), st.integers(0, count - 1))
    arrows = [(min(pair), max(pair)) for pair in data.draw(st.lists(pairs, max_size=60)) if pair[0] != pair[1]]
    layers = layers_of(count, arrows)
    assert all(layers[begin] < layers[end] for begin, end in arrows)


def test_graphs_that_are_long_go_down_and_wide_ones_too() -> None:
    """People scroll down, not sideways."""
    for view in (chain(3), chain(300), fan(3), fan(300)):
        width, height = size(graph_svg(view))
        assert width < 800
        assert height < 30_000


def test_a_line_of_nodes_is_drawn_as_a_line() -> None:
    """Arrows are straight where they can be."""
    for route in place([(100.0, 40.0)] * 5, [*pairwise(range(5))]).routes:
        assert len({x for x, _ in route}) == 1


def test_few_arrows_cross() -> None:
    """Two trees whose nodes alternate are drawn beside each other."""
    arrows = [(0, 3), (0, 5), (0, 7), (1, 2), (1, 4), (1, 6)]
    placed = place([(30.0, 30.0)] * 8, arrows)
    across = 1 if placed.is_across else 0
    ends = [(route[0][across], route[-1][across]) for route in placed.routes]
    assert all((one[0] - two[0]) * (one[1] - two[1]) >= 0 for one, two in combinations(ends, 2))


@pytest.mark.parametrize("width", [1_000, 20_000])
def test_in_huge_graphs_equal_nodes_are_folded(width: int) -> None:
    """Tasks that differ in nothing but their results are one box with a tally; what failed stands alone."""
    view = fan(width)
    view.nodes["m5"].state = FAILED
    picture = picture_of(view)
    assert [box.title for box in picture.boxes] == ["first", f"{width - 1} × m0", "m5", "last"]
    assert picture.boxes[1].detail == f"{width - 1} succeeded"
    assert {*picture.arrows} == {(0, 1), (0, 2), (1, 3), (2, 3)}
    assert len(graph_svg(view)) < 10_000
    assert len(graph_dot(view)) < 10_000
    assert len(fitting_rows(view, 40)) < 40


def test_huge_graphs_do_not_explode() -> None:
    """Neither in what cannot be folded: long chains, arrows over everything, arrays of any size."""
    assert len(graph_svg(chain(5_000))) < 5_000 * 800
    long = chain(2_000)
    for index in range(2, 2_000):
        long.nodes[f"n{index}"].upstream_node_ids.append("n0")
    assert len(graph_svg(long)) < 2_000 * 1_600
    wide = view_of(*array("a", *[SUCCEEDED] * 50_000))
    assert len(graph_svg(wide)) < 5_000
    assert len(graph_rows(wide)) == 2
