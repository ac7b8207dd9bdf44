"""`lacewing run`: a command for each task."""

from __future__ import annotations

import json
import signal
import uuid
from pathlib import Path

import pytest
from google.protobuf import json_format

from cli import bodies
from cli.console import Lacewing, until
from lacewing.v1 import execution_pb2


def test_outputs_are_printed_as_plain_values(lacewing_cli: Lacewing) -> None:
    """One output is itself, a text without quotes; several are a JSON object; none is nothing."""
    assert lacewing_cli("run", "cli.bodies.add", "--a", "40").out == "42\n"
    assert lacewing_cli("run", "cli.bodies.named", "--name", "it").out == "it 1 none\n"
    assert lacewing_cli("run", "cli.bodies.bounds", "--values", "3", "--values", "-1").json == {"low": -1, "high": 3}
    assert lacewing_cli("run", "cli.bodies.nothing")[:2] == (0, "")


def test_the_program_prints_the_result_and_nothing_else(lacewing_cli: Lacewing) -> None:
    """As a script would use it."""
    assert lacewing_cli.program("run", "cli.bodies.add", "--a", "40") == (0, "42\n", "")


def test_json_is_the_message_of_the_protocol(lacewing_cli: Lacewing) -> None:
    """Plain values are where a plain answer of the server has them."""
    ran = lacewing_cli("--output", "json", "run", "default/development/cli.bodies.add", "--a", "40")
    execution = json_format.ParseDict(ran.json, execution_pb2.Execution())
    assert execution.state == execution_pb2.Execution.STATE_SUCCEEDED
    assert (ran.json["inputs_json"], ran.json["outputs_json"]) == ({"a": 40}, {"o0": 42})
    assert "inputs" not in ran.json


def test_help_tells_what_a_task_takes_and_gives(lacewing_cli: Lacewing) -> None:
    """Types, descriptions, defaults, choices, and what is required."""
    text = " ".join(lacewing_cli("run", "cli.bodies.add", "--help").out.split())
    assert "Adds two numbers." in text
    assert "--a INTEGER The first number. [required]" in text
    assert "--b INTEGER The second number. [default: 2]" in text
    assert "Gives INTEGER." in text
    text = " ".join(lacewing_cli("run", "cli.bodies.describe", "--help").out.split())
    for told in (
        "--color [red|green] [required]",
        "--names STRING ... [required]",
        "--order STRUCT A JSON object of count INTEGER, item STRING. [required]",
        "--loud / --no-loud [default: false]",
        "--tags KEY=INTEGER ... [default: {}]",
        "--note STRING [default: null]",
        '--pause DURATION [default: "1s"]',
    ):
        assert told in text


def test_flags_take_values_of_each_type(lacewing_cli: Lacewing, tmp_path: Path) -> None:
    """Lists and maps by repetition, records as JSON or from a file, bytes as base64 or from a file."""
    (tmp_path / "order.json").write_text('{"item": "pear", "count": 3}')
    (tmp_path / "data").write_bytes(b"raw")
    ran = lacewing_cli(
        *("run", "cli.bodies.describe", "--names", "a", "--names", "b c", "--order", f"@{tmp_path}/order.json"),
        *("--color", "green", "--tags", "x=1", "--tags", "y=2", "--loud", "--rate", "1e3", "--note", "null"),
        *("--when", "2024-05-01T12:00:00Z", "--pause", "1.5s", "--data", f"@{tmp_path}/data", "--either", "five"),
    )
    assert ran.json == {
        "names": ["a", "b c"],
        "order": ["pear", 3],
        "color": "green",
        "tags": {"x": 1, "y": 2},
        "loud": True,
        "rate": 1000.0,
        "note": "null",
        "when": "2024-05-01T12:00:00+00:00",
        "pause": 1.5,
        "data": "raw",
        "either": "five",
    }
    ran = lacewing_cli(
        *("run", "cli.bodies.describe", "--names", '["a", "b"]', "--order", '{"item": "fig"}', "--color", "red"),
        *("--tags", '{"z": 9}', "--no-loud", "--data", "aGk=", "--either", "5"),
    )
    assert (ran.json["names"], ran.json["tags"], ran.json["data"], ran.json["either"]) == (
        ["a", "b"],
        {"z": 9},
        "hi",
        5,
    )


def test_flags_have_dashes_for_underscores(lacewing_cli: Lacewing) -> None:
    """The name as it is, is taken too."""
    for flags in (("--dry-run", "--max-items", "3"), ("--dry_run", "--max_items", "3")):
        assert lacewing_cli("run", "cli.bodies.underscored", *flags).out == "True 3\n"
    assert lacewing_cli("run", "cli.bodies.underscored", "--no-dry-run").out == "False 1\n"
    text = " ".join(lacewing_cli("run", "cli.bodies.underscored", "--help").out.split())
    assert "--dry-run / --no-dry-run [required] --max-items INTEGER [default: 1]" in text


def test_values_that_do_not_fit_are_refused_with_their_places(lacewing_cli: Lacewing) -> None:
    """All of them at once, by path; the exit code is 2."""
    arguments = (
        "run",
        "cli.bodies.describe",
        "--names",
        "a",
        "--order",
        '{"item": 3}',
        "--color",
        "blue",
        "--rate",
        "abc",
    )
    ran = lacewing_cli(*arguments)
    assert (ran.code, ran.out) == (2, "")
    assert 'inputs.color       expected one of "red", "green", got STRING "blue"' in ran.err
    assert "inputs.order.item  expected STRING, got INTEGER 3" in ran.err
    assert 'inputs.rate        expected FLOAT, got STRING "abc"' in ran.err
    error = lacewing_cli(*arguments, "--output", "json").error
    assert (error["reason"], error["code"]) == ("INPUTS_INVALID", "INVALID_ARGUMENT")
    assert [each["field"] for each in error["violations"]] == ["inputs.color", "inputs.order.item", "inputs.rate"]


def test_inputs_that_are_missing_or_unknown_are_told(lacewing_cli: Lacewing) -> None:
    """With the nearest name there is, as a flag or in JSON."""
    missing = lacewing_cli("run", "cli.bodies.add")
    assert missing.code == 2
    assert "inputs.a  is missing" in missing.err
    flag = lacewing_cli("run", "cli.bodies.bounds", "--valeus", "1")
    assert flag.code == 2
    assert "Did you mean '--values'" in flag.err
    unknown = lacewing_cli("run", "cli.bodies.bounds", "--inputs-json", '{"valeus": [1]}')
    assert unknown.code == 2
    assert 'did you mean "values"?' in unknown.err


def test_inputs_are_given_as_json(lacewing_cli: Lacewing, tmp_path: Path) -> None:
    """As text, from a file, from standard input; flags come on top."""
    (tmp_path / "inputs.json").write_text('{"a": 1, "b": 1}')
    assert lacewing_cli("run", "cli.bodies.add", "--inputs-json", '{"a": 3}').out == "5\n"
    assert lacewing_cli("run", "cli.bodies.add", "--inputs-json", f"@{tmp_path}/inputs.json").out == "2\n"
    assert lacewing_cli("run", "--inputs-json", f"@{tmp_path}/inputs.json", "cli.bodies.add", "--b", "9").out == "10\n"
    assert lacewing_cli("run", "cli.bodies.add", "--inputs-json", "-", stdin='{"a": 5}').out == "7\n"


@pytest.mark.parametrize(
    ("inputs", "words"),
    [("{", "is no JSON"), ("[1]", "is no JSON object of inputs by name"), ("@/nowhere/at/all", "there is no file")],
)
def test_inputs_that_are_no_json_are_bad_usage(lacewing_cli: Lacewing, inputs: str, words: str) -> None:
    """Told with the option."""
    ran = lacewing_cli("run", "cli.bodies.add", "--inputs-json", inputs)
    assert ran.code == 2
    assert words in ran.err
    assert "--inputs-json" in ran.err


def test_a_file_that_is_not_there_is_told_with_its_flag(lacewing_cli: Lacewing) -> None:
    """And a map without a key."""
    common = ("run", "cli.bodies.describe", "--names", "a", "--color", "red")
    ran = lacewing_cli(*common, "--order", "@nowhere.json")
    assert (ran.code, "'--order': there is no file nowhere.json" in ran.err) == (2, True)
    ran = lacewing_cli(*common, "--order", '{"item": "a"}', "--tags", "x")
    assert (ran.code, "'--tags': 'x' has no key and value" in ran.err) == (2, True)


def test_a_task_that_fails_is_told_with_its_stack_trace(lacewing_cli: Lacewing) -> None:
    """Code, message, where it was raised, what led to it, and what to do next; the exit code is 1."""
    ran = lacewing_cli("run", "cli.bodies.broken", "--why", "rust")
    assert (ran.code, ran.out) == (1, "")
    assert "FAILED after 1 attempt" in ran.err
    assert "Broken: because of rust" in ran.err
    assert "in broken" in ran.err
    assert "Caused by KeyError: 'missing'" in ran.err
    assert "lacewing logs default/development/x" in ran.err
    ran = lacewing_cli("run", "cli.bodies.broken", "--output", "json")
    assert ran.code == 1
    assert (ran.json["state"], ran.json["error"]["code"]) == ("STATE_FAILED", "Broken")
    assert ran.error["error"]["cause"]["code"] == "KeyError"


def test_without_waiting_the_name_is_printed(lacewing_cli: Lacewing) -> None:
    """Of an execution that can be looked at."""
    name = lacewing_cli("run", "--no-wait", "cli.bodies.nothing").out.strip()
    assert lacewing_cli("watch", name).code == 0
    ran = lacewing_cli("run", "cli.bodies.nothing", "--no-wait", "--output", "json")
    assert ran.json["id"]["name"].startswith("x")


def test_the_priority_is_passed_on(lacewing_cli: Lacewing) -> None:
    """High, low, or normal unless said."""
    for arguments, priority in (((), "NORMAL"), (("--priority", "high"), "HIGH"), (("--priority", "low"), "LOW")):
        ran = lacewing_cli(
            "run", "--output", "json", "cli.bodies.add", "--a", "1", "--cache-mode", "bypass", *arguments
        )
        assert ran.json["priority"] == f"PRIORITY_{priority}"


def test_the_cache_is_used_as_said(lacewing_cli: Lacewing) -> None:
    """A hit, a refresh, a bypass, and only the cache."""
    number = str(uuid.uuid4().int % 10**9)

    def status(*arguments: str) -> str:
        ran = lacewing_cli("run", "--output", "json", "cli.bodies.add", "--a", number, *arguments)
        cache: dict[str, str] = ran.json["cache"]
        return cache["status"].removeprefix("STATUS_")

    ran = lacewing_cli("run", "cli.bodies.add", "--a", number, "--cache-mode", "only")
    assert (ran.code, "CACHE_ENTRY_NOT_FOUND" in ran.err) == (2, True)
    assert [status(), status(), status("--cache-mode", "refresh"), status("--cache-mode", "bypass")] == [
        "POPULATED",
        "HIT",
        "POPULATED",
        "DISABLED",
    ]


def test_a_name_and_a_request_id_make_it_safe_to_repeat(lacewing_cli: Lacewing) -> None:
    """The same request gives the execution that exists; another one is refused."""
    name = "x" + uuid.uuid4().hex
    for option, value in (("--name", name), ("--request-id", uuid.uuid4().hex)):
        first, again = (
            lacewing_cli("run", "--output", "json", option, value, "cli.bodies.add", "--a", "1").json for _ in range(2)
        )
        assert first["id"] == again["id"]
        other = lacewing_cli("run", option, value, "cli.bodies.add", "--a", "2")
        assert (other.code, "EXECUTION_CONFLICT" in other.err) == (2, True)
        assert f"lacewing get {first['id']['name']}" in other.err.replace("default/development/", "")


def test_a_wait_that_is_over_leaves_the_execution(lacewing_cli: Lacewing, tmp_path: Path) -> None:
    """The exit code is 3, and how to follow it is told."""
    ran = lacewing_cli("run", "cli.bodies.gated", "--folder", str(tmp_path), "--timeout", "50ms")
    assert ran.code == 3
    (tmp_path / "open").touch()
    assert lacewing_cli("watch", ran.err.split()[-1]).code == 0


def test_a_deadline_ends_the_execution(lacewing_cli: Lacewing, tmp_path: Path) -> None:
    """The exit code is 1: the task did not succeed."""
    ran = lacewing_cli("run", "cli.bodies.gated", "--folder", str(tmp_path), "--deadline", "200ms")
    assert (ran.code, "DeadlineExceeded" in ran.err) == (1, True)


def test_a_queue_that_is_full_is_told(lacewing_cli: Lacewing) -> None:
    """With when to try again, and where to look."""
    # Named after the file: nobody else uses it.
    assert lacewing_cli.program("register", bodies.__file__).code == 0
    first = lacewing_cli("run", "--no-wait", "bodies.waiting")
    ran = lacewing_cli("run", "bodies.waiting", "--a", "1")
    assert (ran.code, "QUEUE_FULL" in ran.err) == (2, True)
    assert "See lacewing workers. Try again in" in ran.err
    assert "s" in lacewing_cli("--output", "json", "run", "bodies.waiting", "--a", "1").error["retry_delay"]
    assert lacewing_cli("cancel", first.out.strip()).code == 0


def test_an_interrupted_wait_says_how_to_go_on(lacewing_cli: Lacewing, tmp_path: Path) -> None:
    """Ctrl-C ends the command with 130; the execution goes on."""
    with lacewing_cli.started("run", "cli.bodies.gated", "--folder", str(tmp_path)) as process:
        until((tmp_path / "begun").exists)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=30)
    assert (process.returncode, out) == (130, "")
    reference = err.splitlines()[0].rpartition("lacewing watch ")[2]
    assert f"End it: lacewing cancel {reference}" in err
    assert lacewing_cli("get", reference, "--output", "json").json["state"] == "STATE_RUNNING"
    (tmp_path / "open").touch()
    assert lacewing_cli("watch", reference).code == 0


def test_inputs_win_over_options_of_the_same_name(lacewing_cli: Lacewing) -> None:
    """After the task a flag is the input; before it, the option."""
    name = "x" + uuid.uuid4().hex
    ran = lacewing_cli(
        *(
            "run",
            "--output",
            "json",
            "--name",
            name,
            "cli.bodies.named",
            "--name",
            "it",
            "--timeout",
            "7",
            "--help",
            "no",
        )
    )
    assert ran.json["id"]["name"] == name
    assert ran.json["outputs_json"] == {"o0": "it 7 no"}


def test_a_task_that_is_not_there_is_told_with_the_nearest(lacewing_cli: Lacewing) -> None:
    """And a version that is not there with what to do."""
    ran = lacewing_cli("run", "cli.bodies.ad", "--a", "1")
    assert ran.code == 2
    assert 'did you mean "cli.bodies.add"?' in ran.err
    ran = lacewing_cli("run", "cli.bodies.add@none", "--a", "1")
    assert (ran.code, "lacewing tasks versions default/development/cli.bodies.add" in ran.err) == (2, True)
    assert lacewing_cli("run", "@1").code == 2


def test_a_shell_completes_tasks_flags_and_choices(lacewing_cli: Lacewing) -> None:
    """From what the server has registered; of a server that is not there, nothing."""

    def completed(*words: str) -> list[str]:
        line = {"COMP_WORDS": " ".join(("lacewing", *words)), "COMP_CWORD": str(len(words))}
        ran = lacewing_cli.program(_LACEWING_COMPLETE="bash_complete", **line)
        assert "Traceback" not in ran.err
        return [each.partition(",")[2] for each in ran.out.split()]

    assert completed("ru") == ["run"]
    assert completed("run", "cli.bodies.a") == ["cli.bodies.add"]
    assert completed("run", "cli.bodies.bounds", "--va") == ["--values"]
    assert completed("run", "cli.bodies.describe", "--color", "g") == ["green"]
    assert completed("--address", "127.0.0.1:1", "run", "cli.bodies.a") == []
    assert completed("--address", "127.0.0.1:1", "run", "cli.bodies.add", "--b") == []


def test_a_person_sees_how_it_stands(lacewing_cli: Lacewing) -> None:
    """On a terminal a line lives while it runs, then it says what came of it, in colour unless that is not wanted."""
    shown = lacewing_cli.on_terminal("run", "cli.bodies.add", "--a", str(uuid.uuid4().int % 10**9))
    assert "SUCCEEDED in" in shown
    assert "cache populated" in shown
    assert "\x1b[32mSUCCEEDED" in lacewing_cli.on_terminal("list", "--limit", "1")
    plain = lacewing_cli.on_terminal("list", "--limit", "1", NO_COLOR="1")
    assert "SUCCEEDED" in plain
    assert "\x1b[3" not in plain


def test_stored_texts_do_not_steer_a_terminal(lacewing_cli: Lacewing) -> None:
    """What a body wrote or raised is shown with its escapes made visible."""
    name = lacewing_cli("run", "--output", "json", "cli.bodies.flaky").json["id"]["name"]
    shown = lacewing_cli.on_terminal("logs", name)
    assert "\\x1b[31mred" in shown
    assert "\x1b[31mred" not in shown
    attempts = json.loads(lacewing_cli("logs", name, "--output", "json").out)
    assert "\x1b[31mred" in attempts[0]["error"]["message"]
