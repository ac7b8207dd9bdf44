"""A server that speaks the protocol of S3: moto, in a process of its own."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import boto3
import botocore.config

BUCKET = "blobs-of-tests"
_READY = re.compile(r"Running on (http://127\.0\.0\.1:\d+)")


class Bucket:
    """A bucket of that server."""

    def __init__(self, endpoint: str) -> None:
        self.url = f"s3://{BUCKET}/some/prefix"
        self.environment = {
            "AWS_ACCESS_KEY_ID": "tests",
            "AWS_SECRET_ACCESS_KEY": "tests",
            "AWS_REGION": "us-east-1",
            "AWS_ENDPOINT_URL": endpoint,
            "AWS_ALLOW_HTTP": "true",
        }
        self.client: Any = boto3.client(
            "s3",
            endpoint_url=endpoint,
            region_name="us-east-1",
            aws_access_key_id="tests",
            aws_secret_access_key="tests",
            config=botocore.config.Config(retries={"max_attempts": 1}),
        )

    def contents(self) -> dict[str, int]:
        """The sizes of all objects, by name; uploads that are not complete are found by their names too."""
        objects = self.client.list_objects_v2(Bucket=BUCKET).get("Contents", [])
        unfinished = self.client.list_multipart_uploads(Bucket=BUCKET).get("Uploads", [])
        return {each["Key"]: each["Size"] for each in objects} | {f"unfinished {each['Key']}": 0 for each in unfinished}


@contextmanager
def run_bucket(directory: Path) -> Iterator[Bucket]:
    """Runs the server, with one bucket; its log goes into the directory."""
    # Not into a pipe: it logs each request, and would wait for a reader.
    log = directory / "s3.log"
    with (
        log.open("wb") as output,
        subprocess.Popen(
            [sys.executable, "-u", "-m", "moto.server", "-H", "127.0.0.1", "-p", "0"],
            stdout=subprocess.DEVNULL,
            stderr=output,
            env=os.environ | {"PYTHONWARNINGS": "ignore"},
        ) as process,
    ):
        try:
            while (found := _READY.search(log.read_text())) is None:
                assert process.poll() is None, log.read_text()
                time.sleep(0.02)
            bucket = Bucket(found.group(1))
            bucket.client.create_bucket(Bucket=BUCKET)
            yield bucket
            bucket.client.close()
        finally:
            process.kill()
