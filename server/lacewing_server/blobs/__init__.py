"""Where blobs are kept: one small interface, a directory or a bucket behind it."""

from __future__ import annotations

from lacewing_server.blobs.base import BlobMissingError, BlobStore, BlobStoreError, StoredBlob
from lacewing_server.blobs.location import open_blob_store

__all__ = ["BlobMissingError", "BlobStore", "BlobStoreError", "StoredBlob", "open_blob_store"]
