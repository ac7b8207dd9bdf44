"""`lacewing logs`."""

from __future__ import annotations

import click
from rich.text import Text

from lacewing.cli._client import with_client
from lacewing.cli._describe import state_text
from lacewing.cli._errors import error_text
from lacewing.cli._messages import between_text, time_text
from lacewing.cli._types import execution_id
from lacewing.cli.options import common_options, settings
from lacewing.cli.output import console, document, print_json, say, styled
from lacewing.client import Client
from lacewing.v1 import execution_pb2, identifiers_pb2


@common_options
@click.command()
@click.argument("execution", type=execution_id)
@click.option("--attempt", type=click.IntRange(min=1), help="Only the attempt with this number.")
@with_client
async def logs(client: Client, execution: identifiers_pb2.ExecutionId, attempt: int | None) -> None:
    """Show the attempts of an execution: worker, times, error, and the end of what the body wrote (16 KiB)."""
    found = [each async for each in client.attempts(execution) if attempt in (None, each.number)]
    if settings().is_json:
        print_json([document(each) for each in found])
        return
    for each in found:
        console().print(_described(each), soft_wrap=True)
    if not found:
        say("There is no such attempt." if attempt else "There was no attempt.")


def _described(attempt: execution_pb2.Attempt) -> Text:
    ended = attempt.end_time if attempt.HasField("end_time") else None
    state = execution_pb2.Attempt.State.Name(attempt.state).removeprefix("STATE_")
    text = Text().append(f"Attempt {attempt.number}", style="bold").append("  ").append_text(state_text(state))
    text.append(f"  {time_text(attempt.start_time)}  {between_text(attempt.start_time, ended)}  on ")
    text.append_text(styled(attempt.worker))
    if attempt.log_tail:
        text.append("\n").append_text(styled(attempt.log_tail.rstrip("\n")))
    if attempt.HasField("error"):
        text.append("\n").append_text(error_text(attempt.error))
    return text
