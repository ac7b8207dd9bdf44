"""What the process's log tells, and what it leaves out."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator

import pytest

from lacewing_server.logs import set_up_logging
from lacewing_server.settings import load_settings

_GRPC_CORE = logging.getLogger("grpc._cython.cygrpc")


@pytest.fixture(autouse=True)
def root_logger() -> Iterator[None]:
    """Leaves the logging of the test process as it was found."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    for handler in root.handlers[:]:
        root.removeHandler(handler)
    for handler in handlers:
        root.addHandler(handler)
    root.setLevel(level)


def test_a_caller_that_left_before_its_answer_is_not_news(capsys: pytest.CaptureFixture[str]) -> None:
    set_up_logging(load_settings())
    _GRPC_CORE.error(
        "ExecuteBatchError raised in core by servicer method [%s]", "/lacewing.v1.ExecutionService/Execute"
    )
    _GRPC_CORE.error("Unexpected [%s] raised by servicer method [%s]", "KeyError", "/lacewing.v1.ExecutionService/Wait")
    told = capsys.readouterr().err
    assert "ExecuteBatchError" not in told
    assert "Unexpected [KeyError]" in told


def test_json_lines_carry_level_logger_message_and_trace(capsys: pytest.CaptureFixture[str]) -> None:
    set_up_logging(load_settings(log_format="json"))
    try:
        raise KeyError("lost")
    except KeyError:
        logging.getLogger("lacewing_server").exception("a step failed: %s", "why")
    line = json.loads(capsys.readouterr().err)
    assert {name: line[name] for name in ("level", "logger", "message")} == {
        "level": "error",
        "logger": "lacewing_server",
        "message": "a step failed: why",
    }
    assert "KeyError: 'lost'" in line["exception"]
