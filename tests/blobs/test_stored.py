"""Files, directories and tables as inputs and outputs of tasks, with a real server and worker."""

from __future__ import annotations

import os
import re
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime
from pathlib import Path

import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

import lacewing
from blobs import stored_bodies as bodies
from blobs.conftest import Place
from lacewing import Directory, File, errors, testing
from lacewing.v1 import execution_pb2


@pytest.fixture(scope="module", params=["process", "thread"])
def worker(place: Place, request: pytest.FixtureRequest) -> Iterator[None]:
    with testing.worker(place.server.address, bodies.ALL, isolation=request.param, slots=2):
        yield


@pytest.fixture
async def client(place: Place, worker: None) -> AsyncIterator[lacewing.Client]:
    async with lacewing.Client(place.server.address) as client:
        yield client


async def test_a_file_is_given_and_returned(client: lacewing.Client, tmp_path: Path) -> None:
    """A body reads the file of the caller, and the caller that of the body; its content decides about the cache."""
    (tmp_path / "in.txt").write_text("some text")
    result = await client.execute(bodies.upper, File(tmp_path / "in.txt"))
    assert result.uri.startswith("lacewing://sha256/")
    assert result.read_text() == "SOME TEXT"
    assert b"".join(result.chunks()) == b"SOME TEXT"
    with result.open() as opened:
        assert opened.read() == b"SOME TEXT"
    assert result.copy_to(tmp_path / "out.txt").read_text() == "SOME TEXT"
    (tmp_path / "same.txt").write_text("some text")
    handle = await client.submit(bodies.upper, File(tmp_path / "same.txt"))
    assert (await handle.wait(20)).cache.status == execution_pb2.CacheInfo.STATUS_HIT


async def test_a_large_file_is_streamed(client: lacewing.Client, tmp_path: Path) -> None:
    """A file of any size can be read by an asynchronous body, chunk by chunk."""
    content = os.urandom(1 << 20) * 20
    (tmp_path / "large").write_bytes(content)
    assert await client.execute(bodies.size, File(tmp_path / "large")) == len(content)


async def test_a_result_is_an_input_without_being_fetched(client: lacewing.Client, tmp_path: Path) -> None:
    """What one task returns goes into the next by its URI."""
    (tmp_path / "in.txt").write_text("abc")
    first = await client.execute(bodies.upper, File(tmp_path / "in.txt"))
    assert await client.execute(bodies.size, File.from_uri(first.uri)) == 3
    assert await client.execute(bodies.maybe, first) == "ABC"
    assert await client.execute(bodies.maybe) == "nothing"


async def test_a_path_is_a_file(client: lacewing.Client, tmp_path: Path) -> None:
    """`pathlib.Path` is fetched before the body begins, and the result before it is returned."""
    (tmp_path / "in").write_bytes(b"\0\1")
    result = await client.execute(bodies.same_path, tmp_path / "in")
    assert result.read_bytes() == b"\0\1"
    assert result != tmp_path / "in"


async def test_a_directory_is_given_and_returned(client: lacewing.Client, tmp_path: Path) -> None:
    """All files below it are there, in the same places; links to files are files; single files can be read."""
    (tmp_path / "tree" / "deep" / "deeper").mkdir(parents=True)
    (tmp_path / "tree" / "empty").mkdir()
    (tmp_path / "tree" / "deep" / "deeper" / "grün.txt").write_text("leaf")
    (tmp_path / "tree" / "root.bin").write_bytes(bytes(100_000))
    (tmp_path / "tree" / "link").symlink_to("root.bin")
    given = Directory(tmp_path / "tree")
    expected = {"deep/deeper/grün.txt": 4, "link": 100_000, "root.bin": 100_000}
    assert await client.execute(bodies.names, given) == expected
    result = await client.execute(bodies.copied, given)
    assert result.files()["deep/deeper/grün.txt"].read_text() == "leaf"
    assert {name: (result.path() / name).stat().st_size for name in result.files()} == expected
    assert result.uri == given.uri


async def test_a_file_inside_a_record(client: lacewing.Client, tmp_path: Path) -> None:
    """Fields of a dataclass may be files."""
    (tmp_path / "in").write_text("text")
    result = await client.execute(bodies.reported, bodies.Report("a ", File(tmp_path / "in")))
    assert result.title == "a text"
    assert result.text.read_text() == "text"


async def test_a_file_that_cannot_be_read_is_refused(client: lacewing.Client, tmp_path: Path) -> None:
    """A path that leads nowhere, or to a directory, is an error of the inputs."""
    for path in (tmp_path / "nothing", tmp_path):
        with pytest.raises(errors.InputsInvalid) as raised:
            await client.execute(bodies.size, File(path))
        assert [each.field for each in raised.value.violations] == ["inputs.file"]


async def test_tables_of_pandas(client: lacewing.Client) -> None:
    """A table comes as it went, with the columns that are annotated; equal tables hit the cache."""
    table = pd.DataFrame({"item": ["a", "b"], "price": [1.5, 2.0], "note": ["x", None]})
    result = await client.execute(bodies.taxed, table)
    pd.testing.assert_frame_equal(result, pd.DataFrame({"item": ["a", "b"], "price": [3.0, 4.0]}))
    handle = await client.submit(bodies.taxed, table.copy())
    assert (await handle.wait(20)).cache.status == execution_pb2.CacheInfo.STATUS_HIT


async def test_a_table_without_an_annotated_column_is_refused(client: lacewing.Client) -> None:
    """A column that is missing, or has another type, is an error of the inputs, found before anything runs."""
    for table in (pd.DataFrame({"item": ["a"]}), pd.DataFrame({"item": ["a"], "price": ["high"]})):
        with pytest.raises(errors.InputsInvalid, match="price"):
            await client.execute(bodies.taxed, table)


async def test_tables_of_polars_and_pyarrow(client: lacewing.Client) -> None:
    """They come as they went, and are the same files to all three libraries."""
    frame = pl.DataFrame({"number": [3, 1], "when": [datetime(2026, 1, 1, tzinfo=UTC)] * 2, "lists": [[1], [2, 3]]})
    assert (await client.execute(bodies.sorted_polars, frame)).equals(frame.sort("number"))
    table = pa.table({"number": [3, 1], "text": ["a", None]})
    assert (await client.execute(bodies.head_arrow, table)).equals(table.slice(0, 1))


async def test_the_task_of_the_readme(place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The last module of the README runs as printed."""
    text = (Path(__file__).parents[2] / "README.md").read_text()
    *_, module = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    (tmp_path / "tables_of_the_readme.py").write_text(module)
    (tmp_path / "prices.csv").write_text("item,price,note\ntea,2.5,hot\n")
    monkeypatch.syspath_prepend(tmp_path)
    (read,) = lacewing.load_tasks(["tables_of_the_readme"])
    with testing.worker(place.server.address, [read], isolation="process"):
        async with lacewing.Client(place.server.address) as client:
            table = await client.execute(read, File(tmp_path / "prices.csv"))
    pd.testing.assert_frame_equal(table, pd.DataFrame({"item": ["tea"], "price": [2.5]}))
