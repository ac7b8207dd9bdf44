"""What converters of files and tables need: a way to the blobs of a server, for the time of a conversion."""

from __future__ import annotations

from collections.abc import Iterator
from contextvars import ContextVar
from pathlib import Path
from typing import Protocol

from lacewing._scoped import Scoped
from lacewing.types._problem import ConversionError


class BlobAccess(Protocol):
    """Stores and fetches blobs. Its methods block."""

    def upload(self, content: bytes) -> str:
        """Store bytes, and return the URI."""

    def upload_file(self, path: Path) -> str:
        """Store the content of a file, and return the URI."""

    def download(self, uri: str, path: Path) -> None:
        """Write a blob to a file."""

    def stream(self, uri: str) -> Iterator[bytes]:
        """Yield the bytes of a blob in chunks."""

    def scratch(self) -> Path:
        """Return a fresh directory for files, which lasts as long as this access."""


_access: ContextVar[BlobAccess | None] = ContextVar("lacewing_blob_access", default=None)


def blob_access(access: BlobAccess | None) -> Scoped[BlobAccess | None]:
    """Let conversions in the block store and fetch files and tables."""
    return Scoped(_access, access)


def current_access() -> BlobAccess | None:
    """Return the access of the conversion under way, if it has one."""
    return _access.get()


def required_access() -> BlobAccess:
    """Return the access of the conversion under way.

    Raises:
        ConversionError: It has none.
    """
    access = _access.get()
    if access is None:
        raise ConversionError("can only be converted for a server, by a client or a worker, which keep it there")
    return access
