"""What the type checker knows of a program that uses the SDK. Checked by mypy, never run.

A line that must be refused has a `type: ignore` with the code of the refusal: if the checker stops refusing it, the
ignore is unused, which is an error in strict mode.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any, assert_type

import lacewing
import lacewing.sync
from lacewing.v1 import audit_pb2


@lacewing.task
def add(a: int, b: int = 2) -> int:
    """Adds."""
    return a + b


@lacewing.task(retries=3, cache=True, timeout=60)
async def shout(text: str) -> str:
    """Shouts."""
    return text.upper()


async def local_calls() -> None:
    """A task is called like its function."""
    assert_type(add(1), int)
    assert_type(await shout("a"), str)
    add("1")  # type: ignore[arg-type] # not an int
    add()  # type: ignore[call-arg] # a is missing


async def remote_calls(client: lacewing.Client) -> None:
    """Inputs are checked as in a call; the result is what the function returns, awaited if it is async."""
    assert_type(await client.execute(add, 1, b=2), int)
    assert_type(await client.execute(shout, text="a"), str)
    assert_type(await client.execute("shop.price", item="apple"), Any)
    await client.execute(add, a="1")  # type: ignore[call-overload] # not an int
    await client.execute(add, c=1)  # type: ignore[call-overload] # no such input


async def handles(client: lacewing.Client) -> None:
    """A handle knows the type of its result."""
    handle = await client.submit(shout, "a")
    assert_type(handle, lacewing.Handle[str])
    assert_type(await handle.result(timeout=5), str)


async def many(client: lacewing.Client) -> None:
    """A map yields what the function returns."""
    assert_type(client.map(add, [{"a": 1}]), AsyncIterator[int])
    assert_type(client.map(shout, [{"text": "a"}], ordered=False), AsyncIterator[str])
    assert_type(client.map(add, [{"a": 1}], return_exceptions=True), AsyncIterator[Any])


async def audits(client: lacewing.Client) -> None:
    """An audit takes the inputs of the task, and gives what was found."""
    assert_type(await client.audit(add, 1, b=2), audit_pb2.AuditResult)
    assert_type(await client.audit("shop.price", item="apple"), audit_pb2.AuditResult)
    await client.audit(add, a="1")  # type: ignore[call-overload] # not an int
    lacewing.Cache(audit_rate="often")  # type: ignore[arg-type] # not a number


def blocking(client: lacewing.sync.Client) -> None:
    """The blocking facade knows the same."""
    assert_type(client.execute(add, 1), int)
    assert_type(client.execute(shout, "a"), str)
    assert_type(client.submit(add, 1).result(), int)
    assert_type(list(client.map(shout, [{"text": "a"}])), list[str])


def options(client: lacewing.Client) -> None:
    """Options are checked by name and type."""
    assert_type(client.with_options(timeout=5, labels={"team": "a"}), lacewing.Client)
    client.with_options(timout=5)  # type: ignore[call-arg] # misspelt
    lacewing.task(retry=3)  # type: ignore[call-overload] # misspelt
