"""`lacewing watch`."""

from __future__ import annotations

import click

from lacewing.cli._client import with_client
from lacewing.cli._describe import Execution, summary
from lacewing.cli._follow import Display
from lacewing.cli._plain import execution_document, interface_of
from lacewing.cli._types import execution_id
from lacewing.cli.options import common_options, settings
from lacewing.cli.output import console, print_json_line
from lacewing.client import Client
from lacewing.errors import from_execution
from lacewing.v1 import execution_pb2, identifiers_pb2


@common_options
@click.command()
@click.argument("execution", type=execution_id)
@with_client
async def watch(client: Client, execution: identifiers_pb2.ExecutionId) -> None:
    """Follow an execution until it has ended.

    On a terminal it is one line that lives; elsewhere each change is a line, with --output json a document on a line.
    The exit code is 0 if it succeeded.
    """
    found = await client.get(execution, view=execution_pb2.EXECUTION_VIEW_BASIC)
    interface = await interface_of(client, found)
    handle = client.handle(found.id, found.task)
    if settings().is_json:
        async for now in handle.watch():
            print_json_line(execution_document(now, interface))
    else:
        with Display(console(), lines=True) as shown:
            async for now in handle.watch():
                shown.show(now)
        if console().is_terminal:
            console().print(summary(now))
    if now.state != Execution.STATE_SUCCEEDED:
        raise from_execution(now)
