"""The Lua scripts: one per state transition, called by digest, loaded again when Redis does not know them."""

from __future__ import annotations

import hashlib
import re
from functools import cache
from importlib import resources
from typing import Final

from lacewing.v1 import execution_pb2
from lacewing_server.domain import lifecycle, limits, record
from lacewing_server.store.redis.codec import lua_constants

NAMES: Final = (
    "create",
    "lookup",
    "claim",
    "finish",
    "requeue",
    "due",
    "attach",
    "extend",
    "watch",
    "alive",
    "register",
    "project",
    "evict",
    "trim",
    "reclaim",
    "shrink",
    "mark",
    "note",
    "signal",
)


def _constants() -> dict[str, str]:
    states = {
        execution_pb2.Execution.State.Name(value).removeprefix("STATE_"): value
        for value in execution_pb2.Execution.State.values()
        if value
    }
    numbers = states | {
        "CACHE_HIT": execution_pb2.CacheInfo.STATUS_HIT,
        "CACHE_LOOKUP_FAILURE": execution_pb2.CacheInfo.STATUS_LOOKUP_FAILURE,
        "CACHE_PUT_FAILURE": execution_pb2.CacheInfo.STATUS_PUT_FAILURE,
        "BIG_INPUTS": record.BIG_INPUTS,
        "WATCHED": record.WATCHED,
        "SERIALIZED": record.SERIALIZED,
        "HIGH_PRIORITY": record.HIGH_PRIORITY,
        "LOW_PRIORITY": record.LOW_PRIORITY,
        "TASK_LIMITED": record.TASK_LIMITED,
        "PROJECT_LIMITED": record.PROJECT_LIMITED,
        "GRAPH": record.GRAPH,
        "HEAD_START": limits.PRIORITY_HEAD_START_SECONDS * 1_000_000,
        "INLINE_INPUTS": limits.INLINE_INPUTS_BYTES,
        "ENTRY_OVERHEAD": limits.CACHE_ENTRY_OVERHEAD_BYTES,
        "TOUCH_MS": limits.CACHE_TOUCH_SECONDS * 1_000,
    }
    return {name: str(value) for name, value in numbers.items()} | lua_constants()


_CONSTANTS: Final = _constants()


def _table_of_states() -> str:
    leads = ", ".join(
        f"[{state}] = {sum(1 << following for following in following_states)}"
        for state, following_states in lifecycle.TRANSITIONS.items()
    )
    return f"local LEADS = {{{leads}}}\n"


_EACH = re.compile(r"^-- each: ((?:\w+, *(?:\n-- +)?)*\w+)$", re.MULTILINE)
_ALIKE = re.compile(_EACH.pattern.replace("each", "alike"), re.MULTILINE)

APART: Final = "APART"
"""The code of the error by which a call says that what its transitions share could not be written for all of them."""

_TRANSITIONS = """
local function transition({names})
{body}
end
local function failure(reason, code)
  return {{err = code .. (type(reason) == 'table' and reason.err or 'ERR ' .. tostring(reason))}}
end
-- What is alike: how many such tuples there are, and these. Then of each transition its own, and which tuple is its.
local own, first, replies = 3 + ARGV[2] * {alike}, {count} + 1, {{}}
{ahead}for i = own, #ARGV, first do
  local alike = 3 + ARGV[i + {count}] * {alike}
  local done, reply = pcall(transition, {own}, unpack(ARGV, alike, alike + {alike} - 1))
  if not done then reply = failure(reply, '') end
  replies[#replies + 1] = reply or false
end
{finally_}
"""
_AHEAD = "for i = own, #ARGV, first do AHEAD[#AHEAD + 1] = ARGV[i] end\n"
_COMMIT = f"""local written, reason = pcall(commit)
return written and replies or failure(reason, '{APART} ')"""
_COLLECTED = {"WRITTEN", "SCORES", "MEMBERS", "MORE_WAIT"}
"""Where the prelude keeps what is to be written at the end of a call."""


_DEFINED = re.compile(r"^local (?:function (\w+)|([\w, ]+?)(?: =|$))", re.MULTILINE)


_COMMON: Final = ("prelude.lua", "books.lua")


@cache
def _functions() -> str:
    folder = resources.files(__package__) / "scripts"
    return "\n".join([_table_of_states(), *((folder / name).read_text() for name in _COMMON)])


def prelude() -> str:
    """What scripts have in common, for a script that is none of ours: constants by name, and functions."""
    return "".join(f"local {name} = {value}\n" for name, value in _CONSTANTS.items()) + _functions()


def _prelude_for(body: str) -> str:
    """The part of what scripts have in common that a script uses.

    Redis runs a script from its first line at each call: what is defined there costs time, used or not.
    """
    return "\n".join(_used_by(body)[0]) + "\n"


def _used_by(body: str) -> tuple[list[str], set[str]]:
    """The parts of what scripts have in common that a script uses, and the words that occur in them and in it."""
    wanted, chosen = _words(body), []
    # In reverse, because each part uses only what precedes it.
    for part, names, words in reversed(_parts()):
        if names & wanted:
            wanted |= words
            chosen.append(part)
    return chosen[::-1], wanted


@cache
def _parts() -> list[tuple[str, set[str], set[str]]]:
    """What scripts have in common, in parts: each with the values of constants, what it defines, and its words."""
    parts = []
    for part in _functions().split("\n\n"):
        names = {name.strip() for found in _DEFINED.findall(part) for name in ",".join(found).split(",")}
        parts.append((_with_values(part), names, _words(part)))
    return parts


_WORD: Final = re.compile(r"'[^'\n]*'|--[^\n]*|\w+")


def _with_values(code: str) -> str:
    """The same code with the values of constants in place of their names.

    A variable that a function uses from outside costs time at each definition of the function, so at each call.
    """
    return _WORD.sub(lambda word: _CONSTANTS.get(word[0], word[0]), code)


def _words(code: str) -> set[str]:
    return set(re.findall(r"\w+", re.sub(r"--.*", "", code)))


class Script:
    """One script: its text as Redis gets it, and the digest it is called by.

    A script whose head says `each` in place of `args` is one transition, of which a call makes any number, and its
    reply is the list of theirs. One that fails leaves the others alone. What most of them have alike is sent once for
    all that have the same.
    """

    own = 0
    """How many of the arguments of a transition come first and are its own."""

    def __init__(self, name: str) -> None:
        body = (resources.files(__package__) / "scripts" / f"{name}.lua").read_text()
        if body.startswith("#!"):
            shebang, body = body.split("\n", 1)
        else:
            shebang = "#!lua"
        each = _EACH.search(body)
        if each is not None:
            names = re.findall(r"\w+", each[1])
            alike = _ALIKE.search(body)
            common = re.findall(r"\w+", alike[1]) if alike is not None else []
            # One that writes nothing of what is collected need not be told what it will read, nor be followed by that.
            collects = bool(_COLLECTED & _used_by(body)[1])
            body = _TRANSITIONS.format(
                names=", ".join(names + common),
                own=", ".join(f"ARGV[i + {n}]" for n in range(len(names))),
                count=len(names),
                alike=len(common),
                ahead=_AHEAD if collects else "",
                finally_=_COMMIT if collects else "return replies",
                body=body,
            )
            self.own = len(names)
        self.name = name
        self.is_each = each is not None
        """Whether one call makes any number of transitions."""
        self.text = f"{shebang}\n{_prelude_for(body)}{_with_values(body)}"
        self.digest = hashlib.sha1(self.text.encode(), usedforsecurity=False).hexdigest()


SCRIPTS: Final = {name: Script(name) for name in NAMES}
"""Every script by name."""
