"""Serialized messages put together of parts, against what protobuf makes of them."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from lacewing._wire import part, varint
from lacewing.v1 import execution_service_pb2, worker_service_pb2

Item = execution_service_pb2.ExecuteStreamRequest.Item


@given(st.integers(1, 2**64 - 1))
def test_numbers_are_those_of_protobuf(number: int) -> None:
    """A number is written as protobuf writes it."""
    assert varint(Item.TAG_FIELD_NUMBER << 3) + varint(number) == Item(tag=number).SerializeToString()


@given(st.lists(st.binary(max_size=300), max_size=5))
def test_parts_that_are_joined_are_the_message(tokens: list[bytes]) -> None:
    """What is serialized part by part is what protobuf serializes as a whole."""
    whole = worker_service_pb2.WorkRequest(
        completions=[worker_service_pb2.Completion(token=token) for token in tokens], credit=7
    )
    field = worker_service_pb2.WorkRequest.COMPLETIONS_FIELD_NUMBER
    parts = [part(field, each.SerializeToString()) for each in whole.completions]
    rest = worker_service_pb2.WorkRequest(credit=7).SerializeToString()
    assert b"".join(parts) + rest == whole.SerializeToString()


def test_parts_may_be_large() -> None:
    """The length of a part takes as many bytes as it needs."""
    for size in (0, 127, 128, 16_383, 16_384, 3_000_000):
        completion = worker_service_pb2.Completion(log_tail="x" * size)
        chunk = part(worker_service_pb2.WorkRequest.COMPLETIONS_FIELD_NUMBER, completion.SerializeToString())
        assert worker_service_pb2.WorkRequest.FromString(chunk).completions == [completion]
