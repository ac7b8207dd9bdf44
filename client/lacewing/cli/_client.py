"""Commands that talk to a server."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Awaitable, Callable
from typing import Any, Concatenate, ParamSpec

from lacewing.cli.options import settings
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
    said = settings()
    async with Client(said.address, project=said.project, domain=said.domain) as client:
        await function(client, *args, **kwargs)
