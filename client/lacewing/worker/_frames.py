"""Frames between a worker and its child processes.

A frame is a header, which says how long its payload is and of which kind, and a payload, which is a message of
`worker_service.proto`: parent and child speak of attempts in the words of the protocol itself, and nothing is pickled.
"""

from __future__ import annotations

import enum
import socket
import struct
from collections.abc import Iterator

_HEADER = struct.Struct(">IB")


class FrameKind(enum.IntEnum):
    """What a frame carries."""

    LEASE = 1
    """To the child: a `Lease`; run its body."""
    PROGRESS = 2
    """From the child: a `Heartbeat` with the progress of the running body."""
    DONE = 3
    """From the child: the `Completion` of the body; the child waits for the next lease."""
    RETIRED = 4
    """From the child: the `Completion` of the body; the child has served its time and exits."""
    STOPPED = 5
    """From the child: the `Completion` of a body that was told to stop by SIGTERM; the child exits."""


def encode_frame(kind: FrameKind, payload: bytes) -> bytes:
    """Return one frame."""
    return _HEADER.pack(len(payload), kind) + payload


def receive_frame(connection: socket.socket) -> tuple[FrameKind, bytes] | None:
    """Wait for one frame on a blocking socket. Returns None at the end of the stream."""
    header = _receive_exactly(connection, _HEADER.size)
    if header is None:
        return None
    length, kind = _HEADER.unpack(header)
    payload = _receive_exactly(connection, length)
    if payload is None:
        return None
    return FrameKind(kind), bytes(payload)


def _receive_exactly(connection: socket.socket, count: int) -> bytearray | None:
    buffer = bytearray(count)
    view = memoryview(buffer)
    received = 0
    while received < count:
        size = connection.recv_into(view[received:])
        if size == 0:
            return None
        received += size
    return buffer


class FrameDecoder:
    """Cut a stream of bytes into frames, however the bytes arrive."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    def feed(self, data: bytes) -> Iterator[tuple[FrameKind, bytes]]:
        """Take bytes; yield the frames that they complete."""
        self._buffer += data
        while len(self._buffer) >= _HEADER.size:
            length, kind = _HEADER.unpack_from(self._buffer)
            end = _HEADER.size + length
            if len(self._buffer) < end:
                return
            payload = bytes(memoryview(self._buffer)[_HEADER.size : end])
            del self._buffer[:end]
            yield FrameKind(kind), payload
