from __future__ import annotations

import fractions
import pathlib
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest

import type_strategies as make
from lacewing.types import (
    AnnotationError,
    ConversionError,
    TypeTransformer,
    converter_for,
    literal_type_of,
    register_transformer,
)
from lacewing.types._python import _compile, _transformer
from lacewing.v1 import literals_pb2, types_pb2


class FractionTransformer(TypeTransformer):
    """Fractions as text."""

    name = "fraction"

    def matches(self, annotation: Any) -> bool:
        """Match the class."""
        return annotation is fractions.Fraction

    def literal_type(self, annotation: Any) -> types_pb2.LiteralType:
        """Return STRING."""
        return make.simple("STRING")

    def to_literal(self, value: Any, annotation: Any) -> literals_pb2.Literal:
        """Write a fraction."""
        if not isinstance(value, fractions.Fraction):
            raise TypeError(f"{value!r} is not a fraction")
        return make.primitive(string_value=str(value))

    def to_python(self, literal: literals_pb2.Literal, annotation: Any) -> fractions.Fraction:
        """Read a fraction."""
        return fractions.Fraction(literal.scalar.primitive.string_value)


class LyingTransformer(FractionTransformer):
    """Gives what its type does not admit."""

    def to_literal(self, value: Any, annotation: Any) -> literals_pb2.Literal:
        """Write an integer."""
        return make.primitive(integer=1)


class TypelessTransformer(FractionTransformer):
    """Has no type."""

    def literal_type(self, annotation: Any) -> types_pb2.LiteralType:
        """Return what is not a type."""
        return types_pb2.LiteralType()


@pytest.fixture(autouse=True)
def registry(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Give each test a registry of its own."""
    monkeypatch.setattr(_compile, "_registry", _transformer.Registry())
    _compile._cached.cache_clear()
    yield
    _compile._cached.cache_clear()


def test_an_annotation_has_no_type_before_a_transformer_is_registered() -> None:
    """The error says how to give it one, and afterwards it has one, inside containers too."""
    with pytest.raises(AnnotationError, match=r"Fraction has no literal type; .*register_transformer"):
        converter_for(fractions.Fraction)
    register_transformer(FractionTransformer())
    assert literal_type_of(list[fractions.Fraction]) == make.list_of(make.simple("STRING"))
    converter = converter_for(dict[str, fractions.Fraction])
    value = {"half": fractions.Fraction(1, 2)}
    assert converter.to_python(converter.to_literal(value)) == value


def test_a_transformed_value_is_told_apart_in_a_union() -> None:
    """Its variant has the name of the transformer as its tag."""
    register_transformer(FractionTransformer())
    converter = converter_for(fractions.Fraction | str | None)
    for value in (fractions.Fraction(1, 3), "1/3", None):
        assert converter.to_python(converter.to_literal(value)) == value
    assert converter.to_literal(fractions.Fraction(1, 3)).scalar.union.type.structure.tag == "fraction"


def test_a_transformer_may_refuse_a_value() -> None:
    """What it says is told with the annotation and the place."""
    register_transformer(FractionTransformer())
    with pytest.raises(ConversionError, match=r"^\[1\]: expected Fraction: 5 is not a fraction$"):
        converter_for(list[fractions.Fraction]).to_literal([fractions.Fraction(1), 5])
    with pytest.raises(ConversionError, match=r"^expected Fraction: Invalid literal for Fraction: 'x'$"):
        converter_for(fractions.Fraction).to_python(make.primitive(string_value="x"))


def test_a_transformer_is_held_to_its_type() -> None:
    """A literal of another type never leaves the process."""
    register_transformer(LyingTransformer())
    with pytest.raises(ConversionError, match=r"^expected STRING, got INTEGER 1$"):
        converter_for(fractions.Fraction).to_literal(fractions.Fraction(1))


def test_a_transformer_without_a_type_is_refused() -> None:
    """The error names the transformer."""
    register_transformer(TypelessTransformer())
    with pytest.raises(AnnotationError, match="the transformer fraction gives Fraction no valid literal type"):
        converter_for(fractions.Fraction)


def test_the_latest_transformer_wins() -> None:
    """What is registered later is asked first, and before what Lacewing knows itself."""

    class IntTransformer(FractionTransformer):
        name = "int as text"

        def matches(self, annotation: Any) -> bool:
            return annotation is int

        def to_literal(self, value: Any, annotation: Any) -> literals_pb2.Literal:
            return make.primitive(string_value=str(value))

    assert literal_type_of(int) == make.simple("INTEGER")
    register_transformer(IntTransformer())
    assert literal_type_of(int) == make.simple("STRING")


def test_installed_packages_bring_transformers(tmp_path: pathlib.Path) -> None:
    """A package names its transformers as entry points, and nobody has to register them."""
    (tmp_path / "bundle.py").write_text(
        "import fractions\n"
        "from lacewing.types import TypeTransformer, literal_type_of, converter_for\n"
        "class Fractions(TypeTransformer):\n"
        "    name = 'fraction'\n"
        "    def matches(self, annotation): return annotation is fractions.Fraction\n"
        "    def literal_type(self, annotation): return literal_type_of(str)\n"
        "    def to_literal(self, value, annotation): return converter_for(str).to_literal(str(value))\n"
        "    def to_python(self, literal, annotation):\n"
        "        return fractions.Fraction(converter_for(str).to_python(literal))\n"
    )
    metadata = tmp_path / "bundle-1.0.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: bundle\nVersion: 1.0\n")
    (metadata / "entry_points.txt").write_text("[lacewing.transformers]\nfractions = bundle:Fractions\n")
    program = (
        f"import sys; sys.path.insert(0, {str(tmp_path)!r})\n"
        "import fractions\n"
        "from lacewing.types import converter_for\n"
        "half = fractions.Fraction(1, 2)\n"
        "converter = converter_for(fractions.Fraction)\n"
        "assert converter.to_python(converter.to_literal(half)) == half\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True, timeout=30)
