"""What must hold of everything in the store once all is quiet."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

import redis

from faults.checks import Cache, Execution, output
from faults.history import State
from faults.schedule import SERVERS
from faults.world import PREFIX
from lacewing.v1 import cache_pb2, literals_pb2
from lacewing_server.domain import lifecycle
from lacewing_server.store.redis import codec

LASTING: Final = (
    *("ix:", "m:", "mx:", "ml:", "me", "mz", "mo", "ms:", "mp:"),
    *("t:", "tv:", "tn:", "catalog", "p", "servers", "n:"),
)
"""What has no end of its own: indexes, which are trimmed; cache entries without a time to live, and the books and
statistics of the cache; what is registered; the servers; how many executions of a project wait."""

_QUIET: Final = ("q:", "run:", "mw:", "w:", "c:", "timer", "gx")
"""What there is only while executions have not ended."""


def check_keys(store: redis.Redis, executions: Mapping[str, Execution]) -> Iterator[str]:
    """Says what is wrong in the store; ``executions`` by name are as the servers give them."""
    size = len(PREFIX)
    for key in sorted(store.scan_iter(count=1_000)):
        if not key.startswith(PREFIX.encode()):
            yield f"{key!r}: has no prefix"
            continue
        name: bytes = key[size:]
        shown = name.decode(errors="backslashreplace")
        life: Any = store.pttl(key)
        if life == -2:  # It expired meanwhile.
            continue
        is_of_graph = name.startswith(b"ix:") and store.exists(f"{PREFIX}x:".encode() + name[3:])
        if life == -1 and (is_of_graph or not shown.startswith(LASTING)):
            yield f"{shown}: has no end"
        if shown.startswith(_QUIET):
            yield f"{shown}: is there, though nothing is under way: {_content(store, key)}"
        if shown.startswith("x:"):
            value: Any = store.get(key)
            if value is not None and not lifecycle.is_terminal(codec.unpack_record(name[2:], value).state):
                yield f"{shown}: has not ended"
        if shown.startswith("n:") and store.get(key) != b"0":
            yield f"{shown}: {store.get(key)!r} executions are said to wait"
        if shown.startswith("m:"):
            yield from _check_entry(shown, store.get(key), executions)
    members: Any = store.smembers(f"{PREFIX}servers")
    if len(members) != len(SERVERS):
        yield f"there are {len(SERVERS)} servers, and the store knows {len(members)}: a dead one was not taken over"


def _check_entry(shown: str, value: Any, executions: Mapping[str, Execution]) -> Iterator[str]:
    """A cache entry is the output of an execution that succeeded."""
    if value is None:
        return
    entry = codec.unpack_entry(value)
    if entry is None:
        yield f"{shown}: is reserved, though nothing is under way"
        return
    producer = cache_pb2.CacheEntry.FromString(entry.meta).producer.name
    execution = executions.get(producer)
    if execution is None:
        yield f"{shown}: is of execution {producer}, which nobody asked for"
    elif (execution.state, execution.cache.status) != (State.STATE_SUCCEEDED, Cache.STATUS_POPULATED):
        yield f"{shown}: is of execution {producer}, which ended in {State.Name(execution.state)}"
    elif literals_pb2.LiteralMap.FromString(entry.outputs) != execution.outputs:
        yield f"{shown}: is not what its producer {producer} gave, {output(execution)[:80]!r}"


def _content(store: redis.Redis, key: bytes) -> Any:
    kind: Any = store.type(key)
    if kind == b"list":
        return store.lrange(key, 0, 3)
    if kind == b"set":
        return store.smembers(key)
    return store.zrange(key, 0, 3)
