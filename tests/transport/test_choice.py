"""Which transport a server takes."""

from __future__ import annotations

from typing import Any

import pytest

from lacewing_server.rpc.transport import TransportError, core, open_transport
from lacewing_server.rpc.transport.aio import AioServer
from lacewing_server.rpc.transport.batched import BatchedServer


async def test_auto_is_batched_where_it_works() -> None:
    assert isinstance(await open_transport("auto", ()), BatchedServer)
    assert isinstance(await open_transport("aio", ()), AioServer)


def _absent(*_arguments: Any) -> Any:
    raise TypeError("got an unexpected argument")


@pytest.mark.parametrize("name", ["new_server", "receive_message", "send_status"])
async def test_auto_is_aio_where_the_private_api_is_another_one(
    name: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("lacewing_server.rpc.transport.selftest._TIMEOUT_SECONDS", 0.3)
    monkeypatch.setattr(core, name, _absent)
    assert isinstance(await open_transport("auto", ()), AioServer)
    assert "the batched transport does not work with grpcio" in caplog.text
    with pytest.raises(TransportError, match="use --transport aio"):
        await open_transport("batched", ())


async def test_a_wrong_answer_is_no_success(monkeypatch: pytest.MonkeyPatch) -> None:
    given = core.send_message
    monkeypatch.setattr(core, "send_message", lambda data: given(data[:5]))
    with pytest.raises(TransportError, match="an echo came to"):
        await open_transport("batched", ())
