"""`lacewing signal`, `approve` and `retry`."""

from __future__ import annotations

import click

from lacewing._target import execution_id as complete
from lacewing.cli._client import with_client
from lacewing.cli._inputs import read_value
from lacewing.cli._messages import execution_text
from lacewing.cli._plain import execution_document
from lacewing.cli._types import execution_id
from lacewing.cli.graphs._fetch import fetch_graph
from lacewing.cli.graphs._view import gates_of
from lacewing.cli.options import common_options, settings
from lacewing.cli.output import print_json, say
from lacewing.client import Client
from lacewing.v1 import identifiers_pb2, task_pb2, types_pb2


@common_options
@click.command()
@click.argument("execution", type=execution_id)
@click.argument("name")
@click.argument("value")
@with_client
async def signal(client: Client, execution: identifiers_pb2.ExecutionId, name: str, value: str) -> None:
    """Give a node of the graph of EXECUTION the value that it waits for.

    NAME is that of the signal, as `lacewing graph` shows it. VALUE is read by its type, as an input of a task is: text
    as it is, lists, maps and records as JSON or @FILE. It can be given before the node is reached, and again, if it is
    the same.
    """
    graph = await fetch_graph(client, complete(execution, client.project, client.domain))
    await client.signal(execution, name, read_value(value, _type_of(graph, name)))
    say(f"{name} of {execution.name} is answered.")


@common_options
@click.command()
@click.argument("execution", type=execution_id)
@click.argument("name")
@click.option("--reject", is_flag=True, help="Refuse instead: the node fails.")
@with_client
async def approve(client: Client, execution: identifiers_pb2.ExecutionId, name: str, *, reject: bool) -> None:
    """Approve what a node of the graph of EXECUTION waits to have approved: the graph goes on.

    NAME is that of the approval, as `lacewing graph` shows it. It can be given before the node is reached, and again,
    if it is the same.
    """
    await (client.reject(execution, name) if reject else client.approve(execution, name))
    say(f"{name} of {execution.name} is {'rejected' if reject else 'approved'}.")


@common_options
@click.command()
@click.argument("execution", type=execution_id)
@click.option("--failed-only", is_flag=True, help="Keep its graph and the nodes that have succeeded; run the others.")
@click.option("--name", default="", help="Name the new execution: repeating the request gives the same one.")
@with_client
async def retry(client: Client, execution: identifiers_pb2.ExecutionId, *, failed_only: bool, name: str) -> None:
    """Execute again what did not succeed: the same task version with the same inputs. Prints the new execution's name.

    Only what has ended can be repeated. Nothing is waited for.
    """
    handle = await client.retry(execution, failed_only=failed_only, name=name)
    if settings().is_json:
        print_json(execution_document(await handle.status()))
        return
    click.echo(handle.id.name)
    reference = execution_text(handle.id)
    say(f"Follow it: lacewing {'graph' if failed_only else 'watch'} {reference}")


def _type_of(graph: task_pb2.Graph, name: str) -> types_pb2.LiteralType:
    """Return the type of the value that a gate waits for; an empty one if there is no such gate: the server tells."""
    for _, gate in gates_of(graph):
        if gate.HasField("signal") and gate.signal.signal_id == name:
            return gate.signal.type
        if gate.HasField("approve") and gate.approve.signal_id == name:
            return types_pb2.LiteralType(simple=types_pb2.SIMPLE_TYPE_BOOLEAN)
    return types_pb2.LiteralType()
