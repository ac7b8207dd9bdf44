from __future__ import annotations

import dataclasses
import functools
from typing import Annotated, Any, NamedTuple

import pytest

import type_strategies as make
from lacewing.types import AnnotationError, ConversionError, InterfaceChecker, interface_of
from lacewing.v1 import literals_pb2


@dataclasses.dataclass
class Config:
    """A record as an input."""

    rate: float
    names: list[str]


class Fit(NamedTuple):
    """Outputs with names."""

    slope: float
    note: str | None = None


def fit(config: Config, limit: int = 5, *, label: str | None = None) -> Fit:
    """Fit a line.

    Args:
        config: What to fit,
            and how.
        limit (int): How often to try.
        label: A name: shown to people.

    Returns:
        The line.
    """
    return Fit(config.rate * limit, label)


def split(text: str) -> tuple[int, str]:
    """Return two values."""
    return len(text), text


def double(number: int) -> int:
    """Double a number.

    Args:
        number: The number.

    Returns:
        Twice the number.
    """
    return number * 2


async def later(number: int) -> list[int]:
    """Return a list, at some time."""
    return [number]


def quiet(number: int) -> None:
    """Return nothing."""


def remarked(number: int) -> Annotated[Fit, "a remark"]:
    """Return what names outputs, with a remark."""
    return Fit(number)


def remarked_nothing() -> Annotated[None, "a remark"]:
    """Return nothing, with a remark."""


def unannotated(number: int):
    """Return what nobody knows."""


def test_parameters_are_inputs_with_descriptions() -> None:
    """Types come from annotations, also where they are strings, and descriptions from the docstring."""
    inputs = interface_of(fit).typed_interface.inputs.variables
    assert set(inputs) == {"config", "limit", "label"}
    assert dict(inputs["config"].type.structure.dataclass_type) == {
        "rate": make.simple("FLOAT"),
        "names": make.list_of(make.simple("STRING")),
    }
    assert inputs["limit"].type == make.simple("INTEGER")
    assert [variant.structure.tag for variant in inputs["label"].type.union_type.variants] == ["str", "none"]
    assert {name: variable.description for name, variable in inputs.items()} == {
        "config": "What to fit, and how.",
        "limit": "How often to try.",
        "label": "A name: shown to people.",
    }


def test_defaults_become_literals() -> None:
    """What the signature gives a default, the server can fill in, with None too."""
    defaults = interface_of(fit).defaults.parameters
    assert set(defaults) == {"limit", "label"}
    assert defaults["limit"].default == make.primitive(integer=5)
    assert defaults["label"].default.scalar.union.value == make.scalar(none_type=literals_pb2.Void())


@pytest.mark.parametrize(
    ("function", "outputs"),
    [
        (fit, ["note", "slope"]),
        (split, ["o0", "o1"]),
        (double, ["o0"]),
        (later, ["o0"]),
        (quiet, []),
        (remarked, ["note", "slope"]),
        (remarked_nothing, []),
        (unannotated, []),
    ],
)
def test_outputs_have_the_names_of_flyte(function: Any, outputs: list[str]) -> None:
    """Fields of a NamedTuple name them; a tuple and a single value count from o0; None has none."""
    assert sorted(interface_of(function).typed_interface.outputs.variables) == outputs


def test_a_single_output_has_the_description_of_the_returns_section() -> None:
    """What the docstring says of the value is said of the output."""
    assert interface_of(double).typed_interface.outputs.variables["o0"].description == "Twice the number."


def test_inputs_go_and_come_back() -> None:
    """Arguments become literals that the interface accepts, and the arguments again; defaults stay out."""
    interface = interface_of(fit)
    given = {"config": Config(0.5, ["a"]), "label": None}
    literals = interface.inputs_to_literals(given)
    assert sorted(literals.literals) == ["config", "label"]
    checker = InterfaceChecker(interface.typed_interface.inputs, interface.defaults)
    assert checker.check(literals) == []
    assert checker.check_defaults() == []
    assert interface.literals_to_inputs(literals) == given
    assert interface.literals_to_inputs(checker.complete(literals)) == {**given, "limit": 5}


@pytest.mark.parametrize(
    ("function", "value"),
    [
        (fit, Fit(0.5)),
        (fit, Fit(0.5, "n")),
        (split, (1, "a")),
        (double, 4),
        (later, [1, 2]),
        (remarked, Fit(0.5)),
        (quiet, None),
    ],
)
def test_outputs_go_and_come_back(function: Any, value: Any) -> None:
    """What a function returns becomes literals that the interface accepts, and the same value again."""
    interface = interface_of(function)
    literals = interface.outputs_to_literals(value)
    assert InterfaceChecker(interface.typed_interface.outputs, root="outputs").check(literals) == []
    back = interface.literals_to_outputs(literals)
    assert back == value
    assert type(back) is type(value)


def test_every_wrong_argument_is_reported() -> None:
    """What does not fit, what is missing and what is unknown, in one error with paths."""
    with pytest.raises(ConversionError) as caught:
        interface_of(fit).inputs_to_literals({"limit": "5", "lable": "n"})
    assert list(map(str, caught.value.problems)) == [
        "inputs.config: is missing",
        'inputs.limit: expected int, got str "5"',
        'inputs.lable: no parameter has this name; did you mean "label"?',
    ]


@pytest.mark.parametrize(
    ("function", "value", "message"),
    [
        (fit, 0.5, "outputs: expected Fit, got float 0.5"),
        (fit, Fit("steep"), 'outputs.slope: expected float, got str "steep"'),  # type: ignore[arg-type]  # On purpose.
        (split, (1,), "outputs: expected tuple[int, str], got tuple (1,)"),
        (double, "4", 'outputs.o0: expected int, got str "4"'),
        (quiet, 0, "outputs: expected None, got int 0"),
    ],
)
def test_a_wrong_result_is_refused(function: Any, value: Any, message: str) -> None:
    """A function that does not return what it says never stores it."""
    with pytest.raises(ConversionError) as caught:
        interface_of(function).outputs_to_literals(value)
    assert str(caught.value) == message


def many(*numbers: int) -> None:
    """Take any number of inputs."""


def keywords(**numbers: int) -> None:
    """Take inputs of any name."""


def positional(number: int, /) -> None:
    """Take an input without a name."""


def bare(number) -> None:
    """Take anything."""


def unsupported(number: complex) -> None:
    """Take what has no type."""


def returns_unsupported() -> tuple[int, complex]:
    """Return what has no type."""
    return 1, 1j


def wrong_default(number: int = "one") -> None:  # type: ignore[assignment]  # That it is wrong is the point.
    """Have a default of another type."""


def undefined(number: Missing) -> None:  # type: ignore[name-defined]  # noqa: F821 that it is missing is the point
    """Have an annotation that does not exist."""


def impossible(number: "int" | "missing") -> None:  # type: ignore[name-defined]  # noqa: F821, UP037 strings cannot be joined
    """Have an annotation that raises when it is evaluated."""


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (many, "many: parameter numbers cannot be given by name; a task takes each of its inputs by name"),
        (keywords, "keywords: parameter numbers cannot be given by name"),
        (positional, "positional: parameter number cannot be given by name"),
        (bare, "bare: parameter number has no annotation"),
        (unsupported, "unsupported: parameter number is annotated complex: complex has no literal type"),
        (returns_unsupported, "returns_unsupported: what it returns as o1 is annotated complex: complex has no"),
        (
            wrong_default,
            (
                "wrong_default: parameter number has a default that does not fit its annotation: "
                'expected int, got str "one"'
            ),
        ),
        (impossible, "an annotation of impossible cannot be evaluated: unsupported operand"),
        (functools.partial(double), "an annotation of functools.partial("),
        (undefined, "an annotation of undefined cannot be evaluated: name 'Missing' is not defined"),
    ],
)
def test_functions_that_cannot_be_tasks_are_refused(function: Any, message: str) -> None:
    """When they are declared, with the function, the parameter and the annotation."""
    with pytest.raises(AnnotationError) as caught:
        interface_of(function)
    assert str(caught.value).startswith(message)
