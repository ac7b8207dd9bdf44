"""The tasks that are measured: they do nothing, so that what is measured is Lacewing."""

from __future__ import annotations

import asyncio

import lacewing


@lacewing.task(isolation="thread")
async def noop(number: int) -> int:
    """Give back a number."""
    return number


@lacewing.task(isolation="thread", cache=True)
async def remembered(number: int) -> int:
    """Give back a number, from the cache but for the first time."""
    return number


@lacewing.task(isolation="thread")
async def keep(text: str) -> str:
    """Give back a text."""
    return text


@lacewing.task(isolation="thread")
async def brief(number: int) -> int:
    """Give back a number after 100 ms."""
    await asyncio.sleep(0.1)
    return number
