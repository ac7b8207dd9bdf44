"""Gates: nodes that wait for an answer, or for time to pass."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from lacewing.v1 import literals_pb2, workflow_pb2
from lacewing_server.engine.graphs.journal import Journal
from lacewing_server.store.redis.store import Store


class Gates:
    """The gates of one graph that are open: reached and not passed."""

    def __init__(self, store: Store, journal: Journal, on_change: Callable[[], None]) -> None:
        self._store = store
        self._journal = journal
        self._on_change = on_change
        self._waiting: dict[str, int] = {}
        self._timers: dict[int, asyncio.TimerHandle] = {}
        self._slept: list[int] = []

    async def reach(self, index: int, node: workflow_pb2.Node) -> None:
        """Lets a gate wait; it may be passed already."""
        begun = int(await self._journal.note(f"begun:{node.id}", self._store.now_ms()))
        gate = node.gate_node
        if gate.WhichOneof("condition") == "sleep":
            seconds = gate.sleep.duration.ToMilliseconds() / 1000 - (self._store.now_ms() - begun) / 1000
            loop = asyncio.get_running_loop()
            self._timers[index] = loop.call_later(max(seconds, 0.0), self._wake, index)
        else:
            self._waiting[signal_of(gate)] = index
            self._on_change()

    async def answered(self) -> list[tuple[int, literals_pb2.Literal]]:
        """The gates that have been answered since, and their answers."""
        answers = await self._journal.signals(self._waiting)
        # Some may have been closed meanwhile.
        return [
            (self._waiting.pop(signal), literals_pb2.Literal.FromString(answer))
            for signal, answer in answers.items()
            if signal in self._waiting
        ]

    def take_slept(self) -> list[int]:
        """The gates whose time has passed since."""
        slept, self._slept = self._slept, []
        return slept

    @property
    def is_waiting(self) -> bool:
        """Whether a gate waits to be answered."""
        return bool(self._waiting)

    def close(self) -> list[int]:
        """Lets no gate wait any longer; gives those that did."""
        for timer in self._timers.values():
            timer.cancel()
        closed = [*self._waiting.values(), *self._timers, *self._slept]
        self._waiting.clear()
        self._timers.clear()
        self._slept.clear()
        return closed

    def _wake(self, index: int) -> None:
        self._timers.pop(index, None)
        self._slept.append(index)
        self._on_change()


def signal_of(gate: workflow_pb2.GateNode) -> str:
    """The name by which a gate is answered; '' of one that sleeps."""
    return gate.approve.signal_id or gate.signal.signal_id
