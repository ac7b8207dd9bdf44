"""`lacewing register`."""

from __future__ import annotations

import click

from lacewing.cli._client import with_client
from lacewing.cli._messages import task_text
from lacewing.cli.options import common_options, settings
from lacewing.cli.output import document, print_json, print_table, say, styled
from lacewing.client import Client
from lacewing.task import load_tasks
from lacewing.v1 import task_service_pb2


@common_options
@click.command()
@click.argument("modules", nargs=-1, required=True, metavar="MODULE...", type=click.Path())
@click.option("--version", default="", help="Register as this version.  [default: the tasks', else by what they say]")
@click.option("--validate-only", is_flag=True, help="Check only, and write nothing.")
@with_client
async def register(client: Client, modules: tuple[str, ...], version: str, *, validate_only: bool) -> None:
    """Register the tasks of modules, which are names of modules or paths of .py files.

    Registering again what has not changed is no error. A worker registers its tasks itself when it starts.
    """
    done: list[task_service_pb2.RegisterTaskResponse] = []
    try:
        for task in load_tasks(modules):
            identity = task.id(client.project, client.domain)
            identity.version = version or identity.version
            done.append(await client.register_task(identity, task.spec, validate_only=validate_only))
    finally:
        _print(done, "valid" if validate_only else "created")


def _print(done: list[task_service_pb2.RegisterTaskResponse], created: str) -> None:
    if settings().is_json:
        print_json([document(response) for response in done])
        return
    print_table(
        ("TASK", "RESULT"),
        [
            (task_text(response.task_version.id), styled(created, "green") if response.created else "matched")
            for response in done
        ],
    )
    for response in done:
        for warning in response.warnings:
            say(f"Warning: {response.task_version.id.name}: {warning}")
