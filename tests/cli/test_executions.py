"""`lacewing get`, `list`, `watch`, `logs` and `cancel`."""

from __future__ import annotations

import json
import uuid
from pathlib import Path

import pytest

from cli.console import Lacewing, until


def _submitted(lacewing_cli: Lacewing, task: str, *inputs: str) -> str:
    return lacewing_cli("run", "--no-wait", task, *inputs).out.strip()


def test_an_execution_is_shown_in_full(lacewing_cli: Lacewing) -> None:
    """State, attempts, worker, times, cache, labels, inputs and outputs."""
    number = str(uuid.uuid4().int % 10**9)
    name = _submitted(lacewing_cli, "cli.bodies.add", "--a", number, "--label", "team=red", "--priority", "high")
    assert lacewing_cli("watch", name).code == 0
    shown = " ".join(lacewing_cli("get", f"default/development/{name}").out.split())
    for told in (
        f"Execution default/development/{name}",
        "Task default/development/cli.bodies.add@",
        "State SUCCEEDED",
        "Attempts 1",
        "Priority high",
        "Worker test-worker",
        "Cache populated",
        "Labels team=red",
        f"Input a {number}",
        f"Output o0 {int(number) + 2}",
    ):
        assert told in shown
    found = lacewing_cli("get", name, "--output", "json").json
    assert (found["inputs_json"], found["labels"]) == ({"a": int(number)}, {"team": "red"})


def test_an_execution_that_failed_is_shown_with_its_error(lacewing_cli: Lacewing) -> None:
    """And with the stack trace."""
    name = _submitted(lacewing_cli, "cli.bodies.broken")
    assert lacewing_cli("watch", name).code == 1
    shown = lacewing_cli("get", name).out
    assert "Broken: because of bad luck" in shown
    assert "in broken" in shown


@pytest.mark.parametrize("command", ["get", "watch", "logs", "cancel"])
def test_an_execution_that_is_not_there_is_refused(lacewing_cli: Lacewing, command: str) -> None:
    """With what to do next; the exit code is 2, as for something that is no execution at all."""
    ran = lacewing_cli(command, "nothing")
    assert ran.code == 2
    assert "EXECUTION_NOT_FOUND" in ran.err
    assert "lacewing list" in ran.err
    ran = lacewing_cli(command, "a/b")
    assert (ran.code, "'a/b' is no execution" in ran.err) == (2, True)


def test_executions_are_listed_by_what_is_asked_for(lacewing_cli: Lacewing) -> None:
    """Task, version, state, label and time; the last created first."""
    label = f"test={uuid.uuid4().hex}"
    names = [lacewing_cli("run", "--no-wait", "cli.bodies.nothing", "--label", label).out.strip() for _ in range(3)]
    failed = _submitted(lacewing_cli, "cli.bodies.broken", "--label", label)
    for name in (*names, failed):
        lacewing_cli("watch", name)

    def listed(*filters: str) -> list[str]:
        found = lacewing_cli("list", "--label", label, "--output", "json", *filters).json
        return [execution["id"]["name"] for execution in found]

    assert listed() == [failed, *reversed(names)]
    assert listed("--limit", "2") == [failed, names[2]]
    assert listed("--limit", "0") == listed()
    assert listed("--state", "failed") == [failed]
    assert listed("--state", "failed", "--state", "succeeded") == listed()
    assert listed("--task", "cli.bodies.nothing") == listed("--task", "default/development/cli.bodies.nothing")
    assert listed("--task", "cli.bodies.nothing") == names[::-1]
    assert listed("--task", "cli.bodies.nothing@other") == []
    assert listed("--created-after", "1h") == listed()
    assert listed("--created-before", "1h") == []
    assert listed("--created-after", "2999-01-01T00:00:00Z") == []


def test_a_list_is_a_table_for_people(lacewing_cli: Lacewing) -> None:
    """One line for each, whole names, no blanks at the ends; what else there is to know goes to standard error."""
    label = f"test={uuid.uuid4().hex}"
    name = _submitted(lacewing_cli, "cli.bodies.nothing", "--label", label)
    lacewing_cli("watch", name)
    ran = lacewing_cli("list", "--label", label, "--limit", "1")
    heading, row = ran.out.splitlines()
    assert heading.split() == ["EXECUTION", "TASK", "STATE", "CREATED", "TOOK", "ATTEMPTS", "CACHE"]
    assert row.split()[0] == name
    assert "SUCCEEDED" in row
    assert row == row.rstrip()
    assert "--limit 0" in ran.err
    ran = lacewing_cli("list", "--label", "test=none")
    assert (ran.code, ran.out, ran.err) == (0, "", "No executions fit.\n")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--created-after", "yesterday"), "'yesterday' is no time"),
        (("--label", "red"), "'red' has no key and value"),
        (("--state", "dead"), "'dead' is not one of"),
    ],
)
def test_filters_that_are_none_are_bad_usage(lacewing_cli: Lacewing, arguments: tuple[str, str], words: str) -> None:
    """With what would be one."""
    ran = lacewing_cli("list", *arguments)
    assert (ran.code, words in ran.err) == (2, True)


def test_an_execution_is_watched_to_its_end(lacewing_cli: Lacewing, tmp_path: Path) -> None:
    """Each change is a line; the last one is how it ended."""
    name = _submitted(lacewing_cli, "cli.bodies.gated", "--folder", str(tmp_path))
    until((tmp_path / "begun").exists)
    with lacewing_cli.started("watch", name) as process:
        assert process.stdout is not None
        assert process.stdout.readline().startswith("RUNNING")
        (tmp_path / "open").touch()
        rest, errors = process.communicate(timeout=30)
    assert rest.splitlines()[-1].startswith("SUCCEEDED")
    assert (process.returncode, errors) == (0, "")


def test_a_watch_for_programs_is_a_document_on_each_line(lacewing_cli: Lacewing) -> None:
    """The last one has the outputs; one that did not succeed makes the exit code 1."""
    name = _submitted(lacewing_cli, "cli.bodies.bounds", "--values", "4")
    documents = [json.loads(line) for line in lacewing_cli("watch", name, "--output", "json").out.splitlines()]
    assert documents[-1]["state"] == "STATE_SUCCEEDED"
    assert documents[-1]["outputs_json"] == {"low": 4, "high": 4}
    name = _submitted(lacewing_cli, "cli.bodies.broken")
    ran = lacewing_cli("watch", name)
    assert (ran.code, "Broken: because of bad luck" in ran.err) == (1, True)


def test_the_attempts_are_shown(lacewing_cli: Lacewing) -> None:
    """Each with its worker, its error, and what the body wrote."""
    name = lacewing_cli("run", "cli.bodies.flaky", "--output", "json").json["id"]["name"]
    shown = lacewing_cli("logs", name).out
    first, second = (line for line in shown.splitlines() if line.startswith("Attempt"))
    assert "FAILED" in first
    assert "on test-worker" in first
    assert "SUCCEEDED" in second
    assert "ValueError: not yet" in shown
    attempts = lacewing_cli("logs", name, "--output", "json").json
    assert [attempt["state"] for attempt in attempts] == ["STATE_FAILED", "STATE_SUCCEEDED"]
    assert [each["number"] for each in lacewing_cli("logs", name, "--attempt", "2", "--output", "json").json] == [2]
    assert lacewing_cli("logs", name, "--attempt", "3").err == "There is no such attempt.\n"
    name = _submitted(lacewing_cli, "cli.bodies.broken")
    lacewing_cli("watch", name)
    assert "before it breaks" in lacewing_cli("logs", name).out


def test_executions_are_cancelled(lacewing_cli: Lacewing, tmp_path: Path) -> None:
    """With a reason; one that has ended stays as it is; one that is not there is told after the others are done."""
    running = _submitted(lacewing_cli, "cli.bodies.gated", "--folder", str(tmp_path))
    ended = _submitted(lacewing_cli, "cli.bodies.nothing")
    lacewing_cli("watch", ended)
    ran = lacewing_cli("cancel", running, "nothing", ended, "--reason", "not needed")
    assert ran.code == 2
    assert [line.split()[-1] for line in ran.out.splitlines()] == ["STATE", "CANCELLED", "SUCCEEDED"]
    assert "EXECUTION_NOT_FOUND" in ran.err
    assert "Cancelled: not needed" in lacewing_cli("get", running).out
    again = lacewing_cli("cancel", running, "--output", "json")
    assert (again.code, again.json[0]["state"]) == (0, "STATE_CANCELLED")
