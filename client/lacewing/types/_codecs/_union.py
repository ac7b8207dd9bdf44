"""Unions: a value and the variant it belongs to."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from lacewing.types._assign import closest_variant, variant_names
from lacewing.types._codecs._base import PRIMITIVE_TYPES, UNFIT, Arm, Codec, Form
from lacewing.types._describe import describe_value
from lacewing.types._problem import ConversionError, field_segment, quoted_list
from lacewing.v1 import literals_pb2, types_pb2

_MAX_KNOWN = 64
"""How many spellings of the types of variants are remembered; a sender may think of any number."""

_BARE_KINDS: Mapping[str | None, types_pb2.SimpleType.ValueType] = {
    None: types_pb2.SIMPLE_TYPE_NONE,  # Not a primitive: nothing, or a container that no simple type is close to.
    **dict[str | None, types_pb2.SimpleType.ValueType](PRIMITIVE_TYPES.items()),
}
_NUMBERS = {types_pb2.SIMPLE_TYPE_INTEGER, types_pb2.SIMPLE_TYPE_FLOAT}


class UnionCodec(Codec):
    """A value of one of several types. Its plain value is an `Arm`.

    A union literal belongs to the variant that is closest to the type it declares, and must have both types. Any other
    literal is accepted bare, because other languages and JSON send it so: it belongs to the variant that is closest to
    its own simple type, and otherwise to the first that it fits.

    In JSON and in records a value is written bare too if it can only be read as the same variant, and otherwise as
    `{"type": "<name of the variant>", "value": ...}`. Reading a bare value, numbers are numbers and strings are
    strings: a whole number is not taken for a FLOAT where it may be an INTEGER, nor digits in a string for a number
    where they may be a STRING. If several variants still take it, JSON has to say which; in records, which SDKs write,
    the first is meant.
    """

    def __init__(
        self,
        literal_type: types_pb2.LiteralType,
        variants: Sequence[Codec],
        compile_type: Callable[[types_pb2.LiteralType], Codec],
    ) -> None:
        super().__init__(literal_type)
        self._variants = variants
        self._compile_type = compile_type
        self._types = list(literal_type.union_type.variants)
        self._simple = [_simple_kind(variant_type) for variant_type in self._types]
        self._names = variant_names(self._types)
        self._known: dict[bytes, tuple[int, Codec | None]] = {
            variant_type.SerializeToString(): (index, None) for index, variant_type in enumerate(self._types)
        }
        self._bare_order = {
            kind: self._order(types_pb2.LiteralType(simple=simple)) for kind, simple in _BARE_KINDS.items()
        }

    def _order(self, literal_type: types_pb2.LiteralType) -> list[int]:
        order = list(range(len(self._types)))
        closest = closest_variant(literal_type, self._types)
        if isinstance(closest, int):
            order.remove(closest)
            order.insert(0, closest)
        return order

    def fill(self, literal: literals_pb2.Literal, plain: Any) -> None:
        """Fill in an arm, with its type."""
        index, value = plain
        union = literal.scalar.union
        union.type.CopyFrom(self._types[index])
        union.value.SetInParent()
        self._variants[index].fill(union.value, value)

    def read(self, value: Any, form: Form) -> Arm:
        """Read a bare value, or one with its variant."""
        if self._is_explicit(value):
            index = self._names.index(value["type"])
            try:
                return Arm(index, self._variants[index].read(value["value"], form))
            except ConversionError as error:
                raise error.under(field_segment("value")) from None
        arms: list[Arm] = []
        errors: dict[int, ConversionError] = {}
        for index, variant in enumerate(self._variants):
            try:
                arms.append(Arm(index, variant.read(value, form)))
            except ConversionError as error:
                errors[index] = error
        arms = self._narrowed(arms, value)
        if not arms:
            raise self._most_telling(errors) or self._unreadable(value)
        if len(arms) > 1 and form is Form.JSON:
            names = [self._names[arm.variant] for arm in arms]
            raise ConversionError(
                f"{describe_value(value)} may be any of {quoted_list(names)}; say which: "
                f'{{"type": {json.dumps(names[0], ensure_ascii=False)}, "value": ...}}'
            )
        return arms[0]

    def write(self, plain: Any, form: Form) -> Any:
        """Write a value, with its variant if it could be read as another."""
        index, value = plain
        written = self._variants[index].write(value, form)
        if not self._is_explicit(written):
            try:
                if self.read(written, form).variant == index:
                    return written
            except ConversionError:  # Ambiguous, which is what the variant is written for.
                pass
        return {"type": self._names[index], "value": written}

    def _is_explicit(self, value: object) -> bool:
        return isinstance(value, dict) and value.keys() == {"type", "value"} and value["type"] in self._names

    def _narrowed(self, arms: list[Arm], value: object) -> list[Arm]:
        simple = {self._simple[arm.variant] for arm in arms}
        if value is None and types_pb2.SIMPLE_TYPE_NONE in simple:
            return [arm for arm in arms if self._simple[arm.variant] == types_pb2.SIMPLE_TYPE_NONE]
        if isinstance(value, str) and types_pb2.SIMPLE_TYPE_STRING in simple:
            return [arm for arm in arms if self._simple[arm.variant] not in _NUMBERS]
        if types_pb2.SIMPLE_TYPE_INTEGER in simple:
            return [arm for arm in arms if self._simple[arm.variant] != types_pb2.SIMPLE_TYPE_FLOAT]
        return arms

    def _check(self, literal: literals_pb2.Literal) -> bool:
        match self._resolve(literal):
            case None:
                return False
            case (index, value):
                self._variants[index].check(value)
                return True

    def _plain(self, literal: literals_pb2.Literal) -> Any:
        match self._resolve(literal):
            case None:
                return UNFIT
            case (index, value):
                return Arm(index, self._variants[index].from_literal(value))

    def _resolve(self, literal: literals_pb2.Literal) -> tuple[int, literals_pb2.Literal] | None:
        """Return the variant a literal belongs to and the literal inside; None if it is offloaded."""
        if literal.WhichOneof("value") == "offloaded_metadata":
            return None
        if not literal.scalar.HasField("union"):
            return self._bare_index(literal), literal
        union = literal.scalar.union
        if union.type.HasField("union_type") and union.type not in self._types:
            # A union inside the union: its variants belong to ours one by one, as they do when types are compared.
            self._compile_type(union.type).check(union.value)
            return self._resolve(union.value)
        index, declared = self._declared(union.type)
        if declared is not None:
            declared.check(union.value)
        return index, union.value

    def _declared(self, declared: types_pb2.LiteralType) -> tuple[int, Codec | None]:
        """Return the variant that a declared type belongs to, and the type compiled if it is not the variant itself."""
        spelling = declared.SerializeToString()
        known = self._known.get(spelling)
        if known is not None:
            return known
        index = closest_variant(declared, self._types)
        if isinstance(index, str):
            raise ConversionError(f"the union literal declares a type that is not asked for: {index}")
        found = (index, self._compile_type(declared))
        if len(self._known) < _MAX_KNOWN:
            self._known[spelling] = found
        return found

    def _bare_index(self, literal: literals_pb2.Literal) -> int:
        errors: dict[int, ConversionError] = {}
        for index in self._bare_order[literal.scalar.primitive.WhichOneof("value")]:
            try:
                self._variants[index].check(literal)
            except ConversionError as error:
                errors[index] = error
            else:
                return index
        raise self._most_telling(errors) or self._misfit(literal)

    def _most_telling(self, errors: Mapping[int, ConversionError]) -> ConversionError | None:
        """Return the error of the only variant that is not NONE, or of the only one that found fault with a part."""
        some = [error for index, error in errors.items() if self._simple[index] != types_pb2.SIMPLE_TYPE_NONE]
        if len(some) > 1:
            some = [error for error in some if any(problem.path for problem in error.problems)]
        return some[0] if len(some) == 1 else None


def _simple_kind(literal_type: types_pb2.LiteralType) -> types_pb2.SimpleType.ValueType | None:
    return literal_type.simple if literal_type.WhichOneof("type") == "simple" else None
