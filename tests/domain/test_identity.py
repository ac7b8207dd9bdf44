"""The ids and nonces that a server makes."""

from __future__ import annotations

import os

from lacewing_server.domain import identity

_NOW_MS = 1_800_000_000_000
_COUNT = 10_000


def test_ids_sort_as_they_were_made() -> None:
    """Also those of one millisecond, and those made after the clock went back."""
    made = [identity.new_execution_id(_NOW_MS - number // 100) for number in range(_COUNT)]
    assert made == sorted(set(made))


def test_an_id_begins_with_the_time() -> None:
    """So that ids of several servers sort by time."""
    later = _NOW_MS + 1_000_000
    assert identity.new_execution_id(later)[:6] == later.to_bytes(6, "big")


def test_no_nonce_is_made_twice() -> None:
    """Not even by a process that was forked."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        os.write(writer, b"".join(identity.new_nonce() for _ in range(100)))
        os._exit(0)
    made = [identity.new_nonce() for _ in range(_COUNT)]
    os.waitpid(child, 0)
    others = os.read(reader, 100 * identity.NONCE_BYTES)
    os.close(reader)
    os.close(writer)
    made += [others[start : start + identity.NONCE_BYTES] for start in range(0, len(others), identity.NONCE_BYTES)]
    assert len(set(made)) == _COUNT + 100
