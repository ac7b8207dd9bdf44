"""Annotations with notes: `Annotated[T, ...]`."""

from __future__ import annotations

import typing
from typing import Any


def annotated(annotation: Any) -> tuple[Any, tuple[Any, ...]]:
    """Return what is annotated, and the notes on it, which there are none of without `Annotated`."""
    if typing.get_origin(annotation) is typing.Annotated:
        inner, *notes = typing.get_args(annotation)
        return inner, tuple(notes)
    return annotation, ()
