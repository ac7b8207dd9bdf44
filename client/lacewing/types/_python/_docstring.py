"""Descriptions of parameters, from docstrings in Google style."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable
from typing import Any

_ENTRY = re.compile(r"\*{0,2}(\w+)\s*(?:\([^)]*\))?:\s*(.*)")
_PARAMETERS = ("Args:", "Arguments:", "Parameters:")
_RETURNS = ("Returns:",)


def parameter_descriptions(function: Callable[..., Any]) -> dict[str, str]:
    """Return the descriptions in the section `Args:` by parameter."""
    entries: dict[str, list[str]] = {}
    lines = _section(function, _PARAMETERS)
    indent = min((_indent(line) for line in lines), default=0)
    current: list[str] = []
    for line in lines:
        entry = _ENTRY.fullmatch(line.strip()) if _indent(line) == indent else None
        if entry is not None:
            current = entries.setdefault(entry[1], [])
            current.append(entry[2])
        else:
            current.append(line.strip())
    return {name: " ".join(filter(None, text)) for name, text in entries.items()}


def return_description(function: Callable[..., Any]) -> str:
    """Return the text of the section `Returns:`."""
    return " ".join(line.strip() for line in _section(function, _RETURNS))


def _section(function: Callable[..., Any], titles: tuple[str, ...]) -> list[str]:
    """Return the lines of a section that are not blank: everything indented below its title."""
    lines = iter((inspect.getdoc(function) or "").splitlines())
    section: list[str] = []
    for line in lines:
        if line in titles:
            break
    for line in lines:
        if line and not line[0].isspace():
            break
        if line.strip():
            section.append(line)
    return section


def _indent(line: str) -> int:
    return len(line) - len(line.lstrip())
