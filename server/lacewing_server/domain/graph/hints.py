"""Hints at names that were probably meant. Pure."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable
from itertools import islice
from typing import Final

from lacewing_server.domain import limits

_CHARACTERS_MAX: Final = 255
"""Characters of a name beyond which it is no slip of the pen."""
_NAMES_MAX: Final = 10_000
"""Names that one is compared with at most: each comparison takes microseconds."""

_SHOWN_MAX: Final = 5
Nearest = Callable[[str, Iterable[str]], str]
"""Gives a hint at what may be meant by a name that is not known, by those that are; it may be ''."""


class Hints:
    """The hints of one compilation: as many as problems are shown, because a large graph can be wrong everywhere."""

    def __init__(self) -> None:
        self._left = limits.VIOLATIONS_MAX

    def nearest(self, name: str, known: Iterable[str]) -> str:
        """A hint at a known name that is close to one that is not, or else at what is known."""
        if not self._left:
            return ""
        self._left -= 1
        names = sorted(islice(known, _NAMES_MAX))
        near = difflib.get_close_matches(name, names, n=1) if len(name) <= _CHARACTERS_MAX else []
        if near:
            return f'; did you mean "{near[0]}"?'
        return f"; known: {', '.join(names[:_SHOWN_MAX])}" if names else "; there is none at all"
