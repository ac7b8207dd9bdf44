"""Tasks that take and give files and tables."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import pandas as pd
import polars as pl
import pyarrow as pa

import lacewing
from lacewing import Columns, Directory, File, Format
from lacewing.task import AnyTask

Prices = Annotated[pd.DataFrame, Columns({"item": str, "price": float})]


@dataclass
class Report:
    """A record with a file in it."""

    title: str
    text: File


@lacewing.task(name="stored.upper", cache=True)
def upper(file: Annotated[File, Format("txt")]) -> File:
    folder = Path(tempfile.mkdtemp())
    (folder / "upper").write_text(file.read_text().upper())
    return File(folder / "upper")


@lacewing.task(name="stored.size")
async def size(file: File) -> int:
    return sum(map(len, file.chunks()))


@lacewing.task(name="stored.same_path")
def same_path(path: Path) -> Path:
    assert path.is_file()
    return path


@lacewing.task(name="stored.names")
def names(directory: Directory) -> dict[str, int]:
    return {name: file.path().stat().st_size for name, file in directory.files().items()}


@lacewing.task(name="stored.copied")
def copied(directory: Directory) -> Directory:
    return Directory(directory.path())


@lacewing.task(name="stored.reported")
def reported(report: Report) -> Report:
    return Report(report.title + report.text.read_text(), report.text)


@lacewing.task(name="stored.maybe")
def maybe(file: File | None = None) -> str:
    return "nothing" if file is None else file.read_text()


@lacewing.task(name="stored.taxed", cache=True)
def taxed(table: Prices) -> pd.DataFrame:
    return table.assign(price=table["price"] * 2)


@lacewing.task(name="stored.sorted_polars")
def sorted_polars(table: pl.DataFrame) -> pl.DataFrame:
    return table.sort("number")


@lacewing.task(name="stored.head_arrow")
def head_arrow(table: pa.Table) -> pa.Table:
    return table.slice(0, 1)


ALL: list[AnyTask] = [
    upper, size, same_path, names, copied, reported, maybe, taxed, sorted_polars, head_arrow,
]  # fmt: skip
