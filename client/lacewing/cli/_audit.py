"""`lacewing audit`."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import click
from rich.text import Text

from lacewing.cli._client import with_client
from lacewing.cli._failures import DID_NOT_SUCCEED
from lacewing.cli._inputs import read_inputs_json
from lacewing.cli._messages import execution_text, task_text
from lacewing.cli._types import task_id
from lacewing.cli.options import common_options, settings
from lacewing.cli.output import document, print_json, print_table, say, styled
from lacewing.client import Client
from lacewing.v1 import audit_pb2, identifiers_pb2

_Result = audit_pb2.AuditResult
_OUTCOMES = {
    _Result.OUTCOME_MATCH: "match",
    _Result.OUTCOME_MISMATCH: "mismatch",
    _Result.OUTCOME_FAILED: "failed",
    _Result.OUTCOME_UNAVAILABLE: "unavailable",
}


@common_options
@click.command()
@click.argument("task", type=task_id)
@click.option(
    "--inputs-json",
    metavar="JSON",
    help="Run TASK twice with these inputs: a JSON object, @FILE with one, or - to read it.  [default: no inputs]",
)
@click.option("--entry", metavar="KEY", help="Run the cache entry with this key, 32 hexadecimal digits, again.")
@click.option(
    "--sample", metavar="N", type=click.IntRange(1, 100), help="Run so many cache entries, chosen at random, again."
)
@with_client
async def audit(
    client: Client, task: identifiers_pb2.TaskId, inputs_json: str | None, entry: str | None, sample: int | None
) -> None:
    """Check that TASK gives equal outputs for equal inputs: run it again, and compare.

    Without --entry and --sample it runs twice. With --sample and @version only entries that this version filled are
    taken. An audit neither reads nor fills the cache. A mismatch is printed as a table of what differs, and marks the
    task and the entry. The exit code is 1 if there is a mismatch, or if a run does not succeed.
    """
    if sum(given is not None for given in (inputs_json, entry, sample)) > 1:
        raise click.UsageError("give only one of --inputs-json, --entry and --sample")
    values = read_inputs_json(inputs_json) if inputs_json is not None else {}
    results = [result async for result in _results(client, task, values, entry, sample)]
    if settings().is_json:
        print_json([document(result) for result in results])
    else:
        _print(task, results)
    if any(result.outcome in {_Result.OUTCOME_MISMATCH, _Result.OUTCOME_FAILED} for result in results):
        click.get_current_context().exit(DID_NOT_SUCCEED)


async def _results(
    client: Client, task: identifiers_pb2.TaskId, values: dict[str, Any], entry: str | None, sample: int | None
) -> AsyncIterator[_Result]:
    if entry is not None:
        filler = (await client.cache_entry(entry)).task
        if filler.name != task.name:
            raise click.UsageError(f"{entry} is no entry of {task.name}: {task_text(filler)} filled it")
        yield await client.audit_entry(entry)
    elif sample is not None:
        async for result in client.audit_sample(task, sample):
            yield result
    else:
        yield await client.audit(task, **values)


def _print(task: identifiers_pb2.TaskId, results: list[_Result]) -> None:
    rows: list[tuple[str | Text, ...]] = []
    for result in results:
        subject = result.key or "run twice"
        if result.outcome == _Result.OUTCOME_MISMATCH:
            rows += [
                (subject, styled(each.path, "bold"), each.before or "-", each.after or "-")
                for each in result.nondeterminism.differences
            ]
        elif result.message:
            say(f"{subject}: {result.message}")
        if result.outcome == _Result.OUTCOME_FAILED:
            say(f"All attempts: lacewing logs {execution_text(result.execution)}")
    print_table(("AUDITED", "DIFFERS AT", "BEFORE", "NOW"), rows)
    counts = {name: sum(each.outcome == outcome for each in results) for outcome, name in _OUTCOMES.items()}
    told = ", ".join(f"{count} {name}" for name, count in counts.items() if count)
    say(f"{task_text(task)}: {told}" if told else f"{task_text(task)}: no entries to audit")
