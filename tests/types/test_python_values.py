from __future__ import annotations

import dataclasses
import datetime as dt
import enum
import typing
from typing import Annotated, Any, Literal, NamedTuple, NewType, NotRequired, Optional, TypedDict, Union

import msgpack  # type: ignore[import-untyped]  # It ships no stubs.
import pytest

import type_strategies as make
from lacewing.types import AnnotationError, ConversionError, compile_checker, converter_for, literal_type_of
from lacewing.v1 import literals_pb2, types_pb2


class Color(enum.Enum):
    """Members with strings."""

    RED = "red"
    BLUE = "blue"


class Level(enum.IntEnum):
    """Members with numbers."""

    LOW = 1
    HIGH = 2


class Word(str):
    """A str that is more."""

    __slots__ = ()


@dataclasses.dataclass
class Point:
    """Two integers, one with a default."""

    x: int
    y: int = 0


@dataclasses.dataclass
class Vector:
    """Looks like a point from outside."""

    x: int
    y: int = 0


@dataclasses.dataclass
class Sample:
    """A field of every kind."""

    count: int
    rate: float
    when: dt.datetime
    lasts: dt.timedelta
    data: bytes
    color: Color
    points: list[Point]
    by_name: dict[str, Point]
    note: str | None = None
    flags: tuple[bool, ...] = ()


@dataclasses.dataclass
class Tree:
    """A record inside itself."""

    name: str
    children: list[Tree] = dataclasses.field(default_factory=list)


@dataclasses.dataclass
class Positive:
    """Refuses what is not positive."""

    number: int

    def __post_init__(self) -> None:
        if self.number <= 0:
            raise ValueError(f"{self.number} is not positive")


class Options(TypedDict):
    """A key that may be missing."""

    name: str
    size: NotRequired[int]


class Pair(NamedTuple):
    """As an input, a record."""

    left: int
    right: str = "r"


UserId = NewType("UserId", int)

SAMPLE = Sample(
    count=2**63 - 1,
    rate=0.1,
    when=dt.datetime(2024, 5, 1, 12, 0, 0, 123456, tzinfo=dt.UTC),
    lasts=dt.timedelta(days=-1, microseconds=1),
    data=b"\0\xff",
    color=Color.BLUE,
    points=[Point(1, 2), Point(-(2**63))],
    by_name={"a b": Point(0)},
    flags=(True, False),
)


def through(annotation: Any, value: Any) -> Any:
    """Return a value as it arrives on the other side of the wire, checked on the way."""
    converter = converter_for(annotation)
    literal = converter.to_literal(value)
    assert compile_checker(literal_type_of(annotation))(literal) == []
    return converter.to_python(literals_pb2.Literal.FromString(literal.SerializeToString()))


def refusal(annotation: Any, value: Any) -> str:
    with pytest.raises(ConversionError) as caught:
        converter_for(annotation).to_literal(value)
    return str(caught.value)


@pytest.mark.parametrize(
    ("annotation", "value", "literal"),
    [
        (int, 5, make.primitive(integer=5)),
        (float, 0.5, make.primitive(float_value=0.5)),
        (str, "ü", make.primitive(string_value="ü")),
        (bool, True, make.primitive(boolean=True)),
        (None, None, make.scalar(none_type=literals_pb2.Void())),
        (bytes, b"\0", make.scalar(binary=literals_pb2.Binary(value=b"\0"))),
        (Color, Color.RED, make.primitive(string_value="red")),
        (Level, Level.HIGH, make.primitive(string_value="HIGH")),
        (Literal["a", "b"], "b", make.primitive(string_value="b")),
        (UserId, UserId(7), make.primitive(integer=7)),
        (Annotated[int, "a remark"], 7, make.primitive(integer=7)),
        (list[int], [], literals_pb2.Literal(collection=literals_pb2.LiteralCollection())),
        (dict[str, int], {}, literals_pb2.Literal(map=literals_pb2.LiteralMap())),
    ],
)
def test_values_have_the_literals_of_flyte(annotation: Any, value: Any, literal: literals_pb2.Literal) -> None:
    """Each kind of value is written as Flyte's SDK writes it, and comes back as what it was."""
    assert converter_for(annotation).to_literal(value) == literal
    back = through(annotation, value)
    assert back == value
    assert type(back) is type(value)


@pytest.mark.parametrize(
    ("annotation", "literal_type"),
    [
        (int, make.simple("INTEGER")),
        (dt.datetime, make.simple("DATETIME")),
        (dt.timedelta, make.simple("DURATION")),
        (bytes, make.simple("BINARY")),
        (dict, make.simple("STRUCT")),
        (dict[str, Any], make.simple("STRUCT")),
        (list[dict[str, float]], make.list_of(make.map_of(make.simple("FLOAT")))),
        (tuple[str, ...], make.list_of(make.simple("STRING"))),
        (typing.Sequence[int], make.list_of(make.simple("INTEGER"))),
        (typing.Mapping[str, int], make.map_of(make.simple("INTEGER"))),
        (Color, make.enum_of("red", "blue")),
        (Level, make.enum_of("LOW", "HIGH")),
        (Literal["a", "b"], make.enum_of("a", "b")),
    ],
)
def test_annotations_have_the_types_of_flyte(annotation: Any, literal_type: types_pb2.LiteralType) -> None:
    """The type of an annotation is the one that other SDKs know."""
    assert literal_type_of(annotation) == literal_type


def test_a_type_is_a_copy() -> None:
    """Changing what was returned changes no converter."""
    literal_type_of(int).simple = types_pb2.SIMPLE_TYPE_STRING
    assert literal_type_of(int) == make.simple("INTEGER")


def test_a_converter_is_compiled_once() -> None:
    """The same annotation has the same converter; the order of a union is a part of the annotation."""
    assert converter_for(list[Point]) is converter_for(list[Point])
    forth, back = (converter_for(annotation).literal_type for annotation in (int | str, str | int))
    assert [variant.structure.tag for variant in forth.union_type.variants] == ["int", "str"]
    assert [variant.structure.tag for variant in back.union_type.variants] == ["str", "int"]


def test_a_record_is_msgpack_with_the_types_of_its_fields() -> None:
    """A dataclass is a STRUCT that names its fields, written as a msgpack map that any language reads."""
    literal_type = literal_type_of(Point)
    assert literal_type.simple == types_pb2.SIMPLE_TYPE_STRUCT
    assert dict(literal_type.structure.dataclass_type) == {"x": make.simple("INTEGER"), "y": make.simple("INTEGER")}
    binary = converter_for(Point).to_literal(Point(2**63 - 1)).scalar.binary
    assert binary.tag == "msgpack"
    assert msgpack.unpackb(binary.value) == {"x": 2**63 - 1, "y": 0}


@pytest.mark.parametrize(
    ("annotation", "value"),
    [
        (Sample, SAMPLE),
        (dict[str, list[Sample]], {"a": [SAMPLE], "b": []}),
        (Tree, Tree("root", [Tree("leaf"), Tree("branch", [Tree("leaf")])])),
        (Options, {"name": "n"}),
        (Options, {"name": "n", "size": 3}),
        (Pair, Pair(1)),
        (list[Pair], [Pair(1, "a"), Pair(2)]),
        (dict, {"a": [1, 2.0, None, True, b"\0", {"b": "ü"}], "c": -(2**63)}),
        (dt.timedelta, dt.timedelta(days=-3, microseconds=7)),
        (int | None, None),
        (int | None, 0),
        (Optional[Point], Point(1)),  # noqa: UP045 the old spelling has to work too
        (Union[int, list[int | str], None], [1, "1"]),  # noqa: UP007 the old spelling has to work too
    ],
)
def test_values_come_back_as_they_were(annotation: Any, value: Any) -> None:
    """Nothing is lost or changed between two Python programs, 64-bit integers inside records included."""
    back = through(annotation, value)
    assert back == value
    assert type(back) is type(value)


def test_numbers_in_a_dict_without_types_keep_their_kind() -> None:
    """A whole float stays a float and an int an int."""
    back = through(dict, {"float": 2.0, "int": 2, "bool": True})
    assert {name: type(value) for name, value in back.items()} == {"float": float, "int": int, "bool": bool}


def test_an_int_may_be_given_for_a_float() -> None:
    """As Python itself allows; a bool may not, nor a float for an int."""
    back = through(float, 3)
    assert back == 3.0
    assert type(back) is float
    assert refusal(float, value=True) == "expected float, got bool True"
    assert refusal(int, value=True) == "expected int, got bool True"
    assert refusal(int, 3.0) == "expected int, got float 3.0"


def test_an_instant_in_any_zone_is_the_same_instant() -> None:
    """It comes back equal, in UTC."""
    given = dt.datetime(2024, 5, 1, 14, 0, 0, 999999, tzinfo=dt.timezone(dt.timedelta(hours=2)))
    back = through(dt.datetime, given)
    assert back == given
    assert back.tzinfo is dt.UTC


def test_an_instant_without_a_zone_is_refused() -> None:
    """The message says what to do."""
    found = refusal(dt.datetime, dt.datetime(2024, 5, 1))  # noqa: DTZ001 that it has no zone is the point
    assert "got 2024-05-01T00:00:00 without" in found
    assert "value.replace(tzinfo=datetime.UTC)" in found


@pytest.mark.parametrize(
    ("annotation", "value", "tag"),
    [
        (int | str | None, 5, "int"),
        (int | str | None, "5", "str"),
        (int | str | None, None, "none"),
        (float | int, 5, "int"),
        (int | float, 5.0, "float"),
        (float | None, 5, "float"),
        (bool | int, True, "bool"),
        (int | bool, True, "bool"),
        (str | Color, Color.RED, "DefaultEnumTransformer"),
        (str | None, Word("w"), "str"),
        (list[int] | dict[str, int], [1], "Typed List"),
        (list[int] | dict[str, int], {"a": 1}, "Typed Dict"),
        (Point | int, Point(1), "Object-Dataclass-Transformer"),
    ],
)
def test_a_union_takes_the_variant_of_the_class_of_the_value(annotation: Any, value: Any, tag: str) -> None:
    """The literal says which variant by the tag that Flyte's SDK gives it, whatever the order of the variants."""
    literal = converter_for(annotation).to_literal(value)
    assert literal.scalar.union.type.structure.tag == tag
    assert literal.scalar.union.type in literal_type_of(annotation).union_type.variants
    assert through(annotation, value) == value


def test_a_value_that_no_variant_takes_is_refused() -> None:
    """With the union where several were possible, and the one complaint where only one was."""
    assert refusal(int | str, 0.5) == "expected int | str, got float 0.5"
    assert refusal(Point | None, Point("a")) == '.x: expected int, got str "a"'  # type: ignore[arg-type]  # On purpose.


@dataclasses.dataclass
class Named:
    """Told from a point by its field."""

    name: str


def test_dataclasses_in_one_union_are_told_apart_by_their_fields() -> None:
    """Each value comes back as its own class."""
    for value in (Point(1, 2), Named("n"), None):
        assert through(Point | Named | None, value) == value


def test_variants_that_cannot_be_told_apart_are_refused() -> None:
    """Two classes with the same fields have the same literals, so a value could come back as the other."""
    with pytest.raises(AnnotationError, match="has variants with the same literals"):
        converter_for(Point | Vector)


@pytest.mark.parametrize(
    ("annotation", "value", "message"),
    [
        (int, "1", 'expected int, got str "1"'),
        (int, 2**63, "expected an int of at most 64 bits; a larger one can be given as a str"),
        (float, 10**400, "expected float, got an int that is too large for one"),
        (str, b"a", "expected str, got bytes b'a'"),
        (str, None, "expected str, got None"),
        (str, "\ud800", "is not Unicode text: a lone surrogate at character 0"),
        (bytes, "a", 'expected bytes, got str "a"'),
        (dt.timedelta, 5, "expected timedelta, got int 5"),
        (Color, "red", 'expected Color, got str "red"'),
        (Literal["a"], "b", "expected Literal['a'], got str \"b\""),
        (list[int], (1,), "expected list[int], got tuple (1,)"),
        (list[int], [1, "a", None], '[1]: expected int, got str "a"\n[2]: expected int, got None'),
        (dict[str, int], {"a b": "c"}, '["a b"]: expected int, got str "c"'),
        (dict[str, int], {1: 1}, "expected keys of type str, got 1"),
        (dict, {"a": [{1, 2}]}, '["a"][0]: a set cannot be in a dict without a value type: '),
        (Options, {"nmae": "n"}, '.name: is missing\n.nmae: no field has this name; did you mean "name"?'),
        (Pair, (1, "a"), "expected Pair, got tuple (1, 'a')"),
        (Point, Vector(1), "expected Point, got Vector Vector(x=1, y=0)"),
        (
            Sample,
            dataclasses.replace(SAMPLE, points=[Point(1), Point(0.5)]),  # type: ignore[arg-type]  # On purpose.
            ".points[1].x: expected int, got float 0.5",
        ),
    ],
)
def test_values_of_another_type_are_refused(annotation: Any, value: Any, message: str) -> None:
    """With what was expected, what was given, and the place of every problem inside the value."""
    assert refusal(annotation, value).startswith(message)


class Unprintable:
    """Cannot even say what it is."""

    def __repr__(self) -> str:
        raise RuntimeError("no")


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        pytest.param(10**5000, "int <over 60 digits>", id="enormous"),
        pytest.param([10**5000], "list [<over 60 digits>]", id="enormous inside"),
        pytest.param(list(range(10**6)), "list [0, 1, 2, 3, 4, 5, …]", id="long"),
        pytest.param(Unprintable(), "Unprintable <Unprintable instance at ", id="unprintable"),
    ],
)
def test_any_value_can_be_told(value: Any, shown: str) -> None:
    """A message is a short line, whatever it is about."""
    assert refusal(str, value).startswith(f"expected str, got {shown}")
    assert len(refusal(str, value)) < 150


def test_a_value_that_holds_itself_is_refused() -> None:
    """It has no end, so it cannot be written; nor can one that nests deeper than Python goes."""
    cycle = Tree("a")
    cycle.children.append(cycle)
    deep = Tree("a")
    for _ in range(1000):
        deep = Tree("a", [deep])
    for value in (cycle, deep):
        assert refusal(Tree, value) == "nests too deep, or holds itself"


def test_a_literal_of_another_type_is_refused() -> None:
    """A worker that gets what it did not declare says so instead of passing it on."""
    with pytest.raises(ConversionError, match=r'^expected INTEGER, got STRING "a"$'):
        converter_for(int).to_python(make.primitive(string_value="a"))


def test_a_class_may_refuse_its_fields() -> None:
    """The error of the constructor is told with the class."""
    literal = make.scalar(binary=literals_pb2.Binary(value=msgpack.packb({"number": -1}), tag="msgpack"))
    with pytest.raises(ConversionError, match=r"Positive refuses its fields: -1 is not positive"):
        converter_for(Positive).to_python(literal)


def test_a_record_of_another_sdk_may_leave_out_what_has_a_default() -> None:
    """Defaults are those of the class that reads."""
    literal = make.scalar(binary=literals_pb2.Binary(value=msgpack.packb({"x": 3}), tag="msgpack"))
    assert converter_for(Point).to_python(literal) == Point(3, 0)


@pytest.mark.parametrize(
    ("annotation", "message"),
    [
        (object, "object has no literal type; use a supported type, or register a transformer"),
        (complex, "complex has no literal type"),
        (Any, "Any has no literal type"),
        (set[int], "set[int] has no literal type"),
        (list, "list does not say what it holds"),
        (dict[int, str], "dict[int, str] has keys that are not str"),
        (tuple[int, str], "tuple[int, str] is only supported as what a function returns"),
        (Literal[1], "Literal[1] has values that are not strings; use an Enum"),
        (list[dict[str, complex]], "complex has no literal type"),
    ],
)
def test_annotations_without_a_type_are_refused(annotation: Any, message: str) -> None:
    """The error names the annotation and what to use in its place; nothing is pickled."""
    with pytest.raises(AnnotationError) as caught:
        converter_for(annotation)
    assert message in str(caught.value)


def test_a_field_without_a_type_is_named() -> None:
    """The error leads to the class and the field."""
    holder = dataclasses.make_dataclass("Holder", [("inner", dataclasses.make_dataclass("Inner", [("bad", complex)]))])
    with pytest.raises(AnnotationError, match=r"^Holder\.inner: Inner\.bad: complex has no literal type"):
        converter_for(holder)
