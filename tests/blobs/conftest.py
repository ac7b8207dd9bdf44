"""Servers that keep their blobs in a directory, and in a bucket."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from blobs.s3 import BUCKET, Bucket, run_bucket
from lacewing_server.testing import ServerProcess, start_server
from server.world import Stubs, connect


@dataclass
class Place:
    """A server, and the place where it keeps blobs."""

    server: ServerProcess
    kind: str
    directory: Path
    bucket: Bucket | None

    def contents(self) -> dict[str, int]:
        """The size of all that is in the place, by a name that ends in the digest; what is unfinished too."""
        if self.bucket is not None:
            return self.bucket.contents()
        found = {}
        for path in self.directory.rglob("*"):
            with contextlib.suppress(FileNotFoundError):  # it is being removed at this moment
                if path.is_file():
                    found["".join(path.relative_to(self.directory).parts)] = path.stat().st_size
        return found

    def remove(self, digest: str) -> None:
        """Deletes a blob behind the server's back."""
        if self.bucket is not None:
            self.bucket.client.delete_object(Bucket=BUCKET, Key=f"some/prefix/{digest}")
        else:
            (self.directory / digest[:2] / digest[2:]).unlink()

    def damage(self, digest: str) -> None:
        """Changes the bytes of a blob behind the server's back."""
        if self.bucket is not None:
            self.bucket.client.put_object(Bucket=BUCKET, Key=f"some/prefix/{digest}", Body=b"damaged")
        else:
            (self.directory / digest[:2] / digest[2:]).write_bytes(b"damaged")


@pytest.fixture(scope="session")
def bucket(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bucket]:
    with run_bucket(tmp_path_factory.mktemp("s3")) as bucket:
        yield bucket


@pytest.fixture(scope="module", params=["directory", "bucket"])
def place(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    """A place of each kind."""
    directory = tmp_path_factory.mktemp("place") / "blobs"
    with pytest.MonkeyPatch.context() as patch:
        bucket = None
        settings: dict[str, Any] = {"blob_url": directory.as_uri(), "blob_max_bytes": 256 << 20}
        if request.param == "bucket":
            bucket = request.getfixturevalue("bucket")
            for name, value in bucket.environment.items():
                patch.setenv(name, value)
            settings["blob_url"] = bucket.url
        with start_server(**settings) as server:
            yield Place(server, request.param, directory, bucket)


@pytest.fixture
async def stubs(place: Place) -> AsyncIterator[Stubs]:
    async with connect(place.server.address) as stubs:
        yield stubs
