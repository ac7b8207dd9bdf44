"""Connections that break, content that is damaged, blobs that go at the wrong moment, places that cannot be used."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

import lacewing
from blobs import bodies, wire
from blobs.conftest import Place
from blobs.s3 import Bucket
from lacewing import errors, testing
from lacewing._blobs import Blobs, BlobSession
from lacewing.types import BLOB_URI_PREFIX
from lacewing.v1 import execution_pb2
from lacewing_server.testing import ServerProcessError, start_server
from server.world import Stubs
from worker.cut import wire_to

Status = execution_pb2.CacheInfo
CONTENT = os.urandom(1 << 20) * 40


@pytest.fixture
def session(place: Place) -> Iterator[BlobSession]:
    session = BlobSession(Blobs(place.server.address, None))
    yield session
    session.close()
    session.blobs.close()


async def test_an_upload_whose_connection_breaks_is_made_again(place: Place) -> None:
    """The client begins anew by itself, and the blob is complete."""
    content = CONTENT + os.urandom(8)
    async with wire_to(place.server.address) as line:
        blobs = Blobs(f"127.0.0.1:{line.port}", None)
        before = place.contents()
        uploading = asyncio.create_task(asyncio.to_thread(blobs.upload, content))
        async with asyncio.timeout(30):
            while place.contents() == before and not uploading.done():
                await asyncio.sleep(0.005)
        line.cut()
        uri = await uploading
        assert uri == BLOB_URI_PREFIX + wire.digest_of(content)
        assert await asyncio.to_thread(blobs.read, uri, len(content)) == content
        blobs.close()


async def test_a_download_whose_connection_breaks_goes_on(place: Place, session: BlobSession) -> None:
    """What was received is not fetched again, and the whole is checked."""
    uri = await asyncio.to_thread(session.upload, CONTENT)
    async with wire_to(place.server.address) as line:
        blobs = Blobs(f"127.0.0.1:{line.port}", None)
        stream = blobs.stream(uri)
        received = await asyncio.to_thread(lambda: [next(stream) for _ in range(5)])
        line.cut()
        received += await asyncio.to_thread(list, stream)
        assert b"".join(received) == CONTENT
        blobs.close()


async def test_a_server_that_is_not_there_is_waited_for_and_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """After its patience the client says that the server cannot be reached."""
    monkeypatch.setattr("lacewing._blobs.PATIENCE", 0.1)
    blobs = Blobs("127.0.0.1:1", None)
    with pytest.raises(errors.ServerUnavailable):
        await asyncio.to_thread(blobs.upload, b"content")
    blobs.close()
    with pytest.raises(errors.CallFailed, match="closed"):
        blobs.upload(b"content")


def test_what_cannot_reach_the_server_says_so_at_once() -> None:
    """A child process of a worker that talks TLS has no credentials, and does not wait for anything."""
    with pytest.raises(errors.CallFailed, match='isolation="thread"'):
        Blobs("", None).upload(b"content")


async def test_damaged_content_is_found(place: Place, stubs: Stubs, session: BlobSession) -> None:
    """Bytes that have changed where they are kept are not taken for the blob, and no file is left of them."""
    content = os.urandom(100)
    info = await wire.upload(stubs, content)
    place.damage(info.digest)
    target = session.scratch() / "file"
    with pytest.raises(errors.CallFailed, match="other bytes"):
        await asyncio.to_thread(session.download, info.uri, target)
    assert list(target.parent.iterdir()) == []


async def test_a_file_that_changes_while_it_is_stored_is_refused(session: BlobSession) -> None:
    """Its bytes are not those that were announced."""
    with pytest.raises(errors.BlobDigestMismatch):
        session.blobs._upload(wire.digest_of(b"before"), 6, lambda: iter([b"after!"]))


async def test_an_error_of_reading_is_told_as_it_is(session: BlobSession) -> None:
    """What goes wrong with the file, and not with the server, is raised as such."""

    def broken() -> Iterator[bytes]:
        yield b"con"
        raise OSError("the disk is gone")

    with pytest.raises(OSError, match="the disk is gone"):
        session.blobs._upload(wire.digest_of(b"content"), 7, broken)


@pytest.mark.parametrize("isolation", ["process", "thread"])
async def test_an_input_that_goes_before_the_body_begins_fails_the_attempt(place: Place, isolation: str) -> None:
    """The attempt fails with a code of its own, and is not repeated: the input would not come back."""
    async with lacewing.Client(place.server.address) as client:
        await client.register(bodies.keep)
        handle = await client.submit(bodies.keep, os.urandom(100_000))
        inputs = (await client.get(handle.id)).inputs
        place.remove(inputs.literals["content"].offloaded_metadata.uri.removeprefix(BLOB_URI_PREFIX))
        with (
            testing.worker(place.server.address, [bodies.keep], isolation=isolation),
            pytest.raises(errors.TaskFailed) as raised,
        ):
            await handle.result(20)
    assert raised.value.code == "BlobNotFound"
    assert raised.value.execution.attempt_count == 1


async def test_blobs_that_cannot_be_reached_are_no_failure_of_the_task(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An attempt whose inputs cannot be fetched is given back, and counts as a loss of infrastructure."""
    monkeypatch.setattr("lacewing._blobs.PATIENCE", 0.1)
    async with lacewing.Client(place.server.address) as client:
        with testing.worker(place.server.address, [bodies.keep]) as worker:
            monkeypatch.setattr(worker._values._session.blobs, "_address", "127.0.0.1:1")
            handle = await client.submit(bodies.keep, os.urandom(100_000))
            with pytest.raises(errors.TaskFailed) as raised:
                await handle.result(20)
    execution = raised.value.execution
    assert (execution.failure_count, execution.loss_count) == (0, 4)
    attempts = [each.error.message async for each in _attempts(place, raised.value)]
    assert len(attempts) == 4
    assert all("its large values cannot be reached" in message for message in attempts)


async def _attempts(place: Place, failed: errors.TaskFailed):
    async with lacewing.Client(place.server.address) as client:
        async for attempt in client.handle(failed.id, bodies.keep).attempts():
            yield attempt


@pytest.mark.parametrize("isolation", ["process", "thread"])
async def test_files_of_an_attempt_are_removed_with_it(place: Place, isolation: str) -> None:
    """What a body fetched is gone when it has ended, and all of it when the worker has, also if the body was killed."""
    with testing.worker(place.server.address, [bodies.where, bodies.crash_with], isolation=isolation) as worker:
        async with lacewing.Client(place.server.address) as client:
            path = await client.execute(bodies.where, Path(__file__))
            assert path.startswith(worker._files)
            assert not Path(path).exists()
            if isolation == "process":
                with pytest.raises(errors.TaskFailed):
                    await client.execute(bodies.crash_with, Path(__file__))
                assert [file for file in Path(worker._files).rglob("*") if file.is_file()] != []
    assert not Path(worker._files).exists()


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("ftp://host/blobs", "not ftp://host/blobs"),
        ("file:///", "not file:///"),
        ("file://host/blobs", "not file://host/blobs"),
        ("blobs", "not blobs"),
        ("file:///dev/null/blobs", "Not a directory"),
    ],
)
def test_a_place_that_cannot_be_used_stops_the_start(url: str, why: str) -> None:
    """The server does not start, and says what is wrong with the setting."""
    with pytest.raises(ServerProcessError, match=why), start_server(blob_url=url):
        pass


def test_a_bucket_that_is_not_there_stops_the_start(bucket: Bucket, monkeypatch: pytest.MonkeyPatch) -> None:
    """A wrong name is found before anything is to be kept."""
    for name, value in bucket.environment.items():
        monkeypatch.setenv(name, value)
    with (
        pytest.raises(ServerProcessError, match=r"no-such-bucket.*404"),
        start_server(blob_url="s3://no-such-bucket/blobs"),
    ):
        pass


async def test_a_cache_entry_whose_blob_cannot_be_looked_for_is_no_error(tmp_path: Path) -> None:
    """The task runs again and fills the entry; the log says what is wrong."""
    with (
        start_server(blob_url=tmp_path.as_uri()) as server,
        testing.worker(server.address, [bodies.draw]),
    ):
        async with lacewing.Client(server.address) as client:
            first = await (await client.submit(bodies.draw, 100_000)).wait(20)
            digest = first.outputs.literals["o0"].offloaded_metadata.uri.removeprefix(BLOB_URI_PREFIX)
            file = tmp_path / digest[:2] / digest[2:]
            file.unlink()
            file.symlink_to(file)  # neither there nor not there
            second = await (await client.submit(bodies.draw, 100_000)).wait(20)
            third = await (await client.submit(bodies.draw, 100_000)).wait(20)
        assert str(file) in server.log
    assert (second.cache.status, third.cache.status) == (Status.STATUS_POPULATED, Status.STATUS_HIT)
    assert second.outputs != first.outputs
    assert third.outputs == second.outputs
