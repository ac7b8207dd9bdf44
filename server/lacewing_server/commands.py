"""The server's commands of ``lacewing``: ``serve``, ``config`` and ``inspect``."""

from __future__ import annotations

import asyncio
import json
import os
import sys
import types
import typing
from collections.abc import Callable
from typing import Any, Final, TypeVar

import click

from lacewing.cli import options
from lacewing.cli.options import output_option
from lacewing.cli.output import document, fields, print_json, print_table, show, styled
from lacewing_server.domain import identity
from lacewing_server.domain.record import ExecutionRecord
from lacewing_server.settings import Settings, SettingsError, load_settings
from lacewing_server.store.redis import codec
from lacewing_server.store.redis.address import shown
from lacewing_server.store.redis.link import StoreUnavailableError
from lacewing_server.store.redis.store import Store
from lacewing_server.valkey import SOCKET_NAME

_Command = TypeVar("_Command", bound=Callable[..., Any])
_NAME_PARTS: Final = 3


def _text(value: Any) -> str:
    if value is None:
        return "-"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, (list, tuple)):
        return ",".join(map(str, value))
    if isinstance(value, dict):
        return json.dumps(value, indent=2, ensure_ascii=False)
    return str(value)


def _settings_options(command: _Command) -> _Command:
    for name, field in reversed(Settings.model_fields.items()):
        flag = name.replace("_", "-")
        kind = _click_type(field.annotation)
        shown = f"--{flag}/--no-{flag}" if kind is bool else f"--{flag}"
        command = click.option(
            shown, name, type=kind, default=None, help=f"{field.description} [default: {_text(field.default)}]"
        )(command)
    return command


def _click_type(annotation: Any) -> Any:
    if typing.get_origin(annotation) is typing.Literal:
        return click.Choice(typing.get_args(annotation))
    if isinstance(annotation, types.UnionType):
        annotation = next(each for each in typing.get_args(annotation) if each is not type(None))
    return annotation if annotation in {bool, int, float} else str


def _load(flags: dict[str, Any]) -> Settings:
    try:
        return load_settings(**flags)
    except SettingsError as error:
        raise click.ClickException(str(error)) from error


@click.command()
@_settings_options
def serve(**flags: Any) -> None:
    """Run a server. Each option can also be set as LACEWING_NAME, or in the TOML file that LACEWING_CONFIG names."""
    from lacewing_server import app  # noqa: PLC0415 - imports all of the server, which the other commands do without

    sys.exit(app.main(_load(flags)))


@output_option
@click.command()
@_settings_options
def config(**flags: Any) -> None:
    """Print the settings that a server would run with, and where each comes from."""
    settings = _load(flags)
    values = settings.model_dump(mode="json")
    if settings.redis is not None:
        values["redis"] = shown(settings.redis)
    sources = {name: _source(name, flags, settings) for name in values}
    if options.settings().is_json:
        print_json({name: {"value": values[name], "source": sources[name]} for name in values})
    else:
        rows = [
            (name, _text(value), styled(sources[name], "dim" if sources[name] == "default" else "green"))
            for name, value in values.items()
        ]
        print_table(("SETTING", "VALUE", "FROM"), rows)


def _source(name: str, flags: dict[str, Any], settings: Settings) -> str:
    if flags.get(name) is not None:
        return "flag"
    if f"LACEWING_{name.upper()}" in os.environ:
        return "environment"
    return "file" if name in settings.model_fields_set else "default"


@output_option
@click.command()
@click.argument("execution")
@_settings_options
def inspect(execution: str, **flags: Any) -> None:
    """Print the stored record of EXECUTION: its name, or project/domain/name. Reads the store; needs no server."""
    settings = _load(flags)
    parts = execution.split("/")
    if len(parts) not in {1, _NAME_PARTS}:
        raise click.BadParameter("must be a name or project/domain/name", param_hint="EXECUTION")
    project, domain = parts[:2] if len(parts) == _NAME_PARTS else (settings.default_project, settings.domains[0])
    execution_id = identity.execution_id_of(project, domain, parts[-1])
    try:
        record = asyncio.run(_read(settings, execution_id))
    except (StoreUnavailableError, codec.UnknownFormatError) as error:
        raise click.ClickException(str(error)) from error
    if record is None:
        raise click.ClickException(f"there is no record of {project}/{domain}/{parts[-1]}")
    described = _described(record)
    if options.settings().is_json:
        print_json(described)
    else:
        show(fields((name, _text(value)) for name, value in described.items()))


async def _read(settings: Settings, execution_id: bytes) -> ExecutionRecord | None:
    url = settings.redis or f"unix://{settings.data_dir / SOCKET_NAME}"
    store = Store(url, settings.key_prefix, identity.new_nonce())
    try:
        await store.start(lambda _news: None, lambda: None)
        return await store.get(execution_id)
    finally:
        await store.close()


def _described(record: ExecutionRecord) -> dict[str, Any]:
    values: dict[str, Any] = {"id": record.id.hex(), "bytes": len(codec.pack_record(record))}
    for field in codec.HEADER:
        value = getattr(record, field.name, None)  # the format and the lengths are no attributes: they are implied
        if value is not None:
            values[field.name] = value.hex() if isinstance(value, bytes) else value
    values |= {f"{name}_length": len(getattr(record, name)) for name in ("meta", "worker", "inputs", "outcome")}
    return values | {"meta": document(record.execution)}
