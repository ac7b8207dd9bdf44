"""The values of a task between Python and the server, large ones and files included.

A literal over the inline limit travels as a blob: the message has `offloaded_metadata` in its place. Conversions that
may store or fetch blobs block; on an event loop they run in a thread. All others, nearly all, are done at once.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from typing import Any, TypeVar

import grpc

from lacewing._blobs import BlobSession
from lacewing.errors import ValueTooLarge
from lacewing.types import BLOB_URI_PREFIX, ConversionError, Converter, blob_access, digest_literal
from lacewing.v1 import interface_pb2, literals_pb2, types_pb2

INLINE_LIMIT_VARIABLE = "LACEWING_INLINE_LIMIT"
"""The environment variable with the inline limit in bytes."""

INLINE_LIMIT = 64 * 1024
"""The size in bytes up to which a literal of an input or output is sent in the message, if nothing else is said."""

OFFLOADED_LIMIT = (1 << 30) + 1024
"""The size in bytes that a literal may have at all: 1 GiB, and what is around a value. Larger values are files."""

_VALUE = "the value"

_Result = TypeVar("_Result")


class Values:
    """Converts inputs and outputs.

    Args:
        session: Where large ones are kept.
        limit: The inline limit in bytes. Default: $LACEWING_INLINE_LIMIT, else 64 KiB.
    """

    def __init__(self, session: BlobSession, limit: int | None = None) -> None:
        self._session = session
        self._limit = int(os.environ.get(INLINE_LIMIT_VARIABLE) or INLINE_LIMIT) if limit is None else limit

    def to_literals(
        self,
        convert: Callable[[Any], literals_pb2.LiteralMap],
        value: Any,
        variables: interface_pb2.VariableMap,
        *,
        has_stored: bool,
    ) -> literals_pb2.LiteralMap:
        """Convert to literals, and store the large ones.

        Args:
            convert: Makes the literals.
            value: What it makes them of.
            variables: What they are the values of.
            has_stored: Whether there may be files or tables among them.

        Raises:
            ConversionError: The value does not fit.
            ValueTooLarge: A value has more than 1 GiB.
            RefusedError: The server does not take a blob.
            CallFailed: It does not answer.
        """
        if has_stored:
            with blob_access(self._session):
                literals = convert(value)
        else:
            literals = convert(value)
        if literals.ByteSize() > self._limit:
            self.offload(literals, variables)
        return literals

    def from_literals(
        self,
        convert: Callable[[literals_pb2.LiteralMap], _Result],
        literals: literals_pb2.LiteralMap,
        *,
        has_stored: bool,
    ) -> _Result:
        """Fetch what was offloaded, into the given literals, and convert them.

        Args:
            convert: Makes values of the literals, and raises ConversionError for one that is `offloaded`.
            literals: The literals.
            has_stored: Whether there may be files or tables among them.

        Raises:
            ConversionError: The literals do not fit.
            BlobNotFound: The server does not have a blob any more.
            RefusedError: It does not give one for another reason.
            CallFailed: It does not answer.
        """
        if not has_stored:
            try:
                return convert(literals)
            except (
                ConversionError
            ):  # So it is for one that is offloaded, which hardly any is: the others are not asked.
                if not offloaded(literals):
                    raise
        for literal in offloaded(literals):
            content = self._session.blobs.read(literal.offloaded_metadata.uri, literal.offloaded_metadata.size_bytes)
            literal.ParseFromString(content)  # type: ignore[arg-type] # it takes any buffer, which spares a copy
            del content
        with blob_access(self._session):
            return convert(literals)

    def to_literal(self, converter: Converter, value: Any) -> literals_pb2.Literal:
        """Convert one value, and store it if it is large. Raises as `to_literals`."""
        with blob_access(self._session):
            literal = converter.to_literal(value)
        self._offload(literal, _VALUE, converter.literal_type)
        return literal

    async def to_literals_async(
        self,
        convert: Callable[[Any], literals_pb2.LiteralMap],
        value: Any,
        variables: interface_pb2.VariableMap,
        *,
        has_stored: bool,
    ) -> literals_pb2.LiteralMap:
        """Like `to_literals`, on an event loop."""
        if has_stored:
            return await asyncio.to_thread(self.to_literals, convert, value, variables, has_stored=True)
        literals = convert(value)
        if literals.ByteSize() > self._limit:
            await asyncio.to_thread(self.offload, literals, variables)
        return literals

    async def from_literals_async(
        self,
        convert: Callable[[literals_pb2.LiteralMap], _Result],
        literals: literals_pb2.LiteralMap,
        *,
        has_stored: bool,
    ) -> _Result:
        """Like `from_literals`, on an event loop."""
        if not has_stored:
            try:
                return convert(literals)
            except ConversionError:
                if not offloaded(literals):
                    raise
        return await asyncio.to_thread(self.from_literals, convert, literals, has_stored=True)

    def attempt(self) -> Values:
        """Return the same with files of its own, which `remove_files` removes."""
        return Values(BlobSession(self._session.blobs, self._session.folder), self._limit)

    def remove_files(self) -> None:
        """Remove the files that were fetched."""
        self._session.close()

    def close(self) -> None:
        """Close the way to the blobs, and remove the files that were fetched."""
        self.remove_files()
        self._session.blobs.close()

    def offload(self, literals: literals_pb2.LiteralMap, variables: interface_pb2.VariableMap) -> None:
        """Store each literal over the limit, and put a reference in its place."""
        for name, literal in literals.literals.items():
            self._offload(literal, name, variables.variables[name].type)

    def _offload(self, literal: literals_pb2.Literal, name: str, literal_type: types_pb2.LiteralType) -> None:
        size = literal.ByteSize()
        if size <= self._limit or literal.HasField("offloaded_metadata"):
            return
        if size > OFFLOADED_LIMIT:
            raise ValueTooLarge(
                f"{name} has {size} bytes, a value has at most 1 GiB; pass it as a lacewing.File",
                grpc.StatusCode.RESOURCE_EXHAUSTED,
                metadata={"field": name, "bytes": str(size), "limit": str(OFFLOADED_LIMIT)},
            )
        identity = literal.hash or f"v1:{digest_literal(literal).hex()}"
        content = literal.SerializeToString(deterministic=True)
        literal.Clear()
        literal.hash = identity
        literal.offloaded_metadata.uri = self._session.upload(content)
        literal.offloaded_metadata.size_bytes = size
        literal.offloaded_metadata.inferred_type.CopyFrom(literal_type)


def offloaded(literals: literals_pb2.LiteralMap) -> list[literals_pb2.Literal]:
    """Return the literals that are blobs of the server."""
    given = literals.literals
    return [given[name] for name in given if given[name].offloaded_metadata.uri.startswith(BLOB_URI_PREFIX)]
