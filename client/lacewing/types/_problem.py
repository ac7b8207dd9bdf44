"""What is wrong with a value, and where: problems with paths, and the error that carries them."""

from __future__ import annotations

import difflib
import json
from collections.abc import Collection, Iterable
from typing import NamedTuple

MAX_PROBLEMS = 20
"""How many problems are shown one by one; the rest is only counted."""

MAX_COUNTED = 200
"""A value is not examined further once this many problems were found: nobody reads the exact count of thousands."""

_MAX_COMPARED = 255
"""A name that is longer than this is not compared with those that are known: it is no slip of the pen."""


class Problem(NamedTuple):
    """One thing that is wrong with a value.

    Attributes:
        path: Where, such as `inputs.config.items[3].rate` or `inputs.labels["a b"]`. Empty if it concerns no one place.
        message: What, such as `expected FLOAT, got STRING "0.1"`.
    """

    path: str
    message: str

    def __str__(self) -> str:
        return f"{self.path}: {self.message}" if self.path else self.message


class ConversionError(ValueError):
    """A value does not have the type that is asked for.

    Attributes:
        problems: Everything found wrong, at least one, in the order of the value; the text shows the first 20.
    """

    problems: tuple[Problem, ...]

    def __init__(self, problems: str | Iterable[Problem]) -> None:
        """Make an error of a message about the value as a whole, or of problems of its parts."""
        self.problems = (Problem("", problems),) if isinstance(problems, str) else tuple(problems)
        super().__init__(self.problems)

    def __str__(self) -> str:
        shown = list(map(str, self.problems[:MAX_PROBLEMS]))
        more = len(self.problems) - len(shown)
        if more:
            at_least = "at least " if len(self.problems) >= MAX_COUNTED else ""
            shown.append(f"and {at_least}{more} more")
        return "\n".join(shown)

    def under(self, segment: str) -> ConversionError:
        """Return the same error as seen from the value that holds this one at the path segment."""
        return ConversionError(Problem(segment + problem.path, problem.message) for problem in self.problems)


class Gathering:
    """Collects the problems of the parts of one value, so that all are reported and not only the first."""

    def __init__(self) -> None:
        self.problems: list[Problem] = []

    def add(self, segment: str, error: ConversionError) -> None:
        """Take over the problems of the part at the path segment; raises them all if these are enough."""
        self.problems.extend(error.under(segment).problems)
        if len(self.problems) >= MAX_COUNTED:
            self.finish()

    def finish(self) -> None:
        """Raise what was collected, if anything was."""
        if self.problems:
            raise ConversionError(self.problems)


def field_segment(name: str) -> str:
    """Return the path segment of a field or variable: `.name`, or `["a b"]` if it is not an identifier."""
    return f".{name}" if name.isidentifier() else key_segment(name)


def key_segment(key: str) -> str:
    """Return the path segment of a key of a map: `["key"]`."""
    return f"[{json.dumps(key, ensure_ascii=False)}]"


def index_segment(index: int) -> str:
    """Return the path segment of an element of a list: `[3]`."""
    return f"[{index}]"


def unknown_name(kind: str, name: str, known: Collection[str]) -> str:
    """Return the message for a name that does not exist, with the nearest one that does."""
    nearest = difflib.get_close_matches(name, known, n=1) if len(name) <= _MAX_COMPARED else []
    if nearest:
        return f'no {kind} has this name; did you mean "{nearest[0]}"?'
    if not known:
        return f"no {kind} has this name; there is none at all"
    return f"no {kind} has this name; known: {quoted_list(sorted(known))}"


def quoted_list(names: Collection[str], limit: int = 10) -> str:
    """Return names in quotes, separated by commas, cut after a few."""
    shown = ", ".join(json.dumps(name, ensure_ascii=False) for name in list(names)[:limit])
    return f"{shown} and {len(names) - limit} more" if len(names) > limit else shown
