"""What a lease says, whichever way its message is put together."""

from __future__ import annotations

from lacewing.v1 import execution_pb2, literals_pb2, task_pb2, types_pb2, worker_service_pb2
from lacewing_server.domain import identity
from lacewing_server.domain.record import ExecutionRecord
from lacewing_server.domain.task_version import UNNAMED, Defaults, ReadyTask
from lacewing_server.engine.leases import packed_lease

_DEFAULTS = Defaults(attempt_timeout=1_500, retention=1_000, max_queued=1)


def _task() -> ReadyTask:
    version = task_pb2.TaskVersion()
    version.id.project, version.id.domain, version.id.name, version.id.version = "p" * 63, "d" * 63, "task", "1"
    version.spec.template.interface.inputs.variables["number"].type.simple = types_pb2.SIMPLE_TYPE_INTEGER
    return ReadyTask(version, _DEFAULTS)


def _lease(task: ReadyTask, own: bytes) -> worker_service_pb2.Lease:
    execution_id = identity.new_execution_id(1_700_000_000_000)[:11] + b"x"
    inputs = literals_pb2.LiteralMap()
    inputs.literals["number"].scalar.primitive.integer = 7
    name = identity.execution_name(execution_id)
    record = ExecutionRecord(
        execution_id,
        execution_pb2.Execution.STATE_RUNNING,
        UNNAMED + name.encode() + task.meta + own,
        attempt=2,
        nonce=b"nonce678",
        create_ms=1_700_000_000_000,
        deadline_ms=1_700_000_009_001,
        attempt_timeout=1_500,
        inputs=inputs.SerializeToString(),
    )
    lease = worker_service_pb2.Lease.FromString(packed_lease(record, task))
    assert lease.token == execution_id + b"nonce678"
    assert lease.execution.name == name
    assert lease.inputs == inputs
    lease.token, lease.execution.name, lease.idempotency_key = b"", "", ""
    return lease


def test_a_lease_does_not_depend_on_what_the_execution_has_of_its_own() -> None:
    """Labels are not in it, but keep its message from being joined of what is common to all."""
    task = _task()
    labels = execution_pb2.Execution(labels={"label": "value"}).SerializeToString()
    assert _lease(task, b"") == _lease(task, labels)
    assert _lease(task, b"").task == task.id
    assert _lease(task, b"").attempt_timeout.ToMilliseconds() == 1_500
