"""Blobs as the server's users see them: storing and fetching, what refers to them, and how long they are kept."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import logging
import random
import re
import time
from collections.abc import AsyncIterator, Coroutine
from typing import Any, Final

from google.protobuf.message import DecodeError

from lacewing.types import BLOB_URI_PREFIX, BlobReference, blob_references
from lacewing.v1 import blob_pb2, errors_pb2, literals_pb2
from lacewing_server.blobs import BlobMissingError, BlobStore, BlobStoreError, StoredBlob
from lacewing_server.domain import limits
from lacewing_server.domain.errors import DomainError, invalid_field

_log = logging.getLogger(__name__)

_DIGEST: Final = re.compile(r"[0-9a-f]{64}")
_MARK: Final = BLOB_URI_PREFIX.encode()
_RETRY_SECONDS: Final = 1.0
_RENEWED_IN: Final = 0.5
"""After which part of its time a use renews a blob."""
_SWEEPS: Final = 100
"""How often in their time blobs are looked through, within the bounds below."""
_SWEEP_SECONDS: Final = (0.05, 86_400.0)
_LEFTOVER_SECONDS: Final = 86_400.0
"""After which time without progress the file of a write is a leftover of a killed server."""


def mention_blobs(packed: bytes) -> bool:
    """Whether serialized literals may refer to a blob: false for nearly all, so that they need not be walked."""
    return _MARK in packed


class Blobs:
    """The blobs.

    Args:
        store: Where they are kept.
        retention: How long a blob is kept after its last use, in seconds; 0 keeps it for good.
        max_bytes: The size that a blob may have.
    """

    def __init__(self, store: BlobStore, retention: float, max_bytes: int) -> None:
        self._store = store
        self._retention = retention
        self._max_bytes = max_bytes
        self._background: set[asyncio.Task[None]] = set()
        self._renewing: set[str] = set()

    def start(self) -> None:
        """Starts to delete what is not used any more."""
        if self._retention:
            self._run(self._sweep_for_ever())

    async def stop(self) -> None:
        """Stops what runs in the background; a renewal that is cut is made up for by the next use."""
        for task in self._background:
            task.cancel()
        await asyncio.gather(*self._background, return_exceptions=True)

    # --- storing and fetching

    async def get(self, digest: str) -> blob_pb2.BlobInfo:
        """Tells of a blob.

        Raises:
            DomainError: ``FIELD_INVALID``, ``BLOB_NOT_FOUND`` or ``BLOB_STORE_UNAVAILABLE``.
        """
        return self._info(digest, await self._stored(digest, "digest"))

    async def upload(self, digest: str, size: int, chunks: AsyncIterator[bytes]) -> blob_pb2.BlobInfo:
        """Stores a blob, unless it is there already.

        Args:
            digest: What its digest will be.
            size: What its size will be.
            chunks: Its bytes; not asked for if it is there.

        Raises:
            DomainError: ``FIELD_INVALID``, ``VALUE_TOO_LARGE``, ``BLOB_DIGEST_MISMATCH`` or ``BLOB_STORE_UNAVAILABLE``.
        """
        _check_digest(digest, "header.digest")
        if size < 0:
            raise invalid_field("header.size_bytes", "must not be negative")
        if size > self._max_bytes:
            raise _too_large("header.size_bytes", size, self._max_bytes)
        try:
            stored = await self._store.stat(digest)
            if stored is None:
                await self._store.write(digest, _checked(digest, size, chunks))
                stored = StoredBlob(size, time.time())
            elif stored.size != size:
                raise _mismatch(digest, f"its size is {stored.size}, not {size}")
            else:
                self._note_use(digest, stored)
        except BlobStoreError as error:
            raise _unavailable(error) from error
        return self._info(digest, stored)

    async def download(self, digest: str, offset: int, length: int) -> AsyncIterator[bytes]:
        """Yields a part of a blob; a length of 0 is all up to the end.

        Raises:
            DomainError: ``FIELD_INVALID``, ``BLOB_NOT_FOUND`` or ``BLOB_STORE_UNAVAILABLE``.
        """
        stored = await self._stored(digest, "digest")
        if not 0 <= offset <= stored.size:
            raise invalid_field("offset", f"must be from 0 to {stored.size}, the size of the blob")
        if length < 0:
            raise invalid_field("length", "must not be negative")
        length = min(length or stored.size, stored.size - offset)
        try:
            async with contextlib.aclosing(self._store.read(digest, offset, length)) as chunks:
                async for chunk in chunks:
                    yield chunk
        except BlobMissingError as error:
            raise _not_found(digest) from error
        except BlobStoreError as error:
            raise _unavailable(error) from error

    async def opened(self, literal: literals_pb2.Literal) -> literals_pb2.Literal:
        """The value of a literal that is kept as a blob of this server; any other literal as it is.

        Raises:
            DomainError: ``VALUE_TOO_LARGE`` if it is too large to be looked into, ``BLOB_NOT_FOUND`` or
                ``BLOB_STORE_UNAVAILABLE``.
        """
        uri, size = literal.offloaded_metadata.uri, literal.offloaded_metadata.size_bytes
        if not uri.startswith(BLOB_URI_PREFIX):
            return literal
        if size > limits.OPENED_MAX_BYTES:
            raise _too_large("value", size, limits.OPENED_MAX_BYTES)
        content = b"".join([chunk async for chunk in self.download(uri.removeprefix(BLOB_URI_PREFIX), 0, 0)])
        return literals_pb2.Literal.FromString(content)

    # --- references

    async def require(self, inputs: literals_pb2.LiteralMap) -> None:
        """Notes the use of every blob that inputs refer to.

        Raises:
            DomainError: ``BLOB_NOT_FOUND`` or ``BLOB_STORE_UNAVAILABLE``.
        """
        missing = await self._missing(inputs)
        if missing is not None:
            raise _not_found(missing)

    async def are_there(self, outputs: bytes) -> bool:
        """Notes the use of every blob that serialized outputs refer to; False if one of them is gone.

        Raises:
            DomainError: ``BLOB_STORE_UNAVAILABLE``.
        """
        return await self._missing(literals_pb2.LiteralMap.FromString(outputs)) is None

    async def _missing(self, literals: literals_pb2.LiteralMap) -> str | None:
        try:
            for reference in blob_references(literals):
                missing = await self._use(reference)
                if missing is not None:
                    return missing
        except BlobStoreError as error:
            raise _unavailable(error) from error
        return None

    async def _use(self, reference: BlobReference) -> str | None:
        """Notes the use of a blob, and of what is in it; the digest of what is gone, if anything is."""
        digest = reference.digest
        stored = await self._store.stat(digest) if _DIGEST.fullmatch(digest) else None
        if stored is None:
            return digest
        # The files of a directory were used when it was stored, so as long as it is young they are there.
        if self._is_due(stored) and reference.is_directory:
            for file in (await self._directory(digest, stored)).files:
                missing = await self._use(BlobReference(file.digest, is_directory=False))
                if missing is not None:
                    return missing
        self._note_use(digest, stored)
        return None

    async def _directory(self, digest: str, stored: StoredBlob) -> blob_pb2.BlobDirectory:
        if stored.size <= limits.BLOB_DIRECTORY_MAX_BYTES:
            with contextlib.suppress(DecodeError, BlobMissingError):  # whoever reads it finds that it is none
                chunks = [chunk async for chunk in self._store.read(digest, 0, stored.size)]
                return blob_pb2.BlobDirectory.FromString(b"".join(chunks))
        return blob_pb2.BlobDirectory()

    # --- time

    def _is_due(self, stored: StoredBlob) -> bool:
        return bool(self._retention) and time.time() - stored.used_at > self._retention * _RENEWED_IN

    def _note_use(self, digest: str, stored: StoredBlob) -> None:
        if self._is_due(stored) and digest not in self._renewing:
            self._renewing.add(digest)
            self._run(self._renew(digest))

    async def _renew(self, digest: str) -> None:
        try:
            await self._store.renew(digest)
        except (BlobStoreError, BlobMissingError) as error:
            _log.warning("blob %s could not be renewed: %s", digest, error)
        finally:
            self._renewing.discard(digest)

    async def _sweep_for_ever(self) -> None:
        least, most = _SWEEP_SECONDS
        pause = min(max(self._retention / _SWEEPS, least), most)
        while True:
            # Servers that were started together do not look together.
            await asyncio.sleep(pause * random.uniform(0.5, 1.5))  # noqa: S311 - spreads servers, keeps no secret
            try:
                await self._sweep()
            except (BlobStoreError, BlobMissingError) as error:
                _log.warning("blobs could not be looked through: %s", error)
            except Exception:  # noqa: BLE001 - a loop outlives a fault of one step, which is logged
                _log.exception("looking through the blobs failed")

    async def _sweep(self) -> None:
        before = time.time() - self._retention
        deleted = 0
        async for digest, stored in self._store.list():
            # Asked for once more: it may have been renewed since it was listed.
            if stored.used_at < before and (now := await self._store.stat(digest)) and now.used_at < before:
                await self._store.delete(digest)
                deleted += 1
        await self._store.delete_leftovers(time.time() - _LEFTOVER_SECONDS)
        if deleted:
            _log.info("deleted %d blobs that were not used for %g s", deleted, self._retention)

    def _run(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._background.add(task)
        task.add_done_callback(self._background.discard)

    # --- parts

    async def _stored(self, digest: str, path: str) -> StoredBlob:
        _check_digest(digest, path)
        try:
            stored = await self._store.stat(digest)
        except BlobStoreError as error:
            raise _unavailable(error) from error
        if stored is None:
            raise _not_found(digest)
        return stored

    def _info(self, digest: str, stored: StoredBlob) -> blob_pb2.BlobInfo:
        info = blob_pb2.BlobInfo(digest=digest, size_bytes=stored.size, uri=BLOB_URI_PREFIX + digest)
        if self._retention:
            info.expire_time.FromMilliseconds(round((stored.used_at + self._retention) * 1_000))
        return info


async def _checked(digest: str, size: int, chunks: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """Passes on the bytes of an upload; raises at the end, or as soon as it is sure, if they are not as announced."""
    hashed, received = hashlib.sha256(), 0
    async for chunk in chunks:
        if len(chunk) > limits.BLOB_CHUNK_MAX_BYTES:
            raise _too_large("chunk", len(chunk), limits.BLOB_CHUNK_MAX_BYTES)
        received += len(chunk)
        if received > size:
            raise _mismatch(digest, f"there are more than the {size} bytes that were announced")
        await asyncio.to_thread(hashed.update, chunk)
        yield chunk
    if received < size:
        raise _mismatch(digest, f"the stream ended after {received} of {size} bytes")
    if hashed.hexdigest() != digest:
        raise _mismatch(digest, f"their digest is {hashed.hexdigest()}")


def _check_digest(digest: str, path: str) -> None:
    if not _DIGEST.fullmatch(digest):
        raise invalid_field(path, "must be 64 lower-case hexadecimal digits")


def _too_large(field: str, size: int, limit: int) -> DomainError:
    return DomainError(
        errors_pb2.ERROR_REASON_VALUE_TOO_LARGE,
        f"{field} stands for {size} bytes, {limit} are allowed",
        metadata={"field": field, "bytes": str(size), "limit": str(limit)},
    )


def _mismatch(digest: str, why: str) -> DomainError:
    return DomainError(
        errors_pb2.ERROR_REASON_BLOB_DIGEST_MISMATCH,
        f"the bytes are not those of blob {digest}: {why}; nothing was stored",
        metadata={"digest": digest},
    )


def _not_found(digest: str) -> DomainError:
    return DomainError(
        errors_pb2.ERROR_REASON_BLOB_NOT_FOUND,
        f"there is no blob {digest}: it was never stored, or was not used for too long",
        metadata={"digest": digest},
    )


def _unavailable(error: BlobStoreError) -> DomainError:
    _log.warning("the store of blobs fails: %s", error)
    return DomainError(
        errors_pb2.ERROR_REASON_BLOB_STORE_UNAVAILABLE,
        "what keeps the blobs cannot be reached, or is full; the server's log says more",
        retry_seconds=_RETRY_SECONDS,
    )
