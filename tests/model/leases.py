"""A model of one execution between two servers and two workers, small enough to try every order of events.

What is modelled is what `store/redis/scripts` and `engine` do: one record in Redis, changed by scripts that are atomic
and guarded; what a server keeps in its memory and loses when it is killed; streams that break; workers that come back
with what they hold, to any server; servers that are taken for dead, rightly or not. Between reading a record and the
script that acts on it anything may happen, and any message may be late.

A crashed server comes back as another one, with nothing; a crashed worker likewise. How often each evil happens is
bounded, so that the states can be counted. Bodies always end.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from enum import Enum
from typing import NamedTuple

SERVERS = (0, 1)
WORKERS = (0, 1)
MAX_LOSSES = 1


class State(Enum):
    """The states that matter here; all terminal ones are one."""

    QUEUED = "queued"
    RUNNING = "running"
    ENDED = "ended"


class Guard(NamedTuple):
    """What a script insists on; None: it does not ask. As `admitted` of `prelude.lua`."""

    nonce: int | None = None
    owner: int | None = None
    revision: int | None = None


class Record(NamedTuple):
    """The record in Redis."""

    state: State = State.QUEUED
    revision: int = 1
    nonce: int = 0
    """Of the current lease; after an end by a worker, of the last one. 0: none."""
    owner: int | None = None
    """The server, by the number of its incarnation, whose stream holds the lease."""
    losses: int = 0


class Server(NamedTuple):
    """What a server has in its memory."""

    incarnation: int
    broken: frozenset[int] = frozenset()
    """Nonces of leases whose stream broke: to be given up when the grace is over."""
    read: Record | None = None
    """A record as it was read by a clock, a cancellation or a reaper; it may be old when it is acted on."""
    why: str = ""


class Worker(NamedTuple):
    """A worker."""

    server: int | None = None
    """The server it has a stream to, by the incarnation."""
    offered: int = 0
    """A lease that the server has sent on that stream, and the worker has not received."""
    held: int = 0
    done: bool = False
    """Whether the body of what it holds has ended; the result is not acknowledged yet."""


@dataclass(frozen=True, slots=True)
class World:
    """Everything."""

    record: Record
    servers: tuple[Server, ...]
    workers: tuple[Worker, ...]
    evils: tuple[int, ...]
    """How often each evil may still happen: kills of each server, kills of each worker, breaks of streams, false
    suspicions, clocks that run out or cancellations."""
    nonces: int = 0
    incarnations: int = len(SERVERS)
    ends: int = 0
    """How often an end was recorded, but 2 for more."""
    stale: bool = False
    """Whether the result of a lease was recorded that was not the current one, or what a clock had to say of a record
    that has changed since."""
    robbed: bool = False
    """Whether a lease was lost by a server that no longer holds it."""


Admits = Callable[[Record, Guard], bool]


def admits(record: Record, guard: Guard) -> bool:
    """Whether a script that is guarded so may change the record."""
    if record.state is State.ENDED:
        return False
    if guard.revision is not None:
        return record.revision == guard.revision
    if record.state is not State.RUNNING or record.nonce != guard.nonce:
        return False
    return guard.owner is None or record.owner == guard.owner


KILLS, WORKER_KILLS, BREAKS, SUSPICIONS, JUDGEMENTS = range(5)


def first_world(
    *, kills: int = 0, worker_kills: int = 0, breaks: int = 0, suspicions: int = 0, judgements: int = 0
) -> World:
    """Both workers are connected to a server of their own, and the execution is queued."""
    return World(
        Record(),
        tuple(Server(number) for number in SERVERS),
        tuple(Worker(server=number) for number in WORKERS),
        (kills, worker_kills, breaks, suspicions, judgements),
    )


class Model:
    """All that can happen next.

    Args:
        admits: The guard of the scripts. Another one shows what it is good for.
    """

    def __init__(self, admits: Admits = admits) -> None:
        self._admits = admits

    def steps(self, world: World) -> Iterator[tuple[str, World]]:
        """What may happen next, and the world after it."""
        for index, server in enumerate(world.servers):
            yield from self._server_steps(world, index, server)
        for index, worker in enumerate(world.workers):
            yield from self._worker_steps(world, index, worker)

    # --- servers

    def _server_steps(self, world: World, index: int, server: Server) -> Iterator[tuple[str, World]]:
        record = world.record
        if record.state is State.QUEUED:
            for number, worker in enumerate(world.workers):
                if worker.server == server.incarnation and not worker.held and not worker.offered:
                    yield f"server {index} leases to worker {number}", self._claim(world, server, number)
        for nonce in server.broken:
            forgotten = _with_server(world, index, server._replace(broken=server.broken - {nonce}))
            guard = Guard(nonce=nonce, owner=server.incarnation)
            yield f"server {index} gives up lease {nonce}", self._lose(forgotten, guard, server.incarnation)
        if server.read is None:
            yield from self._readings(world, index, server)
        else:
            acted = _with_server(world, index, server._replace(read=None, why=""))
            if server.why == "reap":
                guard = Guard(nonce=server.read.nonce, owner=server.read.owner)
                yield f"server {index} reaps", self._lose(acted, guard, server.read.owner)
            else:
                guard = Guard(revision=server.read.revision)
                judged = self._end(acted, guard, None)
                is_old = judged.ends > acted.ends and server.read != record
                yield f"server {index} judges", replace(judged, stale=judged.stale or is_old)
        if (spent := _spend(world, KILLS)) is not None:
            yield f"server {index} is killed", _restart_server(spent, index, server)

    def _readings(self, world: World, index: int, server: Server) -> Iterator[tuple[str, World]]:
        record = world.record
        if record.state is State.ENDED:
            return
        if (spent := _spend(world, JUDGEMENTS)) is not None:
            yield (
                f"server {index} reads for a clock",
                _with_server(spent, index, server._replace(read=record, why="judge")),
            )
        if record.state is State.RUNNING and record.owner not in {None, server.incarnation}:
            is_dead = all(other.incarnation != record.owner for other in world.servers)
            suspecting = world if is_dead else _spend(world, SUSPICIONS)
            if suspecting is not None:
                yield (
                    f"server {index} reads what a server that seems dead held",
                    _with_server(suspecting, index, server._replace(read=record, why="reap")),
                )

    # --- workers

    def _worker_steps(self, world: World, index: int, worker: Worker) -> Iterator[tuple[str, World]]:
        server = next((each for each in world.servers if each.incarnation == worker.server), None)
        if server is None:
            for number, target in enumerate(world.servers):
                yield f"worker {index} connects to server {number}", self._attach(world, index, worker, target)
        else:
            if worker.offered:
                received = worker._replace(offered=0, held=worker.offered)
                yield f"worker {index} receives its lease", _with_worker(world, index, received)
            if worker.done:
                recorded = self._end(world, Guard(nonce=worker.held), worker.held)
                yield f"worker {index} reports, and hears of it", _with_worker(recorded, index, Worker(worker.server))
                yield f"worker {index} reports", recorded
            if (spent := _spend(world, BREAKS)) is not None:
                yield (
                    f"the stream of worker {index} breaks",
                    _break(spent, index, worker, worker._replace(server=None, offered=0)),
                )
        if worker.held and not worker.done:
            yield f"the body of worker {index} ends", _with_worker(world, index, worker._replace(done=True))
        if (spent := _spend(world, WORKER_KILLS)) is not None:
            yield f"worker {index} is killed", _break(spent, index, worker, Worker())

    # --- scripts

    def _claim(self, world: World, server: Server, number: int) -> World:
        nonce = world.nonces + 1
        record = world.record._replace(
            state=State.RUNNING, revision=world.record.revision + 1, nonce=nonce, owner=server.incarnation
        )
        worker = world.workers[number]._replace(offered=nonce)
        return _with_worker(replace(world, record=record, nonces=nonce), number, worker)

    def _attach(self, world: World, index: int, worker: Worker, target: Server) -> World:
        connected = worker._replace(server=target.incarnation)
        if not worker.held:
            return _with_worker(world, index, connected)
        if not self._admits(world.record, Guard(nonce=worker.held)):
            # Revoked: the worker stops the body and drops the result. One that was recorded needs no other answer.
            return _with_worker(world, index, Worker(target.incarnation))
        record = world.record._replace(revision=world.record.revision + 1, owner=target.incarnation)
        servers = tuple(
            each._replace(broken=each.broken - {worker.held}) if each.incarnation == target.incarnation else each
            for each in world.servers
        )
        return _with_worker(replace(world, record=record, servers=servers), index, connected)

    def _lose(self, world: World, guard: Guard, holder: int | None) -> World:
        record = world.record
        if not self._admits(record, guard):
            return world
        robbed = world.robbed or record.owner != holder or record.nonce != guard.nonce
        if record.losses >= MAX_LOSSES:
            return replace(self._end(world, guard, None), robbed=robbed)
        record = record._replace(
            state=State.QUEUED, revision=record.revision + 1, nonce=0, owner=None, losses=record.losses + 1
        )
        return replace(world, record=record, robbed=robbed)

    def _end(self, world: World, guard: Guard, token: int | None) -> World:
        record = world.record
        if not self._admits(record, guard):
            return world
        stale = world.stale or (token is not None and token != record.nonce)
        ended = record._replace(state=State.ENDED, revision=record.revision + 1, owner=None)
        return replace(world, record=ended, ends=min(world.ends + 1, 2), stale=stale)


def _with_server(world: World, index: int, server: Server) -> World:
    return replace(world, servers=(*world.servers[:index], server, *world.servers[index + 1 :]))


def _with_worker(world: World, index: int, worker: Worker) -> World:
    return replace(world, workers=(*world.workers[:index], worker, *world.workers[index + 1 :]))


def _spend(world: World, evil: int) -> World | None:
    """The world with one evil less to come; None if there was none."""
    if not world.evils[evil]:
        return None
    return replace(world, evils=(*world.evils[:evil], world.evils[evil] - 1, *world.evils[evil + 1 :]))


def _restart_server(world: World, index: int, server: Server) -> World:
    """Its memory is gone, and its streams are broken; another one comes in its place."""
    workers = tuple(
        each._replace(server=None, offered=0) if each.server == server.incarnation else each for each in world.workers
    )
    started = Server(world.incarnations)
    return _with_server(replace(world, workers=workers, incarnations=world.incarnations + 1), index, started)


def _break(world: World, index: int, before: Worker, after: Worker) -> World:
    """The stream of a worker ends: its server waits for it to come back with what it was given."""
    given = {each for each in (before.held, before.offered) if each}
    servers = tuple(
        each._replace(broken=each.broken | given) if each.incarnation == before.server else each
        for each in world.servers
    )
    return _with_worker(replace(world, servers=servers), index, after)


def canonical(world: World) -> World:
    """The same world with the smallest numbers: worlds that differ in them only have the same future.

    Of a record that was read it counts only whether it is still the same.
    """
    leases: dict[int, int] = {0: 0}
    owners: dict[int | None, int | None] = {None: None} | {
        server.incarnation: index for index, server in enumerate(world.servers)
    }

    def lease(nonce: int) -> int:
        return leases.setdefault(nonce, len(leases))

    def owner(incarnation: int | None) -> int | None:
        return owners.setdefault(incarnation, len(owners) - 1)

    record = world.record._replace(revision=1, nonce=lease(world.record.nonce), owner=owner(world.record.owner))
    workers = tuple(
        each._replace(server=owner(each.server), held=lease(each.held), offered=lease(each.offered))
        for each in world.workers
    )
    servers = []
    for index, server in enumerate(world.servers):
        read = server.read
        if read is not None:
            read = read._replace(
                revision=int(read.revision == world.record.revision), nonce=lease(read.nonce), owner=owner(read.owner)
            )
        broken = frozenset(lease(nonce) for nonce in sorted(server.broken))
        servers.append(server._replace(incarnation=index, broken=broken, read=read))
    return replace(
        world,
        record=record,
        servers=tuple(servers),
        workers=workers,
        nonces=len(leases),
        incarnations=len(owners),
    )
