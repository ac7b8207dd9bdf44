"""Every test here runs over both transports."""

from __future__ import annotations

import pytest

from lacewing_server.rpc.transport import Kind


@pytest.fixture(params=["aio", "batched"])
def kind(request: pytest.FixtureRequest) -> Kind:
    """Which transport."""
    chosen: Kind = request.param
    return chosen
