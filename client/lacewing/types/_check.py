"""Inputs and outputs checked against an interface."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from lacewing.types._assign import admits_none
from lacewing.types._codecs import Codec, Form, compile_type
from lacewing.types._problem import MAX_COUNTED, ConversionError, Problem, field_segment, unknown_name
from lacewing.v1 import interface_pb2, literals_pb2, types_pb2


def compile_checker(literal_type: types_pb2.LiteralType) -> Callable[[literals_pb2.Literal], list[Problem]]:
    """Compile a type into a function that returns everything wrong with a literal; paths begin at the literal.

    Raises:
        ConversionError: The type is not one: a kind is missing, or an enum or union is empty.
    """
    codec = compile_type(literal_type)

    def check(literal: literals_pb2.Literal) -> list[Problem]:
        try:
            codec.check(literal)
        except ConversionError as error:
            return list(error.problems)
        return []

    return check


def compile_variables(variables: interface_pb2.VariableMap, root: str) -> dict[str, Codec]:
    """Compile the type of each variable; problems of all types are raised as one error with paths under `root`."""
    codecs: dict[str, Codec] = {}
    problems: list[Problem] = []
    for name in sorted(variables.variables):
        literal_type = types_pb2.LiteralType()
        literal_type.CopyFrom(variables.variables[name].type)
        try:
            codecs[name] = compile_type(literal_type)
        except ConversionError as error:
            problems.extend(error.under(root + field_segment(name)).problems)
    if problems:
        raise ConversionError(problems)
    return codecs


class InterfaceChecker:
    """The inputs or the outputs of a task, compiled once to check many literal maps.

    A variable may be left out if it has a default, or if its type admits nothing: NONE, or a union with NONE among
    its variants.
    """

    def __init__(
        self,
        variables: interface_pb2.VariableMap,
        defaults: interface_pb2.ParameterMap | None = None,
        root: str = "inputs",
    ) -> None:
        """Compile variables.

        Args:
            variables: The variables. A later change of the message has no effect.
            defaults: The values of inputs that a caller leaves out (`Parameter.default`).
            root: What the paths of problems begin with.

        Raises:
            ConversionError: The type of a variable is not one. Paths lead to the place inside the type.
        """
        self._root = root
        self._codecs = compile_variables(variables, root)
        self._defaults: dict[str, literals_pb2.Literal] = {}
        for name, parameter in (defaults.parameters if defaults is not None else {}).items():
            if parameter.HasField("default"):
                self._defaults[name] = literals_pb2.Literal()
                self._defaults[name].CopyFrom(parameter.default)
        self._fillers = self._defaults | {
            name: codec.to_literal(codec.read(None, Form.MSGPACK))
            for name, codec in self._codecs.items()
            if name not in self._defaults and admits_none(codec.literal_type)
        }

    def check(self, literals: literals_pb2.LiteralMap) -> list[Problem]:
        """Return everything wrong with a literal map; a value is not examined further after 200 problems.

        Reported are misfits, variables that are missing, and names that do not exist.
        """
        given = literals.literals
        problems = self._misfits(given, self._root)
        problems.extend(
            Problem(self._root + field_segment(name), "is missing")
            for name in self._codecs
            if name not in given and name not in self._fillers
        )
        return problems

    def check_defaults(self) -> list[Problem]:
        """Return everything wrong with the defaults, in the same way; paths begin with `default_inputs`."""
        return self._misfits(self._defaults, "default_inputs")

    def complete(self, literals: literals_pb2.LiteralMap) -> literals_pb2.LiteralMap:
        """Return the literal map with a value for every variable that was left out and has one.

        It is the same object if nothing was left out.
        """
        given = literals.literals
        left_out = [name for name in self._fillers if name not in given]
        if not left_out:
            return literals
        completed = literals_pb2.LiteralMap()
        completed.CopyFrom(literals)
        for name in left_out:
            completed.literals[name].CopyFrom(self._fillers[name])
        return completed

    def _misfits(self, literals: Mapping[str, literals_pb2.Literal], root: str) -> list[Problem]:
        problems: list[Problem] = []
        codecs = self._codecs
        for name in sorted(literals):  # The order of a protobuf map is another in every process.
            if len(problems) >= MAX_COUNTED:
                break
            codec = codecs.get(name)
            if codec is None:
                kind = self._root.removesuffix("s")
                problems.append(Problem(root + field_segment(name), unknown_name(kind, name, codecs)))
                continue
            try:
                codec.check(literals[name])
            except ConversionError as error:
                problems.extend(error.under(root + field_segment(name)).problems)
        return problems
