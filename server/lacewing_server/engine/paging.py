"""Pages of lists: how many items, and the opaque token that leads to the next page.

A token holds a position and a fingerprint of the request it belongs to, so that a page of another list is never taken
for the next page of this one. It is not a secret and grants nothing.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Iterable
from typing import Final, TypeAlias

from google.protobuf.message import Message

from lacewing.v1 import errors_pb2
from lacewing_server.domain import limits
from lacewing_server.domain.errors import DomainError, invalid_field

Position: TypeAlias = str | int
"""Where the next page begins: the meaning is that of the list."""

_PAGE_FIELDS: Final = ("page_size", "page_token")
_FINGERPRINT_BYTES: Final = 6
_NUMBER_MAX: Final = 2**53


def page_size(requested: int) -> int:
    """How many items a page holds at most: 50 if 0 is asked for, never over 500.

    Raises:
        DomainError: ``FIELD_INVALID`` if the number is negative.
    """
    if requested < 0:
        raise invalid_field("page_size", f"must not be negative, got {requested}")
    return min(requested or limits.PAGE_SIZE_DEFAULT, limits.PAGE_SIZE_MAX)


def fitting(sizes: Iterable[int]) -> int:
    """How many items, of which the sizes in bytes are given in their order, one message takes; at least one."""
    count = total = 0
    for size in sizes:
        total += size
        if count and total > limits.BATCH_MAX_BYTES:
            break
        count += 1
    return count


def fingerprint(request: Message) -> str:
    """What identifies the list that a request asks for, whatever the page."""
    rest = type(request)()
    rest.CopyFrom(request)
    for name in _PAGE_FIELDS:
        rest.ClearField(name)
    content = request.DESCRIPTOR.full_name.encode() + b"\0" + rest.SerializeToString(deterministic=True)
    return hashlib.sha256(content).digest()[:_FINGERPRINT_BYTES].hex()


def encode_token(request_fingerprint: str, position: Position) -> str:
    """Makes the token that leads to a position."""
    content = json.dumps([request_fingerprint, position], separators=(",", ":"))
    return base64.urlsafe_b64encode(content.encode()).decode().rstrip("=")


def decode_token(token: str, request_fingerprint: str) -> Position | None:
    """Reads a token; None if it is empty: the first page.

    Raises:
        DomainError: ``PAGE_TOKEN_INVALID`` if it is malformed or belongs to another request.
    """
    if not token:
        return None
    try:
        content = json.loads(base64.b64decode(token + "=" * (-len(token) % 4), altchars=b"-_", validate=True))
        json.dumps(content, ensure_ascii=False).encode()
    except (ValueError, RecursionError) as error:  # not base 64, not JSON, or text that has no encoding
        raise _invalid("page_token is not a token of this service") from error
    match content:
        case [str(found), str(position) | int(position)] if not isinstance(position, bool):
            if found != request_fingerprint:
                raise _invalid("page_token belongs to another request: all other fields must be the same as then")
            return position
    raise _invalid("page_token is not a token of this service")


def text_position(token: str, request_fingerprint: str) -> str:
    """Reads the token of a list whose positions are texts; empty: the first page.

    Raises:
        DomainError: ``PAGE_TOKEN_INVALID``.
    """
    position = decode_token(token, request_fingerprint)
    if isinstance(position, int):
        raise malformed()
    return position or ""


def number_position(token: str, request_fingerprint: str) -> int:
    """Reads the token of a list whose positions are numbers; 0: the first page.

    Raises:
        DomainError: ``PAGE_TOKEN_INVALID``.
    """
    position = decode_token(token, request_fingerprint)
    if isinstance(position, str) or (position is not None and not 0 <= position <= _NUMBER_MAX):
        raise malformed()
    return position or 0


def malformed() -> DomainError:
    """The refusal of a token whose position is none of the list."""
    return _invalid("page_token is not a token of this list")


def _invalid(message: str) -> DomainError:
    return DomainError(errors_pb2.ERROR_REASON_PAGE_TOKEN_INVALID, message)
