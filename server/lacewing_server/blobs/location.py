"""From the setting ``blob_url`` to the place it names."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import unquote, urlsplit

from lacewing_server.blobs.base import BlobStore, BlobStoreError
from lacewing_server.blobs.local import LocalBlobStore


def open_blob_store(url: str | None, data_dir: Path) -> BlobStore:
    """Opens the place that a URL names.

    Args:
        url: ``file:///directory``, or ``s3://bucket/prefix``. None: the directory ``blobs`` in ``data_dir``.
        data_dir: Where the server keeps its data.

    Raises:
        BlobStoreError: If the URL is none of these, or what it needs is not installed.
    """
    if url is None:
        return LocalBlobStore(data_dir / "blobs")
    parts = urlsplit(url)
    if parts.scheme == "file" and not parts.netloc and parts.path.strip("/"):
        return LocalBlobStore(Path(unquote(parts.path)))
    if parts.scheme == "s3" and parts.netloc:
        try:
            from lacewing_server.blobs.bucket import BucketBlobStore  # noqa: PLC0415 - needs the extra s3
        except ImportError as error:
            raise BlobStoreError(f'{url} needs obstore; install it with: pip install "lacewing[s3]"') from error
        return BucketBlobStore(url)
    raise BlobStoreError(f"blob_url is file:///directory or s3://bucket/prefix, not {url}")
