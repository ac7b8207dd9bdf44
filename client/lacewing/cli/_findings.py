"""What audits have found, for people."""

from __future__ import annotations

from collections.abc import Iterator

from rich.text import Text

from lacewing.cli._messages import execution_text, time_text
from lacewing.cli.output import styled
from lacewing.v1 import cache_pb2, task_pb2


def finding_rows(
    found: cache_pb2.CacheEntry | task_pb2.Task | task_pb2.TaskVersion,
) -> Iterator[tuple[str, str | Text]]:
    """Yield what there is to say of a finding that something is not deterministic; nothing if there is none."""
    if not found.HasField("nondeterminism"):
        return
    finding = found.nondeterminism
    yield "Audit", styled("NONDETERMINISTIC", "bold red").append(f", found {time_text(finding.time)}", style="not bold")
    yield "Before", f"{finding.baseline_digest[:16]}… by {execution_text(finding.baseline)}"
    yield "Now", f"{finding.digest[:16]}… by {execution_text(finding.execution)}"
    for each in finding.differences:
        yield "Differs", f"{each.path}: {each.before or 'nothing'} ≠ {each.after or 'nothing'}"
