"""`lacewing graph`, `signal`, `approve` and `retry`, and what other commands tell of graphs."""

from __future__ import annotations

import re
import signal
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import pytest

import lacewing.sync
import lacewing.testing
from cli import graph_bodies
from cli.console import Lacewing, until

NUMBERS = ("--numbers", "1", "--numbers", "3", "--numbers", "5")


@pytest.fixture(scope="module")
def graphs_cli() -> Iterator[Lacewing]:
    """The command line with a real server and a real worker of graphs."""
    with (
        lacewing.testing.server() as server,
        lacewing.testing.worker(server.address, graph_bodies.ALL, slots=4),
    ):
        yield Lacewing(server.address)


def started(graphs_cli: Lacewing, task: str, *inputs: str) -> str:
    ran = graphs_cli("run", "--no-wait", f"cli.graph_bodies.{task}", *inputs)
    assert ran.code == 0, ran.err
    return ran.out.strip()


def asking(graphs_cli: Lacewing) -> str:
    """Returns an execution that has done all that it can without answers."""
    name = started(graphs_cli, "asking", "--n", "4")
    until(lambda: [row[-1] for row in rows(graphs_cli, name)].count("SUCCEEDED") == 6)
    return name


def answered(graphs_cli: Lacewing) -> str:
    """Returns one that was given its answers, and has ended."""
    name = started(graphs_cli, "asking", "--n", "4")
    assert graphs_cli("signal", name, "number", "5").code == 0
    assert graphs_cli("approve", name, "go").code == 0
    assert graphs_cli("watch", name).code == 0
    return name


def rows(graphs_cli: Lacewing, name: str, *options: str) -> list[tuple[str, ...]]:
    """Returns what is before the state of each node, and the state."""
    lines = graphs_cli("graph", name, *options).out.splitlines()[2:]
    return [tuple(found[0].split()) for line in lines if (found := re.match(r".*? [A-Z_]{6,}\b", line))]


def test_a_graph_is_shown_with_the_graphs_in_it(graphs_cli: Lacewing) -> None:
    """Workflows and what dynamic tasks have given, as deep as asked for; and how to answer what waits."""
    name = asking(graphs_cli)
    ran = graphs_cli("graph", f"default/development/{name}")
    assert ran.code == 0
    head, columns, *lines = ran.out.splitlines()
    assert "cli.graph_bodies.asking@" in head
    assert "RUNNING" in head
    assert columns.split() == ["NODE", "STATE", "TOOK", "ATTEMPTS", "CACHE"]
    assert rows(graphs_cli, name) == [
        ("double", "n0", "SUCCEEDED"),
        ("go", "n1", "RUNNING"),
        ("number", "n2", "RUNNING"),
        ("size", "n3", "PENDING"),
        ("├─", "double", "n4", "PENDING"),
        ("└─", "inner", "n5", "PENDING"),
        ("spread", "n6", "SUCCEEDED"),
        ("├─", "double", "n0", "SUCCEEDED"),
        ("├─", "double", "n1", "SUCCEEDED"),
        ("├─", "double", "n2", "SUCCEEDED"),
        ("└─", "total", "n3", "SUCCEEDED"),
        ("total", "n7", "PENDING"),
    ]
    assert lines[1].endswith("after n0")
    assert ran.err.splitlines() == [
        f"n1 waits for approval: lacewing approve default/development/{name} go",
        f"n2 waits for a value: lacewing signal default/development/{name} number VALUE",
    ]
    assert len(rows(graphs_cli, name, "--depth", "0")) == 8
    assert graphs_cli("cancel", name).code == 0


def test_elements_are_shown_with_the_graphs_in_them(graphs_cli: Lacewing) -> None:
    """Where they run dynamic tasks."""
    name = started(graphs_cli, "spreading", "--numbers", "1", "--numbers", "2")
    assert graphs_cli("watch", name).code == 0
    assert [row[:-1] for row in rows(graphs_cli, name)] == [
        ("spread", "n0"),
        ("├─", "n0/0"),
        ("│", "├─", "double", "n0"),
        ("│", "└─", "total", "n1"),
        ("└─", "n0/1"),
        ("├─", "double", "n0"),
        ("├─", "double", "n1"),
        ("└─", "total", "n2"),
        ("total", "n1"),
    ]


def test_gates_are_answered(graphs_cli: Lacewing) -> None:
    """Before they are reached too; the graph goes on, and tells what was chosen."""
    name = answered(graphs_cli)
    assert graphs_cli("get", name, "--output", "json").json["outputs_json"] == {"o0": 8 + 5 + 32 + 6}
    shown = rows(graphs_cli, name)
    assert ("├─", "double", "n4", "SKIPPED") in shown
    assert shown.index(("└─", "inner", "n5", "SUCCEEDED")) + 1 == shown.index(("├─", "double", "n0", "SUCCEEDED"))
    ran = graphs_cli("graph", name)
    assert (ran.code, ran.err) == (0, "")
    assert "chose n5" in ran.out


def test_gates_of_graphs_in_the_graph_are_answered_as_is_told(graphs_cli: Lacewing) -> None:
    """They belong to the execution of their node. Meanwhile what holds them has begun and not ended."""
    name = started(graphs_cli, "choosing", "--n", "4")
    until(lambda: graphs_cli("graph", name).err)
    (hint,) = graphs_cli("graph", name).err.splitlines()
    branch = graphs_cli("graph", name, "--output", "json").json["nodes"][1]
    assert (branch["name"], branch["state"]) == ("which", "STATE_RUNNING")
    assert {*branch} & {"create_time", "start_time", "end_time"} == {"create_time", "start_time"}
    said = hint.removeprefix("n1 waits for approval: lacewing ").split()
    assert said[0] == "approve"
    assert graphs_cli(*said).code == 0
    assert graphs_cli("watch", name).code == 0


def test_answers_that_cannot_be_taken_are_refused(graphs_cli: Lacewing) -> None:
    """With what to do next."""
    name = asking(graphs_cli)
    ran = graphs_cli("signal", name, "numbre", "5")
    assert (ran.code, "SIGNAL_NOT_FOUND" in ran.err, "lacewing graph" in ran.err) == (2, True, True)
    ran = graphs_cli("signal", name, "number", "five")
    assert (ran.code, "FIELD_INVALID" in ran.err, "INTEGER" in ran.err) == (2, True, True)
    assert graphs_cli("approve", name, "go", "--reject").err == f"go of {name} is rejected.\n"
    assert graphs_cli("watch", name).code == 1
    ran = graphs_cli("approve", name, "go")
    assert (ran.code, "EXECUTION_ENDED" in ran.err, f"lacewing retry default/development/{name}" in ran.err) == (
        *(2, True, True),
    )
    assert ("go", "n1", "FAILED") in rows(graphs_cli, name)


def test_an_answer_never_changes(graphs_cli: Lacewing) -> None:
    """The same again is no error, another one is."""
    name = asking(graphs_cli)
    assert graphs_cli("signal", name, "number", "5").err == f"number of {name} is answered.\n"
    assert graphs_cli("signal", name, "number", "5").code == 0
    ran = graphs_cli("signal", name, "number", "6")
    assert (ran.code, "SIGNAL_CONFLICT" in ran.err) == (2, True)
    assert graphs_cli("approve", name, "go").err == f"go of {name} is approved.\n"
    assert graphs_cli("watch", name).code == 0


def test_what_failed_is_repeated(graphs_cli: Lacewing, tmp_path: Path) -> None:
    """All of it, or only what has not succeeded; what has is no error to be told of."""
    name = started(graphs_cli, "mapping", *NUMBERS, "--folder", str(tmp_path))
    assert graphs_cli("watch", name).code == 1
    assert rows(graphs_cli, name) == [
        ("checked", "n0", "FAILED"),
        ("├─", "n0/0", "SUCCEEDED"),
        ("├─", "n0/1", "FAILED"),
        ("└─", "n0/2", "SUCCEEDED"),
        ("total", "n1", "SKIPPED"),
    ]
    assert "NotWell: three is not well" in graphs_cli("graph", name).out
    (tmp_path / "well").touch()
    ran = graphs_cli("retry", "--failed-only", name)
    again = ran.out.strip()
    assert ran.err == f"Follow it: lacewing graph default/development/{again}\n"
    assert graphs_cli("watch", again).code == 0
    shown = " ".join(graphs_cli("get", again).out.split())
    assert f"Repeats default/development/{name}" in shown
    assert "4 of 4 nodes succeeded" in shown
    assert "Output o0 9" in shown
    whole = graphs_cli("retry", name, "--output", "json", "--name", "whole").json
    assert whole["id"]["name"] == "whole"
    assert graphs_cli("watch", "whole").code == 0
    ran = graphs_cli("retry", again)
    assert (ran.code, "EXECUTION_NOT_FAILED" in ran.err) == (2, True)


def test_nodes_are_listed_and_shown_with_their_parent(graphs_cli: Lacewing) -> None:
    """By `list --parent`, and by `get`."""
    name = answered(graphs_cli)
    heading, *lines = graphs_cli("list", "--parent", name).out.splitlines()
    assert heading.endswith("PARENT AND NODE")
    assert {line.split()[-2] for line in lines} == {name}
    assert {line.split()[-1] for line in lines} == {"n0", "n5", "n6", "n7"}
    child = lines[0].split()[0]
    assert f"Parent default/development/{name}, node " in " ".join(graphs_cli("get", child).out.split())
    heading, *_ = graphs_cli("list").out.splitlines()
    assert "NODE" not in heading


def test_how_far_a_graph_is_is_told_by_what_shows_an_execution(graphs_cli: Lacewing) -> None:
    """And how many of its nodes may run at a time."""
    name = started(graphs_cli, "slow", "--n", "1", "--max-parallelism", "3")
    until(lambda: "1 of 2 nodes succeeded, 1 active" in graphs_cli("get", name).out)
    assert "at most 3 nodes at a time" in graphs_cli("get", name).out
    with graphs_cli.started("watch", name) as process:
        assert process.stdout is not None
        assert "1 of 2 nodes succeeded, 1 active" in process.stdout.readline()
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=30)
    assert graphs_cli("cancel", name).code == 0
    assert rows(graphs_cli, name)[1] == ("go", "n1", "CANCELLED")


def test_a_graph_for_programs_is_one_document(graphs_cli: Lacewing) -> None:
    """The execution, the graph, its nodes, and the graphs in it by the paths of their nodes."""
    name = answered(graphs_cli)
    found: dict[str, Any] = graphs_cli("graph", name, "--output", "json").json
    assert found["execution"]["id"]["name"] == name
    assert [node["id"] for node in found["graph"]["workflow"]["nodes"]][:2] == ["n0", "n1"]
    assert [node["path"] for node in found["nodes"]] == [f"n{index}" for index in range(8)]
    assert {path: len(nested["nodes"]) for path, nested in found["nested"].items()} == {"n5": 2, "n6": 4}


def test_a_graph_is_written_as_a_picture_and_for_graphviz(graphs_cli: Lacewing, tmp_path: Path) -> None:
    """To a file or to standard output."""
    name = answered(graphs_cli)
    file = tmp_path / "graph.svg"
    ran = graphs_cli("graph", name, "--svg", str(file))
    assert (ran.code, ran.out, ran.err) == (0, "", f"Written to {file}.\n")
    titles = [each.text for each in ET.parse(file).iterfind(".//{*}g/{*}text[1]")]
    counts = {"double": 7, "total": 2, **dict.fromkeys(("go", "number", "size", "inner", "spread"), 1)}
    assert Counter(titles) == counts
    assert graphs_cli("graph", name, "--svg", "-").out.startswith("<svg ")
    assert graphs_cli("graph", name, "--dot").out.startswith(f'digraph "default/development/{name}" {{\n')
    ran = graphs_cli("graph", name, "--svg", str(tmp_path / "no" / "folder.svg"))
    assert (ran.code, "folder.svg" in ran.err) == (1, True)


def test_on_a_terminal_a_graph_is_followed_to_its_end(graphs_cli: Lacewing) -> None:
    """Nodes change before the eyes; the last picture stays, with the graphs in it; the exit code is that of a watch."""
    name = started(graphs_cli, "asking", "--n", "4")
    with lacewing.sync.Client(graphs_cli.address) as client:
        handle = client.handle(name, "cli.graph_bodies.asking")
        handle.signal("number", 5)
        handle.approve("go")
        written = graphs_cli.on_terminal("graph", name)
    shown = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", written).splitlines()
    last = shown[max(index for index, line in enumerate(shown) if line.startswith("NODE")) :]
    words = [line.split()[:4] for line in last[1:]]
    assert ["└─", "inner", "n5", "SUCCEEDED"] in words
    assert ["└─", "total", "n3", "SUCCEEDED"] in words
    assert ["total", "n7", "SUCCEEDED"] in [line[:3] for line in words]


def test_without_following_a_terminal_is_shown_it_as_it_is(graphs_cli: Lacewing) -> None:
    """Once."""
    name = asking(graphs_cli)
    written = graphs_cli.on_terminal("graph", name, "--no-follow")
    assert written.count("NODE") == 1
    assert "waits for approval" in written
    graphs_cli("cancel", name)


def test_what_has_no_graph_is_told(graphs_cli: Lacewing) -> None:
    """With what has one; on a terminal once it has ended without."""
    name = started(graphs_cli, "double", "--n", "1")
    assert graphs_cli("watch", name).code == 0
    for words in (graphs_cli("graph", name).err, graphs_cli.on_terminal("graph", name)):
        assert "GRAPH_NOT_FOUND" in words
        assert "dynamic tasks once their body has given it" in words
    assert graphs_cli("graph", name).code == 2
    assert "EXECUTION_NOT_FOUND" in graphs_cli("graph", "nothing").err
