"""How literals refer to blobs that the server keeps."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final, NamedTuple

from lacewing.v1 import literals_pb2, types_pb2

BLOB_URI_PREFIX: Final = "lacewing://sha256/"
"""What the URI of a blob begins with; its digest follows."""


class BlobReference(NamedTuple):
    """A blob that a literal refers to."""

    digest: str
    """What the URI names; not checked to be a digest."""
    is_directory: bool
    """Whether the blob is a serialized `BlobDirectory`."""


def blob_references(literals: literals_pb2.LiteralMap) -> Iterator[BlobReference]:
    """Yield the blobs that literals refer to, in any order, some maybe more than once.

    What is inside of records and of offloaded values is not looked into.
    """
    yield from _of_literals(literals.literals.values())


def is_stored(literal_type: types_pb2.LiteralType) -> bool:
    """Return whether values of a type can have files or tables in them."""
    match literal_type.WhichOneof("type"):
        case "blob" | "schema" | "structured_dataset_type":
            return True
        case "collection_type":
            return is_stored(literal_type.collection_type)
        case "map_value_type":
            return is_stored(literal_type.map_value_type)
        case "union_type":
            return any(map(is_stored, literal_type.union_type.variants))
        case _:
            return any(map(is_stored, literal_type.structure.dataclass_type.values()))


def _of_literals(literals: Iterable[literals_pb2.Literal]) -> Iterator[BlobReference]:
    for literal in literals:
        match literal.WhichOneof("value"):
            case "offloaded_metadata":
                yield from _of_uri(literal.offloaded_metadata.uri)
            case "collection":
                yield from _of_literals(literal.collection.literals)
            case "map":
                yield from _of_literals(literal.map.literals.values())
            case "scalar":
                yield from _of_scalar(literal.scalar)


def _of_scalar(scalar: literals_pb2.Scalar) -> Iterator[BlobReference]:
    match scalar.WhichOneof("value"):
        case "blob":
            dimensionality = scalar.blob.metadata.type.dimensionality
            yield from _of_uri(
                scalar.blob.uri, is_directory=dimensionality == types_pb2.BlobType.BLOB_DIMENSIONALITY_MULTIPART
            )
        case "structured_dataset":
            yield from _of_uri(scalar.structured_dataset.uri)
        case "schema":
            yield from _of_uri(scalar.schema.uri)
        case "union":
            yield from _of_literals([scalar.union.value])


def _of_uri(uri: str, *, is_directory: bool = False) -> Iterator[BlobReference]:
    if uri.startswith(BLOB_URI_PREFIX):
        yield BlobReference(uri.removeprefix(BLOB_URI_PREFIX), is_directory)
