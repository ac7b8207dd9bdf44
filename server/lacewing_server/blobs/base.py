"""What the server asks of a place that keeps blobs."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator
from dataclasses import dataclass
from typing import Final, Protocol

CHUNK_BYTES: Final = 1 << 20
"""What a blob is read in: chunks of at most this size."""


class BlobStoreError(Exception):
    """The place cannot be reached, refuses, or is full; the text is for the log."""


class BlobMissingError(Exception):
    """The blob is not there."""


@dataclass(frozen=True, slots=True)
class StoredBlob:
    """A blob that is there."""

    size: int
    """In bytes."""
    used_at: float
    """When it was stored or renewed, in seconds since the epoch."""


class BlobStore(Protocol):
    """Keeps blobs by their digests. Digests are 64 hexadecimal digits; nobody else checks that.

    Every method may raise :class:`BlobStoreError`.
    """

    async def start(self) -> None:
        """Makes ready."""

    async def stat(self, digest: str) -> StoredBlob | None:
        """Tells of a blob; None if it is not there."""

    async def write(self, digest: str, chunks: AsyncIterator[bytes]) -> None:
        """Stores a blob, in place of one that is there, with bounded memory.

        Nobody sees it before the chunks have come to their end. If they raise, or the caller is cancelled, nothing is
        left of it.
        """

    def read(self, digest: str, offset: int, length: int) -> AsyncGenerator[bytes]:
        """Yields a part of a blob that lies within it, in chunks of at most :data:`CHUNK_BYTES`.

        Raises:
            BlobMissingError: If it is not there.
        """

    async def renew(self, digest: str) -> None:
        """Makes now the time a blob was used at; nothing if it is not there."""

    async def delete(self, digest: str) -> None:
        """Deletes a blob; nothing if it is not there."""

    def list(self) -> AsyncIterator[tuple[str, StoredBlob]]:
        """Yields every blob that is there, in any order."""

    async def delete_leftovers(self, before: float) -> None:
        """Deletes what broken writes left before a time, in seconds since the epoch."""
