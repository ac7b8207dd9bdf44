"""What an accepted request to execute is answered with."""

from __future__ import annotations

from dataclasses import dataclass

from lacewing_server.domain import lifecycle
from lacewing_server.domain.record import CachedOutcome, ExecutionRecord
from lacewing_server.domain.task_version import ReadyTask


@dataclass(slots=True)
class Admitted:
    """What an accepted request is answered with."""

    record: ExecutionRecord
    """The execution as it was accepted; once it was waited for, as it was then."""
    task: ReadyTask
    replayed: bool = False
    hit: CachedOutcome | None = None
    recorded: bool = True
    """False: a hit that was not stored."""

    @property
    def has_ended(self) -> bool:
        """Whether there is nothing to wait for."""
        return self.hit is not None or lifecycle.is_terminal(self.record.state)

    @property
    def size(self) -> int:
        """Bytes of its values."""
        outputs = self.record.outcome if self.hit is None else self.hit.outputs
        return len(self.record.inputs) + len(outputs)
