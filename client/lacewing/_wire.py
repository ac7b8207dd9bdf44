"""Serialized messages put together of serialized parts.

Serialized messages that are joined are the message with all of their parts. So what goes out together is serialized one
by one, when it is made, and is neither copied into one message nor walked again.
"""

from __future__ import annotations

from functools import lru_cache

_LENGTH_DELIMITED = 2
_LOW_BITS = 0x7F


def varint(number: int) -> bytes:
    """Return a number that is not negative, as protobuf writes it."""
    groups = bytearray()
    while number > _LOW_BITS:
        groups.append(number & _LOW_BITS | _LOW_BITS + 1)
        number >>= 7
    groups.append(number)
    return bytes(groups)


def part(field: int, content: bytes) -> bytes:
    """Return a serialized message that has nothing but one field, which holds bytes or another serialized message."""
    return _head(field, len(content)) + content


@lru_cache(maxsize=1024)
def _head(field: int, size: int) -> bytes:
    return varint(field << 3 | _LENGTH_DELIMITED) + varint(size)
