"""`lacewing graph`."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import click
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.text import Text

from lacewing.cli._client import with_client
from lacewing.cli._describe import Execution
from lacewing.cli._plain import execution_document
from lacewing.cli._types import execution_id
from lacewing.cli.graphs._dot import graph_dot
from lacewing.cli.graphs._fetch import Look
from lacewing.cli.graphs._rows import ELEMENTS, fitting_rows, graph_rows, graph_table, heading, hints
from lacewing.cli.graphs._svg import graph_svg
from lacewing.cli.graphs._view import GraphView
from lacewing.cli.options import common_options, settings
from lacewing.cli.output import console, document, print_json, safe, say, show, styled
from lacewing.client import Client
from lacewing.errors import from_execution
from lacewing.v1 import execution_pb2, identifiers_pb2

# The time between two frames of a graph that lives, in seconds; and how many times the time that one takes, at least.
_FRAME = 0.25
_PAUSES_PER_FRAME = 4
_NODES_ON_TERMINAL = 100


@common_options
@click.command()
@click.argument("execution", type=execution_id)
@click.option("--no-follow", is_flag=True, help="Show it as it is now, also on a terminal.")
@click.option(
    "--depth", type=click.IntRange(min=0), default=1, show_default=True, help="How deep to show graphs in the graph."
)
@click.option(
    "--elements",
    type=click.IntRange(min=0),
    default=ELEMENTS,
    show_default=True,
    help="The most elements of an array to show one by one.",
)
@click.option("--dot", is_flag=True, help="Print it in the language of Graphviz.")
@click.option("--svg", metavar="FILE", help="Write it to this file as a picture; - prints that.")
@with_client
async def graph(
    client: Client,
    execution: identifiers_pb2.ExecutionId,
    *,
    no_follow: bool,
    depth: int,
    elements: int,
    dot: bool,
    svg: str | None,
) -> None:
    """Show the graph that an execution runs or ran: each node, where it stands, and what it waits for.

    On a terminal it is followed until the execution has ended, and the exit code is 0 if it succeeded; elsewhere it is
    shown once. Of an array with many elements those are shown that have failed or are active, and of a graph with more
    than 100 nodes these first, on a terminal. At most 100 executions of nodes are looked into for graphs of their own.
    """
    look = Look(client, await client.get(execution, view=execution_pb2.EXECUTION_VIEW_BASIC))
    view = look.view
    is_text = not (dot or svg is not None or settings().is_json)
    is_followed = is_text and not no_follow and console().is_terminal
    if is_followed:
        async with _shown(view, console(), elements):
            await look.follow(depth)
    else:
        await look.once(depth)
    if svg is not None:
        _write(svg, graph_svg(view))
    if dot:
        click.echo(graph_dot(view), nl=False)
    elif settings().is_json:
        print_json(_document(view))
    if is_text:
        console().print(heading(view))
        most = _NODES_ON_TERMINAL if console().is_terminal else None
        show(graph_table(graph_rows(view, elements=elements, nodes=most)))
        for hint in hints(view):
            say(hint)
    if is_followed and view.execution.state != Execution.STATE_SUCCEEDED:
        raise from_execution(view.execution)


@asynccontextmanager
async def _shown(view: GraphView, output: Console, elements: int) -> AsyncIterator[None]:
    """Show a graph as it changes, on a terminal, for the time of a block."""
    with Live(console=output, auto_refresh=False, transient=True) as live:
        drawing = asyncio.create_task(_draw(live, view, output, elements))
        try:
            yield
        finally:
            drawing.cancel()
            with suppress(asyncio.CancelledError):
                await drawing


async def _draw(live: Live, view: GraphView, output: Console, elements: int) -> None:
    clock = asyncio.get_running_loop().time
    pause = _FRAME
    while True:
        await asyncio.sleep(pause)
        begun = clock()
        rows: RenderableType = styled("It has no graph yet.", "dim")
        if view.nodes:
            rows = graph_table(fitting_rows(view, output.height, elements=elements), is_live=True)
        notes = [Text(safe(hint), "yellow", no_wrap=True, overflow="ellipsis") for hint in hints(view)]
        live.update(Group(heading(view), rows, *notes), refresh=True)
        pause = max(_FRAME, _PAUSES_PER_FRAME * (clock() - begun))


def _write(file: str, text: str) -> None:
    if file == "-":
        click.echo(text, nl=False)
        return
    try:
        Path(file).write_text(text, encoding="utf-8")
    except OSError as error:
        raise click.FileError(file, error.strerror) from error
    say(f"Written to {file}.")


def _document(view: GraphView) -> dict[str, Any]:
    """Return a graph as JSON: the execution, the graph, its nodes, and the graphs in it by the paths of their nodes."""
    return {
        "execution": execution_document(view.execution),
        "graph": document(view.graph),
        "nodes": [document(node) for node in view.nodes.values()],
        "nested": {path: _document(nested) for path, nested in view.nested.items()},
    }
