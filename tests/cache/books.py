"""The books of the cache as they are in Redis, read and checked against what is filled."""

from __future__ import annotations

import asyncio
import struct
from dataclasses import dataclass, field
from typing import Any

from lacewing_server.domain import limits
from lacewing_server.store.redis import codec
from lacewing_server.store.redis.store import Store

_BOOK = struct.Struct(">Q12s")


@dataclass
class Books:
    """What the books say."""

    sizes: dict[bytes, int] = field(default_factory=dict)
    """By key of an entry, in the order of last use."""
    projects: dict[bytes, str] = field(default_factory=dict)
    refs: dict[bytes, bytes] = field(default_factory=dict)
    alive: set[bytes] = field(default_factory=set)
    """Keys of entries that are filled and have not expired."""
    expiring: set[bytes] = field(default_factory=set)
    statistics: dict[str | bytes, dict[str, int]] = field(default_factory=dict)
    """Of projects by name, and of tasks by their short identity."""


async def read_books(store: Store) -> Books:
    """Reads the books, and asserts that they agree with themselves and with the entries."""
    prefix, call = store.keys.prefix, store.call
    size = len(prefix)
    names = [key[size:] for key in await call("KEYS", prefix + b"m*")]
    books = Books()
    flat = await call("HGETALL", prefix + b"mz")
    for key, book in zip(flat[::2], flat[1::2], strict=True):
        books.sizes[key], books.refs[key] = _BOOK.unpack_from(book)
        books.projects[key] = book[_BOOK.size :].decode()
    books.expiring = set(await call("ZRANGE", prefix + b"me", 0, -1))
    used = {name[3:].decode(): await call("ZRANGE", prefix + name, 0, -1) for name in names if name.startswith(b"ml:")}
    order = [key for keys in used.values() for key in keys]
    assert sorted(order) == sorted(books.sizes)
    assert all(books.projects[key] == project for project, keys in used.items() for key in keys)
    books.sizes = {key: books.sizes[key] for key in order}
    listed = {name[3:]: await call("ZRANGE", prefix + name, 0, -1) for name in names if name.startswith(b"mx:")}
    assert sorted(key for keys in listed.values() for key in keys) == sorted(books.sizes)
    assert all(books.refs[key] == ref for ref, keys in listed.items() for key in keys)
    assert books.expiring <= set(books.sizes)
    await _check_entries(store, books)
    for kind in (b"mp:", b"ms:"):
        for name in names:
            if name.startswith(kind):
                flat = await call("HGETALL", prefix + name)
                numbers = {key.decode(): int(value) for key, value in zip(flat[::2], flat[1::2], strict=True)}
                books.statistics[name[3:].decode() if kind == b"mp:" else name[3:]] = numbers
    for owners in (books.projects, books.refs):
        for owner in set(owners.values()):
            mine = [books.sizes[key] for key, each in owners.items() if each == owner]
            numbers = books.statistics[owner]  # type: ignore[index] # both kinds of names are keys
            assert (numbers["bytes"], numbers["entries"]) == (sum(mine), len(mine))
    return books


async def _check_entries(store: Store, books: Books) -> None:
    prefix = store.keys.prefix + b"m:"
    keys = [key[len(prefix) :] for key in await store.call("KEYS", prefix + b"*")]
    values: list[Any] = await asyncio.gather(*(store.call("GET", prefix + key) for key in keys))
    for key, value in zip(keys, values, strict=True):
        if value is not None and value[:2] == bytes([codec.FORMAT, codec.DONE]):
            books.alive.add(key)
            assert books.sizes[key] == len(value) + limits.CACHE_ENTRY_OVERHEAD_BYTES
    assert set(books.sizes) - books.alive <= books.expiring, "what does not expire cannot be gone"
