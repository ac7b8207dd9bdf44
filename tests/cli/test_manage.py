"""`lacewing register`, `tasks`, `cache`, `workers` and `projects`."""

from __future__ import annotations

import uuid
from pathlib import Path

import pytest

from cli.console import Lacewing, until

SHELF = """
from lacewing import task

@task(timeout={timeout})
def {name}(a: int = 1) -> int:
    \"\"\"Is on a shelf.\"\"\"
    return a
"""


@pytest.fixture
def shelf(tmp_path: Path) -> Path:
    """A module with one task, of names that no other test has."""
    module = tmp_path / f"shelf_{uuid.uuid4().hex[:12]}.py"
    module.write_text(SHELF.format(timeout=60, name="book"))
    return module


def test_tasks_are_registered_once(lacewing_cli: Lacewing, shelf: Path) -> None:
    """What was created and what was there is told."""
    first = lacewing_cli.program("register", str(shelf))
    assert first.code == 0
    assert [line.split()[-1] for line in first.out.splitlines()] == ["RESULT", "created"]
    assert f"default/development/{shelf.stem}.book@" in first.out
    again = lacewing_cli.program("register", str(shelf), "--output", "json")
    (response,) = again.json
    assert response["created"] is False
    assert response["task_version"]["id"]["name"] == f"{shelf.stem}.book"


def test_a_version_never_changes(lacewing_cli: Lacewing, shelf: Path) -> None:
    """Registering another spec under it is refused with the fields that differ, and with what to do."""
    assert lacewing_cli.program("register", str(shelf), "--version", "1").code == 0
    # Of another size: Python takes compiled code for fresh by the second and the size of the source.
    shelf.write_text(SHELF.format(timeout=3600, name="book"))
    ran = lacewing_cli.program("register", str(shelf), "--version", "1")
    assert ran.code == 2
    assert "timeout" in ran.err
    assert "choose another with --version" in ran.err


def test_a_registration_can_be_tried(lacewing_cli: Lacewing, shelf: Path) -> None:
    """Everything is checked, and nothing written; warnings are told."""
    name = "a_name_that_is_longer_than_is_recommended_by_the_server"
    shelf.write_text(SHELF.format(timeout=60, name=name))
    ran = lacewing_cli.program("register", str(shelf), "--validate-only")
    assert (ran.code, "valid" in ran.out) == (0, True)
    assert "Warning: " in ran.err
    assert lacewing_cli("tasks", "get", f"{shelf.stem}.{name}").code == 2


@pytest.mark.parametrize(
    ("module", "words"), [("nowhere.py", "there is no file nowhere.py"), ("json", "json holds no task")]
)
def test_a_module_without_tasks_is_told(lacewing_cli: Lacewing, module: str, words: str) -> None:
    """As any other request that cannot be made."""
    ran = lacewing_cli.program("register", module)
    assert (ran.code, words in ran.err) == (2, True)


def test_tasks_are_listed_and_shown(lacewing_cli: Lacewing) -> None:
    """What each takes, gives and promises."""
    listed = lacewing_cli("tasks", "--prefix", "cli.bodies.a").out
    assert "default/development/cli.bodies.add" in listed
    assert "Adds two numbers." in listed
    assert [
        task["id"]["name"] for task in lacewing_cli("--output", "json", "tasks", "--prefix", "cli.bodies.b").json
    ] == [
        "cli.bodies.bounds",
        "cli.bodies.broken",
    ]
    shown = " ".join(lacewing_cli("tasks", "get", "cli.bodies.add").out.split())
    for told in (
        "Task default/development/cli.bodies.add@",
        "Timeout 1 min",
        "Memoized cache version 1",
        "a INTEGER required The first number.",
        "b INTEGER default 2 The second number.",
        "Outputs: o0 INTEGER",
    ):
        assert told in shown
    shown = " ".join(lacewing_cli("tasks", "get", "cli.bodies.underscored").out.split())
    assert "Losses 1 Queued at most 10 Running at most 3 Starting at most 100 in 1 min" in shown
    found = lacewing_cli("tasks", "get", "cli.bodies.add", "--output", "json").json
    assert found["task_version"]["spec"]["template"]["interface"]["inputs"]["variables"]["a"]["type"] == {
        "simple": "SIMPLE_TYPE_INTEGER"
    }


def test_versions_are_listed(lacewing_cli: Lacewing, shelf: Path) -> None:
    """The last registered one first."""
    for version in ("1", "2"):
        lacewing_cli.program("register", str(shelf), "--version", version)
    versions = lacewing_cli("tasks", "versions", f"{shelf.stem}.book", "--output", "json").json
    assert [version["id"]["version"] for version in versions] == ["2", "1"]
    table = lacewing_cli("tasks", "versions", f"{shelf.stem}.book").out.splitlines()
    assert [line.split()[0] for line in table] == ["VERSION", "2", "1"]


def test_a_task_is_archived_and_restored(lacewing_cli: Lacewing, shelf: Path) -> None:
    """An archived one is listed only when asked for, and takes no executions."""
    lacewing_cli.program("register", str(shelf))
    name = f"{shelf.stem}.book"
    assert "ARCHIVED" in lacewing_cli("tasks", "archive", name).out
    assert lacewing_cli("tasks", "--prefix", name).err == "No tasks. Register yours: lacewing register MODULE\n"
    assert name in lacewing_cli("tasks", "--prefix", name, "--archived").out
    ran = lacewing_cli("run", "--no-wait", name)
    assert ran.code == 2
    assert "lacewing tasks restore" in ran.err
    assert lacewing_cli("tasks", "restore", name, "--output", "json").json["state"] == "STATE_ACTIVE"


def test_the_cache_is_looked_at_and_evicted(lacewing_cli: Lacewing) -> None:
    """Its entries, one entry with its outputs, what it saved."""
    number = uuid.uuid4().int % 10**9
    ran = lacewing_cli("run", "--output", "json", "cli.bodies.add", "--a", str(number))
    key = ran.json["cache"]["key"]
    assert key in lacewing_cli("cache", "list", "cli.bodies.add").out
    assert key in [entry["key"] for entry in lacewing_cli("cache", "list", "cli.bodies.add", "--output", "json").json]
    assert f"Output o0      {number + 2}" in lacewing_cli("cache", "get", key).out
    assert lacewing_cli("cache", "get", key, "--output", "json").json["outputs_json"] == {"o0": number + 2}
    assert lacewing_cli("cache", "evict", "--key", key).out == "Evicted 1 entry.\n"
    ran = lacewing_cli("cache", "get", key)
    assert (ran.code, "lacewing cache list" in ran.err) == (2, True)
    ran = lacewing_cli("cache", "evict", "cli.bodies.add", "--filled-before", "1d", "--output", "json")
    assert ran.json == {"evicted_count": 0}
    assert lacewing_cli("cache", "stats", "cli.bodies.add", "--output", "json").json["task"]["name"] == "cli.bodies.add"
    assert "Misses" in lacewing_cli("cache", "stats", "cli.bodies.add").out
    assert lacewing_cli("cache", "evict").code == 2
    assert lacewing_cli("cache", "list", "cli.bodies.bounds").err == "No entries.\n"


def test_workers_are_listed(lacewing_cli: Lacewing) -> None:
    """A server tells the others of its workers every few moments."""
    until(lambda: lacewing_cli("workers", "--output", "json").json)
    (worker,) = lacewing_cli("workers", "--output", "json").json
    assert (worker["worker"], worker["lease_count"] + worker["credit"]) == ("test-worker", 4)
    assert "test-worker  ready" in lacewing_cli("workers").out


def test_projects_are_created_and_updated(lacewing_cli: Lacewing) -> None:
    """What is not given stays as it is; an archived one is listed only when asked for."""
    project = "p" + uuid.uuid4().hex[:8]
    created = lacewing_cli("projects", "create", project, "--display-name", "Shop", "--output", "json").json
    assert (created["id"], created["display_name"], created["state"]) == (project, "Shop", "STATE_ACTIVE")
    updated = lacewing_cli(
        "projects", "update", project, "--description", "Sells", "--archive", "--output", "json"
    ).json
    assert (updated["display_name"], updated["description"], updated["state"]) == ("Shop", "Sells", "STATE_ARCHIVED")
    assert project not in lacewing_cli("projects").out
    assert project in lacewing_cli("projects", "--archived").out
    assert project in lacewing_cli("--output", "json", "projects", "--archived").out
    ran = lacewing_cli("projects", "create", project)
    assert (ran.code, "PROJECT_ALREADY_EXISTS" in ran.err) == (2, True)
    ran = lacewing_cli("--project", project, "run", "cli.bodies.add", "--a", "1")
    assert (ran.code, "TASK_NOT_FOUND" in ran.err) == (2, True)
    assert "ACTIVE" in lacewing_cli("projects", "update", project, "--restore").out


def test_projects_are_bounded_and_set_free(lacewing_cli: Lacewing) -> None:
    """A bound that is not given stays, and 0 removes it."""
    project = "p" + uuid.uuid4().hex[:8]
    ran = lacewing_cli("projects", "create", project, "--max-queued", "1000", "--rate-limit", "100/1m")
    assert "1,000 waiting, 100 starting in 1 min" in ran.out
    arguments = ("--max-concurrency", "5", "--max-queued", "0", "--rate-limit", "7")
    ran = lacewing_cli("projects", "update", project, *arguments)
    assert "5 running, 7 starting in 1 s" in ran.out
    updated = lacewing_cli("projects", "update", project, "--rate-limit", "0", "--output", "json").json
    assert updated["limits"] == {"max_concurrency": 5}
    ran = lacewing_cli("projects", "update", project, "--rate-limit", "often")
    assert (ran.code, "write COUNT/SPAN" in ran.err) == (2, True)
