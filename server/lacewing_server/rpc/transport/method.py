"""What a call needs to know of its method."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any, Final

import grpc


class Method:
    """A handler of gRPC, looked through once.

    Attributes:
        name: As the wire has it: ``/service/method``.
        behavior: The function that serves: a coroutine function, or one of an asynchronous generator.
        takes_stream: Whether its first argument is an iterator of requests instead of one request.
        gives_stream: Whether it answers with any number of responses.
        is_generator: Whether it yields its responses instead of writing them to its context.
    """

    def __init__(self, name: str, handler: grpc.RpcMethodHandler[Any, Any]) -> None:
        self.name = name
        self.takes_stream = handler.request_streaming
        self.gives_stream = handler.response_streaming
        behaviors = (handler.unary_unary, handler.unary_stream, handler.stream_unary, handler.stream_stream)
        self.behavior: Final[Callable[..., Any]] = next(each for each in behaviors if each is not None)
        self.is_generator = inspect.isasyncgenfunction(self.behavior)
        self.parse: Final[Callable[[bytes], Any]] = handler.request_deserializer or _unchanged
        self.serialize: Final[Callable[[Any], bytes]] = handler.response_serializer or _unchanged


def _unchanged(data: bytes) -> bytes:
    return data
