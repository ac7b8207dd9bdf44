"""Blobs in a bucket of S3, or of what speaks its protocol: an object for each, named by its digest.

Region, endpoint and credentials come from the environment as for every client of S3 (``AWS_REGION``,
``AWS_ENDPOINT_URL``, ``AWS_ACCESS_KEY_ID``, roles of the machine, …; ``AWS_ALLOW_HTTP=true`` for an endpoint without
TLS). What a killed server was writing is an incomplete multipart upload, which S3 itself ends by a rule of the bucket.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Final

import obstore
from obstore.exceptions import BaseError
from obstore.store import S3Store

from lacewing_server.blobs.base import CHUNK_BYTES, BlobMissingError, BlobStoreError, StoredBlob

_PART_BYTES: Final = 8 << 20
"""S3 takes 10,000 parts at most: enough for 80 GiB."""
_PARTS_AT_ONCE: Final = 2
_RETRY_TIMEOUT: Final = timedelta(seconds=20)


class BucketBlobStore:
    """Keeps blobs in a bucket."""

    def __init__(self, url: str) -> None:
        """Opens a bucket; the first request connects.

        Args:
            url: ``s3://bucket/prefix``.

        Raises:
            BlobStoreError: If the URL or the environment cannot be used.
        """
        with _store_errors():
            self._store = S3Store.from_url(url, retry_config={"max_retries": 5, "retry_timeout": _RETRY_TIMEOUT})

    async def start(self) -> None:
        """Looks into the bucket, so that wrong credentials or a wrong name are found at once."""
        async for _ in self.list():
            break

    async def stat(self, digest: str) -> StoredBlob | None:
        """Tells of a blob."""
        try:
            with _store_errors():
                meta = await obstore.head_async(self._store, digest)
        except BlobMissingError:
            return None
        return StoredBlob(meta["size"], meta["last_modified"].timestamp())

    async def write(self, digest: str, chunks: AsyncIterator[bytes]) -> None:
        """Writes an object; a large one in parts that S3 joins at the end."""
        source = _Source(chunks)
        with _store_errors():
            put = asyncio.ensure_future(
                obstore.put_async(self._store, digest, source, chunk_size=_PART_BYTES, max_concurrency=_PARTS_AT_ONCE)
            )
            try:
                await asyncio.shield(put)
            except asyncio.CancelledError:
                # A put that is cancelled leaves its parts behind; one whose source fails takes them back.
                source.is_cut = True
                await asyncio.wait([put])
                raise

    async def read(self, digest: str, offset: int, length: int) -> AsyncGenerator[bytes]:
        """Yields a part of a blob."""
        if not length:
            return
        with _store_errors():
            found = await obstore.get_async(
                self._store, digest, options={"range": {"offset": offset}} if offset else None
            )
            async for data in found.stream(min_chunk_size=CHUNK_BYTES):
                view = memoryview(data)[:length]
                length -= len(view)
                for start in range(0, len(view), CHUNK_BYTES):
                    yield bytes(view[start : start + CHUNK_BYTES])
                if not length:
                    return

    async def renew(self, digest: str) -> None:
        """Writes a blob once more over itself: S3 knows no other way to make an object of any size young."""
        stored = await self.stat(digest)
        if stored is not None:
            await self.write(digest, self.read(digest, 0, stored.size))

    async def delete(self, digest: str) -> None:
        """Deletes the object."""
        with _store_errors():
            await obstore.delete_async(self._store, digest)

    async def list(self) -> AsyncIterator[tuple[str, StoredBlob]]:
        """Yields every blob."""
        with _store_errors():
            async for batch in obstore.list(self._store):
                for meta in batch:
                    yield meta["path"], StoredBlob(meta["size"], meta["last_modified"].timestamp())

    async def delete_leftovers(self, before: float) -> None:
        """Does nothing: incomplete multipart uploads are ended by a rule of the bucket."""


class _CutError(Exception):
    """Ends a put whose caller is gone."""


class _Source:
    """Chunks that can be cut from outside."""

    def __init__(self, chunks: AsyncIterator[bytes]) -> None:
        self._chunks = chunks
        self.is_cut = False

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    async def __anext__(self) -> bytes:
        if self.is_cut:
            raise _CutError
        return await anext(self._chunks)


@contextmanager
def _store_errors() -> Iterator[None]:
    try:
        yield
    except FileNotFoundError as error:  # obstore's, for an object that is not there
        raise BlobMissingError(_brief(error)) from error
    except (BaseError, OSError) as error:
        raise BlobStoreError(_brief(error)) from error


def _brief(error: Exception) -> str:
    return str(error).partition("\n")[0]  # what follows is for who works on obstore
