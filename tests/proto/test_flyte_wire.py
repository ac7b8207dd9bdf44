"""The core messages have the wire of `flyteidl.core`: what either side writes, the other reads and gives back whole.

Every message of our core protos is paired with Flyte's message of the same name. The pairs are compared as declarations
(numbers, types, oneofs, enums) and as behaviour (values go from one side to the other and back).
"""

from __future__ import annotations

import re
import struct
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import pytest
from flyteidl.core import dynamic_job_pb2, errors_pb2, identifier_pb2, tasks_pb2
from flyteidl.core import literals_pb2 as flyte_literals_pb2
from flyteidl.core import types_pb2 as flyte_types_pb2
from google.protobuf import descriptor_pb2, message_factory
from google.protobuf.descriptor import Descriptor, EnumDescriptor, FieldDescriptor
from google.protobuf.message import Message
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lacewing.v1 import (
    bindings_pb2,
    dynamic_pb2,
    failures_pb2,
    identifiers_pb2,
    interface_pb2,
    literals_pb2,
    security_pb2,
    task_template_pb2,
    types_pb2,
    workflow_pb2,
)

FILES = [
    types_pb2.DESCRIPTOR,
    literals_pb2.DESCRIPTOR,
    interface_pb2.DESCRIPTOR,
    security_pb2.DESCRIPTOR,
    task_template_pb2.DESCRIPTOR,
    bindings_pb2.DESCRIPTOR,
    workflow_pb2.DESCRIPTOR,
    dynamic_pb2.DESCRIPTOR,
    failures_pb2.DESCRIPTOR,
    identifiers_pb2.DESCRIPTOR,
]
# Identifiers are our own messages; only their wire is Flyte's.
RENAMED_MESSAGES = {"TaskId": "Identifier", "ExecutionId": "WorkflowExecutionIdentifier"}
# buf asks for snake_case.
RENAMED_FIELDS = {"lacewing.v1.UnionInfo.target_type": "targetType"}
# Flyte's four words for "not said" are one word here.
UNSPECIFIED = {"UNKNOWN", "UNDEFINED", "OTHER", "ANY"}

# Between them, these two files reach every message of flyteidl.core that is paired here.
FLYTE_POOL = dynamic_job_pb2.DESCRIPTOR.pool
assert errors_pb2.DESCRIPTOR.pool is FLYTE_POOL


def with_nested(messages: Mapping[str, Descriptor]) -> Iterator[Descriptor]:
    """Yields the messages and what is declared inside them, map entries aside."""
    for message in messages.values():
        if not message.GetOptions().map_entry:
            yield message
            yield from with_nested(message.nested_types_by_name)


def theirs_of(ours: Descriptor) -> Descriptor:
    """Returns the message of flyteidl.core that `ours` has the wire of."""
    name = ours.full_name.removeprefix("lacewing.v1.")
    theirs: Descriptor = FLYTE_POOL.FindMessageTypeByName(f"flyteidl.core.{RENAMED_MESSAGES.get(name, name)}")
    return theirs


PAIRS = [(ours, theirs_of(ours)) for file in FILES for ours in with_nested(file.message_types_by_name)]
every_pair = pytest.mark.parametrize(("ours", "theirs"), PAIRS, ids=[ours.name for ours, _ in PAIRS])


# Declarations


def reserved_numbers(message: Descriptor) -> set[int]:
    """Returns the field numbers that `message` reserves."""
    proto = descriptor_pb2.DescriptorProto()
    message.CopyToProto(proto)
    return {number for span in proto.reserved_range for number in range(span.start, span.end)}


def shape(field: FieldDescriptor) -> dict[str, Any]:
    """Returns what two fields must share to have the same bytes and the same presence."""
    return {
        "type": field.type,
        "repeated": field.is_repeated,
        "packed": field.is_packed,
        "map": bool(field.message_type and field.message_type.GetOptions().map_entry),
        "presence": field.has_presence,
        "oneof": field.containing_oneof.name if field.containing_oneof else None,
    }


@every_pair
def test_each_field_is_declared_as_flyte_declares_it(ours: Descriptor, theirs: Descriptor):
    """A field of ours has the number, name, wire type, repetition, presence and oneof of one of theirs."""
    for field in ours.fields:
        twin = theirs.fields_by_number[field.number]
        assert RENAMED_FIELDS.get(field.full_name, field.name) == twin.name
        assert shape(field) == shape(twin), field.full_name


@every_pair
def test_each_field_refers_to_the_twin_of_what_flyte_refers_to(ours: Descriptor, theirs: Descriptor):
    """The messages and enums that fields of a pair refer to are pairs themselves."""
    for field in ours.fields:
        assert_twins(field, theirs.fields_by_number[field.number])


def assert_twins(field: FieldDescriptor, twin: FieldDescriptor) -> None:
    """Asserts that two fields of the same shape hold the same kind of thing."""
    if field.enum_type:
        assert twin.enum_type
        assert_same_enum(field.enum_type, twin.enum_type)
    if field.message_type:
        assert twin.message_type
        assert_same_message(field.message_type, twin.message_type)


def assert_same_message(ours: Descriptor, theirs: Descriptor) -> None:
    """Asserts that both are a pair, or the same well-known type, or the entries of maps of the same kind."""
    if ours.GetOptions().map_entry:
        for part in ("key", "value"):
            field, twin = (entry.fields_by_name[part] for entry in (ours, theirs))
            assert shape(field) == shape(twin)
            assert_twins(field, twin)
    elif ours.file.package == "google.protobuf":
        assert ours.full_name == theirs.full_name
    else:
        assert theirs_of(ours) is theirs


def assert_same_enum(ours: EnumDescriptor, theirs: EnumDescriptor) -> None:
    """Asserts that both enums have the same numbers, under the same names but for the prefix that buf asks for."""
    assert sorted(ours.values_by_number) == sorted(theirs.values_by_number)
    prefix = re.sub(r"(?<=[a-z])(?=[A-Z])", "_", ours.name).upper()
    for number, value in ours.values_by_number.items():
        their_name = theirs.values_by_number[number].name
        unspecified = number == 0 and their_name in UNSPECIFIED
        assert value.name == f"{prefix}_{'UNSPECIFIED' if unspecified else their_name}"


@every_pair
def test_what_flyte_declares_and_we_do_not_is_reserved(ours: Descriptor, theirs: Descriptor):
    """No number that means something to Flyte, or is reserved there, can ever get another meaning here."""
    missing = set(theirs.fields_by_number) - set(ours.fields_by_number)
    assert missing | reserved_numbers(theirs) <= reserved_numbers(ours)


# Behaviour


# A NaN is unequal to itself, so messages with one cannot be compared; a test of its own sends some.
SCALARS: dict[int, st.SearchStrategy[Any]] = {
    FieldDescriptor.TYPE_INT32: st.integers(-(2**31), 2**31 - 1),
    FieldDescriptor.TYPE_INT64: st.integers(-(2**63), 2**63 - 1),
    FieldDescriptor.TYPE_UINT32: st.integers(0, 2**32 - 1),
    FieldDescriptor.TYPE_UINT64: st.integers(0, 2**64 - 1),
    FieldDescriptor.TYPE_FLOAT: st.floats(width=32, allow_nan=False),
    FieldDescriptor.TYPE_DOUBLE: st.floats(allow_nan=False),
    FieldDescriptor.TYPE_BOOL: st.booleans(),
    FieldDescriptor.TYPE_STRING: st.text(max_size=8),
    FieldDescriptor.TYPE_BYTES: st.binary(max_size=8),
}
# Messages inside messages: enough for a value in a union in a list in a map of a template.
MAX_DEPTH = 6
MAX_FIELDS = 6
MAX_ELEMENTS = 2


def draw_scalar(draw: Callable[..., Any], field: FieldDescriptor) -> Any:
    """Draws a value of a field that is not a message; an enum's may be one that nobody has declared."""
    if field.enum_type:
        return draw(st.sampled_from(sorted(field.enum_type.values_by_number)) | SCALARS[FieldDescriptor.TYPE_INT32])
    return draw(SCALARS[field.type])


def fill(draw: Callable[..., Any], message: Message, fields: list[FieldDescriptor], depth: int) -> None:
    """Sets `fields` of `message`. Of several fields in a oneof the last one stays."""
    for field in fields:
        if field.message_type is None:
            if field.is_repeated:
                count = draw(st.integers(1, MAX_ELEMENTS))
                getattr(message, field.name).extend(draw_scalar(draw, field) for _ in range(count))
            else:
                setattr(message, field.name, draw_scalar(draw, field))
        elif field.message_type.GetOptions().map_entry:
            fill_map(draw, getattr(message, field.name), field.message_type, depth)
        elif field.is_repeated:
            for _ in range(draw(st.integers(1, MAX_ELEMENTS))):
                fill_some(draw, getattr(message, field.name).add(), depth - 1)
        else:
            part = getattr(message, field.name)
            part.SetInParent()
            fill_some(draw, part, depth - 1)


def fill_map(draw: Callable[..., Any], container: Any, entry: Descriptor, depth: int) -> None:
    """Adds entries to a map field."""
    value = entry.fields_by_name["value"]
    for _ in range(draw(st.integers(1, MAX_ELEMENTS))):
        key = draw_scalar(draw, entry.fields_by_name["key"])
        if value.message_type:
            fill_some(draw, container[key], depth - 1)
        else:
            container[key] = draw_scalar(draw, value)


def fill_some(draw: Callable[..., Any], message: Message, depth: int) -> None:
    """Sets a few fields of `message`; messages within it only while `depth` lasts."""
    candidates = [field for field in message.DESCRIPTOR.fields if depth > 0 or not field.message_type]
    if candidates:
        fields = draw(st.lists(st.sampled_from(candidates), unique=True, max_size=MAX_FIELDS))
        fill(draw, message, fields, depth)


@st.composite
def messages(draw: Callable[..., Any], descriptor: Descriptor, number: int) -> Message:
    """Returns random messages with the field `number` drawn, and a few others, deep or shallow."""
    message = message_factory.GetMessageClass(descriptor)()
    fill_some(draw, message, MAX_DEPTH)
    message.ClearField(descriptor.fields_by_number[number].name)
    fill(draw, message, [descriptor.fields_by_number[number]], MAX_DEPTH)
    return message


def set_fields(message: Message) -> set[int]:
    """Returns the numbers of the fields that are set and known to the side that `message` belongs to."""
    return {field.number for field, _ in message.ListFields()}


def assert_survives(message: Message, other: Descriptor) -> None:
    """Asserts that the side which knows `message` as `other` reads each field it declares, and writes back all."""
    there = message_factory.GetMessageClass(other).FromString(message.SerializeToString())
    assert set_fields(there) == set_fields(message) & set(other.fields_by_number)
    assert type(message).FromString(there.SerializeToString()) == message


def cases(side: int) -> list[Any]:
    """Returns (descriptor, twin, field number) for every field of one side: 0 is ours, 1 Flyte's."""
    return [
        pytest.param(pair[side], pair[1 - side], field.number, id=f"{pair[side].full_name}.{field.name}")
        for pair in PAIRS
        for field in pair[side].fields
    ]


# The same examples in every run; a busy machine may be slow to draw the deep ones.
random_messages = settings(
    max_examples=4, deadline=None, derandomize=True, database=None, suppress_health_check=[HealthCheck.too_slow]
)


@pytest.mark.parametrize(("ours", "theirs", "number"), cases(0))
@random_messages
@given(data=st.data())
def test_what_we_write_comes_back_from_flyte_whole(
    data: st.DataObject, ours: Descriptor, theirs: Descriptor, number: int
):
    """A message of ours, read and written by Flyte's stubs, is equal to what it was."""
    assert_survives(data.draw(messages(ours, number)), theirs)


@pytest.mark.parametrize(("theirs", "ours", "number"), cases(1))
@random_messages
@given(data=st.data())
def test_what_flyte_writes_comes_back_from_us_whole(
    data: st.DataObject, ours: Descriptor, theirs: Descriptor, number: int
):
    """A message of Flyte's, read and written by our stubs, is equal to what it was, reserved fields included."""
    assert_survives(data.draw(messages(theirs, number)), ours)


@pytest.mark.parametrize("bits", [0x7FF8000000000000, 0x7FF8000000000001, 0xFFF8000000000000])
def test_not_a_number_keeps_its_bits(bits: int):
    """A NaN crosses with its sign and payload; equality of messages cannot show that."""
    number = struct.unpack("<d", struct.pack("<Q", bits))[0]
    ours = literals_pb2.Primitive(float_value=number)
    theirs = flyte_literals_pb2.Primitive.FromString(ours.SerializeToString())
    assert struct.pack("<d", theirs.float_value) == struct.pack("<Q", bits)
    assert theirs.SerializeToString() == ours.SerializeToString()


def test_nothing_set_differs_from_a_zero_that_is_set():
    """A oneof member that holds its zero value is on the wire: an unset type is not the type of nothing."""
    unset, nothing = types_pb2.LiteralType(), types_pb2.LiteralType(simple=types_pb2.SIMPLE_TYPE_NONE)
    assert unset.SerializeToString() == b""
    assert flyte_types_pb2.LiteralType.FromString(nothing.SerializeToString()).WhichOneof("type") == "simple"


def test_fields_of_flyte_that_we_reserve_survive_inside_other_messages():
    """Organization, kind of resource and artifact of a task template come back although we do not know them."""
    theirs = tasks_pb2.TaskTemplate(type="python-task")
    theirs.id.resource_type = identifier_pb2.TASK
    theirs.id.name = "add"
    theirs.id.org = "lab"
    theirs.interface.outputs.variables["sum"].artifact_partial_id.artifact_key.name = "sums"
    ours = task_template_pb2.TaskTemplate.FromString(theirs.SerializeToString())
    assert ours.id == identifiers_pb2.TaskId.FromString(theirs.id.SerializeToString())
    assert ours.id.name == "add"
    assert tasks_pb2.TaskTemplate.FromString(ours.SerializeToString()) == theirs
