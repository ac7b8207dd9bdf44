"""The options that every command has: where the server is, which project, and how to print."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Any, TypeVar

import click

_Command = TypeVar("_Command", bound=click.Command)
_META = "lacewing.cli.settings"


@dataclass
class Settings:
    """What the common options say. They may stand before or after the name of a command; the last one counts."""

    address: str | None = None
    """Where the server is. None: as the SDK finds it."""
    project: str = ""
    """The project of tasks and executions that do not name their own. Empty: the server's default."""
    domain: str = ""
    """The domain of those."""
    output: str = "table"
    """`table` for people, `json` for programs."""

    @property
    def is_json(self) -> bool:
        """Whether programs read what is printed."""
        return self.output == "json"


def settings() -> Settings:
    """Return what the common options of the running command say."""
    return settings_of(click.get_current_context())


def settings_of(context: click.Context) -> Settings:
    """Return what the common options said, as far as they were read."""
    found: Settings = context.meta.setdefault(_META, Settings())
    return found


def is_debugging() -> bool:
    """Whether $LACEWING_DEBUG asks for tracebacks."""
    return os.environ.get("LACEWING_DEBUG", "") not in {"", "0"}


def common_parameters() -> list[click.Option]:
    """Return the common options, in the order of the help."""
    return [
        click.Option(
            ["--address"], help="Where the server is.  [default: $LACEWING_ADDRESS, else 127.0.0.1:7400]", **_SHARED
        ),
        click.Option(["--project"], help="The project, where none is named.  [default: the server's]", **_SHARED),
        click.Option(["--domain"], help="The domain, where none is named.  [default: the server's]", **_SHARED),
        _output_parameter(),
    ]


def common_options(command: _Command) -> _Command:
    """Add the common options to a command."""
    command.params.extend(common_parameters())
    return command


def output_option(command: _Command) -> _Command:
    """Add `--output` to a command that talks to no server."""
    command.params.append(_output_parameter())
    return command


def _output_parameter() -> click.Option:
    kinds = click.Choice(["table", "json"])
    return click.Option(["--output"], type=kinds, help="For people, or for programs.  [default: table]", **_SHARED)


def _remember(context: click.Context, parameter: click.Parameter, value: str | None) -> None:
    if value is not None and parameter.name is not None:
        setattr(settings_of(context), parameter.name, value)


_SHARED: dict[str, Any] = {"callback": _remember, "expose_value": False}
