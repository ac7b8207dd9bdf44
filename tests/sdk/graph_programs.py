"""Dynamic tasks and workflows that a real server runs, and can be called like functions."""

from __future__ import annotations

import asyncio
import functools
from datetime import timedelta
from pathlib import Path
from typing import Any, NamedTuple

import lacewing
from lacewing.graph import GraphFailure


class Statistics(NamedTuple):
    """Two outputs with names."""

    total: int
    names: list[str]


@lacewing.task(isolation="thread")
def add(a: int, b: int = 2) -> int:
    return a + b


@lacewing.task(isolation="thread")
async def add_soon(a: int, b: int) -> int:
    await asyncio.sleep(0)
    return a + b


@lacewing.task(isolation="thread")
def total(numbers: list[int]) -> int:
    return sum(numbers)


@lacewing.task(isolation="thread")
def half(n: int) -> int:
    if n % 2:
        raise lacewing.NonRecoverableError(f"{n} is odd")
    return n // 2


@lacewing.task(isolation="thread")
def known(numbers: list[int | None]) -> list[int]:
    return [number for number in numbers if number is not None]


@lacewing.task(isolation="thread")
def describe(numbers: list[int], labels: dict[str, int] | None = None) -> Statistics:
    return Statistics(sum(numbers), [str(number) for number in numbers] + sorted(labels or {}))


@lacewing.task(isolation="thread")
def size(file: lacewing.File, text: str) -> int:
    return len(file.read_bytes()) + len(text)


@lacewing.task(isolation="thread", retries=0)
def flaky(folder: str) -> int:
    """Fails the first time."""
    path = Path(folder, "tried")
    if path.exists():
        return 7
    path.touch()
    raise RuntimeError("not yet")


@lacewing.task(isolation="thread")
def keep_error(folder: str, err: GraphFailure) -> None:
    """Writes down why a graph failed."""
    Path(folder, "error").write_text(f"{err.failed_node_id} {err.message}")


@lacewing.task(isolation="thread")
def append(folder: str, word: str) -> None:
    """Appends a word to a file."""
    with Path(folder, "words").open("a") as file:
        file.write(word)


@lacewing.dynamic(isolation="thread")
def evaluate(program: dict[str, Any]) -> int:
    """Runs a program: what its input says becomes a graph."""
    kind, parts = program["kind"], program["parts"]
    match kind:
        case "number":
            return add(parts[0], 0)
        case "add":
            return add(_evaluated(parts[0]), _evaluated(parts[1]))
        case "sum":
            return total([_evaluated(part) for part in parts])
        case "map":
            return total(lacewing.map_task(functools.partial(add, b=5))([_evaluated(part) for part in parts]))
        case "if":
            number = _evaluated(parts[0])
            return (
                lacewing.conditional("sign")
                .if_((number > 3) & (number != 5))
                .then(add, number, 100)
                .elif_(number == 5)
                .then(nested, parts[1])
                .else_()
                .then(add, 1)
            )
        case _:
            return nested(parts[0])


def _evaluated(program: dict[str, Any]) -> int:
    """Builds a part of a program into the same graph."""
    return evaluate.function(program)


@lacewing.dynamic(isolation="thread")
def nested(program: dict[str, Any]) -> int:
    """Runs a program as an execution of its own."""
    return evaluate(program)


@lacewing.workflow
def statistics(n: int, labels: dict[str, int]) -> Statistics:
    """Maps, reads a part of several outputs, and returns several."""
    first = add(n)
    given = describe([first, n, labels["a"]], labels)
    doubled = lacewing.map_task(add, concurrency=2)([given.total, 1], b=n)
    return Statistics(total(doubled), given.names)


@lacewing.workflow
async def soon(n: int) -> int:
    """Calls a workflow, in a body that is asynchronous."""
    inner = statistics(await add_soon(n, 1), {"a": 1})
    return await add_soon(inner.total, n)


@lacewing.workflow
def each_soon(numbers: list[int]) -> int:
    """Runs a workflow and a dynamic task for each element."""
    counted = lacewing.map_task(checked)(numbers)
    return total(lacewing.map_task(borrowing)(counted))


@lacewing.workflow
def halves(numbers: list[int]) -> list[int]:
    """Bears elements that fail."""
    return known(lacewing.map_task(half, min_success_ratio=0.5)(numbers))


@lacewing.workflow
def checked(n: int) -> int:
    """Fails by a branch."""
    return lacewing.conditional("small").if_(n < 10).then(add, n).else_().fail("it is too large")


@lacewing.workflow
def retried(folder: str) -> int:
    """Says of a node what its task does not."""
    return lacewing.with_overrides(flaky(folder), retries=1, name="again")


@lacewing.workflow(failure_node=keep_error)
def cleaned(folder: str, n: int) -> int:
    """Has something done after it has failed."""
    return half(n)


@lacewing.workflow
def ordered(folder: str) -> None:
    """Calls that take nothing from each other, in an order."""
    pause = lacewing.sleep(timedelta(milliseconds=1))
    last = append(folder, "c")
    first = append(folder, "a")
    middle = append(folder, "b")
    lacewing.in_order(pause, first, middle, last)


@lacewing.workflow
def asked(n: int) -> int:
    """Waits for people."""
    agreed = lacewing.approve(add(n), "agree")
    return add(agreed, lacewing.wait_for_input("number", int))


@lacewing.dynamic
def large_constants(path: str) -> int:
    """Gives tasks a file and a large text, from a child process."""
    return size(lacewing.File(path), "x" * 300_000)


@lacewing.task(isolation="thread")
def texts(count: int) -> list[str]:
    """Gives a list that is too large for a message."""
    return [str(number) * 50_000 for number in range(count)]


@lacewing.task(isolation="thread")
def length(text: str) -> int:
    return len(text)


@lacewing.dynamic(isolation="thread")
def large_lists(count: int) -> Statistics:
    """Maps large lists, a constant and a promise, and reads an element of one."""
    given = texts(count)
    first = lacewing.map_task(length)(["x" * 50_000] * count)
    second = lacewing.map_task(length)(given)
    return Statistics(add(total(first), total(second)), [given[1]])


@lacewing.reference_task(add.name)
def elsewhere(a: int, b: int) -> int:
    """Stands for a task that another program registers."""
    raise NotImplementedError


@lacewing.reference_task("nowhere")
def nowhere(n: int) -> int:
    """Stands for a task that nobody registers."""
    raise NotImplementedError


@lacewing.dynamic(isolation="thread")
def borrowing(n: int) -> int:
    """Calls what is declared elsewhere."""
    return elsewhere(n, 1) if n else nowhere(n)


ALL: list[lacewing.Task[..., Any]] = [
    value for value in vars().values() if isinstance(value, lacewing.Task) and not value.is_reference
]
