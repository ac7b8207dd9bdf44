"""The server and the connection that the tests of the engine have."""

from __future__ import annotations

from engine.conftest import service, world

__all__ = ["service", "world"]
