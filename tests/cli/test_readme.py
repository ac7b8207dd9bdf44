"""The README's section on the command line, line by line as it is printed."""

from __future__ import annotations

import os
import re
import signal
import subprocess
from pathlib import Path

import pytest

from cli.console import PROGRAM, Lacewing

README = (Path(__file__).parents[2] / "README.md").read_text()


def _section() -> list[str]:
    (text,) = re.findall(r"^## The command line\n(.*?)^## ", README, re.MULTILINE | re.DOTALL)
    return [line.strip() for line in text.splitlines() if line.startswith("    ")]


@pytest.mark.timeout(240)  # It starts twenty programs, which takes a machine that is busy otherwise its time.
def test_the_lines_of_the_readme_run(tmp_path: Path) -> None:
    """In their order, in one shell, with the module of the README; only the port is another one."""
    module = re.findall(r"^```python\n(.*?)^```", README, re.MULTILINE | re.DOTALL)[0]
    (tmp_path / "tasks.py").write_text(module)
    dev, *lines = _section()
    assert dev.split("#")[0].split() == ["lacewing", "dev", "tasks.py"]
    with Lacewing("").started("dev", "tasks.py", "--port", "0", cwd=tmp_path) as process:
        assert process.stderr is not None
        address = next(line.split()[2].rstrip(",") for line in process.stderr if line.startswith("Server at"))
        next(line for line in process.stderr if "Connected to the server" in line)
        environment = os.environ | {
            "LACEWING_ADDRESS": address,
            "PATH": f"{Path(PROGRAM).parent}:{os.environ['PATH']}",
        }
        ran = subprocess.run(
            ["bash", "-euxc", "\n".join([*lines, "complete -p lacewing"])],
            env=environment,
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=200,
            check=False,
        )
        process.send_signal(signal.SIGINT)
        assert process.wait(30) == 0
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout.splitlines().count("42") == 2
    assert "Output o0" in ran.stdout
    assert "complete -o nosort -F _lacewing_completion lacewing" in ran.stdout
    assert all(line.split()[0] in {"lacewing", "name=$(lacewing", "eval"} for line in lines)
