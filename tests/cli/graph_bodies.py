"""The graphs that the tests of the command line run."""

from __future__ import annotations

from pathlib import Path

import lacewing
from lacewing import task
from lacewing.graph import approve, conditional, dynamic, map_task, wait_for_input, workflow
from lacewing.task import AnyTask


@task
def double(n: int) -> int:
    """Doubles a number."""
    return 2 * n


@task
def total(numbers: list[int]) -> int:
    """Adds numbers."""
    return sum(numbers)


@task
def checked(n: int, folder: str) -> int:
    """Gives the number, unless it is 3 and the folder does not say that this is well."""
    if n == 3 and not (Path(folder) / "well").exists():
        raise lacewing.NonRecoverableError("three is not well", code="NotWell")
    return n


@workflow
def inner(n: int) -> int:
    """Doubles twice."""
    return double(double(n))


@dynamic
def spread(n: int) -> int:
    """Doubles each number below another one."""
    return total([double(each) for each in range(n)])


@workflow
def asking(n: int) -> int:
    """Waits for an approval and for a number, and does the rest meanwhile."""
    agreed = approve(double(n), "go")
    number = wait_for_input("number", int)
    chosen = conditional("size").if_(agreed > 100).then(double, n=agreed).else_().then(inner, n=agreed)
    return total([agreed, number, chosen, spread(3)])


@workflow(on_failure="fail_after_executable_nodes_complete")
def mapping(numbers: list[int], folder: str) -> int:
    """Maps over numbers."""
    return total(map_task(checked)(n=numbers, folder=folder))


@workflow
def spreading(numbers: list[int]) -> int:
    """Maps a dynamic task."""
    return total(map_task(spread)(n=numbers))


@workflow
def slow(n: int) -> int:
    """Waits for somebody."""
    return approve(double(n), "go")


@workflow
def choosing(n: int) -> int:
    """Waits for somebody in a graph in a branch."""
    return conditional("which").if_(double(n) > 0).then(slow, n=n).else_().then(double, n=n)


ALL: list[AnyTask] = [double, total, checked, inner, spread, asking, mapping, spreading, slow, choosing]
