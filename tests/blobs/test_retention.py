"""How long blobs are kept: by their last use, which the age of their file tells."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from blobs import wire
from blobs.s3 import BUCKET, Bucket
from lacewing.v1 import blob_pb2, blob_service_pb2, literals_pb2, types_pb2
from lacewing_server.blobs.bucket import BucketBlobStore
from lacewing_server.testing import start_server
from server.contract import refusal_of
from server.world import Stubs, connect, execution, registration

MONTH = 30 * 86_400.0


class Kept:
    """A server with a directory of blobs."""

    def __init__(self, stubs: Stubs, directory: Path) -> None:
        self.stubs = stubs
        self.directory = directory

    def file(self, digest: str) -> Path:
        """Where a blob is."""
        return self.directory / digest[:2] / digest[2:]

    def age(self, digest: str) -> float:
        """How many seconds ago a blob was used."""
        return time.time() - self.file(digest).stat().st_mtime

    def grow_old(self, seconds: float, *digests: str) -> None:
        """Makes it so long ago that blobs were used."""
        for digest in digests:
            os.utime(self.file(digest), (time.time() - seconds,) * 2)

    async def run(self, literal: literals_pb2.Literal) -> None:
        """Creates an execution with a blob among its inputs."""
        request = execution("uses", inputs={}, wait_timeout="0s")
        request.inputs.literals["x"].CopyFrom(literal)
        await self.stubs.executions.Execute(request)

    async def register(self, input_type: dict[str, Any]) -> None:
        """Registers a task with one input."""
        interface = {"inputs": {"variables": {"x": {"type": input_type}}}}
        await self.stubs.tasks.RegisterTask(registration("uses", template={"interface": interface}))


@asynccontextmanager
async def keeping(directory: Path, **settings: Any) -> AsyncIterator[Kept]:
    with start_server(blob_url=(directory / "blobs").as_uri(), **settings) as server:
        async with connect(server.address) as stubs:
            yield Kept(stubs, directory / "blobs")


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(20):
        while not condition():
            await asyncio.sleep(0.02)


async def test_what_is_not_used_for_its_time_is_deleted(tmp_path: Path) -> None:
    """A blob that is too old goes, and is not found any more; a younger one stays, as does what is being written."""
    async with keeping(tmp_path, blob_retention=4) as kept:
        old, young = await wire.upload(kept.stubs, b"old"), await wire.upload(kept.stubs, b"young")
        (kept.directory / "writing" / "unfinished").touch()
        (kept.directory / "writing" / "left behind").touch()
        os.utime(kept.directory / "writing" / "left behind", (time.time() - 90_000,) * 2)
        kept.grow_old(5, old.digest)
        await until(lambda: not kept.file(old.digest).exists())
        await until(lambda: not (kept.directory / "writing" / "left behind").exists())
        assert kept.file(young.digest).exists()
        assert (kept.directory / "writing" / "unfinished").exists()
        assert (await refusal_of(wire.download(kept.stubs, old.digest))).reason == "BLOB_NOT_FOUND"


async def test_nothing_is_deleted_without_a_time(tmp_path: Path) -> None:
    """With a retention of 0 a blob has no end."""
    async with keeping(tmp_path, blob_retention=0) as kept:
        info = await wire.upload(kept.stubs, b"for good")
        assert not info.HasField("expire_time")


async def test_storing_it_again_renews_a_blob(tmp_path: Path) -> None:
    """In the second half of its time, a blob that is stored again is young again; looking at it is no use of it."""
    async with keeping(tmp_path) as kept:
        info = await wire.upload(kept.stubs, b"content")
        kept.grow_old(0.6 * MONTH, info.digest)
        response = await kept.stubs.blobs.GetBlob(blob_service_pb2.GetBlobRequest(digest=info.digest))
        assert response.blob.expire_time.seconds - time.time() < 0.41 * MONTH
        assert kept.age(info.digest) > 0.5 * MONTH
        await wire.upload(kept.stubs, b"content")
        await until(lambda: kept.age(info.digest) < 60)


async def test_an_execution_renews_its_blobs(tmp_path: Path) -> None:
    """Being an input is a use; in the first half of its time a blob is left alone."""
    async with keeping(tmp_path) as kept:
        await kept.register({"simple": "SIMPLE_TYPE_STRING"})
        value = literals_pb2.Literal(scalar=literals_pb2.Scalar(primitive=literals_pb2.Primitive(string_value="x")))
        info = await wire.upload(kept.stubs, value.SerializeToString())
        reference = literals_pb2.LiteralOffloadedMetadata(
            uri=info.uri,
            size_bytes=info.size_bytes,
            inferred_type=types_pb2.LiteralType(simple=types_pb2.SIMPLE_TYPE_STRING),
        )
        literal = literals_pb2.Literal(offloaded_metadata=reference)
        kept.grow_old(0.4 * MONTH, info.digest)
        await kept.run(literal)
        assert kept.age(info.digest) > 0.3 * MONTH
        kept.grow_old(0.6 * MONTH, info.digest)
        await kept.run(literal)
        await until(lambda: kept.age(info.digest) < 60)


async def test_a_directory_is_renewed_with_its_files(tmp_path: Path) -> None:
    """The files of an old directory are used with it; if one of them is gone, so is the directory."""
    async with keeping(tmp_path) as kept:
        await kept.register({"blob": {"dimensionality": "BLOB_DIMENSIONALITY_MULTIPART"}})
        files = [await wire.upload(kept.stubs, content) for content in (b"one", b"two")]
        listing = blob_pb2.BlobDirectory()
        for name, file in zip("ab", files, strict=True):
            listing.files.add(path=name, digest=file.digest, size_bytes=file.size_bytes)
        directory = await wire.upload(kept.stubs, listing.SerializeToString())
        blob_type = types_pb2.BlobType(dimensionality=types_pb2.BlobType.BLOB_DIMENSIONALITY_MULTIPART)
        metadata = literals_pb2.BlobMetadata(type=blob_type)
        blob = literals_pb2.Blob(uri=directory.uri, metadata=metadata)
        literal = literals_pb2.Literal(scalar=literals_pb2.Scalar(blob=blob))
        everything = [directory.digest, *(file.digest for file in files)]
        kept.grow_old(0.6 * MONTH, *everything)
        await kept.run(literal)
        await until(lambda: max(map(kept.age, everything)) < 60)
        kept.grow_old(0.6 * MONTH, directory.digest)
        kept.file(files[1].digest).unlink()
        refusal = await refusal_of(kept.run(literal))
        assert (refusal.reason, refusal.metadata) == ("BLOB_NOT_FOUND", {"digest": files[1].digest})


async def test_a_blob_in_a_bucket_is_renewed_and_deleted(bucket: Bucket, monkeypatch: pytest.MonkeyPatch) -> None:
    """An object is written once more over itself, and is the same; the store lists it and deletes it."""
    for name, value in bucket.environment.items():
        monkeypatch.setenv(name, value)
    digest = "0" * 64
    bucket.client.put_object(Bucket=BUCKET, Key=f"renewed/{digest}", Body=bytes(9_000_000))
    store = BucketBlobStore(f"s3://{BUCKET}/renewed")
    await store.start()
    await store.renew(digest)
    response = bucket.client.head_object(Bucket=BUCKET, Key=f"renewed/{digest}")
    assert response["ContentLength"] == 9_000_000
    assert response["ETag"].endswith('-2"')  # written anew, in two parts
    assert [name async for name, _ in store.list()] == [digest]
    await store.delete(digest)
    await store.delete(digest)
    assert await store.stat(digest) is None
    await store.renew(digest)
