"""Blobs in a directory: ``<first two digits>/<the others>`` for each, ``writing/`` for those that are written.

A blob is written beside its place, synchronized, and moved there: whoever finds it finds all of it, also after a crash
of the machine. Files are read and written in threads, since a disk may make the event loop wait.
"""

from __future__ import annotations

import asyncio
import os
import tempfile
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Final, ParamSpec, TypeVar

from lacewing_server.blobs.base import CHUNK_BYTES, BlobMissingError, BlobStoreError, StoredBlob

_Parameters = ParamSpec("_Parameters")
_Result = TypeVar("_Result")

_SHARD_DIGITS: Final = 2
_DIGEST_DIGITS: Final = 64
_LIST_BATCH: Final = 256


class LocalBlobStore:
    """Keeps blobs in a directory of this machine, or of a file system that all servers share."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._writing = root / "writing"

    async def start(self) -> None:
        """Makes the directory."""
        await _in_thread(self._writing.mkdir, parents=True, exist_ok=True)

    async def stat(self, digest: str) -> StoredBlob | None:
        """Tells of a blob."""
        # Not in a thread: it is asked for each large value of a request, and costs microseconds.
        try:
            return _stored(self._path(digest).stat())
        except FileNotFoundError:
            return None
        except OSError as error:
            raise BlobStoreError(str(error)) from error

    async def write(self, digest: str, chunks: AsyncIterator[bytes]) -> None:
        """Writes a blob beside its place, and moves it there."""
        descriptor, name = await _in_thread(tempfile.mkstemp, dir=self._writing)
        path = Path(name)
        try:
            try:
                async for chunk in chunks:
                    await _in_thread(_write_all, descriptor, chunk)
                await _in_thread(os.fsync, descriptor)
            finally:
                os.close(descriptor)
            await _in_thread(_publish, path, self._path(digest))
        except BaseException:
            path.unlink(missing_ok=True)  # noqa: ASYNC240 - microseconds, and a cancelled task must not wait
            raise

    async def read(self, digest: str, offset: int, length: int) -> AsyncGenerator[bytes]:
        """Yields a part of a blob; one that is deleted meanwhile is read to its end."""
        try:
            file = await _in_thread(self._path(digest).open, "rb", buffering=0)
        except BlobStoreError as error:
            if isinstance(error.__cause__, FileNotFoundError):
                raise BlobMissingError(digest) from error
            raise
        with file:
            await _in_thread(file.seek, offset)
            while length > 0 and (chunk := await _in_thread(file.read, min(length, CHUNK_BYTES))):
                length -= len(chunk)
                yield chunk

    async def renew(self, digest: str) -> None:
        """Sets the time of the file."""
        await _in_thread(_unless_missing, os.utime, self._path(digest))

    async def delete(self, digest: str) -> None:
        """Deletes the file."""
        await _in_thread(self._path(digest).unlink, missing_ok=True)

    async def list(self) -> AsyncIterator[tuple[str, StoredBlob]]:
        """Yields every blob, read in batches."""
        found = self._walk()
        while batch := await _in_thread(_take, found, _LIST_BATCH):
            for each in batch:
                yield each

    async def delete_leftovers(self, before: float) -> None:
        """Deletes files that nobody has written to since then: their server was killed."""

        def delete() -> None:
            for path in self._writing.iterdir():
                if path.stat().st_mtime < before:
                    path.unlink(missing_ok=True)

        await _in_thread(_unless_missing, delete)

    def _path(self, digest: str) -> Path:
        return self._root / digest[:_SHARD_DIGITS] / digest[_SHARD_DIGITS:]

    def _walk(self) -> Iterator[tuple[str, StoredBlob]]:
        for shard in os.scandir(self._root):
            if len(shard.name) != _SHARD_DIGITS or not shard.is_dir():
                continue
            for entry in os.scandir(shard):
                try:
                    stored = _stored(entry.stat())
                except FileNotFoundError:  # another server deleted it meanwhile
                    continue
                if len(shard.name + entry.name) == _DIGEST_DIGITS:
                    yield shard.name + entry.name, stored


async def _in_thread(
    function: Callable[_Parameters, _Result], *args: _Parameters.args, **kwargs: _Parameters.kwargs
) -> _Result:
    try:
        return await asyncio.to_thread(function, *args, **kwargs)
    except OSError as error:
        raise BlobStoreError(str(error)) from error


def _stored(status: os.stat_result) -> StoredBlob:
    return StoredBlob(status.st_size, status.st_mtime)


def _write_all(descriptor: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]


def _publish(path: Path, target: Path) -> None:
    target.parent.mkdir(exist_ok=True)
    path.replace(target)
    # The name is in the directory: it is on the disk when that is.
    directory = os.open(target.parent, os.O_RDONLY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)


def _unless_missing(
    function: Callable[_Parameters, object], *args: _Parameters.args, **kwargs: _Parameters.kwargs
) -> None:
    try:
        function(*args, **kwargs)
    except FileNotFoundError:
        return


def _take(found: Iterator[tuple[str, StoredBlob]], count: int) -> list[tuple[str, StoredBlob]]:
    return [each for _, each in zip(range(count), found, strict=False)]
