"""Random types with values of them, and random annotations with values of them."""

from __future__ import annotations

import dataclasses
import datetime as dt
import enum
import typing
from typing import Any, NamedTuple

import msgpack  # type: ignore[import-untyped]  # It ships no stubs.
from google.protobuf import duration_pb2, timestamp_pb2
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

from lacewing.types import closest_variant
from lacewing.v1 import literals_pb2, types_pb2

thorough = settings(max_examples=100, deadline=None, suppress_health_check=list(HealthCheck))
"""For properties over types and values, which take a while to draw."""

names = st.text(st.characters(codec="utf-8"), min_size=1, max_size=4)
identifiers = st.from_regex(r"[a-z]{1,3}", fullmatch=True)
texts = st.text(st.characters(codec="utf-8"), max_size=8)
int64s = st.integers(-(2**63), 2**63 - 1)
trees = st.dictionaries(
    texts,
    st.recursive(
        st.none() | st.booleans() | int64s | st.floats() | texts | st.binary(max_size=6),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
        max_leaves=5,
    ),
    max_size=3,
)
timestamps = st.builds(
    timestamp_pb2.Timestamp,
    seconds=st.integers(-62_135_596_800, 253_402_300_799),
    nanos=st.integers(0, 999_999_999),
)
durations = st.integers(-(10**20), 10**20).map(
    lambda nanos: duration_pb2.Duration(
        seconds=(abs(nanos) // 10**9) * (1 if nanos >= 0 else -1),
        nanos=(abs(nanos) % 10**9) * (1 if nanos >= 0 else -1),
    )
)


def simple(kind: str) -> types_pb2.LiteralType:
    """Return the simple type of a short name."""
    return types_pb2.LiteralType(simple=types_pb2.SimpleType.Value(f"SIMPLE_TYPE_{kind}"))


def primitive(**value: Any) -> literals_pb2.Literal:
    """Return the literal of a primitive."""
    return literals_pb2.Literal(scalar=literals_pb2.Scalar(primitive=literals_pb2.Primitive(**value)))


def scalar(**value: Any) -> literals_pb2.Literal:
    """Return the literal of a scalar."""
    return literals_pb2.Literal(scalar=literals_pb2.Scalar(**value))


def list_of(item: types_pb2.LiteralType) -> types_pb2.LiteralType:
    """Return the type of a list."""
    return types_pb2.LiteralType(collection_type=item)


def map_of(value: types_pb2.LiteralType) -> types_pb2.LiteralType:
    """Return the type of a map."""
    return types_pb2.LiteralType(map_value_type=value)


def union_of(*variants: types_pb2.LiteralType) -> types_pb2.LiteralType:
    """Return the type of a union."""
    return types_pb2.LiteralType(union_type=types_pb2.UnionType(variants=variants))


def enum_of(*values: str) -> types_pb2.LiteralType:
    """Return the type of an enum."""
    return types_pb2.LiteralType(enum_type=types_pb2.EnumType(values=values))


def blob_of(blob_format: str, dimensionality: int = 0) -> types_pb2.LiteralType:
    """Return the type of a blob; the dimensionality is 0 for a file and 1 for a directory."""
    known = types_pb2.BlobType.BlobDimensionality
    return types_pb2.LiteralType(
        blob=types_pb2.BlobType(format=blob_format, dimensionality=known.values()[dimensionality])
    )


def record_of(fields: dict[str, types_pb2.LiteralType], required: list[str] | None = None) -> types_pb2.LiteralType:
    """Return the type of a record; `required` is given as JSON Schema unless it is None."""
    record = simple("STRUCT")
    for name, field in fields.items():
        record.structure.dataclass_type[name].CopyFrom(field)
    if required is not None:
        record.metadata.update({"type": "object", "required": required})
    return record


def dataset_of(dataset_format: str, columns: dict[str, types_pb2.LiteralType]) -> types_pb2.LiteralType:
    """Return the type of a structured dataset."""
    column = types_pb2.StructuredDatasetType.DatasetColumn
    return types_pb2.LiteralType(
        structured_dataset_type=types_pb2.StructuredDatasetType(
            format=dataset_format,
            columns=[column(name=name, literal_type=literal_type) for name, literal_type in columns.items()],
        )
    )


_SIMPLE_VALUES: dict[str, st.SearchStrategy[literals_pb2.Literal]] = {
    "NONE": st.just(scalar(none_type=literals_pb2.Void())),
    "INTEGER": int64s.map(lambda value: primitive(integer=value)),
    "FLOAT": st.floats().map(lambda value: primitive(float_value=value)),
    "STRING": texts.map(lambda value: primitive(string_value=value)),
    "BOOLEAN": st.booleans().map(lambda value: primitive(boolean=value)),
    "DATETIME": timestamps.map(lambda value: primitive(datetime=value)),
    "DURATION": durations.map(lambda value: primitive(duration=value)),
    "BINARY": st.builds(literals_pb2.Binary, value=st.binary(max_size=6), tag=st.sampled_from(["", "", "avro"])).map(
        lambda value: scalar(binary=value)
    ),
    "ERROR": st.builds(literals_pb2.Error, message=texts).map(lambda value: scalar(error=value)),
}
_simple_types = st.sampled_from(sorted(_SIMPLE_VALUES)).map(simple)


@st.composite
def _unions(draw: st.DrawFn, parts: st.SearchStrategy[types_pb2.LiteralType]) -> types_pb2.LiteralType:
    """Unions whose variants are told apart, as SDKs make them."""
    variants: list[types_pb2.LiteralType] = []
    for variant in draw(st.lists(parts, min_size=1, max_size=3)):
        if all(closest_variant(one, [*variants, variant]) == index for index, one in enumerate([*variants, variant])):
            variants.append(variant)
    return union_of(*variants)


def definite_types(*, unions: bool = True) -> st.SearchStrategy[types_pb2.LiteralType]:
    """Types that leave nothing open.

    Each blob has a format, each table columns, each record fields, each list elements.
    """
    leaves = (
        _simple_types
        | st.lists(names, min_size=1, max_size=2, unique=True).map(lambda values: enum_of(*values))
        | st.builds(blob_of, st.sampled_from(["csv", "png"]), st.sampled_from([0, 1]))
        | st.dictionaries(identifiers, _simple_types, min_size=1, max_size=2).map(
            lambda columns: dataset_of("parquet", columns)
        )
    )

    def containers(inner: st.SearchStrategy[types_pb2.LiteralType]) -> st.SearchStrategy[types_pb2.LiteralType]:
        fields = st.dictionaries(identifiers, inner, min_size=1, max_size=3)
        records = fields.flatmap(
            lambda found: st.sets(st.sampled_from(sorted(found))).map(lambda must: record_of(found, sorted(must)))
        )
        # A list of nothing leaves its elements open.
        parts = inner.map(lambda part: simple("STRING") if part == simple("NONE") else part)
        kinds = parts.map(list_of) | parts.map(map_of) | records | fields.map(record_of)
        return kinds | _unions(inner) if unions else kinds

    return st.recursive(leaves, containers, max_leaves=5)


@st.composite
def literals_of(draw: st.DrawFn, literal_type: types_pb2.LiteralType) -> literals_pb2.Literal:  # noqa: PLR0911 one arm per kind of type
    """A literal of a type made by `definite_types`, built without the code under test."""
    match literal_type.WhichOneof("type"):
        case "simple" if literal_type.simple != types_pb2.SIMPLE_TYPE_STRUCT:
            return draw(_SIMPLE_VALUES[types_pb2.SimpleType.Name(literal_type.simple).removeprefix("SIMPLE_TYPE_")])
        case "simple":
            return scalar(
                binary=literals_pb2.Binary(value=msgpack.packb(draw(objects_of(literal_type))), tag="msgpack")
            )
        case "enum_type":
            return primitive(string_value=draw(st.sampled_from(list(literal_type.enum_type.values))))
        case "collection_type":
            items = draw(st.lists(literals_of(literal_type.collection_type), max_size=3))
            return literals_pb2.Literal(collection=literals_pb2.LiteralCollection(literals=items))
        case "map_value_type":
            entries = draw(st.dictionaries(texts, literals_of(literal_type.map_value_type), max_size=3))
            return literals_pb2.Literal(map=literals_pb2.LiteralMap(literals=entries))
        case "blob":
            blob_type = literals_pb2.BlobMetadata(type=literal_type.blob)
            return scalar(blob=literals_pb2.Blob(uri=draw(names), metadata=blob_type))
        case "structured_dataset_type":
            metadata = literals_pb2.StructuredDatasetMetadata(
                structured_dataset_type=literal_type.structured_dataset_type
            )
            dataset = scalar(structured_dataset=literals_pb2.StructuredDataset(uri=draw(names), metadata=metadata))
            return draw(st.sampled_from([dataset, scalar(none_type=literals_pb2.Void())]))
        case "union_type":
            variant = draw(st.sampled_from(list(literal_type.union_type.variants)))
            return scalar(union=literals_pb2.Union(value=draw(literals_of(variant)), type=variant))
        case other:
            raise AssertionError(other)


@st.composite
def objects_of(draw: st.DrawFn, literal_type: types_pb2.LiteralType) -> Any:
    """What a record holds in a field of a type."""
    if literal_type.WhichOneof("type") == "simple" and literal_type.simple == types_pb2.SIMPLE_TYPE_STRUCT:
        required = [value.string_value for value in literal_type.metadata.fields["required"].list_value.values]
        schema = "type" in literal_type.metadata.fields
        return {
            name: draw(objects_of(field))
            for name, field in sorted(literal_type.structure.dataclass_type.items())
            if not schema or name in required or draw(st.booleans())
        }
    return draw(literals_of(literal_type).map(_object_of))


def _object_of(literal: literals_pb2.Literal) -> Any:  # noqa: PLR0911 one arm per kind of literal
    match literal.WhichOneof("value"):
        case "collection":
            return [_object_of(item) for item in literal.collection.literals]
        case "map":
            return {key: _object_of(value) for key, value in literal.map.literals.items()}
        case _:
            pass
    match literal.scalar.WhichOneof("value"):
        case "primitive":
            value = getattr(literal.scalar.primitive, str(literal.scalar.primitive.WhichOneof("value")))
            return value.ToJsonString() if hasattr(value, "ToJsonString") else value
        case "binary" if literal.scalar.binary.tag == "msgpack":
            return msgpack.unpackb(literal.scalar.binary.value)
        case "binary":
            binary = literal.scalar.binary
            return {"value": binary.value, "tag": binary.tag} if binary.tag else binary.value
        case "error":
            return {"failed_node_id": "", "message": literal.scalar.error.message}
        case "blob":
            return {"uri": literal.scalar.blob.uri}
        case "structured_dataset":
            return {"uri": literal.scalar.structured_dataset.uri}
        case "union":
            return _object_of(literal.scalar.union.value)
        case _:
            return None


@st.composite
def wider_types(  # noqa: PLR0911 one arm per kind of type
    draw: st.DrawFn, literal_type: types_pb2.LiteralType
) -> types_pb2.LiteralType:
    """A type that is likely to accept every value of another: unions, strings for enums, records that ask for less."""
    if draw(st.integers(0, 3)) == 0:
        return union_of(*draw(st.permutations([literal_type, draw(definite_types())])))
    match literal_type.WhichOneof("type"):
        case "enum_type":
            return draw(st.sampled_from([simple("STRING"), literal_type]))
        case "collection_type":
            return list_of(draw(wider_types(literal_type.collection_type)))
        case "map_value_type":
            return map_of(draw(wider_types(literal_type.map_value_type)))
        case "union_type":
            return union_of(*[draw(wider_types(variant)) for variant in literal_type.union_type.variants])
        case "simple" if literal_type.structure.dataclass_type:
            fields = {
                name: draw(wider_types(field)) for name, field in sorted(literal_type.structure.dataclass_type.items())
            }
            extra = draw(st.dictionaries(identifiers, st.just(union_of(simple("NONE"))), max_size=1))
            return record_of({**extra, **fields}, draw(st.sampled_from([None, [], sorted(fields)])))
        case _:
            return literal_type


class Case(NamedTuple):
    """An annotation and a strategy for its values."""

    annotation: Any
    values: st.SearchStrategy[Any]


_instants = st.datetimes(dt.datetime(2, 1, 1), dt.datetime(9998, 1, 1)).flatmap(  # noqa: DTZ001 the zone follows
    lambda naive: st.integers(-840, 840).map(
        lambda minutes: naive.replace(tzinfo=dt.timezone(dt.timedelta(minutes=minutes)))
    )
)
_spans = st.timedeltas(dt.timedelta(days=-3_000_000), dt.timedelta(days=3_000_000))


class Color(enum.Enum):
    """Members with strings."""

    RED = "red"
    BLUE = "blue sky"


class Level(enum.IntEnum):
    """Members with numbers."""

    LOW = 1
    HIGH = 2


_typed_leaf_cases = st.sampled_from(
    [
        Case(int, int64s),
        Case(float, st.floats(allow_nan=False)),
        Case(str, texts),
        Case(bool, st.booleans()),
        Case(bytes, st.binary(max_size=6)),
        Case(None, st.none()),
        Case(dt.datetime, _instants),
        Case(dt.timedelta, _spans),
        Case(Color, st.sampled_from(Color)),
        Case(Level, st.sampled_from(Level)),
        Case(typing.Literal["a", "ü"], st.sampled_from(["a", "ü"])),
    ]
)
_tree_cases = st.just(Case(dict, trees.filter(lambda tree: "nan" not in repr(tree))))  # NaN does not equal itself.


# mypy takes a call of these by name for a declaration, whose fields it must see; here they are drawn.
_named_tuple: Any = NamedTuple
_typed_dict: Any = typing.TypedDict


@st.composite
def _record_cases(draw: st.DrawFn, inner: st.SearchStrategy[Case]) -> Case:
    fields = draw(st.dictionaries(st.sampled_from(["alpha", "beta", "gamma"]), inner, min_size=1, max_size=3))
    annotations = {name: case.annotation for name, case in fields.items()}
    values = {name: case.values for name, case in fields.items()}
    match draw(st.sampled_from(["dataclass", "named", "typed", "partial"])):
        case "dataclass":
            made: Any = dataclasses.make_dataclass("Made", list(annotations.items()), frozen=True)
            return Case(made, st.builds(made, **values))
        case "named":
            made = _named_tuple("Made", list(annotations.items()))
            return Case(made, st.builds(made, **values))
        case "typed":
            return Case(_typed_dict("Made", annotations), st.fixed_dictionaries(values))
        case _:
            partial = _typed_dict("Made", annotations, total=False)
            return Case(partial, st.fixed_dictionaries({}, optional=values))


def _container_cases(inner: st.SearchStrategy[Case]) -> st.SearchStrategy[Case]:
    return (
        inner.map(lambda case: Case(list[case.annotation], st.lists(case.values, max_size=3)))  # type: ignore[name-defined]  # Drawn.
        | inner.map(lambda case: Case(tuple[case.annotation, ...], st.lists(case.values, max_size=3).map(tuple)))  # type: ignore[name-defined]  # Drawn.
        | inner.map(lambda case: Case(dict[str, case.annotation], st.dictionaries(texts, case.values, max_size=3)))  # type: ignore[name-defined]  # Drawn.
        | inner.map(lambda case: Case(typing.Optional[case.annotation], st.none() | case.values))  # noqa: UP045 drawn
        | _record_cases(inner)
    )


_mixed_cases = st.sampled_from(
    [
        Case(int | str | None, int64s | texts | st.none()),
        Case(int | float, int64s | st.floats(allow_nan=False)),
        Case(str | dt.datetime | bytes, texts | _instants | st.binary(max_size=4)),
        Case(Color | str | Level, st.sampled_from(Color) | texts | st.sampled_from(Level)),
        Case(list[str] | str | dict[str, int], st.lists(texts, min_size=1, max_size=2) | texts),
    ]
)

typed_cases = st.recursive(_typed_leaf_cases | _mixed_cases, _container_cases, max_leaves=5)
"""Annotations with values, all parts of which have a type."""

cases = st.recursive(_typed_leaf_cases | _mixed_cases | _tree_cases, _container_cases, max_leaves=5)
"""Annotations with values."""
