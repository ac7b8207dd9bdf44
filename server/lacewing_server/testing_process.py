"""The process of a server for tests: says where it listens, and ends with the process that started it."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import shutil
import signal
import sys
from typing import Any, Final

from lacewing_server.app import Server, ServerStartError, set_up_logging
from lacewing_server.settings import Settings, SettingsError, load_settings

_LOOK_SECONDS: Final = 0.1


async def _serve(settings: Settings, parent: int) -> None:
    """Serves until SIGTERM, or until the parent has ended."""
    stopping = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stopping.set)
    server = Server(settings)
    await server.start()
    sys.stdout.write(f"{server.address}\n")
    sys.stdout.flush()
    # Not by the kernel's parent-death signal: it comes when the parent's *thread* ends. Not by the end of a pipe: a
    # process that the parent forked holds it open.
    while not stopping.is_set() and os.getppid() == parent:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_LOOK_SECONDS):
                await stopping.wait()
    await server.stop()


def main(arguments: dict[str, Any]) -> int:
    """Runs the server; returns the exit code."""
    try:
        settings = load_settings(**arguments["settings"])
        set_up_logging(settings)
        asyncio.run(_serve(settings, arguments["parent"]))
    except (ServerStartError, SettingsError) as error:
        sys.stderr.write(f"{error}\n")
        return 1
    if os.getppid() != arguments["parent"]:
        shutil.rmtree(arguments["directory"])
    return 0


if __name__ == "__main__":
    sys.exit(main(json.loads(sys.argv[1])))
