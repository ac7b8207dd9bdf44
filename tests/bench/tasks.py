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


@lacewing.task(isolation="thread")
async def count(numbers: list[int]) -> int:
    """Count numbers."""
    return len(numbers)


@lacewing.dynamic(isolation="thread")
async def fan(width: int) -> int:
    """Run so many nodes, and one that waits for all of them."""
    return await count([await noop(number) for number in range(width)])


@lacewing.task(isolation="thread", queue="nobody")
async def waiting(number: int) -> int:
    """Give back a number, if any worker took it."""
    return number


@lacewing.dynamic(isolation="thread")
async def waiting_fan(width: int) -> int:
    """Have so many nodes that wait for a worker, and one that waits for all of them."""
    return await count([await waiting(number) for number in range(width)])


@lacewing.dynamic(isolation="thread")
async def spread(width: int) -> int:
    """Map a list of so many elements."""
    return await count(await lacewing.map_task(noop)(list(range(width))))


@lacewing.dynamic(isolation="thread")
async def chain(length: int) -> int:
    """Run so many nodes, each of which waits for the one before."""
    number = length
    for _ in range(length):
        number = await noop(number)
    return number
