"""Values that only a registered transformer understands."""

from __future__ import annotations

from typing import Any

from lacewing.types._codecs._base import UNFIT, Codec, Form
from lacewing.v1 import literals_pb2


class OpaqueCodec(Codec):
    """A type whose plain values are its literals, so that nothing a transformer put there is lost."""

    def __init__(self, inner: Codec) -> None:
        super().__init__(inner.literal_type)
        self._inner = inner

    def fill(self, literal: literals_pb2.Literal, plain: Any) -> None:
        """Fill in the literal."""
        literal.CopyFrom(plain)

    def read(self, value: Any, form: Form) -> literals_pb2.Literal:
        """Read a value of the type as a literal."""
        return self._inner.to_literal(self._inner.read(value, form))

    def write(self, plain: Any, form: Form) -> Any:
        """Write the value of the literal."""
        return self._inner.write(self._inner.from_literal(plain), form)

    def _check(self, literal: literals_pb2.Literal) -> bool:
        self._inner.check(literal)
        return True

    def _plain(self, literal: literals_pb2.Literal) -> Any:
        wrapped = literal.scalar.HasField("union") and self.literal_type.WhichOneof("type") != "union_type"
        if wrapped or literal.WhichOneof("value") == "offloaded_metadata":
            return UNFIT
        self._inner.check(literal)
        return literal
