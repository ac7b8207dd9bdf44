"""How a graph runs: where each node stands, and which may begin. Pure: it is told what happens, and asked what to do.

Theory of operation. A node is PENDING until all nodes it waits for have succeeded; then it is *ready*, and whoever
drives the graph begins it. A node inside a branch becomes ready when the branch chooses it, and its end is the end of
the branch. Each end costs time in proportion to the nodes that wait for it, whatever the size of the graph.
"""

from __future__ import annotations

from collections import deque
from typing import Final

from lacewing.v1 import graph_pb2
from lacewing_server.domain.graph.plan import Plan

PENDING: Final = graph_pb2.NodeStatus.STATE_PENDING
RUNNING: Final = graph_pb2.NodeStatus.STATE_RUNNING
SUCCEEDED: Final = graph_pb2.NodeStatus.STATE_SUCCEEDED
FAILED: Final = graph_pb2.NodeStatus.STATE_FAILED
SKIPPED: Final = graph_pb2.NodeStatus.STATE_SKIPPED


class Run:
    """The nodes of one graph while it runs. States are values of ``NodeStatus.State``."""

    def __init__(self, plan: Plan, *, goes_on_after_failure: bool) -> None:
        self._plan = plan
        self._goes_on_after_failure = goes_on_after_failure
        self.states = bytearray([PENDING]) * len(plan.nodes)
        self._waits_for = [len(node.upstream) for node in plan.nodes]
        self._ready = deque(node.index for node in plan.nodes if node.branch is None and not node.upstream)
        self.active = 0
        """How many nodes have begun and not ended."""
        self.has_failed = False
        """Whether a node has failed: the graph will."""

    @property
    def is_over(self) -> bool:
        """Whether nothing runs and nothing more can begin."""
        return not self.active and not self._ready

    @property
    def has_ready(self) -> bool:
        """Whether a node may begin."""
        return bool(self._ready)

    @property
    def is_stopped(self) -> bool:
        """Whether nothing more begins because a node has failed."""
        return self.has_failed and not self._goes_on_after_failure

    def is_active(self, index: int) -> bool:
        """Whether a node has begun and not ended."""
        return self.states[index] == RUNNING

    def begin(self) -> int:
        """Begins a node that is ready; there is one."""
        index = self._ready.popleft()
        self.states[index] = RUNNING
        self.active += 1
        return index

    def choose(self, branch: int, chosen: int | None) -> None:
        """Makes the chosen node of a branch ready; the others will never run."""
        for inner in self._plan.nodes[branch].inner:
            if inner == chosen and not self.is_stopped:
                self._ready.append(inner)
            else:
                self._skip(inner)
        if self.is_stopped:
            self._leave_branches()

    def succeed(self, index: int) -> list[int]:
        """Ends a node that has succeeded, and with it the branches it is the choice of.

        Returns:
            The nodes that have ended, the innermost first.
        """
        ended = self._end(index, SUCCEEDED)
        for each in ended:
            for following in self._plan.nodes[each].downstream:
                self._waits_for[following] -= 1
                if not self._waits_for[following] and self.states[following] == PENDING:
                    self._ready.append(following)
        return ended

    def fail(self, index: int, state: int = FAILED) -> list[int]:
        """Ends a node that has not succeeded, and with it the branches it is the choice of.

        What waits for it will never run; unless the graph goes on after a failure, nothing else begins either.

        Returns:
            The nodes that have ended, the innermost first.
        """
        ended = self._end(index, state)
        for each in ended:
            for following in self._plan.nodes[each].downstream:
                self._skip(following)
        if not self.has_failed:
            self.has_failed = True
            if not self._goes_on_after_failure:
                self._ready.clear()
                for node in self._plan.nodes:
                    if self.states[node.index] == PENDING:
                        self.states[node.index] = SKIPPED
                ended += self._leave_branches()
        return ended

    def _leave_branches(self) -> list[int]:
        """Ends the branches whose choice never begins."""
        left: list[int] = []
        for node in reversed(self._plan.nodes):
            chosen = {self.states[inner] for inner in node.inner}
            if chosen == {SKIPPED} and self.states[node.index] == RUNNING:
                left += self._end(node.index, SKIPPED)
        return left

    def _end(self, index: int, state: int) -> list[int]:
        ended: list[int] = []
        each: int | None = index
        while each is not None:
            self.states[each] = state
            self.active -= 1
            ended.append(each)
            each = self._plan.nodes[each].branch
        return ended

    def _skip(self, index: int) -> None:
        waiting = [index]
        while waiting:
            each = waiting.pop()
            if self.states[each] == PENDING:
                self.states[each] = SKIPPED
                waiting += self._plan.nodes[each].downstream
                waiting += self._plan.nodes[each].inner


class Elements:
    """The elements of an array that runs."""

    def __init__(self, width: int, *, needed: int, parallelism: int, runs_all: bool) -> None:
        """Prepares them.

        Args:
            width: How many there are.
            needed: How many have to succeed.
            parallelism: How many may run at a time; 0: without bound.
            runs_all: Whether those that are left still run when it is certain that too few succeed.
        """
        self.width = width
        self.states = bytearray([PENDING]) * width
        self.needed = needed
        self._parallelism = parallelism or width
        self._runs_all = runs_all
        self._next = 0
        self.is_stopped = False
        """Whether none begins any more."""
        self.active = 0
        self.succeeded = 0
        self.failed = 0

    @property
    def has_ready(self) -> bool:
        """Whether an element may begin."""
        if self.is_stopped or self._next == self.width or self.active >= self._parallelism:
            return False
        return self._runs_all or not self.is_lost

    @property
    def is_lost(self) -> bool:
        """Whether it is certain that too few succeed."""
        return self.width - self.failed < self.needed

    @property
    def is_over(self) -> bool:
        """Whether nothing runs and nothing more can begin."""
        return not self.active and not self.has_ready

    def begin(self) -> int:
        """Begins the next element; one may begin."""
        element = self._next
        self._next += 1
        self.states[element] = RUNNING
        self.active += 1
        return element

    def end(self, element: int, state: int) -> None:
        """Ends an element."""
        self.states[element] = state
        self.active -= 1
        if state == SUCCEEDED:
            self.succeeded += 1
        else:
            self.failed += 1

    def stop(self) -> None:
        """Lets none begin any more."""
        self.is_stopped = True
