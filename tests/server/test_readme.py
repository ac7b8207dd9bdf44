"""The README, run as printed: its task, its worker, its call, its graph, and its lines for grpcurl."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

import lacewing.sync
from lacewing_server.testing import start_server

_ROOT = Path(__file__).parents[2]
_README = (_ROOT / "README.md").read_text()
_PRINTED_ADDRESS = "127.0.0.1:7400"


@contextmanager
def _worker(command: str, module: str, folder: Path, address: str) -> Iterator[None]:
    """Runs a worker of the README in a folder with a module of the README."""
    (folder / shlex.split(command)[-1]).write_text(module)
    environment = _environment(address)
    with subprocess.Popen(_printed(command), cwd=folder, env=environment, stderr=subprocess.PIPE, text=True) as worker:
        assert worker.stderr is not None
        while "Connected" not in (line := worker.stderr.readline()):
            assert line, f"{command} ended with {worker.wait()}"
        try:
            yield
        finally:
            worker.terminate()
            worker.stderr.read()
    assert worker.returncode == 0


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A server, and the worker of the README with the module of the README."""
    folder = tmp_path_factory.mktemp("readme")
    module, *_ = re.findall(r"```python\n(.*?)```", _README, re.DOTALL)
    with start_server() as server, _worker(_lines("worker")[0], module, folder, server.address):
        yield server.address


def _lines(word: str) -> list[str]:
    """The commands of the README that hold a word."""
    return [line.strip() for line in _README.splitlines() if re.match(rf"    (?=\S).*\b{word}\b", line)]


def _printed(line: str) -> list[str]:
    """The words of a command, with the programs of this environment in place of those of the reader's."""
    program, *arguments = shlex.split(line)
    return [str(Path(sys.executable).with_name(Path(program).name)), *arguments]


def _environment(address: str) -> dict[str, str]:
    return {**os.environ, "LACEWING_ADDRESS": address, "LACEWING_PORT": "0"}


def _run(line: str, address: str, folder: Path) -> str:
    command = [word.replace(_PRINTED_ADDRESS, address) for word in _printed(line)]
    done = subprocess.run(
        command, cwd=folder, env=_environment(address), capture_output=True, text=True, check=False, timeout=30
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_call_from_python_prints_the_result(address: str, tmp_path: Path) -> None:
    """The third terminal shows the sum, the second time from the cache."""
    (line,) = [each for each in _lines("python") if "sync.Client" in each]
    module, *_ = re.findall(r"```python\n(.*?)```", _README, re.DOTALL)
    (tmp_path / "tasks.py").write_text(module)
    assert _run(line, address, tmp_path) == "42\n"
    assert _run(line, address, tmp_path) == "42\n"


def test_the_graph_is_refused_and_asked_again(address: str, tmp_path: Path) -> None:
    """The lines of its section, in their order; what has succeeded does not run again."""
    (section,) = re.findall(r"^## Graphs\n(.*?)^## ", _README, re.MULTILINE | re.DOTALL)
    (module,) = re.findall(r"```python\n(.*?)```", section, re.DOTALL)
    (command,) = re.findall(r"`(lacewing worker .*?)`", section)
    commands = re.findall(r"^    (?:name=\$\()?(lacewing .*?)\)?$", section.split("```")[2], re.MULTILINE)
    with _worker(command, module, tmp_path, address), lacewing.sync.Client(address) as client:

        def run(line: str, name: str = "") -> str:
            return _run(line.partition(" #")[0].rstrip(") ").replace("$name", name), address, tmp_path)

        start, graph, reject, retry, approve, watch = commands
        first = run(start).strip()
        shown = run(graph, first)
        assert all(word in shown for word in ("graphs.sell", "quote", "total", "offer"))
        run(reject, first)
        assert client.handle(first, "graphs.sell").wait(20).error.code == "GateRejected"
        second = run(retry, first).strip()
        run(approve, second)
        run(watch, second)
        assert client.handle(second, "graphs.sell").result(20) == 90
        assert len(list(client.list(task="graphs.price"))) == 3


def test_grpcurl_lists_the_services(address: str, tmp_path: Path) -> None:
    """Reflection names every service."""
    found = _run(_lines("grpcurl.* list")[0], address, tmp_path).split()
    names = ("Task", "Execution", "Worker", "Project", "Cache", "Blob")
    assert {f"lacewing.v1.{name}Service" for name in names} <= set(found)
    assert "grpc.health.v1.Health" in found


def test_grpcurl_describes_a_service(address: str, tmp_path: Path) -> None:
    """Reflection shows the calls and their messages."""
    shown = _run(_lines("grpcurl.* describe")[0], address, tmp_path)
    assert "rpc Execute ( .lacewing.v1.ExecuteRequest ) returns ( .lacewing.v1.ExecuteResponse );" in shown


def test_grpcurl_executes_with_plain_json(address: str, tmp_path: Path) -> None:
    """The inputs go in and the outputs come out as plain JSON."""
    (line,) = _lines("grpcurl.* lacewing.v1.ExecutionService/Execute")
    execution = json.loads(_run(line, address, tmp_path))["execution"]
    assert execution["state"] == "STATE_SUCCEEDED"
    assert execution["outputs_json"] == {"o0": 42}


def test_grpcurl_shows_what_is_wrong(address: str, tmp_path: Path) -> None:
    """A wrong input is refused with its path, in words that grpcurl prints."""
    (line,) = _lines("grpcurl.* lacewing.v1.ExecutionService/Execute")
    command = [word.replace(_PRINTED_ADDRESS, address) for word in _printed(line.replace('"b":40', '"c":40'))]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=30)
    assert done.returncode != 0
    assert "Code: InvalidArgument" in done.stderr
    assert "inputs.c: no input has this name" in done.stderr
    assert '"reason":"INPUTS_INVALID"' in done.stderr
