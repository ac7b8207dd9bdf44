"""JSON to literals and back, by interface.

type                 JSON
----                 ----
NONE                 null
INTEGER              a whole number; beyond 2^53 a string of digits, because JSON numbers are doubles to many parsers
FLOAT                a number, "NaN", "Infinity", "-Infinity"
STRING, enum         a string
BOOLEAN              true, false
DATETIME             a string of RFC 3339 with an offset, "2024-05-01T12:00:00.5Z"
DURATION             a string of seconds, "1.5s"
BINARY               a string of base64; with a tag {"value": ..., "tag": ...}
STRUCT               an object. Fields that the type names are converted by their types. A record becomes msgpack;
                     without named fields, whole numbers up to 2^53 become integers
list, map            an array, an object
blob, tables         {"uri": ..., "format": ...}; the format is that of the type if it is not given
union                the value as it is; if several variants could take it {"type": ..., "value": ...}, where the
                     type is the tag of the variant ("int", "str", ...) or, without tags, the type in words
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from google.protobuf import struct_pb2

from lacewing.types._check import compile_variables
from lacewing.types._codecs import Codec, Form
from lacewing.types._msgpack import struct_tree
from lacewing.types._problem import ConversionError, Gathering, field_segment, unknown_name
from lacewing.v1 import interface_pb2, literals_pb2


class JsonConverter:
    """The variables of an interface, compiled once to convert many objects."""

    def __init__(self, variables: interface_pb2.VariableMap, root: str = "inputs") -> None:
        """Compile variables.

        Raises:
            ConversionError: The type of a variable is not one.
        """
        self._root = root
        self._codecs = compile_variables(variables, root)

    def to_literals(self, values: Mapping[str, Any] | struct_pb2.Struct) -> literals_pb2.LiteralMap:
        """Return the literals of JSON values by name.

        What is missing is not reported: `InterfaceChecker` knows what may be left out.

        Args:
            values: An object as `json.loads` returns it, or a `Struct`.

        Raises:
            ConversionError: With everything that does not have its type, and every name that does not exist.
        """
        if isinstance(values, struct_pb2.Struct):
            values = struct_tree(values)
        converted: dict[str, literals_pb2.Literal] = {}
        gathering = Gathering()
        for name, value in values.items():
            try:
                codec = self._codec(name)
                converted[name] = codec.to_literal(codec.read(value, Form.JSON))
            except ConversionError as error:
                gathering.add(self._root + field_segment(name), error)
        gathering.finish()
        return literals_pb2.LiteralMap(literals=converted)

    def to_json(self, literals: literals_pb2.LiteralMap) -> dict[str, Any]:
        """Return literals as an object for `json.dumps`, all numbers finite.

        A variable that was offloaded is `{"offloaded_uri": ..., "size_bytes": "..."}`, which cannot be read back.

        Raises:
            ConversionError: A literal does not have its type, or its name does not exist.
        """
        converted: dict[str, Any] = {}
        gathering = Gathering()
        for name in sorted(literals.literals):
            literal = literals.literals[name]
            try:
                codec = self._codec(name)
                if literal.HasField("offloaded_metadata"):
                    offloaded = literal.offloaded_metadata
                    converted[name] = {"offloaded_uri": offloaded.uri, "size_bytes": str(offloaded.size_bytes)}
                else:
                    converted[name] = codec.write(codec.from_literal(literal), Form.JSON)
            except ConversionError as error:
                gathering.add(self._root + field_segment(name), error)
        gathering.finish()
        return converted

    def _codec(self, name: str) -> Codec:
        try:
            return self._codecs[name]
        except KeyError:
            raise ConversionError(unknown_name(self._root.rstrip("s"), name, self._codecs)) from None


def literal_map_from_json(
    values: Mapping[str, Any] | struct_pb2.Struct, variables: interface_pb2.VariableMap, root: str = "inputs"
) -> literals_pb2.LiteralMap:
    """Return the literals of JSON values by name, see `JsonConverter.to_literals`."""
    return JsonConverter(variables, root).to_literals(values)


def literal_map_to_json(
    literals: literals_pb2.LiteralMap, variables: interface_pb2.VariableMap, root: str = "outputs"
) -> dict[str, Any]:
    """Return literals by name as an object for `json.dumps`, see `JsonConverter.to_json`."""
    return JsonConverter(variables, root).to_json(literals)
