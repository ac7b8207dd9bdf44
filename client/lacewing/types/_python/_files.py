"""Files and directories as inputs and outputs: `Blob` literals."""

from __future__ import annotations

import os
import shutil
from abc import abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from io import BufferedReader
from pathlib import Path
from typing import Any, Final, Self
from urllib.parse import unquote, urlsplit

from google.protobuf.message import DecodeError

from lacewing.types._blob_uri import BLOB_URI_PREFIX
from lacewing.types._problem import ConversionError
from lacewing.types._python._annotated import annotated
from lacewing.types._python._blob_access import BlobAccess, current_access
from lacewing.types._python._transformer import TypeTransformer
from lacewing.v1 import blob_pb2, literals_pb2, types_pb2

_BlobType = types_pb2.BlobType

MAX_DIRECTORY_BYTES: Final = 16 << 20
"""How large the list of a directory's files may be."""


@dataclass(frozen=True, slots=True)
class Format:
    """Says in an annotation what kind of file it is: `Annotated[File, Format("csv")]`."""

    name: str
    """The format, such as `csv`. Files of different formats do not fit each other."""


class _Stored:
    """What is on this machine, or kept by a server, or both."""

    _kind: str

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self._path: Path | None = Path(path)
        self._uri = ""
        self._access: BlobAccess | None = None
        self._suffix = ""

    @classmethod
    def from_uri(cls, uri: str) -> Self:
        """Make one of a URI, which is passed on as it is. Without a server, only `file` URIs can be read."""
        parts = urlsplit(uri)
        made = cls(unquote(parts.path))
        if parts.scheme != "file":
            made._path = None
        made._uri = uri
        return made

    @classmethod
    def _received(cls, uri: str, access: BlobAccess | None, suffix: str) -> Self:
        received = cls.from_uri(uri)
        received._access, received._suffix = access, suffix  # noqa: SLF001 it is of this class
        return received

    def __repr__(self) -> str:
        return f"{type(self).__name__}({str(self._path or self._uri)!r})"

    @property
    def uri(self) -> str:
        """Where it is kept. Empty as long as it is only on this machine."""
        return self._uri

    def path(self) -> Path:
        """Return where it is on this machine, and fetch it if it is not.

        What was fetched is there until the body ends, or the client is closed. Blocks; in asynchronous code, call it by
        `asyncio.to_thread`.

        Raises:
            ConversionError: Nothing here can fetch it.
            LacewingError: The server does not give it.
        """
        if self._path is None:
            access = self._fetching()
            path = access.scratch() / f"{self._kind}{self._suffix}"
            self._fetch(access, path)
            self._path = path
        return self._path

    def __fspath__(self) -> str:
        return str(self.path())

    def _fetching(self) -> BlobAccess:
        if self._access is None or not self._uri.startswith(BLOB_URI_PREFIX):
            raise ConversionError(f"{self._uri} cannot be fetched from here; read it with a client of that store")
        return self._access

    @abstractmethod
    def _fetch(self, access: BlobAccess, path: Path) -> None:
        """Fetch it to a path."""

    @abstractmethod
    def _store(self, access: BlobAccess, path: Path) -> str:
        """Store what is at a path, and return the URI."""

    def _stored_uri(self) -> str:
        """Return the URI, and store it before if it is only on this machine."""
        if not self._uri:
            assert self._path is not None
            access = current_access()
            if access is None:
                return self._path.absolute().as_uri()
            try:
                self._uri = self._store(access, self._path)
            except OSError as error:
                raise ConversionError(f"expected a {self._kind} that can be read: {error}") from error
            self._access = access
        return self._uri


class File(_Stored):
    """A file that a task takes or gives.

    Make it of a path: `File("table.csv")`. It is stored when it is given to a task or returned by one, and must not
    change until then. One that was received is fetched when it is first read: `path` gives a path of this machine,
    `open` and `chunks` read it. Its content is what identifies it to the cache. The name is not kept.

    Args:
        path: Where the file is.
    """

    _kind = "file"

    def open(self) -> BufferedReader:
        """Open it for reading bytes. Blocks like `path`."""
        return self.path().open("rb")

    def read_bytes(self) -> bytes:
        """Return its content. Blocks like `path`."""
        return self.path().read_bytes()

    def read_text(self) -> str:
        """Return its content, which is text in UTF-8. Blocks like `path`."""
        return self.path().read_text(encoding="utf-8")

    def chunks(self) -> Iterator[bytes]:
        """Yield its content in chunks of at most 1 MiB, without a copy on this machine if there is none. Blocks."""
        if self._path is None:
            yield from self._fetching().stream(self._uri)
            return
        with self._path.open("rb") as file:
            while chunk := file.read(1 << 20):
                yield chunk

    def copy_to(self, path: str | os.PathLike[str]) -> Path:
        """Write it to a path, where it stays, and return that. Blocks like `path`."""
        target = Path(path)
        if self._path is None:
            self._fetch(self._fetching(), target)
        else:
            shutil.copyfile(self._path, target)
        return target

    def _fetch(self, access: BlobAccess, path: Path) -> None:
        access.download(self._uri, path)

    def _store(self, access: BlobAccess, path: Path) -> str:
        return access.upload_file(path)


class Directory(_Stored):
    """A directory of files that a task takes or gives.

    Like `File`, with all the files below it; what has no files is not kept. Links to files are kept as files. One that
    was received lists its files, and gives single ones, without fetching the others.

    Args:
        path: Where the directory is.
    """

    _kind = "directory"

    def files(self) -> dict[str, File]:
        """Return the files by their paths in it, separated by `/`. Fetches the list, but no file. Blocks."""
        if self._path is not None:
            return {name: File(self._path / name) for name in _names(self._path)}
        access = self._fetching()
        return {
            name: File._received(BLOB_URI_PREFIX + digest, access, Path(name).suffix)  # noqa: SLF001 of this module
            for name, digest in self._listing(access)
        }

    def _listing(self, access: BlobAccess) -> Iterator[tuple[str, str]]:
        listing = b"".join(access.stream(self._uri))
        try:
            directory = blob_pb2.BlobDirectory.FromString(listing)
        except DecodeError as error:
            raise ConversionError(f"{self._uri} is not a directory") from error
        for file in directory.files:
            # Anybody may have written it: nothing of it may be written outside of where it is fetched to.
            if not all(part not in ("", ".", "..") and "\0" not in part for part in file.path.split("/")):
                raise ConversionError(f"{self._uri} has a file that would be outside of it: {file.path!r}")
            yield file.path, file.digest

    def _fetch(self, access: BlobAccess, path: Path) -> None:
        path.mkdir()
        for name, digest in self._listing(access):
            target = path / name
            target.parent.mkdir(parents=True, exist_ok=True)
            access.download(BLOB_URI_PREFIX + digest, target)

    def _store(self, access: BlobAccess, path: Path) -> str:
        directory = blob_pb2.BlobDirectory()
        for name in _names(path):
            file = path / name
            uri = access.upload_file(file)
            directory.files.add(path=name, digest=uri.removeprefix(BLOB_URI_PREFIX), size_bytes=file.stat().st_size)
        if directory.ByteSize() > MAX_DIRECTORY_BYTES:
            raise ConversionError(f"the directory has {len(directory.files)} files, which are too many; pack them")
        return access.upload(directory.SerializeToString(deterministic=True))


def _names(path: Path) -> list[str]:
    if not path.is_dir():
        raise ConversionError(f"expected a directory, and {path} is none")
    names = [
        file.relative_to(path).as_posix()
        for folder, _, files in os.walk(path)
        for file in (Path(folder, name) for name in files)
        if file.is_file()
    ]
    for name in names:
        if not name.isprintable() and any("\ud800" <= letter <= "\udfff" for letter in name):
            raise ConversionError(f"the name of a file is no Unicode: {name!r}")
    return sorted(names)


class _StoredTransformer(TypeTransformer):
    dimensionality: _BlobType.BlobDimensionality.ValueType
    python_type: type

    def matches(self, annotation: Any) -> bool:
        """Return whether it is the class of this transformer."""
        return annotated(annotation)[0] is self.python_type

    def literal_type(self, annotation: Any) -> types_pb2.LiteralType:
        """Return a blob type of the annotated format."""
        return types_pb2.LiteralType(blob=self._blob_type(annotation))

    def to_literal(self, value: Any, annotation: Any) -> literals_pb2.Literal:
        """Store it, and return where."""
        if not isinstance(value, self.python_type):
            raise TypeError(f"got a {type(value).__qualname__}")
        metadata = literals_pb2.BlobMetadata(type=self._blob_type(annotation))
        blob = literals_pb2.Blob(uri=self._uri_of(value), metadata=metadata)
        return literals_pb2.Literal(scalar=literals_pb2.Scalar(blob=blob))

    def _blob_type(self, annotation: Any) -> _BlobType:
        name = next((each.name for each in annotated(annotation)[1] if isinstance(each, Format)), "")
        return _BlobType(format=name, dimensionality=self.dimensionality)

    @abstractmethod
    def _uri_of(self, value: Any) -> str:
        """Store a value, and return its URI."""


def _suffix(literal: literals_pb2.Literal) -> str:
    name = literal.scalar.blob.metadata.type.format
    return f".{name}" if name.isalnum() else ""


class FileTransformer(_StoredTransformer):
    """`File`."""

    name = "lacewing.File"
    python_type = File
    dimensionality = _BlobType.BLOB_DIMENSIONALITY_SINGLE

    def _uri_of(self, value: File) -> str:
        return value._stored_uri()  # noqa: SLF001 of this module

    def to_python(self, literal: literals_pb2.Literal, annotation: Any) -> File:  # noqa: ARG002 the literal says it all
        """Return it without fetching it."""
        return File._received(literal.scalar.blob.uri, current_access(), _suffix(literal))  # noqa: SLF001 of this module


class DirectoryTransformer(_StoredTransformer):
    """`Directory`."""

    name = "lacewing.Directory"
    python_type = Directory
    dimensionality = _BlobType.BLOB_DIMENSIONALITY_MULTIPART

    def _uri_of(self, value: Directory) -> str:
        return value._stored_uri()  # noqa: SLF001 of this module

    def to_python(self, literal: literals_pb2.Literal, annotation: Any) -> Directory:  # noqa: ARG002 the literal says it all
        """Return it without fetching it."""
        return Directory._received(literal.scalar.blob.uri, current_access(), "")  # noqa: SLF001 of this module


class PathTransformer(_StoredTransformer):
    """`pathlib.Path`: a file that is fetched before the body begins, or the result is returned."""

    name = "pathlib.Path"
    python_type = Path
    dimensionality = _BlobType.BLOB_DIMENSIONALITY_SINGLE

    def _uri_of(self, value: Path) -> str:
        if value.is_dir():
            raise ConversionError(f"{value} is a directory; annotate it as lacewing.Directory")
        return File(value)._stored_uri()  # noqa: SLF001 of this module

    def to_python(self, literal: literals_pb2.Literal, annotation: Any) -> Path:  # noqa: ARG002 the literal says it all
        """Fetch it, and return where it is."""
        received = File._received(literal.scalar.blob.uri, current_access(), _suffix(literal))  # noqa: SLF001 of this module
        return received.path()
