from __future__ import annotations

import datetime as dt
import subprocess
import sys
from typing import Any

import msgpack  # type: ignore[import-untyped]  # It ships no stubs.
import pytest
from pydantic import AliasChoices, AliasPath, BaseModel, ConfigDict, Field, RootModel

import type_strategies as make
from lacewing.types import AnnotationError, ConversionError, compile_checker, converter_for, literal_type_of
from lacewing.v1 import literals_pb2


class Point(BaseModel):
    """A model with a default."""

    x: int
    y: int = 0


class Sample(BaseModel):
    """A model with parts."""

    points: list[Point]
    when: dt.datetime
    rate: float = Field(gt=0)
    note: str | None = None


class Aliased(BaseModel):
    """A model that other systems know by other names."""

    snake_case: int = Field(alias="camelCase")


class Chosen(BaseModel):
    """A model that is read by one of several names."""

    x: int = Field(validation_alias=AliasChoices(AliasPath("parts", 0), "first", "second"))


class Numbers(RootModel[list[int]]):
    """A model that is one value."""


class Nested(BaseModel):
    """A model that is read from inside something else."""

    x: int = Field(validation_alias=AliasPath("parts", 0))


class Open(BaseModel):
    """A model that takes any field."""

    model_config = ConfigDict(extra="allow")

    x: int


SAMPLE = Sample(points=[Point(x=2**63 - 1)], when=dt.datetime(2024, 5, 1, tzinfo=dt.UTC), rate=0.5)


def of_record(value: dict[str, Any]) -> literals_pb2.Literal:
    return make.scalar(binary=literals_pb2.Binary(value=msgpack.packb(value), tag="msgpack"))


@pytest.mark.parametrize(
    ("annotation", "value"),
    [
        (Point, Point(x=1)),
        (Sample, SAMPLE),
        (Sample | None, SAMPLE),
        (dict[str, list[Sample]], {"a": [SAMPLE]}),
        (Aliased, Aliased(camelCase=3)),
        (Chosen, Chosen.model_validate({"second": 3})),
        (Numbers, Numbers([1, 2])),
    ],
)
def test_models_come_back_as_they_were(annotation: Any, value: Any) -> None:
    """A model is a record of its fields."""
    converter = converter_for(annotation)
    literal = converter.to_literal(value)
    assert compile_checker(literal_type_of(annotation))(literal) == []
    back = converter.to_python(literals_pb2.Literal.FromString(literal.SerializeToString()))
    assert back == value
    assert type(back) is type(value)


def test_a_model_is_written_by_the_names_of_its_fields() -> None:
    """In msgpack, with the types of the fields in its own type."""
    assert dict(literal_type_of(Point).structure.dataclass_type) == {
        "x": make.simple("INTEGER"),
        "y": make.simple("INTEGER"),
    }
    binary = converter_for(Aliased).to_literal(Aliased(camelCase=3)).scalar.binary
    assert binary.tag == "msgpack"
    assert msgpack.unpackb(binary.value) == {"snake_case": 3}


def test_the_variant_of_a_model_has_the_tag_of_flyte() -> None:
    """As Flyte's SDK writes it into unions."""
    literal = converter_for(Point | int).to_literal(Point(x=1))
    assert literal.scalar.union.type.structure.tag == "Pydantic Transformer"


def test_the_validators_of_a_model_run() -> None:
    """A value that the type admits and the model does not is refused with the field."""
    when = "2024-05-01T00:00:00Z"
    with pytest.raises(ConversionError, match=r"^\.rate: Sample: Input should be greater than 0$"):
        converter_for(Sample).to_python(of_record({"points": [], "when": when, "rate": -1.0, "note": None}))


def test_defaults_of_a_model_fill_in() -> None:
    """What another SDK left out is what the model says."""
    assert converter_for(Point).to_python(of_record({"x": 1})) == Point(x=1, y=0)


def test_what_is_not_the_model_is_refused() -> None:
    """Neither a dict with its fields nor a field with a wrong value slips through."""
    with pytest.raises(ConversionError, match=r"^expected Point, got dict \{'x': 1\}$"):
        converter_for(Point).to_literal({"x": 1})
    with pytest.raises(ConversionError, match=r'^\.x: expected int, got str "1"$'):
        converter_for(Point).to_literal(Point.model_construct(x="1"))


def test_a_field_that_the_type_does_not_have_is_refused() -> None:
    """An extra value has no type, so it would be lost."""
    with pytest.raises(ConversionError, match=r"^\.extra: no field has this name"):
        converter_for(Open).to_literal(Open(x=1, extra=2))  # type: ignore[call-arg]  # What extra="allow" allows.


def test_a_model_that_cannot_be_made_again_is_refused() -> None:
    """When it is declared: its values could be written, and never read."""
    with pytest.raises(AnnotationError, match="the field x has no alias that is a plain string"):
        converter_for(Nested)


def test_pydantic_is_not_needed() -> None:
    """Nothing of it is imported before a program does so itself."""
    program = (
        "import sys; sys.modules['pydantic'] = None\n"
        "from lacewing.types import converter_for\n"
        "import dataclasses\n"
        "del sys.modules['pydantic']\n"
        "made = dataclasses.make_dataclass('Made', [('x', int)])\n"
        "assert converter_for(made).to_python(converter_for(made).to_literal(made(1))) == made(1)\n"
        "assert 'pydantic' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True, timeout=30)
