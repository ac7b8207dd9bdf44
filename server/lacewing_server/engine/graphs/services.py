"""What graphs are run with."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from lacewing_server.engine.attempts import Attempts
from lacewing_server.engine.blobs import Blobs
from lacewing_server.engine.executions import Executions
from lacewing_server.engine.tasks import Tasks
from lacewing_server.engine.wakeups import Wakeups
from lacewing_server.store.redis.store import Store


@dataclass(frozen=True, slots=True)
class Services:
    """The parts of the engine that a graph needs."""

    store: Store
    tasks: Tasks
    executions: Executions
    attempts: Attempts
    wakeups: Wakeups
    blobs: Blobs

    @property
    def on_change(self) -> Callable[[bytes], None]:
        """Is told of the execution in whose graph something has changed."""
        return self.wakeups.progressed
