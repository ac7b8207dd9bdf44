"""The root of the command line: its commands by subject, each loaded when it is used."""

from __future__ import annotations

import difflib
import importlib
from typing import TYPE_CHECKING, Any, NamedTuple

import click

from lacewing.cli._failures import reported
from lacewing.cli.options import common_options

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

_ENTRY_POINTS = "lacewing.commands"
_OTHERS = "Others"


class _Command(NamedTuple):
    """A command that is known without loading it."""

    section: str
    help: str
    target: str = ""
    """Its module in this package, and its name there. Empty: found by an entry point, if that is installed."""


_COMMANDS = {
    "run": _Command("Run tasks", "Execute a task, wait for its end, and print its outputs.", "_run:run"),
    "get": _Command("Run tasks", "Show an execution.", "_executions:get"),
    "list": _Command("Run tasks", "List executions, last created first.", "_executions:list_executions"),
    "watch": _Command("Run tasks", "Follow an execution until it has ended.", "_watch:watch"),
    "logs": _Command("Run tasks", "Show the attempts of an execution.", "_logs:logs"),
    "cancel": _Command("Run tasks", "Cancel executions.", "_executions:cancel"),
    "retry": _Command("Run tasks", "Execute again what did not succeed.", "_steer:retry"),
    "graph": _Command("Run graphs", "Show the graph of an execution, and follow it.", "graphs._command:graph"),
    "approve": _Command("Run graphs", "Answer a node that waits for approval.", "_steer:approve"),
    "signal": _Command("Run graphs", "Give a node the value that it waits for.", "_steer:signal"),
    "dev": _Command("Serve tasks", "Run a server and a worker that follows your edits.", "_dev:dev"),
    "serve": _Command("Serve tasks", "Run a server."),
    "worker": _Command("Serve tasks", "Run the tasks of modules.", "_worker:worker"),
    "register": _Command("Serve tasks", "Register the tasks of modules.", "_register:register"),
    "tasks": _Command("Look and manage", "List, show, archive and restore tasks.", "_tasks:tasks"),
    "cache": _Command("Look and manage", "Look into the cache, and evict from it.", "_cache:cache"),
    "audit": _Command("Look and manage", "Check that a task gives equal outputs for equal inputs.", "_audit:audit"),
    "workers": _Command("Look and manage", "List the workers that are connected.", "_workers:workers"),
    "projects": _Command("Look and manage", "List, create and update projects.", "_projects:projects"),
    "config": _Command("Operate a server", "Print the settings that a server would run with."),
    "inspect": _Command("Operate a server", "Print the stored record of an execution."),
}


class _App(click.Group):
    """A group whose commands are loaded by name."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - the signature is click's
        """Return what is installed, in the order of the help."""
        found = _found()
        known = [name for name, command in _COMMANDS.items() if command.target or name in found]
        return [*known, *sorted(found.keys() - _COMMANDS.keys())]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002 - likewise
        """Load a command."""
        known = _COMMANDS.get(cmd_name)
        if known is not None and known.target:
            module, _, name = known.target.partition(":")
            return _loaded(getattr(importlib.import_module(f"{__package__}.{module}"), name))
        entry = _found().get(cmd_name)
        if entry is not None:
            return _loaded(entry.load())
        if known is not None:
            raise click.UsageError(f"'{cmd_name}' belongs to the server, an extra: pip install 'lacewing[server]'")
        return None

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the command to run; name the nearest one if there is none."""
        name = args[0]
        if name not in _COMMANDS and name not in _found() and not name.startswith("-") and not ctx.resilient_parsing:
            nearest = difflib.get_close_matches(name, self.list_commands(ctx), n=1)
            hint = f" Did you mean '{nearest[0]}'?" if nearest else ""
            ctx.fail(f"No such command '{name}'.{hint}")
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the commands by subject; those that are known need not be loaded for it."""
        sections: dict[str, list[tuple[str, str]]] = {}
        for name in self.list_commands(ctx):
            known = _COMMANDS.get(name)
            if known is not None:
                sections.setdefault(known.section, []).append((name, known.help))
            else:
                command = self.get_command(ctx, name)
                help_text = command.get_short_help_str() if command is not None else ""
                sections.setdefault(_OTHERS, []).append((name, help_text))
        for section, rows in sections.items():
            with formatter.section(section):
                formatter.write_dl(rows)

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[click.shell_completion.CompletionItem]:
        """Complete the name of a command, without loading any."""
        items = [
            click.shell_completion.CompletionItem(name, help=_COMMANDS[name].help if name in _COMMANDS else None)
            for name in self.list_commands(ctx)
            if name.startswith(incomplete)
        ]
        return [*items, *click.Command.shell_complete(self, ctx, incomplete)]

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command; what goes wrong is told, and becomes the exit code."""
        with reported(ctx):
            return super().invoke(ctx)


def _found() -> dict[str, EntryPoint]:
    from importlib.metadata import entry_points  # noqa: PLC0415 - looks into all that is installed, which takes a while

    return {entry.name: entry for entry in entry_points(group=_ENTRY_POINTS)}


def _loaded(command: object) -> click.Command:
    if not isinstance(command, click.Command):
        raise click.ClickException(f"{command!r} is no command of click")
    return command


@common_options
@click.group(
    cls=_App,
    epilog="""\b
Start here:
  lacewing dev tasks.py                 a server and a worker, in one terminal
  lacewing run tasks.add --help         what a task takes
  lacewing run tasks.add --a 40         run it

Exit codes: 0 it went well; 1 the task did not succeed; 2 the request is wrong or was refused; 3 the server did not
answer, or the waiting was over; 130 interrupted.""",
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.version_option(package_name="lacewing")
def app() -> None:
    """Typed, versioned, retried, timed out and memoized tasks over gRPC."""
