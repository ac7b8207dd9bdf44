"""Storing and fetching blobs: what is too large for a message, and files.

Every method blocks and may be called from any number of threads. An outage of the server, or of what keeps its blobs,
is waited out for a while: an upload begins anew then, a download goes on where it was.
"""

from __future__ import annotations

import hashlib
import shutil
import tempfile
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeAlias

import grpc

from lacewing._channel import open_blocking_channel, reconnect_delays
from lacewing._statuses import from_rpc_error
from lacewing.errors import (
    BlobStoreUnavailable,
    CallFailed,
    ServerUnavailable,
    ShuttingDown,
)
from lacewing.types import BLOB_URI_PREFIX
from lacewing.v1 import blob_service_pb2

PATIENCE = 30.0
"""How long an outage is waited out, in seconds, counted from the last byte that got through."""

_CHUNK_BYTES = 1024 * 1024
_SERVICE = "/lacewing.v1.BlobService/"
_Upload: TypeAlias = (
    "grpc.StreamUnaryMultiCallable[blob_service_pb2.UploadBlobRequest, blob_service_pb2.UploadBlobResponse]"
)
_Download: TypeAlias = (
    "grpc.UnaryStreamMultiCallable[blob_service_pb2.DownloadBlobRequest, blob_service_pb2.DownloadBlobResponse]"
)


class Blobs:
    """The blobs of a server, over a channel of its own that is opened at first use.

    Args:
        address: Where the server is. Empty in a child process that has no credentials for it.
        credentials: For a server behind TLS.
    """

    def __init__(self, address: str, credentials: grpc.ChannelCredentials | None) -> None:
        self._address = address
        self._credentials = credentials
        self._lock = threading.Lock()
        self._channel: grpc.Channel | None = None
        self._is_closed = False

    def close(self) -> None:
        """Close the channel."""
        with self._lock:
            self._is_closed = True
            if self._channel is not None:
                self._channel.close()

    def upload(self, content: bytes) -> str:
        """Store bytes, unless the server has them, and return the URI.

        Raises:
            RefusedError: The server does not take them.
            CallFailed: It does not answer for too long.
        """

        def chunks() -> Iterator[bytes]:
            for start in range(0, len(content), _CHUNK_BYTES):
                yield content[start : start + _CHUNK_BYTES]

        return self._upload(hashlib.sha256(content).hexdigest(), len(content), chunks)

    def upload_file(self, path: Path) -> str:
        """Store the content of a file, and return the URI. Errors as of `upload`.

        Raises:
            OSError: The file cannot be read.
        """
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
            size = file.tell()

            def chunks() -> Iterator[bytes]:
                file.seek(0)
                while chunk := file.read(_CHUNK_BYTES):
                    yield chunk

            return self._upload(digest, size, chunks)

    def stream(self, uri: str) -> Iterator[bytes]:
        """Yield the bytes of a blob in chunks, and check at the end that they are those of its digest.

        Raises:
            BlobNotFound: The server has no such blob.
            RefusedError: It does not give it for another reason.
            CallFailed: It does not answer for too long, or the bytes are not those of the blob.
        """
        digest = uri.removeprefix(BLOB_URI_PREFIX)
        hashed = hashlib.sha256()
        offset = 0
        outage = _Outage()
        while True:
            request = blob_service_pb2.DownloadBlobRequest(digest=digest, offset=offset)
            call = self._download()(request)
            try:
                for response in call:
                    hashed.update(response.chunk)
                    offset += len(response.chunk)
                    outage = _Outage()
                    yield response.chunk
                break
            except grpc.RpcError as error:
                outage.wait_out(error)
            finally:
                call.cancel()
        if hashed.hexdigest() != digest:
            raise CallFailed(f"what came for blob {digest} are other bytes", grpc.StatusCode.DATA_LOSS)

    def read(self, uri: str, size: int) -> bytearray:
        """Return the bytes of a blob; `size` is how many there are likely. Errors as of `stream`."""
        content = bytearray(size)
        at = 0
        for chunk in self.stream(uri):
            content[at : at + len(chunk)] = chunk
            at += len(chunk)
        del content[at:]
        return content

    def download(self, uri: str, path: Path) -> None:
        """Write a blob to a file, which is there only when all of it is. Errors as of `stream`."""
        partial = path.with_name(f"{path.name}.partial")
        try:
            with partial.open("wb") as file:
                for chunk in self.stream(uri):
                    file.write(chunk)
            partial.replace(path)
        finally:
            partial.unlink(missing_ok=True)

    def _upload(self, digest: str, size: int, chunks: Callable[[], Iterator[bytes]]) -> str:
        outage = _Outage()
        while True:
            requests = _Requests(digest, size, chunks())
            try:
                response: blob_service_pb2.UploadBlobResponse = self._upload_call()(iter(requests))
            except grpc.RpcError as error:
                if requests.failure is not None:
                    raise requests.failure from error
                outage.wait_out(error)
            else:
                return response.blob.uri

    def _upload_call(self) -> _Upload:
        return self._open().stream_unary(
            f"{_SERVICE}UploadBlob",
            request_serializer=blob_service_pb2.UploadBlobRequest.SerializeToString,
            response_deserializer=blob_service_pb2.UploadBlobResponse.FromString,
        )

    def _download(self) -> _Download:
        return self._open().unary_stream(
            f"{_SERVICE}DownloadBlob",
            request_serializer=blob_service_pb2.DownloadBlobRequest.SerializeToString,
            response_deserializer=blob_service_pb2.DownloadBlobResponse.FromString,
        )

    def _open(self) -> grpc.Channel:
        with self._lock:
            if self._is_closed:
                raise CallFailed("the client is closed", grpc.StatusCode.CANCELLED)
            if not self._address:
                raise CallFailed(
                    'child processes cannot reach a server behind TLS for large values; use isolation="thread"',
                    grpc.StatusCode.UNAUTHENTICATED,
                )
            if self._channel is None:
                self._channel = open_blocking_channel(self._address, self._credentials)
            return self._channel


class BlobSession:
    """Blobs, and the files that were fetched, for as long as somebody works with them.

    Args:
        blobs: Stores and fetches.
        folder: Where files go; made if it is not there. Default: where the system has temporary files.
    """

    def __init__(self, blobs: Blobs, folder: str | None = None) -> None:
        self.blobs = blobs
        self.folder = folder
        self.upload = blobs.upload
        self.upload_file = blobs.upload_file
        self.download = blobs.download
        self.stream = blobs.stream
        self._lock = threading.Lock()
        self._scratch: Path | None = None

    def scratch(self) -> Path:
        """Return a fresh directory, which is removed when this is closed, or the process ends."""
        with self._lock:
            if self._scratch is None:
                if self.folder is not None:
                    Path(self.folder).mkdir(mode=0o700, exist_ok=True)
                self._scratch = Path(tempfile.mkdtemp(prefix="lacewing-", dir=self.folder))
                self._remove = weakref.finalize(self, shutil.rmtree, self._scratch, ignore_errors=True)
        return Path(tempfile.mkdtemp(dir=self._scratch))

    def close(self) -> None:
        """Remove the files that were fetched."""
        with self._lock:
            if self._scratch is not None:
                self._scratch = None
                self._remove()


class _Requests:
    """The messages of one upload. gRPC takes them in a thread of its own, where an error would be lost."""

    def __init__(self, digest: str, size: int, chunks: Iterator[bytes]) -> None:
        self._header = blob_service_pb2.UploadBlobRequest.Header(digest=digest, size_bytes=size)
        self._chunks = chunks
        self.failure: Exception | None = None

    def __iter__(self) -> Iterator[blob_service_pb2.UploadBlobRequest]:
        yield blob_service_pb2.UploadBlobRequest(header=self._header)
        try:
            for chunk in self._chunks:
                yield blob_service_pb2.UploadBlobRequest(chunk=chunk)
        except Exception as error:  # noqa: BLE001 raised again by whoever waits for the upload, which is short of bytes now
            self.failure = error


class _Outage:
    """A time in which nothing gets through."""

    def __init__(self) -> None:
        self._delays = reconnect_delays()
        self._end = time.monotonic() + PATIENCE

    def wait_out(self, status: grpc.RpcError) -> None:
        """Wait before another try; raise what the status stands for if no try would help, or if it is too late."""
        error = from_rpc_error(status)  # type: ignore[arg-type] # it has what of an AioRpcError is looked at
        is_outage = isinstance(error, ServerUnavailable | ShuttingDown | BlobStoreUnavailable)
        if not is_outage or time.monotonic() > self._end:
            raise error from status
        time.sleep(next(self._delays))
