"""`lacewing get`, `list` and `cancel`."""

from __future__ import annotations

import asyncio
from datetime import datetime

import click

from lacewing.cli._client import with_client
from lacewing.cli._describe import (
    Execution,
    attempts_text,
    cache_text,
    described,
    state_name,
    state_text,
    took_text,
)
from lacewing.cli._messages import age_text, task_text
from lacewing.cli._plain import execution_document, interface_of
from lacewing.cli._types import execution_id, moment, pair, task_id
from lacewing.cli.options import common_options, settings
from lacewing.cli.output import fields, print_json, print_table, say, show
from lacewing.client import Client
from lacewing.v1 import identifiers_pb2

_STATES = {
    state_name(state).lower().replace("_", "-"): state
    for state in Execution.State.values()
    if state != Execution.STATE_UNSPECIFIED
}
_COLUMNS = ("EXECUTION", "TASK", "STATE", "CREATED", "TOOK", "ATTEMPTS", "CACHE")


@common_options
@click.command()
@click.argument("execution", type=execution_id)
@with_client
async def get(client: Client, execution: identifiers_pb2.ExecutionId) -> None:
    """Show an execution: where it stands, what it took and gave, why it failed."""
    found = await client.get(execution)
    interface = await interface_of(client, found)
    if settings().is_json:
        print_json(execution_document(found, interface))
    else:
        show(fields(described(found, interface)))


@common_options
@click.command("list")
@click.option("--task", metavar="TASK", type=task_id, help="Only executions of this task, or of one of its versions.")
@click.option(
    "--state", "states", multiple=True, type=click.Choice(list(_STATES)), help="Only in this state. May be repeated."
)
@click.option(
    "--label",
    "labels",
    multiple=True,
    metavar="KEY=VALUE",
    type=pair,
    help="Only with this label. May be repeated: all must fit.",
)
@click.option(
    "--created-after",
    metavar="TIME",
    type=moment,
    help="Only those created then or later: a time, or how long ago (2h).",
)
@click.option("--created-before", metavar="TIME", type=moment, help="Only those created before then.")
@click.option("--parent", metavar="EXECUTION", type=execution_id, help="Only executions of nodes of its graph.")
@click.option("--limit", type=click.IntRange(min=0), default=50, show_default=True, help="The most to list; 0: all.")
@with_client
async def list_executions(
    client: Client,
    *,
    task: identifiers_pb2.TaskId | None,
    states: tuple[str, ...],
    labels: tuple[tuple[str, str], ...],
    created_after: datetime | None,
    created_before: datetime | None,
    parent: identifiers_pb2.ExecutionId | None,
    limit: int,
) -> None:
    """List executions, last created first. Those of nodes of graphs are among them only with --task or --parent."""
    if task is not None:
        client.project, client.domain = task.project or client.project, task.domain or client.domain
    found = [
        execution
        async for execution in client.list(
            task=task.name if task is not None else "",
            version=task.version if task is not None else "",
            states=[_STATES[state] for state in states],
            labels=dict(labels),
            created_after=created_after,
            created_before=created_before,
            parent=parent,
            limit=limit or None,
        )
    ]
    if settings().is_json:
        print_json([execution_document(execution) for execution in found])
        return
    has_nodes = any(execution.HasField("parent") for execution in found)
    rows = [
        (
            execution.id.name,
            f"{execution.task.name}@{execution.task.version}",
            state_text(state_name(execution.state)),
            age_text(execution.create_time),
            took_text(execution),
            attempts_text(execution),
            cache_text(execution.cache),
            *((f"{execution.parent.name} {execution.node}".strip(),) if has_nodes else ()),
        )
        for execution in found
    ]
    if not print_table(_COLUMNS + (("PARENT AND NODE",) if has_nodes else ()), rows):
        say("No executions fit.")
    elif limit and len(rows) == limit:
        say(f"There may be more: these are the last {limit}. All: --limit 0")


@common_options
@click.command()
@click.argument("executions", nargs=-1, required=True, type=execution_id, metavar="EXECUTION...")
@click.option("--reason", default="", help="Why, for people to read.")
@with_client
async def cancel(client: Client, executions: tuple[identifiers_pb2.ExecutionId, ...], reason: str) -> None:
    """Cancel executions. One that has ended stays as it is, which is no error."""
    outcomes = await asyncio.gather(
        *(client.cancel(execution, reason) for execution in executions), return_exceptions=True
    )
    ended = [outcome for outcome in outcomes if isinstance(outcome, Execution)]
    if settings().is_json:
        print_json([execution_document(execution) for execution in ended])
    else:
        print_table(
            ("EXECUTION", "TASK", "STATE"),
            [
                (execution.id.name, task_text(execution.task), state_text(state_name(execution.state)))
                for execution in ended
            ],
        )
    for outcome in outcomes:
        if isinstance(outcome, BaseException):
            raise outcome
