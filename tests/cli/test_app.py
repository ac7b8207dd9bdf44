"""The command line as a whole: its help, its errors, what it needs."""

from __future__ import annotations

import os
import subprocess
import sys
from importlib.metadata import entry_points
from pathlib import Path

import click
import grpc
import pytest
import rich

import lacewing
from cli.console import PROGRAM, Lacewing
from lacewing import errors
from lacewing.cli._app import app
from lacewing.cli._errors import REMEDIES, exit_code
from lacewing.cli._failures import reported
from lacewing.v1 import errors_pb2, execution_pb2


def test_help_lists_the_commands_by_subject() -> None:
    """Those of the server too, which are found by their entry points."""
    text = subprocess.check_output([PROGRAM, "--help"], text=True)
    for section in ("Run tasks:", "Serve tasks:", "Look and manage:", "Operate a server:", "Exit codes:"):
        assert section in text
    assert {entry.name for entry in entry_points(group="lacewing.commands")} >= {"serve", "config", "inspect"}
    for name in app.list_commands(click.Context(app)):
        assert f"\n  {name} " in text


@pytest.mark.parametrize("arguments", [("--help",), ("--version",)])
def test_help_imports_neither_grpc_nor_rich(arguments: tuple[str, ...]) -> None:
    """It is there at once."""
    code = (
        "import sys, atexit\n"
        "atexit.register(lambda: print({'grpc', 'google.protobuf', 'rich', 'watchfiles'} & sys.modules.keys()))\n"
        f"sys.argv = ['lacewing', *{arguments!r}]\n"
        "from lacewing.cli import main; main()"
    )
    assert subprocess.check_output([sys.executable, "-c", code], text=True).splitlines()[-1] == "set()"


@pytest.mark.parametrize("name", app.list_commands(click.Context(app)))
def test_each_command_explains_itself(name: str) -> None:
    """By a help of its own that is read without a server, and by every one of its options."""
    command = app.get_command(click.Context(app), name)
    assert command is not None
    assert command.help
    for each in (command, *(command.commands.values() if isinstance(command, click.Group) else ())):
        assert each.help
        options = [parameter for parameter in each.params if isinstance(parameter, click.Option)]
        assert [option.name for option in options if not option.help] == []
    ran = subprocess.run([PROGRAM, name, "--help"], capture_output=True, text=True, check=False)
    assert (ran.returncode, ran.stderr) == (0, "")


def test_an_unknown_command_is_told_with_the_nearest(lacewing_cli: Lacewing) -> None:
    """The exit code is that of bad usage."""
    ran = lacewing_cli("lsit")
    assert (ran.code, "Did you mean 'list'?" in ran.err) == (2, True)
    assert "Did you mean" not in lacewing_cli("frobnicate").err


@pytest.mark.parametrize("arguments", [("list",), ("run", "add", "--a", "1"), ("workers",), ("cancel", "x")])
def test_a_server_that_is_not_there_is_told(arguments: tuple[str, ...]) -> None:
    """With how to start one; the exit code is 3."""
    ran = Lacewing("127.0.0.1:1")(*arguments)
    assert (ran.code, ran.out) == (3, "")
    assert "Is a server running at 127.0.0.1:1? Start one with: lacewing serve" in ran.err
    error = Lacewing("127.0.0.1:1")("--output", "json", *arguments).error
    assert (error["code"], error["address"]) == ("UNAVAILABLE", "127.0.0.1:1")


def test_the_address_is_an_option_too(lacewing_cli: Lacewing) -> None:
    """Before the command or after it; the last one counts."""
    elsewhere = Lacewing("127.0.0.1:1")
    assert elsewhere("projects", "--address", lacewing_cli.address).code == 0
    assert elsewhere("--address", lacewing_cli.address, "projects").code == 0
    assert lacewing_cli("--address", lacewing_cli.address, "projects", "--address", "127.0.0.1:1").code == 3


def test_a_traceback_is_shown_only_when_asked_for() -> None:
    """By $LACEWING_DEBUG."""
    nowhere = Lacewing("127.0.0.1:1")
    assert "Traceback" not in nowhere.program("list").err
    assert "Traceback" in nowhere.program("list", LACEWING_DEBUG="1").err


def test_a_fault_of_our_own_is_no_traceback_either(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It has an exit code of its own, and says how to report it."""
    monkeypatch.delenv("LACEWING_DEBUG", raising=False)
    with pytest.raises(click.exceptions.Exit) as raised, reported(click.Context(app)):
        raise ZeroDivisionError("by zero")
    assert raised.value.exit_code == 70
    assert "ZeroDivisionError: by zero\nSet LACEWING_DEBUG=1" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (errors.TaskFailed(execution_pb2.Execution()), 1),
        (errors.TaskNotFound("", grpc.StatusCode.NOT_FOUND), 2),
        (errors.TaskLoadError(), 2),
        (errors.StoreUnavailable("", grpc.StatusCode.UNAVAILABLE), 3),
        (errors.ShuttingDown("", grpc.StatusCode.UNAVAILABLE), 3),
        (errors.ServerUnavailable(""), 3),
        (errors.DeadlineExceeded(""), 3),
        (errors.WaitTimedOut(), 3),
    ],
)
def test_the_exit_code_tells_what_went_wrong(error: errors.LacewingError, code: int) -> None:
    """The task, the request, or the way to the server."""
    assert exit_code(error) == code


def test_what_to_do_next_is_known_by_reasons_there_are() -> None:
    """A reason that was renamed would lose its remedy."""
    assert {f"ERROR_REASON_{reason}" for reason in REMEDIES} <= set(errors_pb2.ErrorReason.keys())


def test_a_reader_that_goes_away_is_no_fault(lacewing_cli: Lacewing) -> None:
    """As of `lacewing list | head`."""
    reading, writing = os.pipe()
    os.close(reading)
    environment = os.environ | {"LACEWING_ADDRESS": lacewing_cli.address}
    command = [PROGRAM, "tasks", "--output", "json"]
    ran = subprocess.run(command, env=environment, stdout=writing, stderr=subprocess.PIPE, text=True, check=False)
    os.close(writing)
    assert "Traceback" not in ran.stderr
    assert "fault" not in ran.stderr


def test_without_its_libraries_it_says_what_to_install() -> None:
    """In one line. A Python without site-packages stands for an installation without extras."""
    path = str(Path(lacewing.__file__).parents[1])
    code = f"import sys; sys.path.append({path!r}); from lacewing.cli import main; main()"
    ran = subprocess.run([sys.executable, "-I", "-S", "-c", code], capture_output=True, text=True, check=False)
    assert (ran.returncode, ran.stdout) == (1, "")
    assert ran.stderr == "lacewing: the command line is an extra: pip install 'lacewing[cli]'\n"


def test_without_the_server_its_commands_say_what_to_install(tmp_path: Path) -> None:
    """They are not listed then. A Python that sees only the SDK and two libraries stands for such an installation."""
    for library in (click, rich):
        (tmp_path / library.__name__).symlink_to(Path(str(library.__file__)).parent)
    path = [str(tmp_path), str(Path(lacewing.__file__).parents[1])]

    def ran(*arguments: str) -> subprocess.CompletedProcess[str]:
        code = f"import sys; sys.path += {path!r}; sys.argv[1:] = {arguments!r}; from lacewing.cli import main; main()"
        return subprocess.run([sys.executable, "-I", "-S", "-c", code], capture_output=True, text=True, check=False)

    assert ran("serve").returncode == 2
    assert "'serve' belongs to the server, an extra: pip install 'lacewing[server]'" in ran("serve").stderr
    listed = {line.split()[0] for line in ran("--help").stdout.splitlines() if line.startswith("  ") and line.strip()}
    assert "worker" in listed
    assert not listed & {"serve", "config", "inspect"}


def test_other_packages_bring_commands(tmp_path: Path) -> None:
    """By an entry point; they are listed apart and run like ours."""
    (tmp_path / "greeting.py").write_text(
        "import click\n\n\n@click.command()\ndef greet():\n    \"Says hello.\"\n    click.echo('hello')\n"
    )
    information = tmp_path / "greeting-1.dist-info"
    information.mkdir()
    (information / "METADATA").write_text("Metadata-Version: 2.1\nName: greeting\nVersion: 1\n")
    (information / "entry_points.txt").write_text("[lacewing.commands]\ngreet = greeting:greet\n")
    nowhere = Lacewing("127.0.0.1:1")
    assert nowhere.program("greet", PYTHONPATH=str(tmp_path)) == (0, "hello\n", "")
    assert "Others:\n  greet  Says hello." in nowhere.program("--help", PYTHONPATH=str(tmp_path)).out
