"""Tasks whose values are large."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import lacewing
from lacewing.task import AnyTask


def count(marker: str) -> None:
    """Notes in a file that a body ran."""
    with Path(marker).open("a") as file:
        file.write("x")


@lacewing.task(name="blobs.reverse", cache=lacewing.Cache(version="1", ignore=["marker"]))
def reverse(content: bytes, marker: str = os.devnull) -> bytes:
    count(marker)
    return content[::-1]


@lacewing.task(name="blobs.reverse_soon")
async def reverse_soon(content: bytes) -> bytes:
    return content[::-1]


@lacewing.task(name="blobs.shout")
def shout(text: str) -> str:
    return text.upper()


@lacewing.task(name="blobs.double")
def double(numbers: list[int]) -> list[int]:
    return [2 * number for number in numbers]


@lacewing.task(name="blobs.keys", cache=lacewing.Cache(version="1", ignore=["marker"]))
def keys(record: dict[str, Any], marker: str = os.devnull) -> list[str]:
    count(marker)
    return sorted(record)


@lacewing.task(name="blobs.fill")
def fill(size: int) -> bytes:
    return bytes(size)


@lacewing.task(name="blobs.keep", retries=3)
def keep(content: bytes) -> int:
    return len(content)


@lacewing.task(name="blobs.where")
def where(path: Path) -> str:
    assert path.is_file()
    return str(path)


@lacewing.task(name="blobs.crash_with")
def crash_with(path: Path) -> None:
    assert path.is_file()
    os._exit(1)


@lacewing.task(name="blobs.draw", cache=True)
def draw(size: int) -> bytes:
    return os.urandom(size)


ALL: list[AnyTask] = [reverse, reverse_soon, shout, double, keys, fill]
