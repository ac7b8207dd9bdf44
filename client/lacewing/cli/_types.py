"""The arguments that commands have in common: tasks, executions, times, spans, labels. Each reads the text of one."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

import click

from lacewing.v1 import identifiers_pb2, task_pb2

_SPAN = re.compile(r"(\d+(?:\.\d+)?)\s*(ms|s|min|m|h|d|)")
_UNITS = {"ms": 0.001, "s": 1.0, "": 1.0, "m": 60.0, "min": 60.0, "h": 3600.0, "d": 86400.0}
_PLACE_PARTS = 2


def task_id(text: str) -> identifiers_pb2.TaskId:
    """Read a task: `name` or `project/domain/name`, and maybe `@version`.

    A name with two or more slashes in it has to be given with its project and domain.
    """
    path, _, version = text.partition("@")
    parts = path.split("/", _PLACE_PARTS)
    project, domain, name = parts if len(parts) > _PLACE_PARTS else ("", "", path)
    if not name:
        raise click.BadParameter(f"'{text}' is no task: write name, or project/domain/name, and maybe @version")
    return identifiers_pb2.TaskId(project=project, domain=domain, name=name, version=version)


def execution_id(text: str) -> identifiers_pb2.ExecutionId:
    """Read an execution: `name` or `project/domain/name`."""
    *place, name = text.split("/")
    if len(place) not in (0, _PLACE_PARTS) or not name:
        raise click.BadParameter(f"'{text}' is no execution: write name, or project/domain/name")
    project, domain = place or ("", "")
    return identifiers_pb2.ExecutionId(project=project, domain=domain, name=name)


def span(text: str) -> timedelta:
    """Read a span of time: `30`, `1.5s`, `200ms`, `10m`, `2h`, `7d`; a number alone is seconds."""
    found = _span(text)
    if found is None:
        raise click.BadParameter(f"'{text}' is no span of time: write 30, 1.5s, 200ms, 10m, 2h or 7d")
    return found


def moment(text: str) -> datetime:
    """Read a time: `2026-05-01`, `2026-05-01T12:30` (on this machine's clock), `2026-05-01T12:30:00Z`, or `2h` ago."""
    ago = _span(text)
    try:
        return datetime.now(UTC) - ago if ago is not None else datetime.fromisoformat(text).astimezone()
    except (ValueError, OverflowError) as error:
        raise click.BadParameter(
            f"'{text}' is no time: write 2026-05-01T12:30:00Z, or how long ago it was: 2h"
        ) from error


def rate(text: str) -> task_pb2.RateLimit:
    """Read `COUNT/SPAN`, as `100/1m`; the span may be left out: one second. `0` is no bound: an empty message."""
    count, _, period = text.partition("/")
    if not count.isdecimal() or (period and _span(period) is None):
        raise click.BadParameter(f"'{text}' is no rate: write COUNT/SPAN, as 100/1m, or 0 for no bound")
    limit = task_pb2.RateLimit(count=int(count))
    if period:
        limit.period.FromTimedelta(span(period))
    return limit


def pair(text: str) -> tuple[str, str]:
    """Read `KEY=VALUE`."""
    key, is_there, value = text.partition("=")
    if not is_there or not key:
        raise click.BadParameter(f"'{text}' has no key and value: write KEY=VALUE")
    return key, value


def _span(text: str) -> timedelta | None:
    found = _SPAN.fullmatch(text)
    if found is None:
        return None
    try:
        return timedelta(seconds=float(found[1]) * _UNITS[found[2]])
    except OverflowError:
        return None
