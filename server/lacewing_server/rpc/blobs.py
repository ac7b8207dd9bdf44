"""``lacewing.v1.BlobService``: storing and fetching what is too large for a message."""

# ruff: noqa: N802, ARG002
# Names and shapes of the handlers are those of the RPCs.

from __future__ import annotations

from collections.abc import AsyncIterator

from lacewing.v1 import blob_service_pb2, blob_service_pb2_grpc, errors_pb2
from lacewing_server.domain.errors import DomainError
from lacewing_server.engine.blobs import Blobs
from lacewing_server.rpc.boundary import Context


class BlobServicer(blob_service_pb2_grpc.BlobServiceServicer):
    """Answers the calls; what it raises becomes a status at the boundary."""

    def __init__(self, blobs: Blobs) -> None:
        self._blobs = blobs

    async def GetBlob(
        self, request: blob_service_pb2.GetBlobRequest, context: Context
    ) -> blob_service_pb2.GetBlobResponse:
        """Tells whether a blob is there."""
        return blob_service_pb2.GetBlobResponse(blob=await self._blobs.get(request.digest))

    async def UploadBlob(
        self, request_iterator: AsyncIterator[blob_service_pb2.UploadBlobRequest], context: Context
    ) -> blob_service_pb2.UploadBlobResponse:
        """Stores a blob."""
        first = await anext(aiter(request_iterator), None)
        if first is None or not first.HasField("header"):
            raise _violated("the first message must be a header")
        header = first.header
        blob = await self._blobs.upload(header.digest, header.size_bytes, _chunks(request_iterator))
        return blob_service_pb2.UploadBlobResponse(blob=blob)

    async def DownloadBlob(
        self, request: blob_service_pb2.DownloadBlobRequest, context: Context
    ) -> AsyncIterator[blob_service_pb2.DownloadBlobResponse]:
        """Fetches a blob, or a part of it."""
        async for chunk in self._blobs.download(request.digest, request.offset, request.length):
            yield blob_service_pb2.DownloadBlobResponse(chunk=chunk)


async def _chunks(requests: AsyncIterator[blob_service_pb2.UploadBlobRequest]) -> AsyncIterator[bytes]:
    async for request in requests:
        if not request.HasField("chunk"):
            raise _violated("every message after the first must be a chunk")
        yield request.chunk


def _violated(what: str) -> DomainError:
    return DomainError(errors_pb2.ERROR_REASON_PROTOCOL_VIOLATED, f"{what} of an upload")
