"""Where two sets of literals differ: exactly there where their canonical encodings do.

Two literals that mean the same have no difference, however they are encoded; two with different digests have at least
one.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple, TypeVar

from lacewing.types import _canonical as canonical
from lacewing.types._describe import describe_literal, describe_type, describe_value, shortened
from lacewing.types._digest import canonical_literal, canonical_type, says_no_more_than_its_value
from lacewing.types._msgpack import is_record, record_tree
from lacewing.types._problem import ConversionError, field_segment, index_segment, key_segment
from lacewing.v1 import literals_pb2

_MAX_PATH = 256
_MAX_TEXT = 200
_WINDOW = 24
"""How much of a long string is shown around the first place where two of them differ."""

_Node = TypeVar("_Node")
_Segment = Callable[[Any], str]


class Difference(NamedTuple):
    """One place where two sets of literals differ.

    Attributes:
        path: Where, such as `outputs.o0.items[3].rate`; at most 256 characters, longer ones are cut at the front.
        before: What the first one has there, in words, such as `FLOAT 1.5`; at most 200 characters. Empty if it has
            nothing.
        after: What the second one has there, likewise. Never the same text as `before`.
    """

    path: str
    before: str
    after: str

    def __str__(self) -> str:
        return f"{self.path}: {self.before or 'nothing'} ≠ {self.after or 'nothing'}"


def literal_map_differences(
    before: literals_pb2.LiteralMap, after: literals_pb2.LiteralMap, root: str = "outputs"
) -> Iterator[Difference]:
    """Yield the places where two sets of literals differ, in the order of their names; none if their digests are equal.

    Args:
        before: The first one.
        after: The second one.
        root: What paths begin with.
    """
    yield from _in_maps(before.literals, after.literals, root, field_segment, _in_literals, describe_literal)


def _in_literals(before: literals_pb2.Literal, after: literals_pb2.Literal, path: str) -> Iterator[Difference]:
    before, after = _bare(before), _bare(after)
    if before.hash or after.hash:
        if before.hash != after.hash:
            yield _difference(path, _identity(before), _identity(after), before, after)
        return
    kinds = before.WhichOneof("value"), after.WhichOneof("value")
    if kinds == ("collection", "collection"):
        items, others = before.collection.literals, after.collection.literals
        yield from _in_lists(items, others, path, _in_literals, describe_literal)
    elif kinds == ("map", "map"):
        yield from _in_maps(before.map.literals, after.map.literals, path, key_segment, _in_literals, describe_literal)
    elif (trees := _trees(before, after)) is not None:
        yield from _in_trees(*trees, path)
    elif _same_union(before, after):
        yield from _in_literals(before.scalar.union.value, after.scalar.union.value, path)
    elif canonical_literal(before) != canonical_literal(after):
        yield _difference(path, _identity(before), _identity(after), before, after)


def _in_trees(before: Any, after: Any, path: str) -> Iterator[Difference]:
    if isinstance(before, dict) and isinstance(after, dict):
        # Keys that are equal in Python, as 1 and 1.0 are, may not be the same key.
        keyed = [{_encoded(key): (key, value) for key, value in tree.items()} for tree in (before, after)]
        segments = {encoded: _tree_segment(key) for tree in keyed for encoded, (key, _) in tree.items()}
        first, second = ({encoded: value for encoded, (_, value) in tree.items()} for tree in keyed)
        yield from _in_maps(first, second, path, segments.__getitem__, _in_trees, describe_value)
    elif isinstance(before, list) and isinstance(after, list):
        yield from _in_lists(before, after, path, _in_trees, describe_value)
    elif _encoded(before) != _encoded(after):
        yield _difference(path, describe_value(before), describe_value(after), before, after)


def _in_maps(
    before: Mapping[Any, _Node],
    after: Mapping[Any, _Node],
    path: str,
    segment: _Segment,
    inner: Callable[[_Node, _Node, str], Iterator[Difference]],
    describe: Callable[[_Node], str],
) -> Iterator[Difference]:
    for key in sorted({*before, *after}):
        place = path + segment(key)
        if key not in before:
            yield Difference(_cut_front(place), "", _cut(describe(after[key])))
        elif key not in after:
            yield Difference(_cut_front(place), _cut(describe(before[key])), "")
        else:
            yield from inner(before[key], after[key], place)


def _in_lists(
    before: Any,
    after: Any,
    path: str,
    inner: Callable[[Any, Any, str], Iterator[Difference]],
    describe: Callable[[Any], str],
) -> Iterator[Difference]:
    for index in range(max(len(before), len(after))):
        place = path + index_segment(index)
        if index >= len(before):
            yield Difference(_cut_front(place), "", _cut(describe(after[index])))
        elif index >= len(after):
            yield Difference(_cut_front(place), _cut(describe(before[index])), "")
        else:
            yield from inner(before[index], after[index], place)


def _bare(literal: literals_pb2.Literal) -> literals_pb2.Literal:
    """A literal without unions that say no more than their value."""
    while (
        not literal.hash
        and literal.scalar.WhichOneof("value") == "union"
        and says_no_more_than_its_value(literal.scalar.union.type)
    ):
        literal = literal.scalar.union.value
    return literal


def _same_union(before: literals_pb2.Literal, after: literals_pb2.Literal) -> bool:
    kinds = {each.scalar.WhichOneof("value") for each in (before, after)}
    return kinds == {"union"} and canonical_type(before.scalar.union.type) == canonical_type(after.scalar.union.type)


def _trees(before: literals_pb2.Literal, after: literals_pb2.Literal) -> tuple[Any, Any] | None:
    """The contents of two records; None if one is no record, or cannot be read by its content."""
    if not (is_record(before) and is_record(after)):
        return None
    try:
        trees = record_tree(before), record_tree(after)
        for tree in trees:
            canonical.encode_tree(tree, [])
    except (ConversionError, canonical.NotCanonicalError):
        return None
    return trees


def _encoded(tree: object) -> bytes:
    out: list[bytes] = []
    canonical.encode_tree(tree, out)
    return b"".join(out)


def _tree_segment(key: object) -> str:
    return field_segment(key) if isinstance(key, str) else f"[{_cut(describe_value(key))}]"


def _identity(literal: literals_pb2.Literal) -> str:
    if literal.hash:
        return f"a literal with the hash {shortened(literal.hash)}"
    if literal.scalar.WhichOneof("value") == "union":
        union = literal.scalar.union
        return f"{describe_literal(union.value)} as {describe_type(union.type)}"
    return describe_literal(literal)


def _difference(path: str, before: str, after: str, *values: Any) -> Difference:
    before, after = _cut(before), _cut(after)
    if before == after:
        # What tells them apart was cut or is not shown at all.
        texts = [_text(value) for value in values]
        if None not in texts:
            before, after = _around_first_difference(*texts)  # type: ignore[arg-type] # neither is None
        if before == after:
            before, after = (
                f"{text} ({_fingerprint(value)})" for text, value in zip((before, after), values, strict=True)
            )
    return Difference(_cut_front(path), before, after)


def _text(value: Any) -> str | None:
    if isinstance(value, literals_pb2.Literal):
        if value.hash:
            return value.hash
        return value.scalar.primitive.string_value if value.scalar.primitive.HasField("string_value") else None
    return value if isinstance(value, str) else None


def _around_first_difference(before: str, after: str) -> tuple[str, str]:
    at = next((i for i, pair in enumerate(zip(before, after, strict=False)) if pair[0] != pair[1]), None)
    at = min(len(before), len(after)) if at is None else at
    start, end = max(at - _WINDOW, 0), at + _WINDOW
    shown = (f"{'…' if start else ''}{text[start:end]}{'…' if end < len(text) else ''}" for text in (before, after))
    first, second = (f"STRING of {len(text)}: {part!r}" for text, part in zip((before, after), shown, strict=True))
    return _cut(first), _cut(second)


def _fingerprint(value: Any) -> str:
    encoded = canonical_literal(value) if isinstance(value, literals_pb2.Literal) else _encoded(value)
    return f"sha256 {hashlib.sha256(encoded).hexdigest()[:16]}…"


def _cut(text: str) -> str:
    return text if len(text) <= _MAX_TEXT else text[: _MAX_TEXT - 1] + "…"


def _cut_front(path: str) -> str:
    return path if len(path) <= _MAX_PATH else "…" + path[1 - _MAX_PATH :]
