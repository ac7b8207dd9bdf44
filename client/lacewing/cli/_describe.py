"""Executions and attempts, described to a person."""

from __future__ import annotations

from collections.abc import Iterator

from rich.console import RenderableType
from rich.text import Text

from lacewing.cli._errors import error_text
from lacewing.cli._messages import age_text, between_text, execution_text, task_text, time_text, until_text
from lacewing.cli._plain import inputs_of, outputs_of
from lacewing.cli.output import styled, value_text
from lacewing.v1 import execution_pb2, interface_pb2

Execution = execution_pb2.Execution
_STYLES = {
    "SUCCEEDED": "green",
    "FAILED": "red",
    "TIMED_OUT": "red",
    "LOST": "red",
    "CANCELLED": "yellow",
    "RUNNING": "cyan",
    "LEASED": "cyan",
    "PENDING": "dim",
    "SKIPPED": "dim",
}


def state_name(state: Execution.State.ValueType) -> str:
    """Return `SUCCEEDED` for `STATE_SUCCEEDED`."""
    return Execution.State.Name(state).removeprefix("STATE_")


def state_text(name: str) -> Text:
    """Return the name of a state in its colour."""
    return Text(name, style=_STYLES.get(name, ""))


def cache_text(cache: execution_pb2.CacheInfo) -> str:
    """Return what memoization did: `hit`, `miss`, `-` if nothing."""
    status = execution_pb2.CacheInfo.Status.Name(cache.status).removeprefix("STATUS_").lower().replace("_", " ")
    return "-" if status in {"unspecified", "disabled"} else status


def took_text(execution: Execution) -> str:
    """Return how long it took from creation to end, or to now."""
    return between_text(execution.create_time, execution.end_time if execution.HasField("end_time") else None)


def attempts_text(execution: Execution) -> str:
    """Return how many attempts there were, and how they ended."""
    ended = [
        f"{count} {name}"
        for count, name in ((execution.failure_count, "failed"), (execution.loss_count, "lost"))
        if count
    ]
    return f"{execution.attempt_count}{' (' + ', '.join(ended) + ')' if ended else ''}"


def graph_text(graph: execution_pb2.GraphSummary) -> str:
    """Return how far a graph is: `7 of 12 nodes succeeded, 2 active, 1 failed`."""
    others = [
        f"{count} {word}"
        for count, word in (
            (graph.active_count, "active"),
            (graph.failed_count, "failed"),
            (graph.skipped_count, "skipped"),
        )
        if count
    ]
    nodes = f"node{'' if graph.node_count == 1 else 's'}"
    return ", ".join([f"{graph.succeeded_count} of {graph.node_count} {nodes} succeeded", *others])


def summary(execution: Execution) -> Text:
    """Return one line on how an execution stands."""
    text = Text().append_text(state_text(state_name(execution.state))).append(f"  {took_text(execution)}")
    attempts = execution.attempt_count
    notes = [f"attempt {attempts}" if attempts else "", styled(execution.state_reason).plain]
    if execution.HasField("retry_time"):
        notes.append(f"tries again {until_text(execution.retry_time)}")
    if execution.HasField("progress"):
        progress = execution.progress
        notes.append(f"{progress.fraction:.0%} {styled(progress.message).plain}".strip())
    if execution.worker and not execution.HasField("end_time"):
        notes.append(f"on {styled(execution.worker).plain}")
    if execution.HasField("graph"):
        notes.append(graph_text(execution.graph))
    if cache_text(execution.cache) in {"hit", "populated"}:
        notes.append(f"cache {cache_text(execution.cache)}")
    if execution.HasField("error") and execution.state != Execution.STATE_SUCCEEDED:
        first_line = execution.error.message.partition("\n")[0]
        notes.append(styled(f"{execution.error.code}: {first_line}").plain)
    return text.append("".join(f"  {note}" for note in notes if note))


def described(execution: Execution, interface: interface_pb2.TypedInterface) -> Iterator[tuple[str, RenderableType]]:
    """Yield everything there is to say of an execution, by name."""
    yield "Execution", execution_text(execution.id)
    yield "Task", task_text(execution.task)
    yield "State", state_text(state_name(execution.state))
    if execution.state_reason:
        yield "Reason", execution.state_reason
    if execution.HasField("progress"):
        yield "Progress", f"{execution.progress.fraction:.0%} {execution.progress.message}"
    if execution.HasField("graph"):
        yield "Graph", graph_text(execution.graph)
    if execution.max_parallelism:
        yield "Parallelism", f"at most {execution.max_parallelism} nodes at a time"
    if execution.HasField("parent"):
        yield "Parent", f"{execution_text(execution.parent)}, node {execution.node}"
    if execution.HasField("retry_of"):
        yield "Repeats", execution_text(execution.retry_of)
    yield "Attempts", attempts_text(execution)
    if execution.priority in {execution_pb2.PRIORITY_HIGH, execution_pb2.PRIORITY_LOW}:
        yield "Priority", execution_pb2.Priority.Name(execution.priority).removeprefix("PRIORITY_").lower()
    if execution.worker:
        yield "Worker", execution.worker
    if cache_text(execution.cache) != "-":
        yield "Cache", cache_text(execution.cache)
        yield "Cache key", execution.cache.key
    if execution.cache.HasField("producer"):
        yield "Computed by", execution_text(execution.cache.producer)
    yield "Created", f"{time_text(execution.create_time)} ({age_text(execution.create_time)})"
    if execution.HasField("start_time"):
        yield "Last started", time_text(execution.start_time)
    if execution.HasField("retry_time"):
        yield "Tries again", time_text(execution.retry_time)
    if execution.HasField("end_time"):
        yield "Ended", f"{time_text(execution.end_time)} (after {took_text(execution)})"
    if execution.HasField("expire_time"):
        yield "Kept until", time_text(execution.expire_time)
    if execution.labels:
        yield "Labels", ", ".join(f"{key}={value}" for key, value in sorted(execution.labels.items()))
    for name, value in inputs_of(execution, interface).items():
        yield f"Input {styled(name).plain}", value_text(value)
    for name, value in outputs_of(execution, interface).items():
        yield f"Output {styled(name).plain}", value_text(value)
    if execution.HasField("error"):
        yield "Error", error_text(execution.error)
