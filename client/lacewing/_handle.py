"""Waiting for an execution, and a handle on one."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import timedelta
from typing import Any, Generic, Literal, TypeVar, overload

from lacewing._channel import CALL_TIMEOUT, reconnect_delays, rpc_errors
from lacewing._durations import duration, seconds
from lacewing._resources import Resources
from lacewing._stream import PATIENCE
from lacewing.errors import (
    LacewingError,
    ServerUnavailable,
    ShuttingDown,
    StoreUnavailable,
    WaitTimedOut,
    from_execution,
)
from lacewing.v1 import execution_pb2, execution_service_pb2, identifiers_pb2

_Result = TypeVar("_Result")

TERMINAL = frozenset(
    {
        execution_pb2.Execution.STATE_SUCCEEDED,
        execution_pb2.Execution.STATE_FAILED,
        execution_pb2.Execution.STATE_TIMED_OUT,
        execution_pb2.Execution.STATE_CANCELLED,
    }
)
"""The states that never change."""

# One long poll; the next one follows. Short enough for proxies that cut what is quiet.
_POLL = 50.0
# What a call that waits may take beyond its wait, in seconds.
_SLACK = 5.0


def check_succeeded(execution: execution_pb2.Execution) -> None:
    """Raise what an execution stands for, unless it succeeded.

    Raises:
        TaskDidNotSucceed: It ended otherwise.
        WaitTimedOut: It has not ended.
    """
    if execution.state == execution_pb2.Execution.STATE_SUCCEEDED:
        return
    if execution.state in TERMINAL:
        raise from_execution(execution)
    state = execution_pb2.Execution.State.Name(execution.state).removeprefix("STATE_")
    raise WaitTimedOut(f"{execution.task.name}: execution {execution.id.name} is still {state}; it goes on")


class Handle(Generic[_Result]):
    """An execution that was submitted.

    Attributes:
        id: Its identity. Keep it to come back later with `Client.handle`.
    """

    def __init__(
        self,
        resources: Resources,
        execution_id: identifiers_pb2.ExecutionId,
        convert: Callable[[execution_pb2.Execution], Awaitable[_Result]],
    ) -> None:
        """Make a handle; `Client.submit` and `Client.handle` do."""
        self.id = execution_id
        self._resources = resources
        self._convert = convert

    def __repr__(self) -> str:
        return f"<execution {self.id.project}/{self.id.domain}/{self.id.name}>"

    async def result(self, timeout: timedelta | float | None = None) -> _Result:  # noqa: ASYNC109 ending the wait is the server's part
        """Wait for the end and return the result. Outages of the server of up to a minute are waited out.

        Args:
            timeout: The most to wait, in seconds if a number. Default: without bound.

        Raises:
            TaskDidNotSucceed: The task failed, timed out or was cancelled.
            WaitTimedOut: It has not ended in time. It goes on.
            ExecutionNotFound: Its retention has passed.
        """
        execution = await self.wait(timeout)
        check_succeeded(execution)
        return await self._convert(execution)

    async def wait(
        self,
        timeout: timedelta | float | None = None,  # noqa: ASYNC109 ending the wait is the server's part
    ) -> execution_pb2.Execution:
        """Wait for the end, and return the execution as it is then: ended, or as it was when the time was over."""
        clock = asyncio.get_running_loop().time
        end = None if timeout is None else clock() + seconds(timeout)
        outage = _Outage()
        while True:
            wait = _POLL if end is None else max(0.0, min(_POLL, end - clock()))
            request = execution_service_pb2.WaitExecutionRequest(id=self.id, wait_timeout=duration(wait))
            try:
                with rpc_errors():
                    response = await self._resources.executions.WaitExecution(request, timeout=wait + _SLACK)
            except (ServerUnavailable, ShuttingDown, StoreUnavailable) as error:
                await outage.wait_out(error, end)
                continue
            outage = _Outage()
            if response.execution.state in TERMINAL or (end is not None and clock() >= end):
                return response.execution

    async def status(self) -> execution_pb2.Execution:
        """Return the execution as it is now, without inputs and outputs."""
        return await self._resources.get(self.id, view=execution_pb2.EXECUTION_VIEW_BASIC)

    @overload
    def watch(self, *, nodes: Literal[False] = False) -> AsyncIterator[execution_pb2.Execution]: ...

    @overload
    def watch(self, *, nodes: Literal[True]) -> AsyncIterator[execution_service_pb2.WatchExecutionResponse]: ...

    async def watch(self, *, nodes: bool = False) -> AsyncIterator[Any]:
        """Yield the execution as it is, then after each change, until it has ended.

        States that follow each other quickly may be skipped, the last one never is. A broken connection is resumed
        where it was, outages of up to a minute are waited out.

        Args:
            nodes: Whether to yield each time the execution together with the nodes of its graph that have changed:
                first all of them, maybe in several parts. All of them come again after the connection was broken.
        """
        revision = 0
        has_ended = False
        outage = _Outage()
        while True:
            request = execution_service_pb2.WatchExecutionRequest(id=self.id, after_revision=revision, nodes=nodes)
            call = self._resources.executions.WatchExecution(request)
            try:
                with rpc_errors():
                    async for response in call:
                        outage = _Outage()
                        has_ended = response.execution.state in TERMINAL
                        if nodes:
                            yield response
                            continue
                        revision = response.execution.revision
                        yield response.execution
                        if has_ended:
                            return
                # The nodes that changed last may need more messages than the one that tells the end.
                if has_ended:
                    return
                await outage.wait_out(ServerUnavailable("the server ended the stream"), None)
            except (ServerUnavailable, ShuttingDown, StoreUnavailable) as error:
                await outage.wait_out(error, None)
            finally:
                call.cancel()

    async def graph(self) -> execution_service_pb2.GetGraphResponse:
        """Return the graph that it runs or ran, and where each of its nodes stands; see `Client.get_graph`."""
        return await self._resources.get_graph(self.id)

    async def signal(self, signal_id: str, value: Any) -> None:
        """Answer a gate of its graph; see `Client.signal`."""
        await self._resources.signal(self.id, signal_id, value)

    async def approve(self, signal_id: str) -> None:
        """Agree where a node of its graph waits for approval; see `Client.approve`."""
        await self._resources.approve(self.id, signal_id)

    async def reject(self, signal_id: str) -> None:
        """Refuse where a node of its graph waits for approval; see `Client.reject`."""
        await self._resources.reject(self.id, signal_id)

    async def retry(self, *, failed_only: bool = False, name: str = "", request_id: str = "") -> Handle[_Result]:
        """Execute again what did not succeed, and return a handle on the new execution; see `Client.retry`."""
        request = execution_service_pb2.RetryExecutionRequest(
            id=self.id, failed_only=failed_only, name=name, request_id=request_id or os.urandom(16).hex()
        )
        with rpc_errors():
            response = await self._resources.executions.RetryExecution(request, timeout=CALL_TIMEOUT)
        return Handle(self._resources, response.execution.id, self._convert)

    async def cancel(self, reason: str = "") -> execution_pb2.Execution:
        """Cancel it, unless it has ended, and return it as it is then.

        Args:
            reason: Why, for a person to read; at most 1,024 characters.
        """
        return await self._resources.cancel(self.id, reason)

    def attempts(self) -> AsyncIterator[execution_pb2.Attempt]:
        """Yield its attempts, the first one first."""
        return self._resources.attempts(self.id)


class _Outage:
    """A time in which the server cannot be reached."""

    def __init__(self) -> None:
        self._delays = reconnect_delays()
        self._since = asyncio.get_running_loop().time()
        self._is_on = False

    async def wait_out(self, error: LacewingError, end: float | None) -> None:
        """Wait before another try; raise the error instead if it has lasted too long, or beyond the end of the wait."""
        now = asyncio.get_running_loop().time()
        if not self._is_on:
            self._is_on, self._since = True, now
        if now - self._since > PATIENCE or (end is not None and now >= end):
            raise error
        await asyncio.sleep(next(self._delays))
