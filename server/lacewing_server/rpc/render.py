"""From a record of the store to an ``Execution`` message."""

from __future__ import annotations

from google.protobuf import timestamp_pb2

from lacewing._wire import part
from lacewing.types import literal_map_to_json
from lacewing.v1 import execution_pb2, literals_pb2
from lacewing_server.domain import lifecycle
from lacewing_server.domain.record import NO_KEY, SERIALIZED, ExecutionRecord
from lacewing_server.domain.task_version import ReadyTask
from lacewing_server.engine.admitted import Admitted

BASIC = execution_pb2.EXECUTION_VIEW_BASIC
FULL = execution_pb2.EXECUTION_VIEW_FULL

_Execution = execution_pb2.Execution
_HIT = execution_pb2.CacheInfo.STATUS_HIT
_HITS = {
    priority: execution_pb2.Execution(
        state=execution_pb2.Execution.STATE_SUCCEEDED,
        revision=1,
        cache=execution_pb2.CacheInfo(status=_HIT),
        priority=priority,
    ).SerializeToString()
    for priority in execution_pb2.Priority.values()
}
"""What all hits have in common, by their priority: a serialized ``Execution``."""
_BEFORE_KEY = (
    execution_pb2.Execution(cache=execution_pb2.CacheInfo(key=NO_KEY.hex()))
    .SerializeToString()
    .removesuffix(NO_KEY.hex().encode())
)
"""A serialized ``Execution`` with a cache key, but for that."""


def render(
    record: ExecutionRecord,
    task: ReadyTask,
    *,
    full: bool = True,
    plain: bool = False,
    into: execution_pb2.Execution | None = None,
) -> execution_pb2.Execution:
    """Builds the message.

    Args:
        record: The execution.
        task: Its task version, for plain values.
        full: Whether inputs and outputs are wanted.
        plain: Whether they are wanted as plain JSON.
        into: An empty message to build it in, to spare a copy.
    """
    execution = execution_pb2.Execution() if into is None else into
    execution.MergeFromString(_packed(record, full=full and not plain))
    if record.cache_key != NO_KEY and record.state != lifecycle.WAITING and record.cache_status != _HIT:
        execution.cache.ClearField("producer")
    if not lifecycle.is_terminal(record.state):
        execution.state_reason = _reason(record, execution)
    if full and plain:
        outputs = record.outcome if record.state == lifecycle.SUCCEEDED else None
        _values(execution, record.inputs, outputs, task, plain=True)
    return execution


def _packed(record: ExecutionRecord, *, full: bool) -> bytes:
    """The message as far as it is nothing but fields of the record, serialized."""
    own = execution_pb2.Execution(
        state=record.state,  # type: ignore[arg-type] # the store keeps plain numbers
        revision=record.revision,
        attempt_count=record.attempt,
        failure_count=record.failures,
        loss_count=record.losses,
        worker=record.worker.decode(),
        priority=record.priority,
    )
    _set_time(own.create_time, record.create_ms)
    if record.start_ms:
        _set_time(own.start_time, record.start_ms)
    if record.end_ms:
        _set_time(own.end_time, record.end_ms)
        _set_time(own.expire_time, record.end_ms + record.retention)
    if record.not_before_ms:
        _set_time(own.retry_time, record.not_before_ms)
    own.cache.status = record.cache_status  # type: ignore[assignment] # likewise
    if record.cache_key != NO_KEY:
        own.cache.key = record.cache_key.hex()
    # Serialized messages that are joined are the message with the fields of all.
    packed = record.meta + own.SerializeToString()
    succeeded = record.state == lifecycle.SUCCEEDED
    if full:
        packed += part(_Execution.INPUTS_FIELD_NUMBER, record.inputs)
        if succeeded:
            packed += part(_Execution.OUTPUTS_FIELD_NUMBER, record.outcome)
    if record.outcome and not succeeded:
        packed += part(_Execution.ERROR_FIELD_NUMBER, record.outcome)
    return packed


def packed_admitted(admitted: Admitted, *, plain: bool) -> bytes:
    """The message of `render_admitted`, serialized."""
    record = admitted.record
    if plain or admitted.hit is not None or not lifecycle.is_terminal(record.state) or record.flags & SERIALIZED:
        return render_admitted(admitted, plain=plain).SerializeToString()
    return _packed(record, full=True)  # nothing has to be looked at


def render_admitted(
    admitted: Admitted, *, plain: bool = False, into: execution_pb2.Execution | None = None
) -> execution_pb2.Execution:
    """Builds the message for an execution that was accepted by this call, a hit included; arguments as of `render`."""
    record, hit = admitted.record, admitted.hit
    if hit is None:
        return render(record, admitted.task, plain=plain, into=into)
    execution = execution_pb2.Execution() if into is None else into
    # Serialized messages that are joined are the message with the fields of both, and are read in one go.
    key = record.cache_key.hex().encode()
    execution.MergeFromString(b"".join((record.meta, hit.producer_patch, _HITS[record.priority], _BEFORE_KEY, key)))
    if not admitted.recorded:
        execution.ClearField("id")
    _values(execution, record.inputs, hit.outputs, admitted.task, plain=plain)
    return execution


def _set_time(time: timestamp_pb2.Timestamp, milliseconds: int) -> None:
    # What FromMilliseconds does, in half of its time: it checks a range that our clock does not leave.
    time.seconds, time.nanos = milliseconds // 1_000, milliseconds % 1_000 * 1_000_000


def _values(
    execution: execution_pb2.Execution, inputs: bytes, outputs: bytes | None, task: ReadyTask, *, plain: bool
) -> None:
    if not plain:
        execution.inputs.MergeFromString(inputs)
        if outputs is not None:
            execution.outputs.MergeFromString(outputs)
        return
    given = literals_pb2.LiteralMap.FromString(inputs)
    execution.inputs_json.update(literal_map_to_json(given, task.input_variables))
    if outputs is not None:
        found = literals_pb2.LiteralMap.FromString(outputs)
        execution.outputs_json.update(literal_map_to_json(found, task.output_variables))


def _reason(record: ExecutionRecord, execution: execution_pb2.Execution) -> str:
    if record.state == lifecycle.WAITING:
        return f"waits for {execution.cache.producer.name}, which computes the same cache entry"
    if record.state == lifecycle.QUEUED:
        if record.not_before_ms:
            until = execution.retry_time.ToJsonString()
            return f"waits out the back-off after a failed attempt, until {until}"
        return "waits for a worker"
    return ""
