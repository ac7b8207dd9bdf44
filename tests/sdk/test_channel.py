"""What gRPC repeats by itself."""

from __future__ import annotations

import json

from lacewing._channel import service_config


def _repeated() -> set[tuple[str, str]]:
    (config,) = json.loads(service_config())["methodConfig"]
    assert config["retryPolicy"]["retryableStatusCodes"] == ["UNAVAILABLE"]
    return {(name["service"].removeprefix("lacewing.v1."), name["method"]) for name in config["name"]}


def test_calls_that_are_safe_to_repeat_are() -> None:
    """Reads, what the protocol calls idempotent, and what carries a request id; nothing else."""
    repeated = _repeated()
    assert {
        ("ExecutionService", "Execute"),
        ("ExecutionService", "CreateExecution"),
        ("ExecutionService", "GetExecution"),
        ("ExecutionService", "WaitExecution"),
        ("WorkerService", "CompleteLeases"),
        ("BlobService", "GetBlob"),
    } <= repeated
    assert ("WorkerService", "AcquireLeases") not in repeated


def test_streams_are_left_to_who_feeds_and_reads_them() -> None:
    """They know where to go on, and a stream that gRPC repeats as well would be sent twice."""
    methods = {method for _, method in _repeated()}
    assert not methods & {"UploadBlob", "DownloadBlob", "WatchExecution", "ExecuteStream", "Work", "AuditTask"}
