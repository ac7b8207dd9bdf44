"""The connection that all calls of a client share, and lists that come in pages."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterable
from functools import cached_property
from typing import Protocol, TypeVar

import grpc

from lacewing._channel import CALL_TIMEOUT, open_channel, rpc_errors
from lacewing._target import TaskReference, execution_id, task_id
from lacewing.v1 import execution_service_pb2_grpc, identifiers_pb2

_MAX_PAGE_SIZE = 500


class _PagedRequest(Protocol):
    page_size: int
    page_token: str


class _PagedResponse(Protocol):
    @property
    def next_page_token(self) -> str: ...


_Request = TypeVar("_Request", bound=_PagedRequest)
_Response = TypeVar("_Response", bound=_PagedResponse)
_Resource = TypeVar("_Resource")


class Connection:
    """One channel to a server, with the project and the domain of what does not name its own."""

    def __init__(self, address: str, credentials: grpc.ChannelCredentials | None, project: str, domain: str) -> None:
        self.address = address
        self.project = project
        self.domain = domain
        self._credentials = credentials

    @cached_property
    def channel(self) -> grpc.aio.Channel:
        """The channel, opened at first use: it belongs to the event loop of that."""
        return open_channel(self.address, self._credentials)

    @cached_property
    def executions(self) -> execution_service_pb2_grpc.ExecutionServiceStub:
        """The stub of the executions."""
        return execution_service_pb2_grpc.ExecutionServiceStub(self.channel)

    def _task_id(self, task: TaskReference) -> identifiers_pb2.TaskId:
        return task_id(task, self.project, self.domain)

    def _execution_id(self, execution: identifiers_pb2.ExecutionId | str) -> identifiers_pb2.ExecutionId:
        return execution_id(execution, self.project, self.domain)


async def paged(
    method: grpc.aio.UnaryUnaryMultiCallable[_Request, _Response],
    request: _Request,
    resources: Callable[[_Response], Iterable[_Resource]],
    limit: int | None,
) -> AsyncIterator[_Resource]:
    """Yield what the pages of a list hold.

    Args:
        method: Asks for a page.
        request: What to ask for, without size and token of the page.
        resources: What a page holds.
        limit: The most to yield. None: all.
    """
    left = limit
    while left is None or left > 0:
        request.page_size = _MAX_PAGE_SIZE if left is None else min(left, _MAX_PAGE_SIZE)
        with rpc_errors():
            response = await method(request, timeout=CALL_TIMEOUT)
        for resource in resources(response):
            yield resource
            if left is not None:
                left -= 1
        request.page_token = response.next_page_token
        if not request.page_token:
            return
