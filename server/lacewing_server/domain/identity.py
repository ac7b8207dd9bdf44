"""The binary identities that the store and the wire of workers use: executions, tasks, queues, lease tokens.

An execution id is 12 bytes. A generated one begins with the milliseconds of its creation, so that ids sort by time; its
name is ``x`` and the id in base 32. The id of a *given* name or request id is a digest of it: that makes creation
idempotent by the mere existence of the record.
"""

from __future__ import annotations

import base64
import functools
import hashlib
import os
from typing import Final

ID_BYTES: Final = 12
NONCE_BYTES: Final = 8
_GENERATED_NAME_LENGTH: Final = 21
_KEY_DIGITS: Final = 32
_TIME_BYTES: Final = 6
_DRAWN_BYTES: Final = 4_096
_NODE_MARK: Final = b"\xfd"  # a generated id begins with 0x01 until the year 2527
_REQUEST_MARK: Final = b"\xfe"
_NAME_MARK: Final = b"\xff"
# A name takes base 32 in pairs of digits, of ten bits each: a third of the time of the library's encoder.
_DIGITS: Final = "0123456789abcdefghijklmnopqrstuv"
_PAIRS: Final = tuple(first + second for first in _DIGITS for second in _DIGITS)
_SHIFTS: Final = range(90, -1, -10)


class _Source:
    """Where ids and nonces come from.

    Random bytes are taken from the system many at a time: that is a system call, and each execution needs two.
    """

    def __init__(self) -> None:
        self._begin()
        os.register_at_fork(after_in_child=self._begin)

    def _begin(self) -> None:
        self._last_id = 0
        self._draw()

    def _draw(self) -> None:
        self._bytes, self._used = os.urandom(_DRAWN_BYTES), 0

    def random(self, count: int) -> bytes:
        """Random bytes that nobody else gets."""
        if self._used + count > _DRAWN_BYTES:
            self._draw()
        self._used += count
        return self._bytes[self._used - count : self._used]

    def execution_id(self, now_ms: int) -> bytes:
        """An id that begins with the time, and is greater than all before."""
        drawn = now_ms.to_bytes(_TIME_BYTES, "big") + self.random(ID_BYTES - _TIME_BYTES)
        self._last_id = max(int.from_bytes(drawn, "big"), self._last_id + 1)
        return self._last_id.to_bytes(ID_BYTES, "big")


_source: Final = _Source()


def new_execution_id(now_ms: int) -> bytes:
    """Makes an id that sorts by time: those made here sort as they were made, also within a millisecond."""
    return _source.execution_id(now_ms)


def requested_execution_id(project: str, domain: str, request_id: str) -> bytes:
    """The id that a request id stands for."""
    return _REQUEST_MARK + _digest(project, domain, request_id)[: ID_BYTES - 1]


def node_execution_id(parent: bytes, path: str) -> bytes:
    """The id of the execution that runs a node of the graph of another one."""
    return _NODE_MARK + hashlib.sha256(parent + path.encode()).digest()[: ID_BYTES - 1]


def execution_id_of(project: str, domain: str, name: str) -> bytes:
    """The id of the execution with this name."""
    if len(name) == _GENERATED_NAME_LENGTH and name[0] == "x":
        try:
            decoded = base64.b32hexdecode(name[1:].upper() + "====")
        except ValueError:  # not base 32: a name somebody chose
            decoded = b""
        if len(decoded) == ID_BYTES and execution_name(decoded) == name:
            return decoded
    return _NAME_MARK + _digest(project, domain, name)[: ID_BYTES - 1]


def execution_name(execution_id: bytes) -> str:
    """The name of an execution that was given none."""
    bits = int.from_bytes(execution_id, "big") << 4
    return "x" + "".join([_PAIRS[bits >> shift & 0x3FF] for shift in _SHIFTS])


@functools.lru_cache(maxsize=10_000)
def task_ref(project: str, domain: str, name: str) -> bytes:
    """The short identity of a task, all versions together: keys of its versions, index and cache."""
    return _digest(project, domain, name)[:ID_BYTES]


@functools.lru_cache(maxsize=10_000)
def project_ref(project: str) -> bytes:
    """The short identity of a project: keys of its bounds."""
    return _digest(project)[:ID_BYTES]


@functools.lru_cache(maxsize=10_000)
def queue_ref(project: str, domain: str, name: str, task_type: str, queue: str) -> bytes:
    """The short identity of a ready queue: one per task, task type and queue label."""
    return _digest(project, domain, name, task_type, queue)[:ID_BYTES]


def new_nonce() -> bytes:
    """Makes the secret half of a lease token."""
    return _source.random(NONCE_BYTES)


def lease_token(execution_id: bytes, nonce: bytes) -> bytes:
    """The token that proves a lease."""
    return execution_id + nonce


def idempotency_key(execution_id: bytes, create_ms: int) -> str:
    """The key under which an execution makes its calls to other systems: of its own, although names are given again."""
    return hashlib.sha256(execution_id + create_ms.to_bytes(8, "big")).hexdigest()[:_KEY_DIGITS]


def split_token(token: bytes) -> tuple[bytes, bytes] | None:
    """The execution id and nonce of a token, or None if it cannot be one."""
    if len(token) != ID_BYTES + NONCE_BYTES:
        return None
    return token[:ID_BYTES], token[ID_BYTES:]


def _digest(*parts: str) -> bytes:
    return hashlib.sha256("\0".join(parts).encode()).digest()
