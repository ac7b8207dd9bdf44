"""What a Redis must be to hold Lacewing's state, told from its own answer to ``INFO``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from lacewing_server.store.redis.link import StoreUnavailableError

_REDIS: Final = (7, 0)
_VALKEY: Final = (7, 2)


class UnsuitableRedisError(StoreUnavailableError):
    """It can be reached, but must not be used; the text says why and what to do."""


def unsuitable(info: Mapping[str, str]) -> str:
    """Says why a Redis must not be used, in one line; nothing if it may be.

    Args:
        info: Its answer to ``INFO``.
    """
    is_valkey = "valkey_version" in info
    name, oldest = ("Valkey", _VALKEY) if is_valkey else ("Redis", _REDIS)
    version = info.get("valkey_version") or info.get("redis_version", "0")
    if tuple(int(part) for part in version.split(".")[:2]) < oldest:
        return f"it is {name} {version}, and Lacewing needs Redis >= 7.0 or Valkey >= 7.2"
    policy = info.get("maxmemory_policy", "noeviction")
    if policy != "noeviction":
        return (
            f"its maxmemory-policy is {policy}, by which it would throw executions away at its memory limit: "
            "set it to noeviction"
        )
    return ""
