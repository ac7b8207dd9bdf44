"""Blobs over the wire, as a client in another language would store and fetch them."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator, Iterable, Iterator
from typing import Any

from lacewing.v1 import blob_pb2, blob_service_pb2

CHUNK = 1 << 20


def digest_of(content: bytes) -> str:
    """The digest of a blob."""
    return hashlib.sha256(content).hexdigest()


def header(digest: str, size: int) -> blob_service_pb2.UploadBlobRequest:
    """The first message of an upload."""
    return blob_service_pb2.UploadBlobRequest(
        header=blob_service_pb2.UploadBlobRequest.Header(digest=digest, size_bytes=size)
    )


def messages(content: bytes, chunk: int = CHUNK) -> Iterator[blob_service_pb2.UploadBlobRequest]:
    """The messages of an upload."""
    yield header(digest_of(content), len(content))
    for start in range(0, len(content), chunk):
        yield blob_service_pb2.UploadBlobRequest(chunk=content[start : start + chunk])


async def upload(stubs: Any, content: bytes, chunk: int = CHUNK) -> blob_pb2.BlobInfo:
    """Stores a blob."""
    return await send(stubs, messages(content, chunk))


async def send(stubs: Any, requests: Iterable[blob_service_pb2.UploadBlobRequest]) -> blob_pb2.BlobInfo:
    """Makes an upload of any messages."""

    async def one_by_one() -> AsyncIterator[blob_service_pb2.UploadBlobRequest]:
        for request in requests:
            yield request

    response: blob_service_pb2.UploadBlobResponse = await stubs.blobs.UploadBlob(one_by_one())
    return response.blob


async def download(stubs: Any, digest: str, offset: int = 0, length: int = 0) -> bytes:
    """Fetches a blob, or a part of it."""
    request = blob_service_pb2.DownloadBlobRequest(digest=digest, offset=offset, length=length)
    return b"".join([response.chunk async for response in stubs.blobs.DownloadBlob(request)])
