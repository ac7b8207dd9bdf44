"""A server of executions made for tests of the client: it records what it is sent, and breaks when told to."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import grpc

from lacewing.v1 import (
    errors_pb2,
    execution_pb2,
    execution_service_pb2,
    execution_service_pb2_grpc,
    task_pb2,
    task_service_pb2,
    task_service_pb2_grpc,
)

Context = grpc.aio.ServicerContext[Any, Any]
Answer = Callable[[execution_service_pb2.ExecuteRequest], execution_pb2.Execution | errors_pb2.RequestError | None]


def succeed(request: execution_service_pb2.ExecuteRequest) -> execution_pb2.Execution:
    """Answers with the input `a`."""
    execution = execution_pb2.Execution(state=execution_pb2.Execution.STATE_SUCCEEDED, task=request.task)
    execution.id.name = "x" + request.request_id
    execution.outputs.literals["o0"].CopyFrom(request.inputs.literals["a"])
    return execution


class ExecuteServer(execution_service_pb2_grpc.ExecutionServiceServicer):
    """Answers what runs executions and waits for them.

    Attributes:
        answer: What to answer a request; None leaves it without an answer.
        messages: The number of items of each message, in the order of arrival.
        requests: Every request, in the order of arrival.
        streams: How many streams were opened.
        break_after: A stream breaks after so many messages; each number is for one stream.
        pause: Set while messages are read from the stream.
        refuse: The status of every new stream, if there is one.
        arrived: Set once there was a request.
        cancelled: Set when a unary call was cancelled.
        waiting: Set once an execution is waited for.
        waits: Every `WaitExecution`.
        wait_answers: What to answer each of those, or the status to break it with.
        watches: The `after_revision` of every `WatchExecution`.
        revisions: What those stream.
    """

    def __init__(self) -> None:
        self.answer: Answer = succeed
        self.messages: list[int] = []
        self.requests: list[execution_service_pb2.ExecuteRequest] = []
        self.streams = 0
        self.break_after: list[int] = []
        self.pause = asyncio.Event()
        self.pause.set()
        self.cancelled = asyncio.Event()
        self.waiting = asyncio.Event()
        self.arrived = asyncio.Event()
        self.refuse: grpc.StatusCode | None = None
        self.waits: list[execution_service_pb2.WaitExecutionRequest] = []
        self.wait_answers: list[execution_pb2.Execution | grpc.StatusCode] = []
        self.watches: list[int] = []
        self.revisions: list[execution_pb2.Execution] = []

    def _note(self, request: execution_service_pb2.ExecuteRequest) -> None:
        self.requests.append(request)
        self.arrived.set()

    async def ExecuteStream(  # noqa: N802 named by the protocol
        self, request_iterator: AsyncIterator[execution_service_pb2.ExecuteStreamRequest], context: Context
    ) -> AsyncIterator[execution_service_pb2.ExecuteStreamResponse]:
        """Answers each message at once, with one message."""
        self.streams += 1
        if self.refuse is not None:
            await context.abort(self.refuse, "refused on purpose")
        seen: set[int] = set()
        left = self.break_after.pop(0) if self.break_after else -1
        async for message in request_iterator:
            self.messages.append(len(message.items))
            for item in message.items:
                self._note(item.request)
            tags = {item.tag for item in message.items}
            if len(tags) < len(message.items) or tags & seen:
                await context.abort(grpc.StatusCode.INVALID_ARGUMENT, "a tag was used twice")
            seen |= tags
            left -= 1
            if left == 0:
                await context.abort(grpc.StatusCode.UNAVAILABLE, "broken on purpose")
            response = execution_service_pb2.ExecuteStreamResponse()
            for item in message.items:
                answer = self.answer(item.request)
                if isinstance(answer, execution_pb2.Execution):
                    response.outcomes.add(tag=item.tag, execution=answer)
                elif answer is not None:
                    response.outcomes.add(tag=item.tag, error=answer)
            yield response
            await self.pause.wait()

    async def Execute(  # noqa: N802 named by the protocol
        self, request: execution_service_pb2.ExecuteRequest, context: Context
    ) -> execution_service_pb2.ExecuteResponse:
        """Answers, or waits for the end of the call."""
        self._note(request)
        try:
            answer = self.answer(request)
            if answer is None:
                await asyncio.Event().wait()
        except asyncio.CancelledError:
            self.cancelled.set()
            raise
        assert isinstance(answer, execution_pb2.Execution)
        return execution_service_pb2.ExecuteResponse(execution=answer)

    async def CreateExecution(  # noqa: N802 named by the protocol
        self, request: execution_service_pb2.CreateExecutionRequest, context: Context
    ) -> execution_service_pb2.CreateExecutionResponse:
        """Creates an execution that is queued."""
        self._note(request.request)
        execution = execution_pb2.Execution(state=execution_pb2.Execution.STATE_QUEUED)
        execution.id.name = "x" + request.request.request_id
        return execution_service_pb2.CreateExecutionResponse(execution=execution)

    async def WaitExecution(  # noqa: N802 named by the protocol
        self, request: execution_service_pb2.WaitExecutionRequest, context: Context
    ) -> execution_service_pb2.WaitExecutionResponse:
        """Answers as told for each call; unfinished when nothing was told."""
        self.waits.append(request)
        self.waiting.set()
        if self.wait_answers:
            answer = self.wait_answers.pop(0)
            if isinstance(answer, grpc.StatusCode):
                await context.abort(answer, "broken on purpose")
            return execution_service_pb2.WaitExecutionResponse(execution=answer)
        await asyncio.sleep(request.wait_timeout.ToTimedelta().total_seconds())
        running = execution_pb2.Execution(id=request.id, state=execution_pb2.Execution.STATE_RUNNING)
        return execution_service_pb2.WaitExecutionResponse(execution=running)

    async def WatchExecution(  # noqa: N802 named by the protocol
        self, request: execution_service_pb2.WatchExecutionRequest, context: Context
    ) -> AsyncIterator[execution_service_pb2.WatchExecutionResponse]:
        """Streams the revisions that are newer, one stream each but for the last two."""
        self.watches.append(request.after_revision)
        for execution in self.revisions:
            if execution.revision > request.after_revision:
                yield execution_service_pb2.WatchExecutionResponse(execution=execution)
                if execution.revision < len(self.revisions) - 1:
                    await context.abort(grpc.StatusCode.UNAVAILABLE, "broken on purpose")


class TaskServer(task_service_pb2_grpc.TaskServiceServicer):
    """Knows one task, and counts how often it is asked.

    Attributes:
        latest: The version registered last.
        spec: The spec of every version.
        asked: The versions that were asked for.
    """

    def __init__(self, spec: task_pb2.TaskSpec) -> None:
        self.latest = "1"
        self.spec = spec
        self.asked: list[str] = []

    async def GetTask(  # noqa: N802 named by the protocol
        self, request: task_service_pb2.GetTaskRequest, context: Context
    ) -> task_service_pb2.GetTaskResponse:
        """Answers with the version asked for, or the latest."""
        self.asked.append(request.id.version)
        response = task_service_pb2.GetTaskResponse()
        response.task_version.id.CopyFrom(request.id)
        response.task_version.id.version = request.id.version or self.latest
        response.task_version.spec.CopyFrom(self.spec)
        return response


@asynccontextmanager
async def serving(servicer: ExecuteServer, port: int = 0, tasks: TaskServer | None = None) -> AsyncIterator[int]:
    """Serves on a port; on a free one if it is 0."""
    server = grpc.aio.server()
    execution_service_pb2_grpc.add_ExecutionServiceServicer_to_server(servicer, server)
    if tasks is not None:
        task_service_pb2_grpc.add_TaskServiceServicer_to_server(tasks, server)
    port = server.add_insecure_port(f"127.0.0.1:{port}")
    await server.start()
    try:
        yield port
    finally:
        await server.stop(None)
