from __future__ import annotations

import time
from typing import Any

import msgpack  # type: ignore[import-untyped]  # It ships no stubs.
import pytest
from google.protobuf import duration_pb2, struct_pb2, timestamp_pb2

import type_strategies as make
from lacewing.types import ConversionError, InterfaceChecker, compile_checker
from lacewing.v1 import interface_pb2, literals_pb2, types_pb2

INTEGER = make.simple("INTEGER")
FLOAT = make.simple("FLOAT")
STRING = make.simple("STRING")
NONE = make.simple("NONE")
STRUCT = make.simple("STRUCT")
NOTHING = make.scalar(none_type=literals_pb2.Void())
ITEM = make.record_of({"name": STRING, "rate": FLOAT})
CONFIG = make.record_of({"items": make.list_of(ITEM), "note": make.union_of(STRING, NONE)})


def integer(value: int) -> literals_pb2.Literal:
    return make.primitive(integer=value)


def string(value: str) -> literals_pb2.Literal:
    return make.primitive(string_value=value)


def listed(*items: literals_pb2.Literal) -> literals_pb2.Literal:
    return literals_pb2.Literal(collection=literals_pb2.LiteralCollection(literals=items))


def mapped(entries: dict[str, literals_pb2.Literal]) -> literals_pb2.Literal:
    return literals_pb2.Literal(map=literals_pb2.LiteralMap(literals=entries))


def packed(tree: Any) -> literals_pb2.Literal:
    return make.scalar(binary=literals_pb2.Binary(value=msgpack.packb(tree), tag="msgpack"))


def generic(tree: dict[str, Any]) -> literals_pb2.Literal:
    struct = struct_pb2.Struct()
    struct.update(tree)
    return make.scalar(generic=struct)


def union(value: literals_pb2.Literal, declared: types_pb2.LiteralType) -> literals_pb2.Literal:
    return make.scalar(union=literals_pb2.Union(value=value, type=declared))


def offloaded(inferred: types_pb2.LiteralType) -> literals_pb2.Literal:
    return literals_pb2.Literal(
        offloaded_metadata=literals_pb2.LiteralOffloadedMetadata(
            uri="s3://bucket/big", size_bytes=10**12, inferred_type=inferred
        )
    )


def blob(uri: str, blob_format: str, dimensionality: int = 0) -> literals_pb2.Literal:
    metadata = literals_pb2.BlobMetadata(type=make.blob_of(blob_format, dimensionality).blob)
    return make.scalar(blob=literals_pb2.Blob(uri=uri, metadata=metadata))


def variables(**types: types_pb2.LiteralType) -> interface_pb2.VariableMap:
    return interface_pb2.VariableMap(
        variables={name: interface_pb2.Variable(type=literal_type) for name, literal_type in types.items()}
    )


def literals(**values: literals_pb2.Literal) -> literals_pb2.LiteralMap:
    return literals_pb2.LiteralMap(literals=values)


def found(checker: InterfaceChecker, **values: literals_pb2.Literal) -> list[str]:
    return [str(problem) for problem in checker.check(literals(**values))]


FITTING = {
    "integer": (INTEGER, integer(-(2**63))),
    "float": (FLOAT, make.primitive(float_value=float("nan"))),
    "enum value": (make.enum_of("red"), string("red")),
    "empty list": (make.list_of(INTEGER), listed()),
    "nested list": (make.list_of(make.list_of(INTEGER)), listed(listed(integer(1)), listed())),
    "map": (make.map_of(STRING), mapped({"a b": string("x")})),
    "nothing": (NONE, NOTHING),
    "nothing for a dataset": (make.dataset_of("parquet", {}), NOTHING),
    "blob of any format": (make.blob_of(""), blob("s3://b/k", "csv")),
    "untyped struct, msgpack": (STRUCT, packed({"a": [1, None]})),
    "untyped struct, generic": (STRUCT, generic({"a": [1, None]})),
    "record, msgpack": (CONFIG, packed({"items": [{"name": "a", "rate": 1}], "note": None})),
    "record, generic": (CONFIG, generic({"items": [{"name": "a", "rate": 0.5}], "note": "x"})),
    "record whose nullable field is missing": (CONFIG, packed({"items": []})),
    "record with an optional field missing": (make.record_of({"a": INTEGER}, required=[]), packed({})),
    "variant of a union": (make.union_of(INTEGER, NONE), union(integer(1), INTEGER)),
    "bare value for a union": (make.union_of(INTEGER, STRING), string("a")),
    "bare value for the first of two variants": (make.union_of(make.enum_of("a"), make.enum_of("a", "b")), string("a")),
    "union literal where its value is asked for": (INTEGER, union(integer(1), INTEGER)),
    "union inside a union": (
        make.union_of(INTEGER, STRING, NONE),
        union(union(integer(1), INTEGER), make.union_of(INTEGER, STRING)),
    ),
    "declared type that fits a variant": (make.union_of(NONE, STRING), union(string("a"), make.enum_of("a"))),
    "offloaded": (make.list_of(INTEGER), offloaded(make.list_of(INTEGER))),
    "offloaded for a union": (make.union_of(make.list_of(INTEGER), NONE), offloaded(make.list_of(INTEGER))),
}

MISFITS = {
    "another primitive": (FLOAT, string("0.1"), 'expected FLOAT, got STRING "0.1"'),
    "an integer for a float": (FLOAT, integer(1), "expected FLOAT, got INTEGER 1"),
    "a boolean for an integer": (INTEGER, make.primitive(boolean=True), "expected INTEGER, got BOOLEAN true"),
    "nothing": (STRING, NOTHING, "expected STRING, got NONE"),
    "an empty literal": (STRING, literals_pb2.Literal(), "expected STRING, got a literal without a value"),
    "an empty scalar": (STRING, make.scalar(), "expected STRING, got a scalar without a value"),
    "an empty primitive": (STRING, make.primitive(), "expected STRING, got a primitive without a value"),
    "a long string, cut": (INTEGER, string("x" * 100), f'expected INTEGER, got STRING "{"x" * 60}…"'),
    "no value of the enum": (
        make.enum_of("red", "blue"),
        string("re"),
        'expected one of "red", "blue", got STRING "re"',
    ),
    "a list for a map": (make.map_of(INTEGER), listed(integer(1)), "expected map of INTEGER, got a list of 1"),
    "an element": (make.list_of(INTEGER), listed(integer(1), string("a")), '[1]: expected INTEGER, got STRING "a"'),
    "a value": (make.map_of(INTEGER), mapped({'a "b"': NOTHING}), '["a \\"b\\""]: expected INTEGER, got NONE'),
    "an element of a list with elements of none": (
        make.list_of(NONE),
        listed(integer(1)),
        "[0]: expected NONE, got INTEGER 1",
    ),
    "bytes for a struct": (
        STRUCT,
        make.scalar(binary=literals_pb2.Binary(value=b"abc", tag="avro")),
        "expected STRUCT, got BINARY of 3 bytes",
    ),
    "a struct for bytes": (make.simple("BINARY"), packed(1), "expected BINARY, got STRUCT of 1 bytes"),
    "bytes that are no msgpack": (
        ITEM,
        make.scalar(binary=literals_pb2.Binary(value=b"\xc1", tag="msgpack")),
        "is not msgpack: FormatError",
    ),
    "a record that is no map": (ITEM, packed([1]), "expected STRUCT, got a list of 1"),
    "a field, msgpack": (ITEM, packed({"name": "a", "rate": "0.1"}), '.rate: expected FLOAT, got STRING "0.1"'),
    "a field, generic": (ITEM, generic({"name": "a", "rate": "0.1"}), '.rate: expected FLOAT, got STRING "0.1"'),
    "a fraction for an integer, generic": (
        make.record_of({"a": INTEGER}),
        generic({"a": 1.5}),
        ".a: expected INTEGER, got FLOAT 1.5",
    ),
    "a missing field": (ITEM, packed({"name": "a"}), ".rate: is missing"),
    "an unknown field": (
        ITEM,
        packed({"name": "a", "rate": 1.0, "rat": 2}),
        '.rat: no field has this name; did you mean "rate"?',
    ),
    "a blob of another format": (make.blob_of("csv"), blob("s3://b/k", "png"), "BLOB png does not fit BLOB csv"),
    "a directory for a file": (
        make.blob_of("csv"),
        blob("s3://b/k", "csv", 1),
        "MULTIPART BLOB csv does not fit BLOB csv",
    ),
    "a blob without a place": (make.blob_of("csv"), blob("", "csv"), "the URI is empty"),
    "an instant out of range": (
        make.simple("DATETIME"),
        make.primitive(datetime=timestamp_pb2.Timestamp(seconds=2**40)),
        "expected DATETIME, got one of 1099511627776 s and 0 ns: outside of years 1 to 9999",
    ),
    "a span of mixed signs": (
        make.simple("DURATION"),
        make.primitive(duration=duration_pb2.Duration(seconds=1, nanos=-1)),
        "expected DURATION, got one of 1 s and -1 ns: over 10,000 years, or of mixed signs",
    ),
    "a type that no variant has": (
        make.union_of(INTEGER, STRING),
        union(make.primitive(boolean=True), make.simple("BOOLEAN")),
        "the union literal declares a type that is not asked for: BOOLEAN is none of INTEGER, STRING",
    ),
    "a declared type that is ambiguous": (
        make.union_of(make.enum_of("a"), make.enum_of("b")),
        union(string("a"), STRING),
        'the union literal declares a type that is not asked for: STRING is ambiguous: it fits one of "a", one of "b"',
    ),
    "a value that is not of its declared type": (
        make.union_of(INTEGER, STRING),
        union(string("a"), INTEGER),
        'expected INTEGER, got STRING "a"',
    ),
    "a value that has its declared type but not the variant's": (
        make.union_of(make.enum_of("a"), NONE),
        union(string("b"), STRING),
        'expected one of "a", got STRING "b"',
    ),
    "a bare value for no variant": (
        make.union_of(INTEGER, STRING),
        make.primitive(boolean=True),
        "expected union of INTEGER, STRING, got BOOLEAN true",
    ),
    "a bare value for the only variant that is not none": (
        make.union_of(make.list_of(INTEGER), NONE),
        listed(string("a")),
        '[0]: expected INTEGER, got STRING "a"',
    ),
    "an offloaded value of another type": (
        make.list_of(INTEGER),
        offloaded(make.list_of(STRING)),
        "the offloaded value does not fit: the elements do not fit: STRING does not fit INTEGER",
    ),
}


@pytest.mark.parametrize(("literal_type", "literal"), FITTING.values(), ids=FITTING.keys())
def test_a_value_of_the_type_has_no_problems(
    literal_type: types_pb2.LiteralType, literal: literals_pb2.Literal
) -> None:
    """A literal that inhabits a type is accepted."""
    assert compile_checker(literal_type)(literal) == []


@pytest.mark.parametrize(("literal_type", "literal", "problem"), MISFITS.values(), ids=MISFITS.keys())
def test_a_misfit_is_described(
    literal_type: types_pb2.LiteralType, literal: literals_pb2.Literal, problem: str
) -> None:
    """A literal that does not inhabit a type is refused, with the place and what was expected and found there."""
    assert [str(one) for one in compile_checker(literal_type)(literal)] == [problem]


def test_paths_lead_from_the_inputs_to_the_part() -> None:
    """Problems of several inputs are all reported, each with the path of the part at fault."""
    checker = InterfaceChecker(variables(config=CONFIG, labels=make.map_of(STRING), count=INTEGER))
    config = packed({"items": [{"name": "a", "rate": 1.0}, {"name": 2, "rate": "0.1"}]})
    assert sorted(found(checker, config=config, labels=mapped({"a b": integer(1)}), count=integer(1))) == [
        "inputs.config.items[1].name: expected STRING, got INTEGER 2",
        'inputs.config.items[1].rate: expected FLOAT, got STRING "0.1"',
        'inputs.labels["a b"]: expected STRING, got INTEGER 1',
    ]


def test_names_that_are_no_identifiers_are_quoted_in_paths() -> None:
    """A variable with a name such as "a.b" cannot be mistaken for a field of another."""
    checker = InterfaceChecker(variables(**{"a.b": INTEGER}), root="outputs")
    assert found(checker, **{"a.b": string("x")}) == ['outputs["a.b"]: expected INTEGER, got STRING "x"']


def test_a_missing_input_is_reported() -> None:
    """An input without a default must be given, unless its type admits nothing."""
    checker = InterfaceChecker(variables(x=INTEGER, y=make.union_of(STRING, NONE), z=NONE))
    assert found(checker) == ["inputs.x: is missing"]
    assert found(checker, x=integer(1)) == []


def test_an_unknown_input_is_reported_with_the_nearest_name() -> None:
    """A misspelled input names the one that was meant; one that is like none lists what there is."""
    checker = InterfaceChecker(variables(threshold=INTEGER, rate=FLOAT))
    values = {"threshold": integer(1), "rate": make.primitive(float_value=1.0)}
    assert found(checker, **values, treshold=integer(1)) == [
        'inputs.treshold: no input has this name; did you mean "threshold"?'
    ]
    assert found(checker, **values, zzz=integer(1)) == [
        'inputs.zzz: no input has this name; known: "rate", "threshold"'
    ]
    assert found(InterfaceChecker(variables(), root="outputs"), o0=integer(1)) == [
        "outputs.o0: no output has this name; there is none at all"
    ]


def test_a_value_with_many_problems_is_not_examined_to_its_end() -> None:
    """After two hundred problems the rest of a list is not looked at; an error shows twenty and counts the others."""
    checker = InterfaceChecker(variables(x=make.list_of(INTEGER)))
    some = found(checker, x=listed(*[string("a")] * 23))
    assert len(some) == 23
    assert some[22] == 'inputs.x[22]: expected INTEGER, got STRING "a"'
    many = checker.check(literals_pb2.LiteralMap(literals={"x": listed(*[string("a")] * 5000)}))
    assert len(many) == 200
    assert str(ConversionError(many)).splitlines()[20:] == ["and at least 180 more"]


def test_completing_fills_in_defaults_and_nothing() -> None:
    """Inputs left out become their default or, where the type admits it, nothing; the given map is left as it is."""
    defaults = interface_pb2.ParameterMap(
        parameters={
            "x": interface_pb2.Parameter(default=integer(7)),
            "w": interface_pb2.Parameter(required=True),
            "v": interface_pb2.Parameter(default=union(integer(3), INTEGER)),
        }
    )
    optional = make.union_of(INTEGER, NONE)
    checker = InterfaceChecker(variables(x=INTEGER, v=optional, w=INTEGER, y=optional, z=NONE), defaults)
    sent = literals(w=integer(1))
    before = sent.SerializeToString(deterministic=True)
    assert checker.check(sent) == []
    completed = checker.complete(sent)
    assert completed == literals(
        w=integer(1), x=integer(7), v=union(integer(3), INTEGER), y=union(NOTHING, NONE), z=NOTHING
    )
    assert sent.SerializeToString(deterministic=True) == before
    assert checker.check(completed) == []
    assert found(checker) == ["inputs.w: is missing"]


def test_completing_a_full_map_returns_it() -> None:
    """A map that lacks nothing is not copied."""
    checker = InterfaceChecker(variables(x=INTEGER, y=make.union_of(INTEGER, NONE)))
    sent = literals(x=integer(1), y=integer(2))
    assert checker.complete(sent) is sent


def test_defaults_are_checked_too() -> None:
    """A default of another type, or of an input that does not exist, is found at registration."""
    defaults = interface_pb2.ParameterMap(
        parameters={
            "x": interface_pb2.Parameter(default=string("a")),
            "xs": interface_pb2.Parameter(default=integer(1)),
        }
    )
    checker = InterfaceChecker(variables(x=INTEGER, y=INTEGER), defaults)
    assert sorted(str(problem) for problem in checker.check_defaults()) == [
        'default_inputs.x: expected INTEGER, got STRING "a"',
        'default_inputs.xs: no input has this name; did you mean "x"?',
    ]


def test_the_interface_is_copied() -> None:
    """A checker keeps to the types it was made of, whatever happens to the message later."""
    declared = variables(x=INTEGER)
    checker = InterfaceChecker(declared)
    declared.variables["x"].type.simple = types_pb2.SIMPLE_TYPE_STRING
    assert found(checker, x=integer(1)) == []


def test_a_type_that_is_none_is_refused() -> None:
    """An interface with a type that no value can have is an error, with the place inside the type."""
    broken = variables(a=make.list_of(types_pb2.LiteralType()), b=make.enum_of(), c=make.union_of(), d=INTEGER)
    with pytest.raises(ConversionError) as raised:
        InterfaceChecker(broken)
    assert sorted(str(problem) for problem in raised.value.problems) == [
        "inputs.a.collection_type: the type has no kind: none of simple, collection_type, ... is set",
        "inputs.b: the enum type has no values",
        "inputs.c: the union type has no variants",
    ]


def test_content_that_nobody_asked_about_is_not_read() -> None:
    """A struct without known fields passes by its tag: bytes that would not even parse are not looked at."""
    checker = InterfaceChecker(variables(x=STRUCT))
    assert found(checker, x=make.scalar(binary=literals_pb2.Binary(value=b"\xc1" * 10, tag="msgpack"))) == []


def test_deep_msgpack_is_a_problem_and_no_crash() -> None:
    """A record that nests deeper than any reader goes is refused like any other misfit."""
    deep = make.scalar(binary=literals_pb2.Binary(value=b"\x81\xa1a" + b"\x91" * 100_000 + b"\xc0", tag="msgpack"))
    problems = found(InterfaceChecker(variables(x=make.record_of({"a": STRUCT}))), x=deep)
    assert len(problems) == 1
    assert problems[0].startswith("inputs.x: is not msgpack")


def test_checking_is_cheap() -> None:
    """A typical map of five inputs is checked in tens of microseconds; the bound here allows for a busy machine."""
    checker = InterfaceChecker(
        variables(
            a=INTEGER,
            b=make.list_of(FLOAT),
            c=make.map_of(STRING),
            d=make.union_of(STRING, NONE),
            e=make.blob_of("csv"),
        )
    )
    sent = literals(
        a=integer(1),
        b=listed(*(make.primitive(float_value=0.5) for _ in range(4))),
        c=mapped({"k": string("v")}),
        d=union(string("x"), STRING),
        e=blob("s3://b/k", "csv"),
    )
    assert checker.check(sent) == []
    best = min(_seconds_of_a_hundred(checker, sent) for _ in range(20)) / 100
    assert best < 500e-6


def _seconds_of_a_hundred(checker: InterfaceChecker, sent: literals_pb2.LiteralMap) -> float:
    began = time.perf_counter()
    for _ in range(100):
        checker.check(sent)
    return time.perf_counter() - began
