"""The helpers for tests, where there is no server."""

from __future__ import annotations

import importlib.metadata

import pytest

import lacewing
import lacewing.testing
from lacewing import errors


@lacewing.task(name="same")
def same(a: int) -> int:
    """Returns what it is given."""
    return a


def test_without_an_installed_server_it_says_how_to_get_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """The SDK alone has none."""
    monkeypatch.setattr("lacewing.testing.entry_points", lambda **_: importlib.metadata.EntryPoints(()))
    with pytest.raises(errors.LacewingError, match=r'pip install "lacewing\[server\]"'):
        lacewing.testing.server()


def test_a_worker_without_a_server_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """A test must not hang."""
    monkeypatch.setattr("lacewing.testing._START_SECONDS", 0.05)
    with (
        pytest.raises(errors.LacewingError, match="did not get a connection to"),
        lacewing.testing.worker("127.0.0.1:1", [same]),
    ):
        pytest.fail("the block is not entered")


def test_what_is_wrong_with_a_worker_is_raised() -> None:
    """In the words of the worker."""
    with (
        pytest.raises(ValueError, match="a worker needs at least one task"),
        lacewing.testing.worker("127.0.0.1:1", []),
    ):
        pytest.fail("the block is not entered")
