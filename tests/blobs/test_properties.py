"""What holds for all values that travel by reference, with a real server that keeps them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import type_strategies as make
from lacewing import Columns, Directory, testing
from lacewing._blobs import Blobs, BlobSession
from lacewing._values import Values
from lacewing.types import InterfaceChecker, blob_access, converter_for, digest_literal_map
from lacewing.v1 import blob_pb2, interface_pb2, literals_pb2, types_pb2

# Each example is stored on a disk, and synchronized.
few = settings(make.thorough, max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])


@pytest.fixture(scope="module")
def session() -> Iterator[BlobSession]:
    """A way to the blobs of a server."""
    with testing.server() as server:
        session = BlobSession(Blobs(server.address, None))
        yield session
        session.close()
        session.blobs.close()


def map_of(name: str, literal: literals_pb2.Literal) -> literals_pb2.LiteralMap:
    return literals_pb2.LiteralMap(literals={name: literal})


@few
@given(pair=make.definite_types().flatmap(lambda found: st.tuples(st.just(found), make.literals_of(found))))
def test_any_literal_may_travel_by_reference(
    session: BlobSession, pair: tuple[types_pb2.LiteralType, literals_pb2.Literal]
) -> None:
    """The reference fits where the value fits, is the same to the cache each time, and gives the value back."""
    literal_type, literal = pair
    variables = interface_pb2.VariableMap(variables={"x": interface_pb2.Variable(type=literal_type)})
    values = Values(session, limit=0)
    first, second = map_of("x", literal), map_of("x", literal)
    for literals in (first, second):
        values.offload(literals, variables)
        assert literals.literals["x"].HasField("offloaded_metadata") == bool(literal.ByteSize())
    assert InterfaceChecker(variables).check(first) == []
    assert digest_literal_map(first) == digest_literal_map(second)
    assert values.from_literals(lambda fetched: fetched.literals["x"], first, has_stored=True) == literal


_cells: dict[type, st.SearchStrategy[Any]] = {
    int: st.integers(-(2**63), 2**63 - 1),
    float: st.floats(allow_nan=False),
    str: st.text(st.characters(codec="utf-8"), max_size=20),
    bool: st.booleans(),
    bytes: st.binary(max_size=20),
    datetime: st.datetimes(datetime(1970, 1, 1), datetime(2200, 1, 1), timezones=st.just(UTC)),  # noqa: DTZ001 hypothesis adds the zone
}


@st.composite
def tables(draw: st.DrawFn) -> tuple[dict[str, type], dict[str, list[Any]]]:
    """Columns with their types, and as many values in each; a column without values has no type of its own."""
    kinds = draw(
        st.dictionaries(st.text("abcdeü %", min_size=1, max_size=5), st.sampled_from(list(_cells)), min_size=1)
    )
    rows = draw(st.integers(1, 5))
    return kinds, {name: draw(st.lists(_cells[kind], min_size=rows, max_size=rows)) for name, kind in kinds.items()}


def round_trip(session: BlobSession, annotation: Any, value: Any) -> Any:
    """Converts a value to a literal, which a server would take, and back."""
    converter = converter_for(annotation)
    with blob_access(session):
        literal = converter.to_literal(value)
        variables = interface_pb2.VariableMap(variables={"x": interface_pb2.Variable(type=converter.literal_type)})
        assert InterfaceChecker(variables).check(map_of("x", literal)) == []
        return converter.to_python(literal)


@few
@given(table=tables())
def test_tables_come_back(session: BlobSession, table: tuple[dict[str, type], dict[str, list[Any]]]) -> None:
    """Tables of all three libraries, with all kinds of columns, are what they were, and have the columns they say."""
    kinds, content = table
    columns = Columns(kinds)
    arrow = pa.table(content)
    assert round_trip(session, Annotated[pa.Table, columns], arrow).equals(arrow)
    frame = pl.from_arrow(arrow)
    assert isinstance(frame, pl.DataFrame)
    assert round_trip(session, Annotated[pl.DataFrame, columns], frame).equals(frame)
    pandas = arrow.to_pandas()
    pd.testing.assert_frame_equal(round_trip(session, Annotated[pd.DataFrame, columns], pandas), pandas)


_names = st.text("aäB. -\n", min_size=1, max_size=6).filter(lambda name: name not in (".", ".."))


@few
@given(tree=st.dictionaries(st.lists(_names, min_size=1, max_size=3).map("/".join), st.binary(max_size=50), max_size=6))
def test_directories_come_back(
    session: BlobSession, tmp_path_factory: pytest.TempPathFactory, tree: dict[str, bytes]
) -> None:
    """Whatever the names of the files, and however deep, all of them come back in their places with their content."""
    tree = {name: content for name, content in tree.items() if not any(other.startswith(f"{name}/") for other in tree)}
    root = tmp_path_factory.mktemp("tree")
    for name, content in tree.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(content)
    result = round_trip(session, Directory, Directory(root))
    assert {name: file.read_bytes() for name, file in result.files().items()} == tree
    path: Path = result.path()
    found = {str(file.relative_to(path)): file.read_bytes() for file in path.rglob("*") if file.is_file()}
    assert found == tree


@pytest.mark.parametrize("name", ["../up", "/root", "a/../../up", "a//b", "", ".", "a/", "nul\0"])
def test_a_file_outside_of_its_directory_is_not_fetched(session: BlobSession, name: str) -> None:
    """A list of files that somebody made to write elsewhere is refused."""
    listing = blob_pb2.BlobDirectory(files=[blob_pb2.BlobFile(path=name, digest="0" * 64)])
    uri = session.upload(listing.SerializeToString())
    literal = converter_for(Directory).to_literal(Directory.from_uri(uri))
    with blob_access(session):
        directory = converter_for(Directory).to_python(literal)
    for read in (directory.files, directory.path):
        with pytest.raises(ValueError, match=re.escape(f"{name!r}")):
            read()
