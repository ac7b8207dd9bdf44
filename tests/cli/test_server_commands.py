"""The commands that the server brings: `serve`, `config` and `inspect`."""

from __future__ import annotations

import re
import signal
from pathlib import Path

from cli.console import Lacewing


def test_settings_are_printed_with_where_they_come_from(tmp_path: Path) -> None:
    """A flag, the environment, a file, or the default."""
    (tmp_path / "lacewing.toml").write_text("tick = 0.1\n")
    ran = Lacewing("").program(
        *("config", "--port", "7500", "--output", "json"),
        LACEWING_CONFIG=str(tmp_path / "lacewing.toml"),
        LACEWING_HOST="::1",
    )
    settings = ran.json
    assert settings["port"] == {"value": 7500, "source": "flag"}
    assert settings["host"] == {"value": "::1", "source": "environment"}
    assert settings["tick"] == {"value": 0.1, "source": "file"}
    assert settings["reflection"] == {"value": True, "source": "default"}
    table = Lacewing("").program("config", "--port", "7500").out.splitlines()
    assert table[0].split() == ["SETTING", "VALUE", "FROM"]
    assert ["port", "7500", "flag"] in [line.split() for line in table]


def test_leases_that_end_before_the_next_sign_of_life_are_refused() -> None:
    ran = Lacewing("").program("config", "--lease-duration", "10", "--heartbeat-interval", "10")
    assert ran.code == 1
    assert "lease_duration (10 s) must be longer than heartbeat_interval (10 s)" in ran.err


def test_settings_that_are_none_are_told() -> None:
    """In one line."""
    ran = Lacewing("").program("config", "--port", "70000")
    assert (ran.code, "port: " in ran.err, "Traceback" in ran.err) == (1, True, False)


def test_a_server_serves_and_its_records_can_be_inspected(tmp_path: Path) -> None:
    """`inspect` reads the store of a server that runs; SIGTERM ends the server with 0."""
    folder = str(tmp_path / "d")
    with Lacewing("").started("serve", "--port", "0", "--data-dir", folder) as process:
        assert process.stderr is not None
        (address,) = re.findall(r"serving on (\S+)", process.stderr.readline())
        lacewing = Lacewing(address)
        (tmp_path / "one.py").write_text(
            "from lacewing import task\n\n\n@task(timeout=60)\ndef one(a: int) -> int:\n    return a\n"
        )
        assert lacewing.program("register", str(tmp_path / "one.py")).code == 0
        name = lacewing("run", "--no-wait", "one.one", "--a", "1").out.strip()
        record = lacewing.program("inspect", name, "--data-dir", folder, "--output", "json").json
        assert record["meta"]["id"]["name"] == name
        assert record["revision"] == 1
        shown = lacewing.program("inspect", f"default/development/{name}", "--data-dir", folder).out
        assert re.search(r"^revision +1$", shown, re.MULTILINE)
        ran = lacewing.program("inspect", "nothing", "--data-dir", folder)
        assert (ran.code, "there is no record of default/development/nothing" in ran.err) == (1, True)
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 0
