"""Tables of pandas, polars and pyarrow as inputs and outputs: `StructuredDataset` literals, Parquet in the blob store.

None of the three is imported here before a table of it is written or read: an annotation can only name the class of a
library that is imported already.
"""

from __future__ import annotations

import sys
from abc import abstractmethod
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final, TypeAlias

from lacewing.types._problem import ConversionError
from lacewing.types._python._annotated import annotated
from lacewing.types._python._blob_access import required_access
from lacewing.types._python._transformer import TypeTransformer
from lacewing.v1 import literals_pb2, types_pb2

_FORMAT: Final = "parquet"
_Column = types_pb2.StructuredDatasetType.DatasetColumn
Columned: TypeAlias = Iterator[tuple[str, types_pb2.LiteralType]]
"""Columns with their names."""


class Columns:
    """Says in an annotation which columns a table has: `Annotated[pandas.DataFrame, Columns({"price": float})]`.

    A table that lacks one of them, or has it with another type, does not fit. Others may be there; who receives the
    table with this annotation gets these only.

    Args:
        types: The type of each column, as an annotation: int, float, str, bool, bytes, datetime, timedelta, or a list.
    """

    def __init__(self, types: Mapping[str, Any]) -> None:
        self.types = dict(types)

    def __repr__(self) -> str:
        return f"Columns({self.types!r})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Columns) and list(self.types.items()) == list(other.types.items())

    def __hash__(self) -> int:
        return hash(tuple(self.types))


class TableTransformer(TypeTransformer):
    """The tables of one library."""

    module: str
    class_name: str

    def matches(self, annotation: Any) -> bool:
        """Return whether it is the class of tables of this library."""
        found = self._table_class()
        return found is not None and annotated(annotation)[0] is found

    def literal_type(self, annotation: Any) -> types_pb2.LiteralType:
        """Return a dataset of the annotated columns."""
        from lacewing.types._python._compile import literal_type_of  # noqa: PLC0415 it imports this module

        columns = _declared(annotation)
        return _dataset_type((name, literal_type_of(of)) for name, of in columns.types.items())

    def to_literal(self, value: Any, annotation: Any) -> literals_pb2.Literal:  # noqa: ARG002 the codec compares columns
        """Write the table to a file, and store that."""
        if not isinstance(value, self._table_class() or ()):
            raise TypeError(f"got a {type(value).__qualname__}")
        access = required_access()
        path = access.scratch() / f"table.{_FORMAT}"
        try:
            try:
                self._write(value, path)
                columns = list(self._columns(path))
            except Exception as error:  # each library has errors of its own
                raise ConversionError(f"the table cannot be written as {_FORMAT}: {error}") from error
            uri = access.upload_file(path)
        finally:
            path.unlink(missing_ok=True)
        dataset_type = _dataset_type(columns).structured_dataset_type
        metadata = literals_pb2.StructuredDatasetMetadata(structured_dataset_type=dataset_type)
        dataset = literals_pb2.StructuredDataset(uri=uri, metadata=metadata)
        return literals_pb2.Literal(scalar=literals_pb2.Scalar(structured_dataset=dataset))

    def to_python(self, literal: literals_pb2.Literal, annotation: Any) -> Any:
        """Fetch the file and read it."""
        scalar = literal.scalar
        if not scalar.HasField("structured_dataset"):
            raise ConversionError("is no table that can be read here")
        found = scalar.structured_dataset.metadata.structured_dataset_type.format
        if found.lower() != _FORMAT:
            raise ConversionError(f"is a table in the format {found or '(unknown)'}, which cannot be read here")
        access = required_access()
        path = access.scratch() / f"table.{_FORMAT}"
        try:
            access.download(scalar.structured_dataset.uri, path)
            try:
                return self._read(path, list(_declared(annotation).types) or None)
            except Exception as error:  # each library has errors of its own
                raise ConversionError(f"the table cannot be read: {error}") from error
        finally:
            path.unlink(missing_ok=True)

    def _table_class(self) -> type | None:
        found: type | None = getattr(sys.modules.get(self.module), self.class_name, None)
        return found

    @abstractmethod
    def _write(self, table: Any, path: Path) -> None:
        """Write a table to a file."""

    @abstractmethod
    def _columns(self, path: Path) -> Columned:
        """Yield the columns of a file that was written."""

    @abstractmethod
    def _read(self, path: Path, columns: list[str] | None) -> Any:
        """Read a file, some of its columns or all."""


class PandasTransformer(TableTransformer):
    """`pandas.DataFrame`."""

    name = "pandas.DataFrame"
    module = "pandas"
    class_name = "DataFrame"

    def _write(self, table: Any, path: Path) -> None:
        table.to_parquet(path, engine="pyarrow")

    def _columns(self, path: Path) -> Columned:
        return _arrow_columns(path)

    def _read(self, path: Path, columns: list[str] | None) -> Any:
        import pandas as pd  # noqa: PLC0415 see above

        return pd.read_parquet(path, engine="pyarrow", columns=columns)


class ArrowTransformer(TableTransformer):
    """`pyarrow.Table`."""

    name = "pyarrow.Table"
    module = "pyarrow"
    class_name = "Table"

    def _write(self, table: Any, path: Path) -> None:
        import pyarrow.parquet as pq  # noqa: PLC0415 see above

        pq.write_table(table, path)

    def _columns(self, path: Path) -> Columned:
        return _arrow_columns(path)

    def _read(self, path: Path, columns: list[str] | None) -> Any:
        import pyarrow.parquet as pq  # noqa: PLC0415 see above

        return pq.read_table(path, columns=columns, memory_map=False)


class PolarsTransformer(TableTransformer):
    """`polars.DataFrame`."""

    name = "polars.DataFrame"
    module = "polars"
    class_name = "DataFrame"

    def _write(self, table: Any, path: Path) -> None:
        table.write_parquet(path)

    def _columns(self, path: Path) -> Columned:
        import polars as pl  # noqa: PLC0415 see above

        for name, dtype in pl.read_parquet_schema(path).items():
            yield name, _polars_type(dtype)

    def _read(self, path: Path, columns: list[str] | None) -> Any:
        import polars as pl  # noqa: PLC0415 see above

        return pl.read_parquet(path, columns=columns, memory_map=False)


def _declared(annotation: Any) -> Columns:
    return next((note for note in annotated(annotation)[1] if isinstance(note, Columns)), Columns({}))


def _dataset_type(columns: Iterable[tuple[str, types_pb2.LiteralType]]) -> types_pb2.LiteralType:
    listed = [_Column(name=name, literal_type=of) for name, of in columns]
    return types_pb2.LiteralType(
        structured_dataset_type=types_pb2.StructuredDatasetType(columns=listed, format=_FORMAT)
    )


def _simple(kind: types_pb2.SimpleType.ValueType) -> types_pb2.LiteralType:
    return types_pb2.LiteralType(simple=kind)


def _arrow_columns(path: Path) -> Columned:
    import pyarrow.parquet as pq  # noqa: PLC0415 see above

    for field in pq.read_schema(path):
        yield field.name, _arrow_type(field.type)


def _arrow_type(of: Any) -> types_pb2.LiteralType:
    import pyarrow.types as pt  # noqa: PLC0415 see above

    kinds = (
        (pt.is_boolean, types_pb2.SIMPLE_TYPE_BOOLEAN),
        (pt.is_integer, types_pb2.SIMPLE_TYPE_INTEGER),
        (pt.is_floating, types_pb2.SIMPLE_TYPE_FLOAT),
        (lambda kind: pt.is_timestamp(kind) or pt.is_date(kind), types_pb2.SIMPLE_TYPE_DATETIME),
        (pt.is_duration, types_pb2.SIMPLE_TYPE_DURATION),
        (lambda kind: pt.is_string(kind) or pt.is_large_string(kind), types_pb2.SIMPLE_TYPE_STRING),
        (lambda kind: pt.is_binary(kind) or pt.is_large_binary(kind), types_pb2.SIMPLE_TYPE_BINARY),
        (pt.is_null, types_pb2.SIMPLE_TYPE_NONE),
    )
    if pt.is_dictionary(of):
        return _arrow_type(of.value_type)
    if pt.is_list(of) or pt.is_large_list(of):
        return types_pb2.LiteralType(collection_type=_arrow_type(of.value_type))
    return _simple(next((kind for is_kind, kind in kinds if is_kind(of)), types_pb2.SIMPLE_TYPE_STRUCT))


def _polars_type(of: Any) -> types_pb2.LiteralType:
    import polars as pl  # noqa: PLC0415 see above

    kinds: tuple[tuple[bool, types_pb2.SimpleType.ValueType], ...] = (
        (of == pl.Boolean, types_pb2.SIMPLE_TYPE_BOOLEAN),
        (of.is_integer(), types_pb2.SIMPLE_TYPE_INTEGER),
        (of.is_float(), types_pb2.SIMPLE_TYPE_FLOAT),
        (of in (pl.Datetime, pl.Date), types_pb2.SIMPLE_TYPE_DATETIME),
        (of == pl.Duration, types_pb2.SIMPLE_TYPE_DURATION),
        (of in (pl.String, pl.Categorical, pl.Enum), types_pb2.SIMPLE_TYPE_STRING),
        (of == pl.Binary, types_pb2.SIMPLE_TYPE_BINARY),
        (of == pl.Null, types_pb2.SIMPLE_TYPE_NONE),
    )
    if of == pl.List:
        return types_pb2.LiteralType(collection_type=_polars_type(of.inner))
    return _simple(next((kind for is_kind, kind in kinds if is_kind), types_pb2.SIMPLE_TYPE_STRUCT))
