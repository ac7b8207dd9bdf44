"""Storing and fetching blobs through the wire, in a directory and in a bucket alike."""

from __future__ import annotations

import asyncio
import os
import time
from itertools import islice

import grpc
import psutil
import pytest
from google.protobuf import json_format

from blobs import wire
from blobs.conftest import Place
from lacewing.v1 import blob_service_pb2
from server.contract import refusal_of
from server.world import Stubs

MEGABYTE = 1 << 20


@pytest.mark.parametrize("size", [0, 1, MEGABYTE, MEGABYTE + 1, 20 * MEGABYTE + 7])
async def test_what_was_stored_is_fetched(stubs: Stubs, size: int) -> None:
    """A blob of any size comes back as it was, whole and in parts; the answer says how to refer to it."""
    content = os.urandom(size)
    info = await wire.upload(stubs, content)
    assert (info.digest, info.size_bytes) == (wire.digest_of(content), size)
    assert info.uri == f"lacewing://sha256/{info.digest}"
    assert await wire.download(stubs, info.digest) == content
    assert await wire.download(stubs, info.digest, size // 3) == content[size // 3 :]
    assert await wire.download(stubs, info.digest, size // 3, 100) == content[size // 3 :][:100]
    assert await wire.download(stubs, info.digest, size) == b""
    response = await stubs.blobs.GetBlob(blob_service_pb2.GetBlobRequest(digest=info.digest))
    assert json_format.MessageToDict(response.blob)["digest"] == info.digest
    assert 29 * 86_400 < response.blob.expire_time.seconds - time.time() < 31 * 86_400


async def test_chunks_of_a_download_are_bounded(stubs: Stubs) -> None:
    """No chunk has more than 1 MiB, and none is empty."""
    info = await wire.upload(stubs, bytes(5 * MEGABYTE + 1), chunk=4 * MEGABYTE)
    request = blob_service_pb2.DownloadBlobRequest(digest=info.digest)
    sizes = [len(response.chunk) async for response in stubs.blobs.DownloadBlob(request)]
    assert sum(sizes) == 5 * MEGABYTE + 1
    assert 0 < min(sizes) <= max(sizes) <= MEGABYTE


async def test_a_blob_that_is_there_is_not_sent_again(stubs: Stubs) -> None:
    """The server answers after the header of a blob that it has; the client need not send a chunk."""
    content = os.urandom(MEGABYTE)
    await wire.upload(stubs, content)
    call = stubs.blobs.UploadBlob()
    await call.write(wire.header(wire.digest_of(content), len(content)))
    response = await asyncio.wait_for(call, 10)
    assert response.blob.digest == wire.digest_of(content)


async def test_uploads_of_one_blob_at_a_time_agree(stubs: Stubs, place: Place) -> None:
    """Whoever stores the same bytes at the same time succeeds, and there is one blob."""
    content = os.urandom(2 * MEGABYTE)
    await asyncio.gather(*(wire.upload(stubs, content, chunk=100_000) for _ in range(8)))
    digest = wire.digest_of(content)
    assert [size for name, size in place.contents().items() if name.endswith(digest)] == [len(content)]
    assert await wire.download(stubs, digest) == content


@pytest.mark.parametrize("size", [1000, 20 * MEGABYTE])
async def test_an_upload_that_is_not_what_it_says_is_refused(stubs: Stubs, place: Place, size: int) -> None:
    """Other, fewer or more bytes than announced are refused, and nothing is left of them."""
    before = place.contents()
    content, other = os.urandom(size), os.urandom(size)
    lies = [
        [wire.header(wire.digest_of(other), size), *islice(wire.messages(content), 1, None)],
        [wire.header(wire.digest_of(content), size), *islice(wire.messages(content[:-1]), 1, None)],
        [wire.header(wire.digest_of(content), size - 1), *islice(wire.messages(content), 1, None)],
    ]
    for lie in lies:
        refusal = await refusal_of(wire.send(stubs, lie))
        assert refusal.reason == "BLOB_DIGEST_MISMATCH"
    assert place.contents() == before


async def test_a_size_that_is_not_that_of_the_blob_is_refused(stubs: Stubs) -> None:
    """A header that gives a blob which is there another size is refused."""
    info = await wire.upload(stubs, b"some bytes")
    refusal = await refusal_of(wire.send(stubs, [wire.header(info.digest, 3)]))
    assert refusal.reason == "BLOB_DIGEST_MISMATCH"


async def test_an_upload_that_is_cut_leaves_nothing(stubs: Stubs, place: Place) -> None:
    """When the client goes away in the middle, what it had sent is gone; sent again from the beginning it is stored."""
    content = os.urandom(30 * MEGABYTE)
    before = place.contents()
    call = stubs.blobs.UploadBlob()
    for message in islice(wire.messages(content), 20):
        await call.write(message)
    async with asyncio.timeout(20):
        while place.contents() == before:  # something of it has arrived
            await asyncio.sleep(0.02)
        call.cancel()
        while place.contents() != before:
            await asyncio.sleep(0.02)
    await wire.upload(stubs, content)
    assert await wire.download(stubs, wire.digest_of(content)) == content


@pytest.mark.parametrize(
    ("requests", "reason", "field"),
    [
        ([], "PROTOCOL_VIOLATED", None),
        ([blob_service_pb2.UploadBlobRequest(chunk=b"x")], "PROTOCOL_VIOLATED", None),
        ([blob_service_pb2.UploadBlobRequest()], "PROTOCOL_VIOLATED", None),
        ([wire.header("0" * 64, 5), wire.header("0" * 64, 5)], "PROTOCOL_VIOLATED", None),
        ([wire.header("", 5)], "FIELD_INVALID", "header.digest"),
        ([wire.header("F" * 64, 5)], "FIELD_INVALID", "header.digest"),
        ([wire.header("../" + "0" * 61, 5)], "FIELD_INVALID", "header.digest"),
        ([wire.header("0" * 64, -1)], "FIELD_INVALID", "header.size_bytes"),
        ([wire.header("0" * 64, (256 << 20) + 1)], "VALUE_TOO_LARGE", None),
        (
            [wire.header("0" * 64, 5 * MEGABYTE), blob_service_pb2.UploadBlobRequest(chunk=bytes(4 * MEGABYTE + 1))],
            "VALUE_TOO_LARGE",
            None,
        ),
    ],
)
async def test_a_malformed_upload_is_refused(
    stubs: Stubs, place: Place, requests: list[blob_service_pb2.UploadBlobRequest], reason: str, field: str | None
) -> None:
    """What is not as specified is refused with its reason, and nothing is left of it."""
    before = place.contents()
    refusal = await refusal_of(wire.send(stubs, requests))
    assert refusal.reason == reason
    assert set(refusal.violations) == ({field} if field else set())
    assert place.contents() == before


async def test_a_malformed_download_is_refused(stubs: Stubs) -> None:
    """Digest, offset and length are checked."""
    info = await wire.upload(stubs, b"12345")
    for digest, offset, length, field in [
        ("x", 0, 0, "digest"),
        (info.digest, 6, 0, "offset"),
        (info.digest, -1, 0, "offset"),
        (info.digest, 0, -1, "length"),
    ]:
        refusal = await refusal_of(wire.download(stubs, digest, offset, length))
        assert (refusal.reason, set(refusal.violations)) == ("FIELD_INVALID", {field})


async def test_the_server_needs_little_memory_for_a_large_blob(stubs: Stubs, place: Place) -> None:
    """While 200 MiB go in and out, and a slow reader takes its time, the server grows by far less than that."""
    process = psutil.Process(place.server.pid)
    content = os.urandom(MEGABYTE) * 200
    await wire.upload(stubs, content[: 30 * MEGABYTE])  # what is loaded and cached once
    before = process.memory_info().rss
    highest = 0

    async def watch() -> None:
        nonlocal highest
        while True:
            highest = max(highest, process.memory_info().rss)
            await asyncio.sleep(0.02)

    watching = asyncio.create_task(watch())
    info = await wire.upload(stubs, content)
    slow = stubs.blobs.DownloadBlob(blob_service_pb2.DownloadBlobRequest(digest=info.digest))
    first = await slow.read()
    assert first.chunk == content[: len(first.chunk)]
    assert await wire.download(stubs, info.digest) == content
    await asyncio.sleep(0.05)
    slow.cancel()
    watching.cancel()
    assert (await slow.code()) is grpc.StatusCode.CANCELLED
    assert highest - before < 80 * MEGABYTE
