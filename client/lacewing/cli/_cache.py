"""`lacewing cache`."""

from __future__ import annotations

from datetime import datetime

import click

from lacewing.cli._client import with_client
from lacewing.cli._findings import finding_rows
from lacewing.cli._messages import age_text, execution_text, span_text, task_text, time_text
from lacewing.cli._types import moment, task_id
from lacewing.cli.options import common_options, settings
from lacewing.cli.output import document, fields, print_json, print_table, say, show, styled, value_text
from lacewing.client import Client
from lacewing.types import literal_map_to_json
from lacewing.v1 import cache_pb2, identifiers_pb2


@click.group()
def cache() -> None:
    """Look into the cache, and evict from it."""


@common_options
@cache.command("list")
@click.argument("task", type=task_id)
@click.option("--limit", type=click.IntRange(min=0), default=50, show_default=True, help="The most to list; 0: all.")
@with_client
async def list_entries(client: Client, task: identifiers_pb2.TaskId, limit: int) -> None:
    """List the entries of TASK, last filled first; with @version only those that this version filled."""
    found = [entry async for entry in client.cache_entries(task, limit=limit or None)]
    if settings().is_json:
        print_json([document(entry) for entry in found])
        return
    rows = [
        (
            entry.key,
            entry.task.version,
            entry.cache_version,
            age_text(entry.create_time),
            time_text(entry.expire_time) if entry.HasField("expire_time") else "-",
            str(entry.size_bytes),
            span_text(entry.compute_duration),
            styled("NONDETERMINISTIC", "bold red") if entry.HasField("nondeterminism") else "-",
        )
        for entry in found
    ]
    if not print_table(("KEY", "FILLED BY", "CACHE VERSION", "FILLED", "EXPIRES", "BYTES", "SAVES", "AUDIT"), rows):
        say("No entries.")


@common_options
@cache.command()
@click.argument("key")
@with_client
async def get(client: Client, key: str) -> None:
    """Show the entry with this KEY, 32 hexadecimal digits, and its outputs."""
    entry = await client.cache_entry(key)
    interface = (await client.get_task(entry.task)).task_version.spec.template.interface
    outputs = literal_map_to_json(entry.outputs, interface.outputs)
    if settings().is_json:
        found = document(entry)
        found.pop("outputs", None)
        print_json(found | {"outputs_json": outputs})
        return
    rows = [
        ("Key", entry.key),
        ("Task", task_text(entry.task)),
        ("Cache version", entry.cache_version),
        ("Computed by", execution_text(entry.producer)),
        ("Filled", time_text(entry.create_time)),
        *([("Expires", time_text(entry.expire_time))] if entry.HasField("expire_time") else []),
        ("Saves", span_text(entry.compute_duration)),
        *finding_rows(entry),
        *((f"Output {name}", value_text(value)) for name, value in outputs.items()),
    ]
    show(fields(rows))


@common_options
@cache.command()
@click.argument("task", type=task_id, required=False)
@click.option("--key", default="", help="Evict the one entry with this key, instead of those of a task.")
@click.option(
    "--filled-before",
    metavar="TIME",
    type=moment,
    help="Only entries filled before then: a time, or how long ago (2h).",
)
@with_client
async def evict(client: Client, task: identifiers_pb2.TaskId | None, key: str, filled_before: datetime | None) -> None:
    """Evict the entries of TASK, with @version only those that this version filled; or the one with --key."""
    if (task is None) == (not key):
        raise click.UsageError("give either TASK or --key")
    count = await client.evict_cache(task, key=key, created_before=filled_before)
    if settings().is_json:
        print_json({"evicted_count": count})
    else:
        click.echo(f"Evicted {count} {'entry' if count == 1 else 'entries'}.")


@common_options
@cache.command()
@click.argument("task", type=task_id, required=False)
@with_client
async def stats(client: Client, task: identifiers_pb2.TaskId | None) -> None:
    """Tell what the cache did for TASK since its first execution, or without TASK for the project.

    Counts of the last second may be missing.
    """
    found = await client.cache_stats(task, project="" if task is not None else (await client.get_project()).id)
    if settings().is_json:
        print_json(document(found))
    else:
        show(fields(_described(found)))


def _described(stats: cache_pb2.CacheStats) -> list[tuple[str, str]]:
    lookups = stats.hit_count + stats.miss_count
    return [
        ("Task", task_text(stats.task)) if stats.task.name else ("Project", stats.task.project),
        ("Hits", f"{stats.hit_count}{f' ({stats.hit_count / lookups:.0%})' if lookups else ''}"),
        ("Misses", str(stats.miss_count)),
        ("Entries", f"{stats.entry_count}, {stats.size_bytes:,} bytes"),
        ("Evicted", f"{stats.eviction_count} to keep the bound"),
        ("Audits", f"{stats.audit_count}, {stats.mismatch_count} of them found other outputs"),
        ("Saved", f"{span_text(stats.saved_duration)} of computing"),
    ]
