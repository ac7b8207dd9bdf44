"""`lacewing run`: a command for each task, made of what the server has registered."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any, TypeVar

import click

from lacewing.cli._client import client_of, with_client
from lacewing.cli._describe import Execution, cache_text, state_name, took_text
from lacewing.cli._follow import Display
from lacewing.cli._inputs import FLAG_SETTINGS, InputOption, input_options, read_inputs_json, without_flags
from lacewing.cli._messages import execution_text, task_text
from lacewing.cli._plain import execution_document, result_of
from lacewing.cli._types import pair, span, task_id
from lacewing.cli.options import common_options, common_parameters, settings, settings_of
from lacewing.cli.output import console, print_json, print_value, say
from lacewing.client import Client
from lacewing.errors import LacewingError, WaitTimedOut, from_execution
from lacewing.types import describe_type
from lacewing.v1 import execution_pb2, interface_pb2, task_pb2

_Result = TypeVar("_Result")
_MODES = {
    "use": execution_pb2.CACHE_MODE_USE,
    "refresh": execution_pb2.CACHE_MODE_REFRESH,
    "bypass": execution_pb2.CACHE_MODE_BYPASS,
    "only": execution_pb2.CACHE_MODE_ONLY,
}
_PRIORITIES = {
    "high": execution_pb2.PRIORITY_HIGH,
    "normal": execution_pb2.PRIORITY_NORMAL,
    "low": execution_pb2.PRIORITY_LOW,
}
# How long a shell waits for the names of tasks when it completes.
_COMPLETION_SECONDS = 1.0
_META = "lacewing.cli.run"


def _remember(context: click.Context, parameter: click.Parameter, value: Any) -> None:
    if value not in (None, (), False) and parameter.name is not None:
        context.meta.setdefault(_META, {})[parameter.name] = value


def _run_options() -> list[click.Option]:
    """Return the options of a request, which may stand before the task and after it."""
    shared: dict[str, Any] = {"callback": _remember, "expose_value": False}
    return [
        click.Option(
            ["--inputs-json"],
            metavar="JSON",
            help="Inputs as a JSON object, as @FILE with one, or - to read it. Flags come on top.",
            **shared,
        ),
        click.Option(["--no-wait"], is_flag=True, help="Print the name of the execution at once.", **shared),
        click.Option(
            ["--timeout"], metavar="DURATION", type=span, help="The most to wait; the execution goes on.", **shared
        ),
        click.Option(
            ["--deadline"], metavar="DURATION", type=span, help="The most the execution may take in all.", **shared
        ),
        click.Option(
            ["--cache-mode"],
            type=click.Choice(list(_MODES)),
            help="How to use the cache: answer from it or fill it, run and refill it, leave it alone, or never run."
            "  [default: use]",
            **shared,
        ),
        click.Option(
            ["--priority"],
            type=click.Choice(list(_PRIORITIES)),
            help="Which of the executions that wait in the same queue go first.  [default: normal]",
            **shared,
        ),
        click.Option(
            ["--max-parallelism"],
            metavar="NODES",
            type=click.IntRange(min=1),
            help="The most nodes of its graph that run at a time, if it runs one.  [default: as the task says]",
            **shared,
        ),
        click.Option(["--name"], help="Name the execution: repeating the request gives the same one.", **shared),
        click.Option(["--request-id"], help="Makes the request safe to repeat: any text of its own.", **shared),
        click.Option(
            ["--label", "labels"],
            multiple=True,
            metavar="KEY=VALUE",
            type=pair,
            help="A label. May be repeated.",
            **shared,
        ),
    ]


class _Run(click.Group):
    """A group whose commands are the tasks."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names of the tasks, to complete them in a shell: none if the server is not there."""
        try:
            return _with_server(ctx, _task_names, _COMPLETION_SECONDS)
        except (LacewingError, TimeoutError):
            return []

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Return the command of a task; none to a shell that completes, if the server does not tell it at once."""
        task = task_id(cmd_name)

        async def fetch(client: Client) -> task_pb2.TaskVersion:
            return (await client.get_task(task)).task_version

        if not ctx.resilient_parsing:
            return _TaskCommand(_with_server(ctx, fetch))
        try:
            return _TaskCommand(_with_server(ctx, fetch, _COMPLETION_SECONDS))
        except (LacewingError, TimeoutError):
            return None

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[click.shell_completion.CompletionItem]:
        """Complete the name of a task, without the interface of each."""
        items = [
            click.shell_completion.CompletionItem(name)
            for name in self.list_commands(ctx)
            if name.startswith(incomplete)
        ]
        return [*items, *click.Command.shell_complete(self, ctx, incomplete)]

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write nothing: the tasks are listed by a command of their own."""


class _TaskCommand(click.Command):
    """Runs one version of a task."""

    def __init__(self, version: task_pb2.TaskVersion) -> None:
        """Make the command: a flag for each input, and the options of a request where these leave them free."""
        self._version = version
        self._inputs = list(input_options(version.spec))
        taken = {flag for option in self._inputs for flag in (*option.opts, *option.secondary_opts)}
        options = [option for option in [*_run_options(), *common_parameters()] if not taken & {*option.opts}]
        super().__init__(
            task_text(version.id),
            params=[*self._inputs, *options],
            callback=self._execute,
            help=version.spec.description or None,
            epilog=_epilog(version.spec),
            context_settings=dict(FLAG_SETTINGS),
        )

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the inputs, then the rest."""
        inputs = [record for option in self._inputs if (record := option.get_help_record(ctx))]
        rest = [
            record
            for parameter in self.get_params(ctx)
            if not isinstance(parameter, InputOption) and (record := parameter.get_help_record(ctx))
        ]
        for title, records in (("Inputs", inputs), ("Options", rest)):
            if records:
                with formatter.section(title):
                    formatter.write_dl(records)

    def _execute(self, **given: Any) -> None:
        said: dict[str, Any] = click.get_current_context().meta.get(_META, {})
        values = read_inputs_json(said["inputs_json"]) if "inputs_json" in said else {}
        for option in self._inputs:
            flag = given[str(option.name)]
            if option.was_given(flag):
                try:
                    values[option.input_name] = option.plain(flag)
                except click.BadParameter as error:
                    error.param_hint = error.param_hint or f"'{option.opts[0]}'"
                    raise
        with_client(_execute)(self._version, values, said)


async def _execute(client: Client, version: task_pb2.TaskVersion, values: dict[str, Any], said: dict[str, Any]) -> None:
    wait: timedelta | None = said.get("timeout")
    asking = client.with_options(
        cache_mode=_MODES[said.get("cache_mode", "use")],
        priority=_PRIORITIES[said.get("priority", "normal")],
        deadline=said.get("deadline"),
        name=said.get("name", ""),
        request_id=said.get("request_id", ""),
        labels=dict(said.get("labels", ())),
        max_parallelism=said.get("max_parallelism", 0),
    )
    handle = await asking.submit(version.id, **values)
    if said.get("no_wait"):
        if settings().is_json:
            print_json(execution_document(await handle.status()))
        else:
            click.echo(handle.id.name)
        return
    interface = version.spec.template.interface
    reference = execution_text(handle.id)
    with _told_when_interrupted(reference):
        try:
            async with asyncio.timeout(None if wait is None else wait.total_seconds()):
                with Display(console(stderr=True), lines=False) as shown:
                    async for execution in handle.watch():
                        shown.show(execution)
        except TimeoutError as error:
            raise WaitTimedOut(
                f"{reference} has not ended yet, and goes on. Follow it: lacewing watch {reference}"
            ) from error
    if settings().is_json:
        print_json(execution_document(execution, interface))
    if execution.state != Execution.STATE_SUCCEEDED:
        raise from_execution(execution)
    if not settings().is_json:
        _print_result(execution, interface)


def _print_result(execution: Execution, interface: interface_pb2.TypedInterface) -> None:
    if console(stderr=True).is_terminal:
        cached = cache_text(execution.cache)
        note = "" if cached == "-" else f", cache {cached}"
        say(f"{execution_text(execution.id)} {state_name(execution.state)} in {took_text(execution)}{note}")
    if interface.outputs.variables:
        print_value(result_of(execution, interface))


@contextmanager
def _told_when_interrupted(reference: str) -> Iterator[None]:
    try:
        yield
    except asyncio.CancelledError:
        say(f"{reference} goes on. Follow it: lacewing watch {reference}\nEnd it: lacewing cancel {reference}")
        raise


def _with_server(
    context: click.Context, call: Callable[[Client], Awaitable[_Result]], seconds: float | None = None
) -> _Result:
    async def answered() -> _Result:
        async with asyncio.timeout(seconds), client_of(settings_of(context)) as client:
            return await call(client)

    return asyncio.run(answered())


async def _task_names(client: Client) -> list[str]:
    return [task.id.name async for task in client.list_tasks(limit=500)]


def _epilog(spec: task_pb2.TaskSpec) -> str:
    outputs = spec.template.interface.outputs.variables
    lines = []
    if without_flags(spec):
        lines.append(f"Only by --inputs-json: {', '.join(without_flags(spec))}.")
    if outputs:
        gives = ", ".join(
            describe_type(variable.type) if name == "o0" else f"{name} ({describe_type(variable.type)})"
            for name, variable in sorted(outputs.items())
        )
        lines.append(f"Gives {gives}.")
    return "\n\n".join(lines)


@common_options
@click.command(cls=_Run, params=[*_run_options()], subcommand_metavar="TASK [INPUTS]...")
def run() -> None:
    r"""Execute TASK, wait for its end, and print its outputs.

    TASK is a name, name@version, or project/domain/name. Its inputs are flags, as its own help tells:

    \b
        lacewing run tasks.add --help
        lacewing run tasks.add --a 40

    Lists and maps are repeated flags or JSON, records are JSON or @FILE. The options below may stand after TASK too,
    unless an input has the same name. Without --no-wait the exit code is 0 if the task succeeded. Interrupting the wait
    leaves the execution running.
    """
