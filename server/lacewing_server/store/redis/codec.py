"""How records and cache entries are packed into Redis strings: one table of fields, used by Python and by Lua.

A record is a fixed header, then the variable parts ``meta | worker | inputs | outcome``, whose lengths the header
holds. The
first byte is the format: a reader refuses what it does not know. ``lacewing inspect`` prints a record by this table.
"""

from __future__ import annotations

import struct
from typing import Final, NamedTuple

from lacewing_server.domain import lifecycle, limits
from lacewing_server.domain.record import CachedOutcome, ExecutionRecord

FORMAT: Final = 1

INLINE_BYTES: Final = limits.INLINE_INPUTS_BYTES
BULK_BYTES: Final = 64 << 10
"""Values over this size travel on a connection of their own, so that they do not delay small ones."""

STATES: Final = {
    "leased": lifecycle.RUNNING,
    "queued": lifecycle.QUEUED,
    "waiting": lifecycle.WAITING,
}
"""The state that each answer of ``create.lua`` means."""


class Field(NamedTuple):
    """One field of a packed header."""

    name: str
    python: str
    """Its code for Python's ``struct``."""
    lua: str
    """Its code for the ``struct`` library of Redis's Lua."""
    lua_name: str
    """The local variable that holds its index in scripts."""


def _field(name: str, code: str) -> Field:
    width = code[:-1]
    lua = f"c{width}" if width else {"B": "B", "H": "H", "I": "I4", "Q": "I8"}[code]
    return Field(name, code, lua, name.upper())


HEADER: Final = tuple(
    _field(name, code)
    for name, code in (
        ("format", "B"),
        ("state", "B"),
        ("flags", "H"),
        ("cache_status", "B"),
        ("revision", "I"),
        ("attempt", "I"),
        ("failures", "H"),
        ("losses", "H"),
        ("nonce", "8s"),
        ("owner", "8s"),
        ("origin", "8s"),
        ("task_ref", "12s"),
        ("queue_ref", "12s"),
        ("project_ref", "12s"),
        ("cache_key", "16s"),
        ("create_ms", "Q"),
        ("queued_ms", "Q"),
        ("start_ms", "Q"),
        ("end_ms", "Q"),
        ("not_before_ms", "Q"),
        ("deadline_ms", "Q"),
        ("lease_expire_ms", "Q"),
        ("attempt_timeout", "Q"),
        ("queue_timeout", "Q"),
        ("retention", "Q"),
        ("meta_length", "I"),
        ("worker_length", "H"),
        ("inputs_length", "I"),
        ("outcome_length", "I"),
    )
)
"""The header of a record, in order. Appending is a new format."""

_HEADER: Final = struct.Struct(">" + "".join(part.python for part in HEADER))
HEADER_BYTES: Final = _HEADER.size
_NAMES: Final = [part.name for part in HEADER]
REVISION_END: Final = struct.calcsize(">" + "".join(part.python for part in HEADER[: _NAMES.index("revision") + 1]))

# format, kind, created, compute time, length of the producer patch, length of the entry's meta
_ENTRY: Final = struct.Struct(">BBQQHH")
ENTRY_LUA: Final = ">BBI8I8HH"
PENDING: Final = 1
DONE: Final = 2


class UnknownFormatError(Exception):
    """A stored value of a format this server does not know: written by a newer one, or not ours."""


def pack_record(record: ExecutionRecord) -> bytes:
    """Packs a record."""
    return (
        _HEADER.pack(
            FORMAT,
            record.state,
            record.flags,
            record.cache_status,
            record.revision,
            record.attempt,
            record.failures,
            record.losses,
            record.nonce,
            record.owner,
            record.origin,
            record.task_ref,
            record.queue_ref,
            record.project_ref,
            record.cache_key,
            record.create_ms,
            record.queued_ms,
            record.start_ms,
            record.end_ms,
            record.not_before_ms,
            record.deadline_ms,
            record.lease_expire_ms,
            record.attempt_timeout,
            record.queue_timeout,
            record.retention,
            len(record.meta),
            len(record.worker),
            len(record.inputs),
            len(record.outcome),
        )
        + record.meta
        + record.worker
        + record.inputs
        + record.outcome
    )


def unpack_record(execution_id: bytes, value: bytes) -> ExecutionRecord:
    """Unpacks a record.

    Raises:
        UnknownFormatError: If the value is of another format.
    """
    if not value or value[0] != FORMAT or len(value) < HEADER_BYTES:
        raise UnknownFormatError(f"record {execution_id.hex()} begins with {value[:1].hex() or 'nothing'}")
    parts = _HEADER.unpack_from(value)
    meta_length, worker_length, inputs_length, outcome_length = parts[25:]
    meta_end = HEADER_BYTES + meta_length
    worker_end = meta_end + worker_length
    inputs_end = worker_end + inputs_length
    return ExecutionRecord(
        execution_id,
        parts[1],
        value[HEADER_BYTES:meta_end],
        parts[2],
        parts[3],
        parts[4],
        parts[5],
        parts[6],
        parts[7],
        parts[8],
        parts[9],
        parts[10],
        parts[11],
        parts[12],
        parts[13],
        parts[14],
        parts[15],
        parts[16],
        parts[17],
        parts[18],
        parts[19],
        parts[20],
        parts[21],
        parts[22],
        parts[23],
        parts[24],
        value[meta_end:worker_end],
        value[worker_end:inputs_end],
        value[inputs_end : inputs_end + outcome_length],
    )


def header_revision(value: bytes) -> tuple[int, int]:
    """Reads state and revision of a record whose first `REVISION_END` bytes are given."""
    return value[1], int.from_bytes(value[REVISION_END - 4 : REVISION_END], "big")


def pack_entry(producer_patch: bytes, meta: bytes, outputs: bytes) -> bytes:
    """Packs a cache entry; the script that stores it fills in its times."""
    head = _ENTRY.pack(FORMAT, DONE, 0, 0, len(producer_patch), len(meta))
    return head + producer_patch + meta + outputs


def unpack_entry(value: bytes) -> CachedOutcome | None:
    """Unpacks a cache entry; None if it is only reserved.

    Raises:
        UnknownFormatError: If the value is of another format.
    """
    if not value or value[0] != FORMAT:
        raise UnknownFormatError(f"cache entry begins with {value[:1].hex() or 'nothing'}")
    if value[1] == PENDING:
        return None
    _, _, create_ms, compute_ms, patch_length, meta_length = _ENTRY.unpack_from(value)
    patch_end = _ENTRY.size + patch_length
    meta_end = patch_end + meta_length
    return CachedOutcome(
        create_ms, compute_ms, value[_ENTRY.size : patch_end], value[patch_end:meta_end], value[meta_end:]
    )


def lua_constants() -> dict[str, str]:
    """What scripts know of the layout, as constants of Lua, generated from the same table."""
    numbers = {
        "HEADER_BYTES": HEADER_BYTES,
        "ENTRY_BYTES": _ENTRY.size,
        "FORMAT": FORMAT,
        "PENDING": PENDING,
        "DONE": DONE,
    }
    return {
        "HEADER": f"'>{''.join(part.lua for part in HEADER)}'",
        "ENTRY": f"'{ENTRY_LUA}'",
        **{name: str(value) for name, value in numbers.items()},
        **{part.lua_name: str(index) for index, part in enumerate(HEADER, 1) if part.name != "format"},
    }
