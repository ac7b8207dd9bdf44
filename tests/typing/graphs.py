"""What the type checker knows of programs that build graphs. Checked by mypy, never run; see `api.py`."""

from __future__ import annotations

import functools
from datetime import timedelta
from typing import assert_type

import lacewing


@lacewing.task
def add(a: int, b: int = 2) -> int:
    """Adds."""
    return a + b


@lacewing.task
async def shout(text: str) -> str:
    """Shouts."""
    return text.upper()


@lacewing.task
def note(text: str) -> None:
    """Gives nothing."""


@lacewing.dynamic(retries=3, max_parallelism=5, on_failure="fail_after_executable_nodes_complete")
def power(n: int, exponent: int) -> int:
    """In a body a promise has the type of what it stands for."""
    for _ in range(exponent):
        n = add(n, n)
        assert_type(add(n), int)
    return n


@lacewing.workflow(deadline=60)
async def flow(n: int) -> str:
    """A workflow is typed like a function."""
    number = lacewing.with_overrides(power(n, 2), retries=3, timeout=timedelta(seconds=3))
    assert_type(number, int)
    lacewing.in_order(lacewing.sleep(timedelta(hours=1)), number)
    lacewing.in_order(number, note("a"), shout("b"), lacewing.sleep(timedelta(seconds=1)), note("c"))
    lacewing.approve(lacewing.sleep(timedelta(seconds=1)), "rested")
    assert_type(lacewing.approve(number, "review"), int)
    assert_type(lacewing.wait_for_input("limit", int), int)
    assert_type(lacewing.conditional("x").if_(number > 3).then(add, n).else_().then(power, n, exponent=1), int)
    assert_type(
        lacewing.conditional("x").if_(number > 3).then(add, n).elif_(n == 1).then(add, 1).else_().fail("no"), int
    )
    return await shout("a")


async def calls(client: lacewing.Client) -> None:
    """Dynamic tasks and workflows are executed like tasks."""
    assert_type(power(1, 2), int)
    assert_type(await client.execute(power, 1, exponent=2), int)
    assert_type(await client.execute(flow, n=1), str)
    assert_type(await flow(1), str)
    power("1", 2)  # type: ignore[arg-type] # not an int
    await client.execute(flow, text="a")  # type: ignore[call-overload] # no such input


async def maps() -> None:
    """A map gives a list of what the task gives, with None where elements may fail."""
    assert_type(lacewing.map_task(add)(a=[1]), list[int])
    assert_type(lacewing.map_task(functools.partial(add, b=3), concurrency=3)(a=[1]), list[int])
    assert_type(lacewing.map_task(add, min_successes=1)(a=[1]), list[int | None])
    assert_type(await lacewing.map_task(shout)(text=["a"]), list[str])
    assert_type(await lacewing.map_task(shout, min_success_ratio=0.5)(text=["a"]), list[str | None])


def misuse(n: int) -> None:
    """Options and inputs are checked by name and type."""
    lacewing.dynamic(retry=3)  # type: ignore[call-overload] # misspelt
    lacewing.workflow(retries=3)  # type: ignore[call-overload] # the server runs it
    lacewing.workflow(on_failure="stop")  # type: ignore[call-overload] # no such policy
    lacewing.with_overrides(add(n), retrys=3)  # type: ignore[call-arg] # misspelt
    lacewing.conditional("x").if_(n > 3).then(add, c=n)  # type: ignore[call-arg] # no such input
    lacewing.conditional("x").if_(n > 3).then(add(n))  # type: ignore[arg-type] # a call, not a function
