"""`lacewing projects`."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any, TypeVar

import click

from lacewing.cli._client import with_client
from lacewing.cli._defaults import Default, default, defaults_text, set_default
from lacewing.cli._messages import age_text, span_text
from lacewing.cli._types import rate
from lacewing.cli.options import common_options, settings
from lacewing.cli.output import document, print_json, print_table
from lacewing.client import Client
from lacewing.v1 import project_pb2, task_pb2

_Project = project_pb2.Project
_Command = TypeVar("_Command", bound=Callable[..., Any])


@common_options
@click.group(invoke_without_command=True)
@click.option("--archived", is_flag=True, help="List archived projects too.")
@click.pass_context
def projects(context: click.Context, *, archived: bool) -> None:
    """List the projects, or create or update one."""
    if context.invoked_subcommand is None:
        with_client(_list)(archived=archived)


async def _list(client: Client, *, archived: bool) -> None:
    found = [project async for project in client.projects(include_archived=archived)]
    if settings().is_json:
        print_json([document(project) for project in found])
    else:
        _print(found)


def _bound_options(command: _Command) -> _Command:
    for option in reversed(
        (
            click.option("--max-queued", type=click.IntRange(0), help="The most that may wait; 0 for no bound."),
            click.option("--max-concurrency", type=click.IntRange(0), help="The most that may run; 0 for no bound."),
            click.option(
                "--rate-limit", type=rate, metavar="COUNT/SPAN", help="The most that may start; 0 for no bound."
            ),
            click.option(
                "--cache-max-bytes", type=click.IntRange(0), help="The most the cache may take; 0 for the server's."
            ),
            click.option(
                "--default",
                "defaults",
                type=default,
                multiple=True,
                metavar="[DOMAIN:]NAME=VALUE",
                help="What applies to tasks that declare nothing, as attempt-timeout=10m or production:retention=30d;"
                " without a value, there is no such default. May be repeated.",
            ),
        )
    ):
        command = option(command)
    return command


def _set_bounds(
    project: _Project,
    *,
    max_queued: int | None,
    max_concurrency: int | None,
    rate_limit: task_pb2.RateLimit | None,
    cache_max_bytes: int | None,
    defaults: tuple[Default, ...],
) -> None:
    for each in defaults:
        set_default(project, each)
    limits = project.limits
    for field, bound in (
        ("max_queued", max_queued),
        ("max_concurrency", max_concurrency),
        ("cache_max_bytes", cache_max_bytes),
    ):
        if bound:
            setattr(limits, field, bound)
        elif bound == 0:
            limits.ClearField(field)  # type: ignore[arg-type] # one of the three
    if rate_limit is not None and rate_limit.count:
        limits.rate_limit.CopyFrom(rate_limit)
    elif rate_limit is not None:
        limits.ClearField("rate_limit")


@common_options
@projects.command()
@click.argument("project_id", metavar="PROJECT")
@click.option("--display-name", default="", help="A name for people, at most 64 characters.")
@click.option("--description", default="", help="What it is for, at most 300 characters.")
@_bound_options
@with_client
async def create(client: Client, /, project_id: str, display_name: str, description: str, **bounds: Any) -> None:
    """Create PROJECT: lower-case letters, digits and dashes, at most 63. Bounds are of all its tasks together."""
    project = _Project(id=project_id, display_name=display_name, description=description)
    _set_bounds(project, **bounds)
    _print_one(await client.create_project(project))


@common_options
@projects.command()
@click.argument("project_id", metavar="PROJECT")
@click.option("--display-name", help="A name for people, at most 64 characters.")
@click.option("--description", help="What it is for, at most 300 characters.")
@click.option("--archive/--restore", default=None, help="Whether it takes no more registrations and executions.")
@_bound_options
@with_client
async def update(
    client: Client,
    /,
    project_id: str,
    display_name: str | None,
    description: str | None,
    *,
    archive: bool | None,
    **bounds: Any,
) -> None:
    """Change the texts, bounds and defaults of PROJECT, archive or restore it. What is not given stays as it is."""
    project = await client.get_project(project_id)
    project.display_name = project.display_name if display_name is None else display_name
    project.description = project.description if description is None else description
    if archive is not None:
        project.state = _Project.STATE_ARCHIVED if archive else _Project.STATE_ACTIVE
    _set_bounds(project, **bounds)
    _print_one(await client.update_project(project))


def _print_one(project: _Project) -> None:
    if settings().is_json:
        print_json(document(project))
    else:
        _print([project])


def _print(found: list[_Project]) -> None:
    print_table(
        ("PROJECT", "NAME", "STATE", "CREATED", "BOUNDS", "DEFAULTS", "DESCRIPTION"),
        [
            (
                project.id,
                project.display_name,
                _Project.State.Name(project.state).removeprefix("STATE_"),
                age_text(project.create_time),
                _bounds_text(project.limits),
                defaults_text(project.defaults),
                project.description,
            )
            for project in found
        ],
    )


def _bounds_text(limits: project_pb2.ProjectLimits) -> str:
    parts = []
    if limits.HasField("max_queued"):
        parts.append(f"{limits.max_queued:,} waiting")
    if limits.HasField("max_concurrency"):
        parts.append(f"{limits.max_concurrency:,} running")
    if limits.HasField("rate_limit"):
        period = limits.rate_limit.period if limits.rate_limit.HasField("period") else timedelta(seconds=1)
        parts.append(f"{limits.rate_limit.count:,} starting in {span_text(period)}")
    if limits.HasField("cache_max_bytes"):
        parts.append(f"{limits.cache_max_bytes:,} bytes of cache")
    return ", ".join(parts)
