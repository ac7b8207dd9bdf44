"""`lacewing projects`."""

from __future__ import annotations

import click

from lacewing.cli._client import with_client
from lacewing.cli._messages import age_text
from lacewing.cli.options import common_options, settings
from lacewing.cli.output import document, print_json, print_table
from lacewing.client import Client
from lacewing.v1 import project_pb2

_Project = project_pb2.Project


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


@common_options
@projects.command()
@click.argument("project_id", metavar="PROJECT")
@click.option("--display-name", default="", help="A name for people, at most 64 characters.")
@click.option("--description", default="", help="What it is for, at most 300 characters.")
@with_client
async def create(client: Client, project_id: str, display_name: str, description: str) -> None:
    """Create PROJECT: lower-case letters, digits and dashes, at most 63."""
    _print_one(await client.create_project(_Project(id=project_id, display_name=display_name, description=description)))


@common_options
@projects.command()
@click.argument("project_id", metavar="PROJECT")
@click.option("--display-name", help="A name for people, at most 64 characters.")
@click.option("--description", help="What it is for, at most 300 characters.")
@click.option("--archive/--restore", default=None, help="Whether it takes no more registrations and executions.")
@with_client
async def update(
    client: Client, project_id: str, display_name: str | None, description: str | None, *, archive: bool | None
) -> None:
    """Change the texts of PROJECT, archive or restore it. What is not given stays as it is."""
    project = await client.get_project(project_id)
    project.display_name = project.display_name if display_name is None else display_name
    project.description = project.description if description is None else description
    if archive is not None:
        project.state = _Project.STATE_ARCHIVED if archive else _Project.STATE_ACTIVE
    _print_one(await client.update_project(project))


def _print_one(project: _Project) -> None:
    if settings().is_json:
        print_json(document(project))
    else:
        _print([project])


def _print(found: list[_Project]) -> None:
    print_table(
        ("PROJECT", "NAME", "STATE", "CREATED", "DESCRIPTION"),
        [
            (
                project.id,
                project.display_name,
                _Project.State.Name(project.state).removeprefix("STATE_"),
                age_text(project.create_time),
                project.description,
            )
            for project in found
        ],
    )
