"""`Union`, `Optional` and `X | Y`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from lacewing.types._assign import closest_variant
from lacewing.types._codecs import Arm, UnionCodec, compile_type
from lacewing.types._problem import ConversionError
from lacewing.types._python._converter import AnnotationError, Converter, annotation_name, expected
from lacewing.v1 import types_pb2


class UnionConverter(Converter):
    """A value of one of several annotations: of that of its own class, or else of the first that it fits.

    Attributes:
        variants: What converts the values of each annotation.
    """

    tag = "Typed Union"

    def __init__(self, annotation: object, variants: Sequence[Converter]) -> None:
        self._annotation = annotation
        self.variants = variants
        union_type = types_pb2.UnionType(variants=[_tagged(variant) for variant in variants])
        for index, variant in enumerate(union_type.variants):
            if closest_variant(variant, union_type.variants) != index:
                raise AnnotationError(f"{annotation_name(annotation)} has variants with the same literals")
        literal_type = types_pb2.LiteralType(union_type=union_type)
        self.codec = UnionCodec(literal_type, [variant.codec for variant in variants], compile_type)

    def to_plain(self, value: Any) -> Arm:
        """Find the variant of a value and convert it."""
        exact = [index for index, variant in enumerate(self.variants) if variant.exact_type is type(value)]
        others = [index for index in range(len(self.variants)) if index not in exact]
        errors: dict[int, ConversionError] = {}
        for index in exact + others:
            try:
                return Arm(index, self.variants[index].to_plain(value))
            except ConversionError as error:
                errors[index] = error
        something = [index for index, variant in enumerate(self.variants) if variant.exact_type is not type(None)]
        telling = exact if len(exact) == 1 else something
        raise errors[telling[0]] if len(telling) == 1 else expected(self._annotation, value)

    def from_plain(self, plain: Arm) -> Any:
        """Convert the value of a variant back."""
        return self.variants[plain.variant].from_plain(plain.value)


def _tagged(variant: Converter) -> types_pb2.LiteralType:
    tagged = types_pb2.LiteralType()
    tagged.CopyFrom(variant.literal_type)
    tagged.structure.tag = variant.tag
    return tagged
