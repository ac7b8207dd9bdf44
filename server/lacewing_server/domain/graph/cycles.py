"""The order of things that wait for each other, and the circle that has none. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence


def in_order(waits_for: Mapping[str, Sequence[str]]) -> tuple[list[str], list[str]]:
    """Brings names into an order in which each comes after those it waits for.

    Args:
        waits_for: What each waits for; what is not a key of it itself is left out.

    Returns:
        Those that have an order; and if there are others, a circle of them: `a`, `b`, `a` if `a` waits for `b` and `b`
        for `a`.
    """
    left: dict[str, int] = {}
    followers: dict[str, list[str]] = {}
    for name, others in waits_for.items():
        known = [each for each in dict.fromkeys(others) if each in waits_for]
        left[name] = len(known)
        for each in known:
            followers.setdefault(each, []).append(name)
    ordered = [name for name, count in left.items() if not count]
    for name in ordered:  # grows while it is walked
        for following in followers.get(name, ()):
            left[following] -= 1
            if not left[following]:
                ordered.append(following)
    if len(ordered) == len(waits_for):
        return ordered, []
    rest = {name for name, count in left.items() if count}
    # Every one of the rest waits for another of the rest: whoever follows that comes back to where it was.
    at, seen = min(rest), dict[str, int]()
    walked: list[str] = []
    while at not in seen:
        seen[at] = len(walked)
        walked.append(at)
        at = next(each for each in waits_for[at] if each in rest)
    return ordered, [*walked[seen[at] :], at]
