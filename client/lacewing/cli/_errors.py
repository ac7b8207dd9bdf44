"""The errors of the SDK, for people and for programs."""

from __future__ import annotations

import json
from typing import Any

import click
import grpc
from rich.text import Text

from lacewing._channel import resolve_address
from lacewing.cli._failures import DID_NOT_SUCCEED, NO_ANSWER, REFUSED
from lacewing.cli._messages import execution_text, span_text, task_text
from lacewing.cli.options import Settings
from lacewing.cli.output import console, document, say, styled
from lacewing.errors import (
    CallFailed,
    LacewingError,
    RefusedError,
    ServerUnavailable,
    TaskDidNotSucceed,
    WaitTimedOut,
)
from lacewing.v1 import execution_pb2

REMEDIES = {
    "TASK_NOT_FOUND": "List the tasks: lacewing tasks. Register yours: lacewing register MODULE.",
    "TASK_VERSION_NOT_FOUND": "List its versions: lacewing tasks versions {task}",
    "PROJECT_NOT_FOUND": "List the projects: lacewing projects. Create it: lacewing projects create {project}",
    "EXECUTION_NOT_FOUND": "List the executions: lacewing list. Those that have ended are kept for some days only.",
    "EXECUTION_CONFLICT": "Look at the one that has this name or request id: lacewing get {execution}",
    "TASK_VERSION_CONFLICT": "A version never changes: choose another with --version, or leave it to the server.",
    "TASK_ARCHIVED": "Restore it: lacewing tasks restore {task}",
    "PROJECT_ARCHIVED": "Restore it: lacewing projects update --restore {project}",
    "CACHE_ENTRY_NOT_FOUND": "It may have expired or been evicted. List entries: lacewing cache list TASK",
    "GRAPH_NOT_FOUND": "Workflows run one, and dynamic tasks once their body has given it: lacewing get {execution}",
    "SIGNAL_NOT_FOUND": "Which gates there are, and which wait: lacewing graph {execution}",
    "SIGNAL_CONFLICT": "An answer never changes. See what came of it: lacewing graph {execution}",
    "EXECUTION_NOT_FAILED": "Only what has ended without success can be repeated: lacewing get {execution}",
    "EXECUTION_ENDED": "See how it ended: lacewing graph {execution}. Repeat it: lacewing retry {execution}",
    "QUEUE_FULL": "Is there a worker for this task? See lacewing workers.",
    "STORE_UNAVAILABLE": "Is its Redis running? The log of the server says more.",
    "INTERNAL": "The log of the server says more, under this id: {error_id}",
}
"""What to do next, by reason. Places in braces are filled from the metadata of the error."""


class _Blank(dict[str, str]):
    def __missing__(self, key: str) -> str:
        return key.upper()


def exit_code(error: LacewingError) -> int:
    """Return the exit code that tells a script what an error means."""
    is_unavailable = isinstance(error, RefusedError) and error.code is grpc.StatusCode.UNAVAILABLE
    if is_unavailable or isinstance(error, (CallFailed, WaitTimedOut)):
        return NO_ANSWER
    return DID_NOT_SUCCEED if isinstance(error, TaskDidNotSucceed) else REFUSED


def print_error(error: LacewingError, said: Settings) -> None:
    """Tell a person what happened and what to do next."""
    if isinstance(error, TaskDidNotSucceed):
        _print_end(error)
        return
    _head(getattr(error, "message", "") or str(error), getattr(error, "reason", ""))
    if isinstance(error, RefusedError) and error.violations:
        width = max(len(violation.field) for violation in error.violations)
        for violation in error.violations:
            line = Text("  ").append_text(styled(violation.field.ljust(width), "bold")).append("  ")
            say(line.append_text(styled(violation.description)))
    remedy = _remedy(error, said)
    if remedy:
        say(remedy)


def print_error_json(error: LacewingError, said: Settings) -> None:
    """Write what happened to standard error as one JSON document."""
    told: dict[str, Any] = {"type": type(error).__name__, "message": getattr(error, "message", "") or str(error)}
    if isinstance(error, RefusedError):
        told |= {
            "reason": error.reason,
            "code": error.code.name,
            "metadata": dict(error.metadata),
            "violations": [violation._asdict() for violation in error.violations],
        }
        if error.retry_delay is not None:
            told["retry_delay"] = f"{error.retry_delay.total_seconds()}s"
    elif isinstance(error, CallFailed):
        told |= {"code": error.code.name, "address": resolve_address(said.address)}
    elif isinstance(error, TaskDidNotSucceed):
        told |= {"execution": document(error.id), "error": document(error.error)}
    click.echo(json.dumps({"error": told}, ensure_ascii=False), err=True)


def error_text(error: execution_pb2.TaskError) -> Text:
    """Return the error of a task: its code, message and stack trace, then what led to it."""
    text = Text()
    text.append_text(styled(error.code, "bold red")).append(": ").append_text(styled(error.message))
    if error.stack_trace:
        text.append("\n").append_text(styled(error.stack_trace.rstrip(), "dim"))
    if error.HasField("cause"):
        text.append("\nCaused by ", style="bold").append_text(error_text(error.cause))
    return text


def _head(message: str, detail: str = "") -> None:
    head = Text().append("Error: ", style="bold red").append_text(styled(message))
    say(head.append_text(styled(f"  [{detail}]", "dim")) if detail else head)


def _print_end(error: TaskDidNotSucceed) -> None:
    execution = error.execution
    ended = execution_pb2.Execution.State.Name(execution.state).removeprefix("STATE_")
    attempts = "no attempt" if not execution.attempt_count else f"{execution.attempt_count} attempt"
    plural = "s" if execution.attempt_count > 1 else ""
    _head(f"{task_text(execution.task)} {ended} after {attempts}{plural}")
    console(stderr=True).print(error_text(error.error), soft_wrap=True)
    if execution.HasField("id"):
        say(f"All attempts: lacewing logs {execution_text(execution.id)}")


def _remedy(error: LacewingError, said: Settings) -> str:
    if isinstance(error, ServerUnavailable):
        return (
            f"Is a server running at {resolve_address(said.address)}? Start one with: lacewing serve\n"
            "Or name another with --address or $LACEWING_ADDRESS."
        )
    if not isinstance(error, RefusedError):
        return ""
    remedy = REMEDIES.get(error.reason, "").format_map(_Blank(error.metadata))
    later = "" if error.retry_delay is None else f"Try again in {span_text(error.retry_delay)}."
    return " ".join(filter(None, (remedy, later)))
