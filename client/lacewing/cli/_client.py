"""Commands that talk to a server."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Awaitable, Callable
from typing import Any, Concatenate, ParamSpec

from lacewing.cli.options import Settings, settings
from lacewing.client import Client

_Parameters = ParamSpec("_Parameters")


def with_client(
    function: Callable[Concatenate[Client, _Parameters], Awaitable[Any]],
) -> Callable[_Parameters, None]:
    """Make a command of an async function: run it with a client as the common options say."""

    @functools.wraps(function)
    def command(*args: _Parameters.args, **kwargs: _Parameters.kwargs) -> None:
        asyncio.run(_call(function, *args, **kwargs))

    return command


async def _call(
    function: Callable[Concatenate[Client, _Parameters], Awaitable[Any]],
    *args: _Parameters.args,
    **kwargs: _Parameters.kwargs,
) -> None:
    async with client_of(settings()) as client:
        await function(client, *args, **kwargs)


def client_of(said: Settings) -> Client:
    """Return a client as the common options say."""
    return Client(said.address, project=said.project, domain=said.domain)
