"""The defaults of a project: given as texts, and shown as texts."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import click
from google.protobuf import duration_pb2

from lacewing.cli._messages import span_text
from lacewing.cli._types import span
from lacewing.v1 import project_pb2

_FIELDS = [field.name for field in project_pb2.TaskDefaults.DESCRIPTOR.fields]


class Default(NamedTuple):
    """One default, as it was given."""

    domain: str
    """Empty: of the whole project."""
    field: str
    value: str
    """Empty: there is to be none."""


def default(text: str) -> Default:
    """Read `NAME=VALUE` or `DOMAIN:NAME=VALUE`; without a value, the default is to go."""
    place, is_there, value = text.partition("=")
    *domain, name = place.split(":")
    field = name.replace("-", "_")
    if not is_there or field not in _FIELDS or len(domain) > 1:
        names = ", ".join(_FIELDS).replace("_", "-")
        raise click.BadParameter(f"'{text}' is no default: write NAME=VALUE or DOMAIN:NAME=VALUE; names are {names}")
    if value and field == "max_losses":
        if not value.isdecimal():
            raise click.BadParameter(f"'{value}' is no number of losses")
    elif value:
        span(value)
    return Default("".join(domain), field, value)


def set_default(project: project_pb2.Project, given: Default) -> None:
    """Set or clear one default of a project."""
    defaults = project.defaults
    target = defaults.domains[given.domain] if given.domain else defaults.task
    defaults.SetInParent()  # an empty message takes away the last one
    if not given.value:
        target.ClearField(given.field)  # type: ignore[arg-type] # it is one of the fields
        if given.domain and not target.ListFields():
            del defaults.domains[given.domain]
    elif given.field == "max_losses":
        target.max_losses = int(given.value)
    else:
        getattr(target, given.field).FromTimedelta(span(given.value))


def defaults_text(defaults: project_pb2.ProjectDefaults) -> str:
    """Return the defaults of a project on one line."""
    parts = [*_parts(defaults.task, "")]
    for domain, each in sorted(defaults.domains.items()):
        parts += _parts(each, f"{domain}:")
    return ", ".join(parts)


def _parts(defaults: project_pb2.TaskDefaults, prefix: str) -> Iterator[str]:
    for field, value in defaults.ListFields():
        shown = span_text(value) if isinstance(value, duration_pb2.Duration) else str(value)
        yield f"{prefix}{field.name.replace('_', '-')} {shown}"
