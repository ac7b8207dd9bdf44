"""Bytes, values that are kept in a store, and errors: what is passed on without being looked into."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from typing import Any

from lacewing.types._assign import explain_mismatch
from lacewing.types._codecs._base import UNFIT, Codec, Form
from lacewing.types._codecs._simple import unicode_text
from lacewing.types._msgpack import TAG
from lacewing.types._problem import ConversionError, field_segment, unknown_name
from lacewing.v1 import literals_pb2, types_pb2


class _MessageCodec(Codec):
    """A value that is a message in one field of `Scalar`, which is also its plain value."""

    field: str

    def fill(self, literal: literals_pb2.Literal, plain: Any) -> None:
        getattr(literal.scalar, self.field).CopyFrom(plain)

    def _check(self, literal: literals_pb2.Literal) -> bool:
        return literal.scalar.WhichOneof("value") == self.field

    def _plain(self, literal: literals_pb2.Literal) -> Any:
        return getattr(literal.scalar, self.field) if self._check(literal) else UNFIT


class BinaryCodec(_MessageCodec):
    """BINARY: bytes with a tag. With the tag `msgpack` they would be a STRUCT."""

    field = "binary"

    def read(self, value: Any, form: Form) -> literals_pb2.Binary:
        """Read bytes; from JSON base64 text. A tag is given by `{"value": ..., "tag": ...}`."""
        tag: object = ""
        if isinstance(value, dict) and set(value) == {"value", "tag"}:
            value, tag = value["value"], value["tag"]
        if form is Form.JSON and isinstance(value, str):
            try:
                value = base64.b64decode(value, validate=True)
            except ValueError as error:
                raise ConversionError(f"expected BINARY in base64, got text that is not: {error}") from None
        if not isinstance(value, bytes) or not isinstance(tag, str) or tag == TAG:
            raise self._unreadable(value)
        return literals_pb2.Binary(value=value, tag=unicode_text(tag))

    def write(self, plain: Any, form: Form) -> Any:
        """Write bytes, to JSON as base64 text."""
        binary: literals_pb2.Binary = plain
        value = base64.b64encode(binary.value).decode() if form is Form.JSON else binary.value
        return {"value": value, "tag": binary.tag} if binary.tag else value

    def _check(self, literal: literals_pb2.Literal) -> bool:
        return super()._check(literal) and literal.scalar.binary.tag != TAG


class BlobCodec(_MessageCodec):
    """A file or a directory in a store, `{"uri": ..., "format": ...}`."""

    field = "blob"

    def read(self, value: Any, form: Form) -> literals_pb2.Blob:  # noqa: ARG002 both forms have it
        """Read the URI and the format, which is that of the type if it is not given."""
        declared = self.literal_type.blob
        uri, blob_format = _read_stored(self, value, declared.format)
        blob_type = types_pb2.BlobType(format=blob_format, dimensionality=declared.dimensionality)
        blob = literals_pb2.Blob(uri=uri, metadata=literals_pb2.BlobMetadata(type=blob_type))
        self._require(blob)
        return blob

    def write(self, plain: Any, form: Form) -> dict[str, str]:  # noqa: ARG002 both forms have it
        """Write the URI, and the format if it is not that of the type."""
        blob: literals_pb2.Blob = plain
        return _write_stored(blob.uri, blob.metadata.type.format, self.literal_type.blob.format)

    def _check(self, literal: literals_pb2.Literal) -> bool:
        if not super()._check(literal):
            return False
        self._require(literal.scalar.blob)
        return True

    def _require(self, blob: literals_pb2.Blob) -> None:
        reason = explain_mismatch(types_pb2.LiteralType(blob=blob.metadata.type), self.literal_type)
        _require_stored(blob.uri, reason)


class TableCodec(Codec):
    """A table in a store: a `Schema`, a `StructuredDataset`, or nothing where a structured dataset is asked for.

    The plain value is the `Scalar`, because either kind of table stands for the other.
    """

    def fill(self, literal: literals_pb2.Literal, plain: Any) -> None:
        """Fill in a table."""
        literal.scalar.CopyFrom(plain)

    def read(self, value: Any, form: Form) -> literals_pb2.Scalar:  # noqa: ARG002 both forms have it
        """Read the URI and, for a structured dataset, the format; the columns are those of the type."""
        if value is None and self._is_dataset:
            return literals_pb2.Scalar(none_type=literals_pb2.Void())
        declared = self.literal_type.structured_dataset_type
        uri, table_format = _read_stored(self, value, declared.format)
        if self._is_dataset:
            dataset_type = types_pb2.StructuredDatasetType()
            dataset_type.CopyFrom(declared)
            dataset_type.format = table_format
            metadata = literals_pb2.StructuredDatasetMetadata(structured_dataset_type=dataset_type)
            scalar = literals_pb2.Scalar(structured_dataset=literals_pb2.StructuredDataset(uri=uri, metadata=metadata))
        else:
            scalar = literals_pb2.Scalar(schema=literals_pb2.Schema(uri=uri, type=self.literal_type.schema))
        self._require(scalar)
        return scalar

    def write(self, plain: Any, form: Form) -> dict[str, str] | None:  # noqa: ARG002 both forms have it
        """Write the URI, and the format if it is not that of the type. Columns are not written."""
        scalar: literals_pb2.Scalar = plain
        match scalar.WhichOneof("value"):
            case "none_type":
                return None
            case "schema":
                return {"uri": scalar.schema.uri}
            case _:
                dataset = scalar.structured_dataset
                declared = self.literal_type.structured_dataset_type.format if self._is_dataset else "parquet"
                found = dataset.metadata.structured_dataset_type.format if self._is_dataset else declared
                return _write_stored(dataset.uri, found, declared)

    @property
    def _is_dataset(self) -> bool:
        return self.literal_type.WhichOneof("type") == "structured_dataset_type"

    def _check(self, literal: literals_pb2.Literal) -> bool:
        match literal.scalar.WhichOneof("value"):
            case "schema" | "structured_dataset":
                self._require(literal.scalar)
                return True
            case "none_type":
                return self._is_dataset
            case _:
                return False

    def _plain(self, literal: literals_pb2.Literal) -> Any:
        return literal.scalar if self._check(literal) else UNFIT

    def _require(self, scalar: literals_pb2.Scalar) -> None:
        if scalar.HasField("schema"):
            uri, found = scalar.schema.uri, types_pb2.LiteralType(schema=scalar.schema.type)
        else:
            dataset_type = scalar.structured_dataset.metadata.structured_dataset_type
            uri = scalar.structured_dataset.uri
            found = types_pb2.LiteralType(structured_dataset_type=dataset_type)
        _require_stored(uri, explain_mismatch(found, self.literal_type))


class ErrorCodec(_MessageCodec):
    """ERROR: a failure as a value, `{"failed_node_id": ..., "message": ...}`."""

    field = "error"

    def read(self, value: Any, form: Form) -> literals_pb2.Error:  # noqa: ARG002 both forms have it
        """Read the two strings."""
        if not isinstance(value, dict):
            raise self._unreadable(value)
        _require_strings(value, {"failed_node_id", "message"})
        return literals_pb2.Error(**value)

    def write(self, plain: Any, form: Form) -> dict[str, str]:  # noqa: ARG002 both forms have it
        """Write the two strings."""
        error: literals_pb2.Error = plain
        return {"failed_node_id": error.failed_node_id, "message": error.message}


def _read_stored(codec: Codec, value: object, declared_format: str) -> tuple[str, str]:
    if not isinstance(value, dict):
        error = codec._unreadable(value)  # noqa: SLF001 a part of the two codecs above
        raise ConversionError(f'{error}; give it as {{"uri": "..."}}')
    _require_strings(value, {"uri", "format"})
    return value.get("uri", ""), value.get("format", declared_format)


def _write_stored(uri: str, found_format: str, declared_format: str) -> dict[str, str]:
    return {"uri": uri} if found_format == declared_format else {"uri": uri, "format": found_format}


def _require_strings(value: Mapping[str, object], known: set[str]) -> None:
    for name, part in value.items():
        if name not in known:
            raise ConversionError(unknown_name("field", str(name), known)).under(field_segment(str(name)))
        if not isinstance(part, str):
            raise ConversionError("expected STRING").under(field_segment(name))
        unicode_text(part)


def _require_stored(uri: str, mismatch: str | None) -> None:
    if mismatch is not None:
        raise ConversionError(mismatch)
    if not uri:
        raise ConversionError("the URI is empty")
