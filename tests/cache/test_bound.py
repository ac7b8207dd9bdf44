"""The bound of a project's cache: a model in Python, and the real scripts, under any order of calls."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test

from cache.books import Books, read_books
from lacewing.v1 import audit_pb2, errors_pb2, execution_pb2, execution_service_pb2, identifiers_pb2, project_pb2
from lacewing_server.domain import lifecycle, limits
from lacewing_server.domain.errors import DomainError
from lacewing_server.domain.task_version import ReadyTask
from lacewing_server.engine.cache_keeper import CacheKeeper
from lacewing_server.store.redis import codec
from lacewing_server.store.redis.transitions import Outcome, lease_guard
from store.tasks import inputs_of, spec, task_id
from store.time_machine import advance
from store.world import Engine, World

NAMES = (("default", "one"), ("default", "two"), ("shop", "one"))
BOUND = 8_000
ONE_SCRIPT = 8
"""Entries that one fill evicts at most."""
Status = execution_pb2.CacheInfo


@pytest.fixture(scope="module")
def servers() -> Iterator[World]:
    """Two servers without a wire, on a Valkey of their own."""
    # The prefix is short because the path of a unix socket has about a hundred characters at most.
    with tempfile.TemporaryDirectory(prefix="lw") as directory:
        world = World(Path(directory))
        yield world
        world.close()


@dataclass
class Entry:
    """What the model knows of a cache entry."""

    project: str
    size: int
    used: int
    expires: int | None


class Bound(RuleBasedStateMachine):
    """Fills, hits, evictions, expiry and changes of the bound, in any order."""

    world: ClassVar[World]

    def __init__(self) -> None:
        super().__init__()
        self.world.run(self.world.clear())
        self.engine: Engine = self.world.engines[0]
        self.keeper = CacheKeeper(self.engine.store, self.engine.tasks.cache_bound)
        self.tasks: dict[tuple[str, str], ReadyTask] = {}
        self.books: dict[bytes, Entry] = {}
        self.over: set[str] = set()
        self.evictions = dict.fromkeys(("default", "shop"), 0)
        self.bounds = dict.fromkeys(("default", "shop"), BOUND)
        self.now = 0
        self.world.run(self._set_up())

    async def _set_up(self) -> None:
        await self.engine.projects.create(project_pb2.Project(id="shop"))
        for project in self.bounds:
            await self._set_bound(project)
        for project, name in NAMES:
            task = identifiers_pb2.TaskId(project=project, domain="development", name=name)
            version, _, _ = await self.engine.tasks.register(task, spec(cached=True), validate_only=False)
            self.tasks[project, name] = (await self.engine.tasks.resolve(version.id))[0]
        await self.engine.dispatch.load_catalog()

    async def _set_bound(self, project: str) -> None:
        found = project_pb2.Project(id=project)
        found.limits.cache_max_bytes = self.bounds[project]
        await self.engine.projects.update(found)
        self.tasks = {key: (await self.engine.tasks.resolve(task.id))[0] for key, task in self.tasks.items()}

    def _key(self, task: ReadyTask, n: int) -> bytes:
        return task.cache_key(task.inputs.complete(inputs_of(n)))

    async def _pass(self, seconds: int) -> None:
        """So that what follows is later, and not in the same millisecond."""
        await advance(self.engine.store, seconds)
        self.now += seconds

    @rule(
        name=st.sampled_from(NAMES),
        n=st.integers(0, 4),
        size=st.sampled_from([0, 0, 0, 100, 1_000, 5_000, 9_000]),
        ttl=st.sampled_from([0, 0, 100]),
    )
    def fill(self, name, n, size, ttl):
        """An execution succeeds, whatever was in the cache."""
        task = self.tasks[name]
        self.world.run(self._fill(task, n, b"x" * size, ttl))

    async def _fill(self, task: ReadyTask, n: int, outputs: bytes, ttl: int) -> None:
        await self._pass(1)
        request = execution_service_pb2.ExecuteRequest(
            task=task.id, inputs=inputs_of(n), cache_mode=execution_pb2.CACHE_MODE_REFRESH
        )
        await self.engine.executions.create(request, record_hit=True)
        leased = await self.engine.claim(task)
        assert leased is not None
        entry = codec.pack_entry(b"", b"", outputs)
        project = task.id.project
        outcome = Outcome(
            lifecycle.SUCCEEDED,
            outputs,
            cache_status=Status.STATUS_POPULATED,
            entry=entry,
            entry_ttl=ttl * 1_000,
            project=project,
            cache_max=self.bounds[project],
        )
        applied = await self.engine.store.finish(leased.id, lease_guard(leased.nonce), outcome)
        key = self._key(task, n)
        self.books.pop(key, None)
        counted = len(entry) + limits.CACHE_ENTRY_OVERHEAD_BYTES
        if counted > self.bounds[project]:
            assert applied.cache_status == Status.STATUS_PUT_FAILURE
            return
        assert applied.cache_status == Status.STATUS_POPULATED
        self.books[key] = Entry(project, counted, self.now, self.now + ttl if ttl else None)
        self._make_room(project, key, ONE_SCRIPT)

    def _make_room(self, project: str, own: bytes | None, most: int) -> None:
        def total() -> int:
            return sum(each.size for each in self.books.values() if each.project == project)

        for _ in range(most):
            others = [key for key, each in self.books.items() if each.project == project and key != own]
            if total() <= self.bounds[project] or not others:
                return
            oldest = min(others, key=lambda key: self.books[key].used)
            self.evictions[project] += self._is_alive(self.books.pop(oldest))
        self.over.add(project)

    def _is_alive(self, entry: Entry) -> bool:
        return entry.expires is None or entry.expires > self.now

    @rule(name=st.sampled_from(NAMES), n=st.integers(0, 4), after=st.sampled_from([1, 25, 65]))
    def look_up(self, name, n, after):
        """A request finds an entry exactly if the model has it; a use counts once a minute."""
        task = self.tasks[name]
        hit = self.world.run(self._look_up(task, n, after))
        entry = self.books.get(self._key(task, n))
        assert hit == (entry is not None and self._is_alive(entry))
        if hit and entry is not None and self.now - entry.used >= limits.CACHE_TOUCH_SECONDS:
            entry.used = self.now

    async def _look_up(self, task: ReadyTask, n: int, after: int) -> bool:
        await self._pass(after)
        request = execution_service_pb2.ExecuteRequest(
            task=task.id, inputs=inputs_of(n), cache_mode=execution_pb2.CACHE_MODE_ONLY
        )
        try:
            return (await self.engine.executions.create(request, record_hit=False)).hit is not None
        except DomainError as error:
            if error.reason != errors_pb2.ERROR_REASON_CACHE_ENTRY_NOT_FOUND:
                raise
            return False

    @rule(name=st.sampled_from(NAMES), n=st.integers(0, 4))
    def evict(self, name, n):
        """An operator evicts an entry."""
        task = self.tasks[name]
        key = self._key(task, n)
        evicted = self.world.run(self.engine.store.run("evict", task.ref, key))
        entry = self.books.pop(key, None)
        assert evicted == (entry is not None and self._is_alive(entry))

    @rule(name=st.sampled_from(NAMES), n=st.integers(0, 4), length=st.integers(1, 2_000))
    def mark(self, name, n, length):
        """An audit adds a finding to an entry."""
        task = self.tasks[name]
        key = self._key(task, n)
        self.world.run(self._mark(key, bytes(length)))

    async def _mark(self, key: bytes, addition: bytes) -> None:
        value = await self.engine.store.call("GET", self.engine.store.keys.cache_entry(key))
        found = codec.unpack_entry(value) if value else None
        if found is not None:
            assert await self.engine.store.run("mark", key, found.create_ms, len(found.meta), addition)
            assert not await self.engine.store.run("mark", key, found.create_ms, len(found.meta), addition)
            entry = self.books[key]
            entry.size += len(addition)
            self.over.add(entry.project)

    @rule(seconds=st.sampled_from([25, 70, 500]))
    def wait(self, seconds):
        """Time passes."""
        self.world.run(self._pass(seconds))

    @rule(project=st.sampled_from(["default", "shop"]), bound=st.sampled_from([2_000, BOUND, 20_000]))
    def change_bound(self, project, bound):
        """An operator sets the bound."""
        self.bounds[project] = bound
        self.world.run(self._set_bound(project))
        self.over.add(project)

    @rule()
    def keep(self):
        """The background work takes out what has expired, and brings every project within its bound."""
        self.world.run(self.keeper.step())
        for key in [key for key, each in self.books.items() if not self._is_alive(each)]:
            del self.books[key]
        for project in sorted(self.over):
            self._make_room(project, None, 1_000)
        self.over.clear()
        for project, bound in self.bounds.items():
            assert sum(each.size for each in self.books.values() if each.project == project) <= bound

    @invariant()
    def the_books_are_those_of_the_model(self):
        """Entries, sizes, order of use, sums and evictions."""
        books: Books = self.world.run(read_books(self.engine.store))
        assert books.sizes == {key: each.size for key, each in self.books.items()}
        assert books.alive == {key for key, each in self.books.items() if self._is_alive(each)}
        assert books.expiring == {key for key, each in self.books.items() if each.expires is not None}
        for project in self.bounds:
            used = {key: each.used for key, each in self.books.items() if each.project == project}
            assert [key for key in books.sizes if books.projects[key] == project] == sorted(used, key=used.__getitem__)
            assert books.statistics.get(project, {}).get("evictions", 0) == self.evictions[project]


def test_the_bound_is_kept_whatever_is_done(servers: World) -> None:
    """The least recently used goes first, the books are exact, and no script does more than it may."""
    Bound.world = servers
    run_state_machine_as_test(
        Bound,
        settings=settings(
            max_examples=25,
            stateful_step_count=60,
            deadline=None,
            derandomize=True,
            phases=(Phase.explicit, Phase.generate),
            suppress_health_check=list(HealthCheck),
        ),
    )


def test_a_finding_is_bounded(servers: World) -> None:
    """What is added to an entry may not outgrow its header."""

    async def scenario() -> None:
        engine = servers.engines[0]
        key = b"k" * 16
        entry = codec.pack_entry(b"", b"", b"")
        await engine.store.call("SET", engine.store.keys.cache_entry(key), entry)
        finding = audit_pb2.Nondeterminism(key="x" * 65_536).SerializeToString()
        assert not await engine.store.run("mark", key, 0, 0, finding)
        assert await engine.store.call("GET", engine.store.keys.cache_entry(key)) == entry

    servers.run(scenario())


def test_what_one_server_sets_is_known_to_the_others(servers: World) -> None:
    """Defaults and bound reach another server's tasks, which it has at hand already, by news."""

    async def scenario() -> None:
        first, second = servers.engines
        await first.register("shared", spec(cached=True))
        before = (await second.tasks.resolve(task_id("shared")))[0]
        project = project_pb2.Project(id="default")
        project.defaults.task.cache_ttl.FromSeconds(7)
        project.limits.cache_max_bytes = 1_234_567
        await first.projects.update(project)
        assert (await first.tasks.resolve(task_id("shared")))[0].cache_ttl == 7_000
        async with asyncio.timeout(10):
            while (after := (await second.tasks.resolve(task_id("shared")))[0]) is before:
                await asyncio.sleep(0.005)
        assert (after.cache_ttl, after.cache_max) == (7_000, 1_234_567)

    servers.run(servers.clear())
    servers.run(scenario())
