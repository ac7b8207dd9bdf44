"""Registers the tasks of a worker when it starts."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence

import grpc

from lacewing._channel import CALL_TIMEOUT, reconnect_delays, rpc_errors
from lacewing.errors import DeadlineExceeded, ServerUnavailable, ShuttingDown, StoreUnavailable
from lacewing.task import AnyTask
from lacewing.v1 import task_service_pb2, task_service_pb2_grpc

_log = logging.getLogger("lacewing.worker")


async def register_tasks(channel: grpc.aio.Channel, tasks: Sequence[AnyTask], project: str, domain: str) -> None:
    """Register tasks, and wait for the server as long as it is not there.

    Raises:
        TaskVersionConflict: The version of a task exists with another spec.
        RefusedError: The server does not take a task for another reason.
        CallFailed: What answers is no Lacewing server.
    """
    stub = task_service_pb2_grpc.TaskServiceStub(channel)
    for task in tasks:
        request = task_service_pb2.RegisterTaskRequest(id=task.id(project, domain), spec=task.spec)
        response = await _register(stub, request)
        _log.info("%s %s.", "Registered" if response.created else "Found", _display(response))
        # Once, when the author is likely to be looking, and not at each start.
        for warning in response.warnings if response.created else ():
            _log.warning("%s: %s", task.name, warning)


async def _register(
    stub: task_service_pb2_grpc.TaskServiceStub, request: task_service_pb2.RegisterTaskRequest
) -> task_service_pb2.RegisterTaskResponse:
    for delay in reconnect_delays():
        try:
            with rpc_errors():
                return await stub.RegisterTask(request, timeout=CALL_TIMEOUT, wait_for_ready=True)
        except (ServerUnavailable, DeadlineExceeded, ShuttingDown, StoreUnavailable) as error:
            _log.warning("Waiting for the server: %s", error)
        await asyncio.sleep(delay)
    raise AssertionError("the delays have no end")


def _display(response: task_service_pb2.RegisterTaskResponse) -> str:
    task = response.task_version.id
    return f"{task.project}/{task.domain}/{task.name}@{task.version}"
