"""Printing: tables and colour for people, JSON for programs, and nothing of a stored text that steers a terminal."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterable, Sequence
from typing import Any

import click
from google.protobuf import json_format
from google.protobuf.message import Message
from rich.console import Console, RenderableType
from rich.table import Table
from rich.text import Text

# Where nobody looks, lines are not folded: a program reads them.
_UNBOUNDED = 100_000
_STEERING = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")


def console(*, stderr: bool = False) -> Console:
    """Return a console on what is the standard output now: colours only on a terminal, and not with $NO_COLOR."""
    stream = sys.stderr if stderr else sys.stdout
    width = None if stream.isatty() else _UNBOUNDED
    return Console(file=stream, width=width, markup=False, emoji=False, highlight=False)


def safe(text: str) -> str:
    """Return a text that somebody stored, with what would steer a terminal made visible."""
    return _STEERING.sub(lambda found: found[0].encode("unicode_escape").decode(), text.replace("\r\n", "\n"))


def styled(text: str, style: str = "") -> Text:
    """Return a safe text in a style."""
    return Text(safe(text), style=style)


def say(text: str | Text) -> None:
    """Tell a person something beside the result, on standard error."""
    console(stderr=True).print(text if isinstance(text, Text) else styled(text), soft_wrap=True)


def print_table(columns: Sequence[str], rows: Iterable[Sequence[str | Text]]) -> int:
    """Print rows under their headings, and return how many they are; nothing if there is none."""
    table = Table(*columns, box=None, pad_edge=False, header_style="bold")
    for column in table.columns:
        column.overflow = "fold"
    for row in rows:
        table.add_row(*(cell if isinstance(cell, Text) else styled(cell) for cell in row))
    if table.row_count:
        show(table)
    return table.row_count


def show(renderable: RenderableType) -> None:
    """Print something made of columns; where nobody looks, without the blanks that fill up its lines."""
    output = console()
    if output.is_terminal:
        output.print(renderable)
        return
    with output.capture() as captured:
        output.print(renderable)
    click.echo("\n".join(line.rstrip() for line in captured.get().splitlines()))


def fields(rows: Iterable[tuple[str, RenderableType]]) -> Table:
    """Return names and values, one pair a line."""
    table = Table(box=None, pad_edge=False, show_header=False)
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in rows:
        table.add_row(name, styled(value) if isinstance(value, str) else value)
    return table


def document(message: Message) -> dict[str, Any]:
    """Return a message as JSON with the names of the protos; scalars are there even if they are empty."""
    return json_format.MessageToDict(
        message, preserving_proto_field_name=True, always_print_fields_with_no_presence=True
    )


def print_json(value: Any) -> None:
    """Print one JSON document."""
    click.echo(json.dumps(value, indent=2, ensure_ascii=False))


def print_json_line(value: Any) -> None:
    """Print one JSON document of a stream, on a line of its own."""
    click.echo(json.dumps(value, ensure_ascii=False))


def value_text(value: Any) -> str:
    """Return a plain value for a person: text as it is, anything else as JSON."""
    return value if isinstance(value, str) else json.dumps(value, indent=2, ensure_ascii=False)


def print_value(value: Any) -> None:
    """Print a plain value; to a terminal without what would steer it."""
    text = value_text(value)
    click.echo(safe(text) if sys.stdout.isatty() else text)
