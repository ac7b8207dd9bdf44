"""What must hold of everything in Redis, whatever happened before."""

from __future__ import annotations

import asyncio
import collections
from collections.abc import Mapping
from typing import Any

from cache.books import read_books
from lacewing_server.domain import lifecycle
from lacewing_server.domain.record import (
    BIG_INPUTS,
    GRAPH,
    NO_KEY,
    NO_SERVER,
    PROJECT_LIMITED,
    SERIALIZED,
    TASK_LIMITED,
    ExecutionRecord,
)
from lacewing_server.domain.task_version import ReadyTask
from lacewing_server.store.redis import codec
from lacewing_server.store.redis.store import Store
from store.world import records, value_of

_JUDGED_AGAIN_MS = 1_000


class Keyspace:
    """All that Redis holds, read at one moment."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._prefix = store.keys.prefix
        self.records: dict[bytes, ExecutionRecord] = {}
        self.queued: collections.Counter[bytes] = collections.Counter()
        self.running: collections.Counter[bytes] = collections.Counter()
        self.owners: dict[bytes, bytes] = {}
        self.waiting: dict[bytes, list[bytes]] = {}
        self.entries: dict[bytes, bytes] = {}
        self.timer: dict[bytes, int] = {}
        self.lives: dict[bytes, int] = {}
        self.attempts: dict[bytes, int] = {}
        self.holders: dict[bytes, set[bytes]] = {}
        self.waiting_counts: dict[bytes, int] = {}
        self.children: dict[bytes, list[bytes]] = {}
        self.to_close: set[bytes] = set()
        self.now_ms = 0

    async def read(self) -> Keyspace:
        """Reads everything."""
        call, size = self._store.call, len(self._prefix)
        names = [key[size:] for key in await call("KEYS", self._prefix + b"*")]
        self.lives = dict(zip(names, await self._all("PTTL", names), strict=True))
        self.records = await records(self._store)
        for name, ids in await self._lists("q:", names, "ZRANGE", 0, -1):
            assert all(self.records[each].queue_ref == name[2:] for each in ids), "queued where it does not belong"
            self.queued.update(ids)
        for name, members in await self._lists("run:", names, "SMEMBERS"):
            self.running.update(members)
            self.owners |= dict.fromkeys(members, name[4:])
        for name, waiters in await self._lists("mw:", names, "LRANGE", 0, -1):
            self.waiting[name[3:]] = [each[:12] for each in waiters]
        self.entries = {name[2:]: value for name, value in await self._lists("m:", names, "GET")}
        self.attempts = {name[2:]: length for name, length in await self._lists("a:", names, "LLEN")}
        self.holders = {name[2:]: set(ids) for name, ids in await self._lists("c:", names, "SMEMBERS")}
        self.waiting_counts = {name[2:]: int(count) for name, count in await self._lists("n:", names, "GET")}
        indexes = await self._lists("ix:", [name for name in names if name[3:] in self.records], "ZRANGE", 0, -1)
        self.children = {name[3:]: ids for name, ids in indexes}
        self.to_close = set(await call("ZRANGE", self._store.keys.graphs_to_close, 0, -1))
        timer = await call("ZRANGE", self._store.keys.timer, 0, -1, "WITHSCORES")
        self.timer = {timer[i]: int(float(timer[i + 1])) for i in range(0, len(timer), 2)}
        time = await call("TIME")
        await read_books(self._store)
        self.now_ms = int(time[0]) * 1000 + int(time[1]) // 1000
        return self

    async def _all(self, command: str, names: list[bytes], *rest: int) -> list[Any]:
        return await asyncio.gather(*(self._store.call(command, self._prefix + name, *rest) for name in names))

    async def _lists(self, kind: str, names: list[bytes], command: str, *rest: int) -> list[tuple[bytes, Any]]:
        chosen = [name for name in names if name.startswith(kind.encode())]
        return list(zip(chosen, await self._all(command, chosen, *rest), strict=True))

    def check(self, tasks: Mapping[bytes, ReadyTask]) -> None:
        """Asserts all invariants; ``tasks`` by their short identity."""
        for execution_id, record in self.records.items():
            self._check_counts(record, tasks[record.task_ref])
            self._check_places(execution_id, record)
            self._check_clock(execution_id, record)
            self._check_lives(execution_id, record)
        for place in (self.queued, self.running, self.timer):
            assert set(place) <= set(self.records), "what is gone is still listed"
        self._check_bounds()
        self._check_graphs()
        self._check_cache()

    def _check_graphs(self) -> None:
        """What runs of a graph that has ended is noted to be ended, and nothing runs of one that has succeeded."""
        for execution_id in self.to_close & set(self.records):
            record = self.records[execution_id]
            assert record.flags & GRAPH
            assert lifecycle.is_terminal(record.state)
            assert record.state != lifecycle.SUCCEEDED
        for parent, children in self.children.items():
            record = self.records[parent]
            assert record.flags & GRAPH
            found = [self.records[child] for child in children if child in self.records]
            if lifecycle.is_terminal(record.state) and any(not lifecycle.is_terminal(each.state) for each in found):
                assert parent in self.to_close, "what runs of it is never ended"

    def _check_bounds(self) -> None:
        """What waits is counted by project, and what holds a place of a bound is running."""
        waits = {lifecycle.QUEUED, lifecycle.WAITING}
        waiting = collections.Counter(each.project_ref for each in self.records.values() if each.state in waits)
        assert {ref: count for ref, count in self.waiting_counts.items() if count} == dict(waiting)
        expected: dict[bytes, set[bytes]] = {}
        for execution_id, record in self.records.items():
            for flag, ref in ((TASK_LIMITED, record.task_ref), (PROJECT_LIMITED, record.project_ref)):
                if record.flags & flag:
                    assert record.state == lifecycle.RUNNING
                    expected.setdefault(ref, set()).add(execution_id)
        assert self.holders == expected

    def _check_counts(self, record: ExecutionRecord, task: ReadyTask) -> None:
        assert record.failures <= task.max_failures
        assert record.losses <= task.max_losses + 1
        ended = record.failures + record.losses
        ran_to_its_end = record.state in {lifecycle.SUCCEEDED, lifecycle.CANCELLED, lifecycle.TIMED_OUT}
        goes_on = record.state == lifecycle.RUNNING or bool(record.flags & GRAPH)
        assert ended <= record.attempt <= ended + (goes_on or ran_to_its_end)
        if record.state == lifecycle.RUNNING:
            assert record.attempt == ended + 1
        # Every attempt that failed, timed out or was lost is kept.
        assert ended <= self.attempts.get(record.id, 0) <= record.attempt

    def _check_places(self, execution_id: bytes, record: ExecutionRecord) -> None:
        """An execution is where its state says, once, and nowhere else."""
        ready = record.state == lifecycle.QUEUED and not record.not_before_ms
        assert self.queued[execution_id] == ready
        held = record.state == lifecycle.RUNNING and record.owner != NO_SERVER
        assert self.running[execution_id] == held
        if held:
            assert self.owners[execution_id] == record.owner
        if record.state == lifecycle.RUNNING:
            assert held != bool(record.lease_expire_ms), "a lease has a stream or an end"
        else:
            assert record.owner == NO_SERVER
            assert record.lease_expire_ms == 0
        waits = record.state == lifecycle.WAITING
        listed = [key for key, ids in self.waiting.items() if execution_id in ids]
        if waits:
            assert listed == [record.cache_key]
            assert self.waiting[record.cache_key].count(execution_id) == 1

    def _check_clock(self, execution_id: bytes, record: ExecutionRecord) -> None:
        times = [record.deadline_ms]
        is_graph = bool(record.flags & GRAPH)
        if record.state == lifecycle.QUEUED:
            if record.not_before_ms:
                times.append(record.not_before_ms)
            elif record.queue_timeout and not (is_graph and record.attempt):
                times.append(record.queued_ms + record.queue_timeout)
        elif record.state == lifecycle.RUNNING and not is_graph:
            times += [record.start_ms + record.attempt_timeout, record.lease_expire_ms]
        elif lifecycle.is_terminal(record.state):
            times = []
        due = min((time for time in times if time), default=None)
        found = self.timer.get(execution_id)
        assert (found is None) == (due is None), "a clock that nobody looks at, or that nothing stops"
        if found is not None and due is not None:
            # A clock that is being judged is looked at again after a second.
            assert found == due or due <= found <= self.now_ms + _JUDGED_AGAIN_MS

    def _check_lives(self, execution_id: bytes, record: ExecutionRecord) -> None:
        terminal = lifecycle.is_terminal(record.state)
        for kind in (b"x:", b"a:", b"b:", b"g:", b"ix:"):
            life = self.lives.get(kind + execution_id)
            if life is not None:
                assert (life > 0) == terminal, f"{kind!r} of an execution in state {record.state} lives {life} ms"
                assert life <= record.retention
        if terminal:
            assert b"w:" + execution_id not in self.lives
        if not record.flags & GRAPH:
            assert b"g:" + execution_id not in self.lives
        if record.flags & BIG_INPUTS:
            assert b"b:" + execution_id in self.lives

    def _check_cache(self) -> None:
        holders = {}
        for key, value in self.entries.items():
            entry = codec.unpack_entry(value)
            if entry is None:
                holder = self.records[value[2:14]]
                assert holder.cache_key == key
                assert not lifecycle.is_terminal(holder.state), "a reservation of what has ended"
                assert holder.state != lifecycle.WAITING
                assert holder.flags & SERIALIZED
                holders[key] = holder.id
        for key, ids in self.waiting.items():
            alive = [each for each in ids if each in self.records and self.records[each].state == lifecycle.WAITING]
            assert not alive or key in holders or key in self.entries, "waits for nobody"
        for record in self.records.values():
            if record.state == lifecycle.SUCCEEDED and record.cache_key == NO_KEY:
                assert value_of(record.outcome) >= 0
