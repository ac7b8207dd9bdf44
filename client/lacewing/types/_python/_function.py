"""Functions as tasks: interface and defaults from the signature, arguments and results to literals and back."""

from __future__ import annotations

import inspect
import typing
from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Any

from lacewing.types._assign import admits_none
from lacewing.types._blob_uri import is_stored
from lacewing.types._problem import ConversionError, Problem, field_segment, unknown_name
from lacewing.types._python._compile import converter_for
from lacewing.types._python._converter import EVALUATION_ERRORS, AnnotationError, Converter, annotation_name, expected
from lacewing.types._python._docstring import parameter_descriptions, return_description
from lacewing.v1 import interface_pb2, literals_pb2, types_pb2


class FunctionInterface:
    """The interface of a function.

    Inputs are its parameters. Outputs are the fields of a NamedTuple it returns, `o0`, `o1`, ... for the elements of a
    tuple of fixed length, `o0` for anything else, and none for None or without an annotation.

    Attributes:
        typed_interface: The types of inputs and outputs, with descriptions from the docstring.
        inputs: What converts each input.
        outputs: What converts each output.
        output_types: The type of each output. They must not be changed.
        signature: The parameters, as they are called.
        defaults: The inputs that have a default in the signature, with its literal.
        has_stored_inputs: Whether files or tables can be among the inputs, so that converting them may block.
        has_stored_outputs: The same of the outputs.
    """

    typed_interface: interface_pb2.TypedInterface
    inputs: Mapping[str, Converter]
    outputs: Mapping[str, Converter]
    output_types: Mapping[str, types_pb2.LiteralType]
    signature: inspect.Signature
    defaults: interface_pb2.ParameterMap
    has_stored_inputs: bool
    has_stored_outputs: bool

    def __init__(self, function: Callable[..., Any]) -> None:
        """Compile a function.

        Raises:
            AnnotationError: A parameter has no annotation, or one without a literal type, or a default that does not
                fit it; or the returned annotation has no literal type. The message names the function and parameter.
        """
        self._name = getattr(function, "__qualname__", repr(function))
        hints = self._hints(function)
        self.signature = inspect.signature(function)
        self.defaults = interface_pb2.ParameterMap()
        self.inputs = {
            parameter.name: self._input(parameter, hints) for parameter in self.signature.parameters.values()
        }
        self._returned = _unwrapped(hints.get("return", type(None)))
        self._parts = _parts(self._returned)
        self.outputs = self._compile_outputs()
        self.output_types = {name: converter.literal_type for name, converter in self.outputs.items()}
        self._inputs = _Conversion("inputs", "parameter", self.inputs, self.defaults.parameters)
        self._outputs = _Conversion("outputs", "output", self.outputs)
        self.typed_interface = interface_pb2.TypedInterface(
            inputs=_variables(self.inputs, parameter_descriptions(function)),
            outputs=_variables(self.outputs, {"o0": return_description(function)}),
        )
        self.has_stored_inputs = any(is_stored(converter.literal_type) for converter in self.inputs.values())
        self.has_stored_outputs = any(map(is_stored, self.output_types.values()))
        parameters = self.signature.parameters.values()
        self._positional = [each.name for each in parameters if each.kind is not inspect.Parameter.KEYWORD_ONLY]
        self._required = {each.name for each in parameters if each.default is inspect.Parameter.empty}

    def _hints(self, function: Callable[..., Any]) -> dict[str, Any]:
        try:
            return typing.get_type_hints(function, include_extras=True)
        except EVALUATION_ERRORS as error:
            raise AnnotationError(f"an annotation of {self._name} cannot be evaluated: {error}") from error

    def _input(self, parameter: inspect.Parameter, hints: Mapping[str, Any]) -> Converter:
        name = parameter.name
        where = f"{self._name}: parameter {name}"
        if parameter.kind not in (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY):
            raise AnnotationError(f"{where} cannot be given by name; a task takes each of its inputs by name")
        if name not in hints:
            raise AnnotationError(f"{where} has no annotation")
        converter = _converter(hints[name], where)
        if parameter.default is not inspect.Parameter.empty:
            try:
                default = converter.to_literal(parameter.default)
            except ConversionError as error:
                raise AnnotationError(f"{where} has a default that does not fit its annotation: {error}") from error
            self.defaults.parameters[name].default.CopyFrom(default)
        return converter

    def _compile_outputs(self) -> dict[str, Converter]:
        where = f"{self._name}: what it returns"
        if self._returned in (None, type(None)):
            return {}
        if self._parts is None:
            return {"o0": _converter(self._returned, where)}
        return {name: _converter(annotation, f"{where} as {name}") for name, annotation in self._parts.items()}

    def bind(self, arguments: tuple[Any, ...], inputs: Mapping[str, Any]) -> Mapping[str, Any]:
        """Return the arguments of a call by name, without defaults: as `signature` does, for a quarter of the time.

        Raises:
            TypeError: They are not those that the function takes.
        """
        given = dict(zip(self._positional, arguments, strict=False))
        given.update(inputs)
        if len(given) == len(arguments) + len(inputs) and self._required <= given.keys() <= self.inputs.keys():
            return given
        bound: Mapping[str, Any] = self.signature.bind(*arguments, **inputs).arguments  # It says what is wrong.
        return bound

    def inputs_to_literals(self, values: Mapping[str, Any]) -> literals_pb2.LiteralMap:
        """Return the literals of arguments by name. Parameters with a default may be left out, and are left out.

        Raises:
            ConversionError: An argument does not fit, is missing, or is not a parameter. Paths begin with `inputs`.
        """
        return self._inputs.to_literals(values)

    def literals_to_inputs(self, literals: literals_pb2.LiteralMap) -> dict[str, Any]:
        """Return the arguments of literals by name. Those left out are None if that fits, or left to their default.

        Raises:
            ConversionError: A literal does not fit, is missing, or is not a parameter. Paths begin with `inputs`.
        """
        given = _by_name(literals)
        arguments = self._inputs.to_python(given)
        if len(arguments) < len(self.inputs):
            left_out = [name for name in self.inputs if name not in given and name not in self.defaults.parameters]
            arguments |= dict.fromkeys(left_out)
        return arguments

    def outputs_to_literals(self, value: Any) -> literals_pb2.LiteralMap:
        """Return the literals of what the function returned.

        Raises:
            ConversionError: The value does not fit the annotation. Paths begin with `outputs`.
        """
        return self._outputs.to_literals(self.split_outputs(value))

    def literals_to_outputs(self, literals: literals_pb2.LiteralMap) -> Any:
        """Return what the function returned, from its literals.

        Raises:
            ConversionError: A literal does not fit, is missing, or is not an output. Paths begin with `outputs`.
        """
        values = self._outputs.to_python(_by_name(literals))
        return self.join_outputs(values)

    def join_outputs(self, values: Mapping[str, Any]) -> Any:
        """Return what the function returns if these are its outputs by name; None stands for one that is left out."""
        ordered = [values.get(name) for name in self.outputs]
        if self._parts is None:
            return ordered[0] if ordered else None
        return tuple(ordered) if typing.get_origin(self._returned) is tuple else self._returned(*ordered)

    def split_outputs(self, value: Any) -> Mapping[str, Any]:
        """Return the outputs by name, if this is what the function returned.

        Raises:
            ConversionError: They are not as many as annotated, or there are some where there should be none.
        """
        parts = self._parts
        if parts is None:
            if self.outputs:
                return {"o0": value}
            if value is not None:
                raise expected(type(None), value).under("outputs")
            return {}
        if not isinstance(value, tuple) or len(value) != len(parts):
            raise expected(self._returned, value).under("outputs")
        return dict(zip(parts, value, strict=True))


def interface_of(function: Callable[..., Any]) -> FunctionInterface:
    """Return the interface of a function, sync or async.

    Raises:
        AnnotationError: See `FunctionInterface`.
    """
    return FunctionInterface(function)


def _converter(annotation: Any, where: str) -> Converter:
    try:
        return converter_for(annotation)
    except AnnotationError as error:
        raise AnnotationError(f"{where} is annotated {annotation_name(annotation)}: {error}") from None


def _unwrapped(returned: Any) -> Any:
    """Return what is annotated if it names several outputs or none; a transformer may match `Annotated` otherwise."""
    if typing.get_origin(returned) is not typing.Annotated:
        return returned
    inner = typing.get_args(returned)[0]
    return inner if inner is type(None) or _parts(inner) is not None else returned


def _parts(returned: Any) -> dict[str, Any] | None:
    """Return the outputs of a function that returns several, by name; None if it returns one value or none."""
    if isinstance(returned, type) and issubclass(returned, tuple) and hasattr(returned, "_field_defaults"):
        return typing.get_type_hints(returned, include_extras=True)
    arguments = typing.get_args(returned)
    if typing.get_origin(returned) is tuple and Ellipsis not in arguments:
        return {f"o{index}": argument for index, argument in enumerate(arguments)}
    return None


def _by_name(literals: literals_pb2.LiteralMap) -> dict[str, literals_pb2.Literal]:
    """Return literals by name, in a dict: each look-up in the map of a message costs ten times as much."""
    given = literals.literals
    return {name: given[name] for name in given}


def _variables(converters: Mapping[str, Converter], descriptions: Mapping[str, str]) -> interface_pb2.VariableMap:
    return interface_pb2.VariableMap(
        variables={
            name: interface_pb2.Variable(type=converter.literal_type, description=descriptions.get(name, ""))
            for name, converter in converters.items()
        }
    )


class _Conversion:
    """Converts the inputs, or the outputs, of a function by name; what does so is looked up once.

    Args:
        root: The beginning of the paths in errors.
        kind: What each of them is called in errors.
        converters: What converts each.
        defaults: Those that have a default. They may be left out, as those may that admit None.
    """

    def __init__(
        self, root: str, kind: str, converters: Mapping[str, Converter], defaults: Collection[str] = ()
    ) -> None:
        self._root = root
        self._kind = kind
        self._names = converters.keys()
        self._fill = [(name, converter.fill) for name, converter in converters.items()]
        self._to_python = [(name, converter.to_python) for name, converter in converters.items()]
        self._optional = {
            name for name, converter in converters.items() if name in defaults or admits_none(converter.literal_type)
        }

    def to_literals(self, values: Mapping[str, Any]) -> literals_pb2.LiteralMap:
        """Return the literals of values. Raises ConversionError with all that is wrong."""
        result = literals_pb2.LiteralMap()
        literals = result.literals
        problems: list[Problem] = []
        for name, fill in self._fill:
            try:
                if name in values:
                    fill(literals[name], values[name])
                elif name not in self._optional:
                    problems.append(self._missing(name))
            except ConversionError as error:
                problems.extend(self._under(name, error))
        if problems or len(literals) < len(values):
            raise self._misfit(problems, values)
        return result

    def to_python(self, literals: Mapping[str, literals_pb2.Literal]) -> dict[str, Any]:
        """Return the values of literals. Raises ConversionError with all that is wrong."""
        values: dict[str, Any] = {}
        problems: list[Problem] = []
        for name, to_python in self._to_python:
            try:
                if name in literals:
                    values[name] = to_python(literals[name])
                elif name not in self._optional:
                    problems.append(self._missing(name))
            except ConversionError as error:
                problems.extend(self._under(name, error))
        if problems or len(values) < len(literals):
            raise self._misfit(problems, literals)
        return values

    def _missing(self, name: str) -> Problem:
        return Problem(self._root + field_segment(name), "is missing")

    def _under(self, name: str, error: ConversionError) -> Iterable[Problem]:
        return error.under(self._root + field_segment(name)).problems

    def _misfit(self, problems: list[Problem], given: Mapping[str, Any]) -> ConversionError:
        """Return the error of these problems, and of names that there are not."""
        unknown = [name for name in sorted(given) if name not in self._names]
        problems.extend(
            Problem(self._root + field_segment(name), unknown_name(self._kind, name, self._names)) for name in unknown
        )
        return ConversionError(problems)
