"""`lacewing tasks`."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import timedelta

import click
from rich.console import Group, RenderableType

from lacewing.cli._client import with_client
from lacewing.cli._findings import finding_rows
from lacewing.cli._inputs import defaults_of
from lacewing.cli._messages import age_text, span_text, task_text, time_text
from lacewing.cli._types import task_id
from lacewing.cli.options import common_options, settings
from lacewing.cli.output import document, fields, print_json, print_table, say, show, styled
from lacewing.client import Client
from lacewing.types import admits_none, describe_type
from lacewing.v1 import identifiers_pb2, task_pb2


@common_options
@click.group(invoke_without_command=True)
@click.option("--prefix", default="", help="List only tasks whose name begins with this.")
@click.option("--archived", is_flag=True, help="List archived tasks too.")
@click.pass_context
def tasks(context: click.Context, prefix: str, *, archived: bool) -> None:
    """List the tasks, or show, archive and restore one."""
    if context.invoked_subcommand is None:
        with_client(_list)(prefix, archived=archived)


async def _list(client: Client, prefix: str, *, archived: bool) -> None:
    found = [task async for task in client.list_tasks(name_prefix=prefix, include_archived=archived)]
    if settings().is_json:
        print_json([document(task) for task in found])
        return
    rows = [
        (
            task_text(identifiers_pb2.TaskId(project=task.id.project, domain=task.id.domain, name=task.id.name)),
            task.id.version,
            str(task.version_count),
            age_text(task.update_time),
            _state(task),
            task.description,
        )
        for task in found
    ]
    if not print_table(("TASK", "LATEST", "VERSIONS", "REGISTERED", "STATE", "DESCRIPTION"), rows):
        say("No tasks. Register yours: lacewing register MODULE")


@common_options
@tasks.command()
@click.argument("task", type=task_id)
@with_client
async def get(client: Client, task: identifiers_pb2.TaskId) -> None:
    """Show what TASK takes, gives and promises: the version registered last, or the one after @."""
    response = await client.get_task(task)
    if settings().is_json:
        print_json(document(response))
        return
    spec = response.task_version.spec
    show(Group(fields(_described(response.task, response.task_version)), "", *_interface(spec)))


@common_options
@tasks.command()
@click.argument("task", type=task_id)
@click.option("--limit", type=click.IntRange(min=0), default=50, show_default=True, help="The most to list; 0: all.")
@with_client
async def versions(client: Client, task: identifiers_pb2.TaskId, limit: int) -> None:
    """List the versions of TASK, last registered first."""
    found = [version async for version in client.list_task_versions(task, limit=limit or None)]
    if settings().is_json:
        print_json([document(version) for version in found])
        return
    print_table(
        ("VERSION", "REGISTERED", "DIGEST", "AUDIT"),
        [
            (
                version.id.version,
                time_text(version.create_time),
                version.digest,
                styled("NONDETERMINISTIC", "bold red") if version.HasField("nondeterminism") else "-",
            )
            for version in found
        ],
    )


@common_options
@tasks.command()
@click.argument("task", type=task_id)
@with_client
async def archive(client: Client, task: identifiers_pb2.TaskId) -> None:
    """Archive TASK: it takes no new executions, and lists leave it out. Nothing is deleted."""
    _print_changed(await client.archive_task(task))


@common_options
@tasks.command()
@click.argument("task", type=task_id)
@with_client
async def restore(client: Client, task: identifiers_pb2.TaskId) -> None:
    """Restore TASK, which was archived."""
    _print_changed(await client.restore_task(task))


def _print_changed(task: task_pb2.Task) -> None:
    if settings().is_json:
        print_json(document(task))
    else:
        print_table(("TASK", "STATE"), [(task_text(task.id), _state(task))])


def _state(task: task_pb2.Task) -> str:
    state = task_pb2.Task.State.Name(task.state).removeprefix("STATE_")
    return f"{state}, NONDETERMINISTIC" if task.HasField("nondeterminism") else state


def _described(task: task_pb2.Task, version: task_pb2.TaskVersion) -> Iterator[tuple[str, RenderableType]]:
    spec, policy = version.spec, version.spec.policy
    metadata = spec.template.metadata
    yield "Task", task_text(version.id)
    yield "State", _state(task)
    if spec.description:
        yield "Description", spec.description
    yield "Type", spec.template.type
    yield "Registered", f"{time_text(version.create_time)} (one of {task.version_count})"
    yield "Digest", version.digest
    yield from finding_rows(version)
    if policy.queue:
        yield "Queue", policy.queue
    if metadata.retries.retries:
        yield "Retries", str(metadata.retries.retries)
    for name, limit in (
        ("Losses", policy.max_losses if policy.HasField("max_losses") else None),
        ("Queued at most", policy.max_queued if policy.HasField("max_queued") else None),
        ("Running at most", policy.max_concurrency if policy.HasField("max_concurrency") else None),
    ):
        if limit is not None:
            yield name, str(limit)
    if policy.HasField("rate_limit"):
        period = policy.rate_limit.period if policy.rate_limit.HasField("period") else timedelta(seconds=1)
        yield "Starting at most", f"{policy.rate_limit.count} in {span_text(period)}"
    for name, span in (
        ("Timeout", metadata.timeout if metadata.HasField("timeout") else None),
        ("Queue timeout", policy.queue_timeout if policy.HasField("queue_timeout") else None),
        ("Deadline", policy.deadline if policy.HasField("deadline") else None),
        ("Retention", policy.retention if policy.HasField("retention") else None),
    ):
        if span is not None:
            yield name, span_text(span)
    if metadata.discoverable:
        ttl = f", entries live {span_text(policy.cache.ttl)}" if policy.cache.HasField("ttl") else ""
        audited = f", {policy.cache.audit_rate:.3%} of hits are audited" if policy.cache.audit_rate else ""
        yield "Memoized", f"cache version {metadata.discovery_version}{ttl}{audited}"
    if policy.HasField("idempotent") and not policy.idempotent:
        yield "Idempotent", "no: never run again after it was interrupted"


def _interface(spec: task_pb2.TaskSpec) -> Iterator[RenderableType]:
    interface, defaults = spec.template.interface, defaults_of(spec)
    for title, variables in (("Inputs", interface.inputs.variables), ("Outputs", interface.outputs.variables)):
        yield styled(f"{title}:" if variables else f"{title}: none", "bold")
        rows = []
        for name, variable in sorted(variables.items()):
            note = ""
            if title == "Inputs":
                note = (
                    f"default {json.dumps(defaults[name], ensure_ascii=False)}"
                    if name in defaults
                    else "optional"
                    if admits_none(variable.type)
                    else "required"
                )
            rows.append(
                (f"  {name}", "  ".join(filter(None, (describe_type(variable.type), note, variable.description))))
            )
        if rows:
            yield fields(rows)
