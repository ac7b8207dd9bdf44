"""What the command line reads and writes, without a server."""

from __future__ import annotations

import json
import unicodedata
from datetime import UTC, datetime, timedelta

import click
import pytest
from hypothesis import given
from hypothesis import strategies as st

import type_strategies as make
from lacewing.cli._inputs import InputOption
from lacewing.cli._messages import span_text
from lacewing.cli._types import execution_id, moment, pair, span, task_id
from lacewing.cli.output import safe
from lacewing.types import literal_map_from_json, literal_map_to_json
from lacewing.v1 import identifiers_pb2, interface_pb2, literals_pb2, types_pb2

Type = types_pb2.LiteralType
STRING = Type(simple=types_pb2.SIMPLE_TYPE_STRING)
INTEGER = Type(simple=types_pb2.SIMPLE_TYPE_INTEGER)
OPTIONAL = Type(union_type=types_pb2.UnionType(variants=[INTEGER, Type(simple=types_pb2.SIMPLE_TYPE_NONE)]))


def read(literal_type: types_pb2.LiteralType, *texts: str) -> object:
    """What the flag of an input of a type makes of what is written behind it."""
    option = InputOption("value", interface_pb2.Variable(type=literal_type), None, index=0)
    command = click.Command("command", params=[option])
    words = [word for text in texts for word in ("--value", text)]
    context = command.make_context("command", words)
    return option.plain(context.params["input_0"])


@make.thorough
@given(st.text())
def test_a_text_is_taken_as_it_is(text: str) -> None:
    """Whatever it looks like: an option, JSON, a file."""
    assert read(STRING, text) == text


@make.thorough
@given(st.integers(), st.integers())
def test_whole_numbers_are_exact(first: int, second: int) -> None:
    """However large, alone, optional and in lists."""
    assert read(INTEGER, str(first)) == first
    assert read(OPTIONAL, str(first)) == first
    assert read(Type(collection_type=INTEGER), str(first), str(second)) == [first, second]
    assert read(Type(collection_type=INTEGER), f"[{first}, {second}]") == [first, second]


@make.thorough
@given(st.dictionaries(st.text(min_size=1).filter(lambda key: "=" not in key and key[0] != "{"), st.text(), min_size=1))
def test_maps_are_read_by_key(values: dict[str, str]) -> None:
    """The value is all that follows the first equals sign."""
    assert read(Type(map_value_type=STRING), *(f"{key}={value}" for key, value in values.items())) == values


@make.thorough
@given(st.data())
def test_values_of_each_type_can_be_written_as_flags(data: st.DataObject) -> None:
    """A text as it is, anything else as JSON; what is read is the literal that was written."""
    literal_type = data.draw(make.definite_types(unions=False))
    literal = data.draw(make.literals_of(literal_type))
    declared = interface_pb2.VariableMap(variables={"x": interface_pb2.Variable(type=literal_type)})
    value = literal_map_to_json(literals_pb2.LiteralMap(literals={"x": literal}), declared)["x"]
    text = value if isinstance(value, str) else json.dumps(value)
    again = literal_map_from_json({"x": read(literal_type, text)}, declared)
    assert again == literal_map_from_json({"x": value}, declared)


def test_bytes_may_have_a_tag() -> None:
    """Then they are an object, as in JSON."""
    assert read(Type(simple=types_pb2.SIMPLE_TYPE_BINARY), '{"value": "aGk=", "tag": "t"}') == {
        "value": "aGk=",
        "tag": "t",
    }


@make.thorough
@given(st.text())
def test_no_text_steers_a_terminal(text: str) -> None:
    """Only line breaks and tabs are left of what is no character to see."""
    assert not [each for each in safe(text) if unicodedata.category(each) == "Cc" and each not in "\n\t"]


@pytest.mark.parametrize(
    ("text", "project", "domain", "name", "version"),
    [
        ("add", "", "", "add", ""),
        ("add@1", "", "", "add", "1"),
        ("a/b", "", "", "a/b", ""),
        ("shop/staging/add@2", "shop", "staging", "add", "2"),
        ("shop/staging/a/b/c", "shop", "staging", "a/b/c", ""),
    ],
)
def test_tasks_are_read(text: str, project: str, domain: str, name: str, version: str) -> None:
    """A name alone, or with project and domain, or with a version."""
    assert task_id(text) == identifiers_pb2.TaskId(project=project, domain=domain, name=name, version=version)


def test_executions_are_read() -> None:
    """A name alone, or with project and domain."""
    assert execution_id("x1") == identifiers_pb2.ExecutionId(name="x1")
    assert execution_id("a/b/x1") == identifiers_pb2.ExecutionId(project="a", domain="b", name="x1")


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("30", 30), ("1.5s", 1.5), ("200ms", 0.2), ("10m", 600), ("10 min", 600), ("2h", 7200), ("7d", 604_800)],
)
def test_spans_are_read(text: str, seconds: float) -> None:
    """A number alone is seconds."""
    assert span(text) == timedelta(seconds=seconds)


def test_times_are_read() -> None:
    """With an offset, on this machine's clock, or how long ago."""
    assert moment("2026-05-01T12:30:00Z") == datetime(2026, 5, 1, 12, 30, tzinfo=UTC)
    assert moment("2026-05-01") == datetime(2026, 5, 1).astimezone()
    ago = moment("2h")
    assert timedelta(hours=2) <= datetime.now(UTC) - ago < timedelta(hours=2, minutes=1)


@pytest.mark.parametrize("read_it", [span, moment, pair])
@pytest.mark.parametrize("text", ["", "-1", "soon", "1 week", "9" * 400])
def test_what_is_none_is_refused(read_it: object, text: str) -> None:
    """As bad usage, whatever it is."""
    assert callable(read_it)
    with pytest.raises(click.BadParameter):
        read_it(text)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.0123, "0.0123 s"), (4.2, "4.2 s"), (65, "1 min 5 s"), (3600, "1 h"), (7620, "2 h 7 min"), (777_600, "9 d")],
)
def test_spans_are_written(seconds: float, text: str) -> None:
    """In at most two units."""
    assert span_text(timedelta(seconds=seconds)) == text
