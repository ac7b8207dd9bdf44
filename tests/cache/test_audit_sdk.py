"""Audits by the SDK and the command line, with a real server and a real worker."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

import pytest

import lacewing.sync
import lacewing.testing
from cache import bodies
from cli.console import Lacewing
from lacewing import Cache, Client, task
from lacewing.errors import InputsInvalid, RefusedError
from lacewing.v1 import audit_pb2

Result = audit_pb2.AuditResult


@pytest.fixture(scope="module")
def cli() -> Iterator[Lacewing]:
    with (
        lacewing.testing.server() as server,
        lacewing.testing.worker(server.address, bodies.ALL, slots=4, isolation="thread", name="auditor"),
    ):
        yield Lacewing(server.address)


@pytest.fixture
def client(cli: Lacewing) -> Iterator[lacewing.sync.Client]:
    with lacewing.sync.Client(cli.address) as client:
        yield client


def until(condition: Callable[[], bool]) -> None:
    """Waits for what happens in the background."""
    end = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.02)


def key_of(client: lacewing.sync.Client, name: str) -> str:
    """The key of the entry that was filled last."""
    return next(client.cache_entries(name)).key


# --- the SDK


async def test_a_task_is_run_twice(cli: Lacewing) -> None:
    """By itself, with typed inputs, or by its name with plain ones."""
    async with Client(cli.address) as client:
        assert (await client.audit(bodies.steady, 1)).outcome == Result.OUTCOME_MATCH
        assert (await client.audit("cache.bodies.steady", n=1)).outcome == Result.OUTCOME_MATCH
        found = await client.audit(bodies.drifting, n=1)
        assert found.outcome == Result.OUTCOME_MISMATCH
        (difference,) = found.nondeterminism.differences
        assert difference.path == "outputs.o0.items[1].rate"
        assert difference.before.startswith("FLOAT ")
        assert (await client.get_task("cache.bodies.drifting")).task.nondeterminism == found.nondeterminism


async def test_what_cannot_be_audited_is_refused(cli: Lacewing) -> None:
    """Inputs that do not fit, and a task that must not run twice."""
    async with Client(cli.address) as client:
        with pytest.raises(InputsInvalid):
            await client.audit("cache.bodies.steady", n="one")
        with pytest.raises(RefusedError, match="not idempotent"):
            await client.audit(bodies.once, 1)


async def test_large_outputs_are_compared_by_their_content(cli: Lacewing) -> None:
    """They travel by reference, and the references say what they refer to."""
    async with Client(cli.address) as client:
        assert (await client.audit(bodies.large, 200_000)).outcome == Result.OUTCOME_MATCH
        found = await client.audit(bodies.large, 200_000, drifts=True)
        assert found.outcome == Result.OUTCOME_MISMATCH
        (difference,) = found.nondeterminism.differences
        assert difference.path == "outputs.o0"
        assert difference.before != difference.after
        await client.execute(bodies.large, 300_000)
        key = (await anext(client.cache_entries(bodies.large))).key
        assert (await client.audit_entry(key)).outcome == Result.OUTCOME_MATCH


def test_entries_are_run_again(client: lacewing.sync.Client) -> None:
    """One by its key, or some of them; the statistics count."""
    for n in range(3):
        client.execute(bodies.steady, n)
    assert client.audit_entry(key_of(client, "cache.bodies.steady")).outcome == Result.OUTCOME_MATCH
    results = list(client.audit_sample(bodies.steady, 2))
    assert [each.outcome for each in results] == [Result.OUTCOME_MATCH] * 2
    until(lambda: client.cache_stats(bodies.steady).audit_count >= 3)
    assert client.cache_stats(bodies.steady).mismatch_count == 0
    assert client.cache_stats(project="default").audit_count >= 3
    assert client.cache_stats(project="default").size_bytes > 0


def test_a_declared_share_of_hits_is_audited(cli: Lacewing, client: lacewing.sync.Client) -> None:
    """``Cache(audit_rate=1)``: the hit gives what is memoized, and the task is found out."""
    first = client.execute(bodies.watched, 1)
    assert client.execute(bodies.watched, 1) == first
    until(lambda: client.get_task("cache.bodies.watched").task.HasField("nondeterminism"))
    assert client.cache_entry(key_of(client, "cache.bodies.watched")).HasField("nondeterminism")
    assert client.execute(bodies.watched, 1) == first
    assert "100.000% of hits are audited" in cli("tasks", "get", "cache.bodies.watched").out


def test_the_rate_is_a_share() -> None:
    """It is checked where it is declared, and left out of the spec where it is 0."""
    assert bodies.watched.spec.policy.cache.audit_rate == 1
    assert not bodies.steady.spec.policy.HasField("cache")
    for rate in (-0.1, 1.5, float("nan")):
        with pytest.raises(ValueError, match="from 0 to 1"):
            task(cache=Cache(audit_rate=rate))(bodies.steady.function)


# --- the command line


def test_the_command_line_runs_twice(cli: Lacewing) -> None:
    """Code 0 and a summary if the outputs are the same; else code 1 and a table of what differs."""
    ran = cli("audit", "cache.bodies.steady", "--inputs-json", '{"n": 5}')
    assert (ran.code, ran.out, ran.err) == (0, "", "//cache.bodies.steady: 1 match\n")
    ran = cli("audit", "cache.bodies.drifting", "--inputs-json", '{"n": 5}')
    assert ran.code == 1
    heading, row = ran.out.splitlines()
    assert heading.split() == ["AUDITED", "DIFFERS", "AT", "BEFORE", "NOW"]
    assert row.startswith("run twice  outputs.o0.items[1].rate  FLOAT ")
    assert ran.err == "//cache.bodies.drifting: 1 mismatch\n"


def test_the_command_line_audits_entries(cli: Lacewing, client: lacewing.sync.Client) -> None:
    """One of the task, or a sample; what is found shows in the lists, and in JSON."""
    client.execute(bodies.drifting, 7)
    key = key_of(client, "cache.bodies.drifting")
    ran = cli("audit", "cache.bodies.drifting", "--entry", key)
    assert ran.code == 1
    assert ran.out.splitlines()[1].startswith(key)
    ran = cli("audit", "cache.bodies.drifting", "--sample", "5", "--output", "json")
    assert ran.code == 1
    (document,) = ran.json
    assert (document["outcome"], document["key"]) == ("OUTCOME_MISMATCH", key)
    assert document["nondeterminism"]["differences"][0]["path"] == "outputs.o0.items[1].rate"
    assert "NONDETERMINISTIC" in cli("cache", "list", "cache.bodies.drifting").out
    assert "outputs.o0.items[1].rate: FLOAT" in cli("cache", "get", key).out
    assert "ACTIVE, NONDETERMINISTIC" in cli("tasks").out
    assert "NONDETERMINISTIC" in cli("tasks", "versions", "cache.bodies.drifting").out
    assert "outputs.o0.items[1].rate: FLOAT" in cli("tasks", "get", "cache.bodies.drifting").out
    until(lambda: "of them found other outputs" in cli("cache", "stats", "cache.bodies.drifting").out)
    assert "Project" in cli("cache", "stats").out


def test_a_run_that_fails_is_told(cli: Lacewing) -> None:
    """Code 1, and why."""
    ran = cli("audit", "cache.bodies.broken", "--inputs-json", '{"n": 5}')
    assert ran.code == 1
    assert "run twice: the run ended FAILED: Broken: cannot do 5" in ran.err
    assert "lacewing logs default/development/" in ran.err


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["cache.bodies.steady", "--sample", "1", "--inputs-json", "{}"], "give only one of"),
        (["cache.bodies.steady", "--sample", "0"], "0 is not in the range"),
        (["cache.bodies.steady", "--entry", "0" * 32], "there is no cache entry"),
        (["cache.bodies.once", "--inputs-json", '{"n": 1}'], "not idempotent"),
        (["cache.bodies.steady", "--inputs-json", "[]"], "no JSON object"),
    ],
)
def test_what_cannot_be_asked_for(cli: Lacewing, arguments: list[str], told: str) -> None:
    """Code 2, and what is wrong."""
    ran = cli("audit", *arguments)
    assert ran.code == 2
    assert told in ran.err


def test_an_entry_is_of_the_task_that_is_named(cli: Lacewing, client: lacewing.sync.Client) -> None:
    """A key of another task is a slip."""
    client.execute(bodies.steady, 9)
    ran = cli("audit", "cache.bodies.drifting", "--entry", key_of(client, "cache.bodies.steady"))
    assert ran.code == 2
    assert "is no entry of cache.bodies.drifting" in ran.err
    assert not cli("audit", "cache.bodies.broken", "--sample", "3").code


# --- projects


def test_projects_have_defaults_and_a_bound_of_their_cache(cli: Lacewing) -> None:
    """Given one by one, shown on one line, and taken away again."""
    ran = cli("projects", "create", "mill", "--cache-max-bytes", "1000", "--default", "attempt-timeout=10m")
    assert ran.code == 0
    assert "1,000 bytes of cache" in ran.out
    assert "attempt-timeout 10 min" in ran.out
    arguments = ["--default", "production:retention=30d", "--default", "max_losses=5", "--default", "attempt-timeout="]
    ran = cli("projects", "update", "mill", *arguments)
    assert "max-losses 5, production:retention 30 d" in ran.out
    assert "attempt-timeout" not in ran.out
    assert "1,000 bytes of cache" in ran.out
    arguments = ["--default", "production:retention=", "--default", "max_losses=", "--cache-max-bytes", "0"]
    document = cli("projects", "update", "mill", *arguments, "--output", "json").json
    assert document["defaults"] == {"task": {}, "domains": {}}
    assert "cache_max_bytes" not in document["limits"]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("deadline", "is no default: write NAME=VALUE"),
        ("speed=1", "is no default: write NAME=VALUE"),
        ("a:b:deadline=1s", "is no default: write NAME=VALUE"),
        ("deadline=soon", "is no span of time"),
        ("max_losses=few", "is no number of losses"),
        ("moon:deadline=1s", "is no domain"),
    ],
)
def test_a_default_that_is_none(cli: Lacewing, text: str, told: str) -> None:
    """Code 2, and how to write it."""
    ran = cli("projects", "update", "default", "--default", text)
    assert ran.code == 2
    assert told in ran.err
