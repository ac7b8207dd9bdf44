"""The nursery of servers for tests, and the processes of the servers that it forks; see ``lacewing_server.testing``.

The nursery has one thread and has not used gRPC when it forks, so that forking is safe. It ends with the process that
started it, and its servers end with it.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import json
import os
import select
import shutil
import signal
import socket
import struct
import sys
import traceback
import warnings
from typing import Any, Final

import uvloop

from lacewing_server.app import Server, ServerStartError
from lacewing_server.logs import set_up_logging
from lacewing_server.settings import Settings, SettingsError, load_settings

_LOOK_SECONDS: Final = 0.1


def main(parent: int) -> None:
    """Forks servers until the process that asks for them has ended."""
    gc.freeze()
    woken, waker = socket.socketpair()
    waker.setblocking(False)
    signal.signal(signal.SIGCHLD, lambda _number, _frame: None)
    signal.set_wakeup_fd(waker.fileno())
    outputs: dict[int, int] = {}
    with socket.socket(fileno=os.dup(sys.stdin.fileno())) as control:
        # Not by the kernel's parent-death signal: it comes when the parent's *thread* ends. Not by the end of the
        # connection alone: a process that the parent forked holds it open.
        while os.getppid() == parent:
            readable = select.select([control, woken], [], [], _LOOK_SECONDS)[0]
            if woken in readable:
                woken.recv(4096)
                _reap(outputs)
            if control in readable:
                length, descriptors, _, _ = socket.recv_fds(control, 4, 2)
                if not length:
                    return
                request = json.loads(control.recv(struct.unpack(">I", length)[0], socket.MSG_WAITALL))
                nursery, server = os.getpid(), os.fork()
                if server == 0:
                    signal.set_wakeup_fd(-1)
                    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
                    for each in (control, woken, waker):
                        each.close()
                    for descriptor in outputs.values():
                        os.close(descriptor)
                    os._exit(_be_server(request, descriptors, nursery))
                outputs[server], log = descriptors
                os.close(log)


def _reap(outputs: dict[int, int]) -> None:
    """Closes the outputs of servers that have ended: only then does who reads them see their end."""
    for server in list(outputs):
        if os.waitpid(server, os.WNOHANG) != (0, 0):
            os.close(outputs.pop(server))


def _be_server(request: dict[str, Any], descriptors: list[int], nursery: int) -> int:
    """Runs a server in this process; returns the exit code."""
    for number, descriptor in enumerate((os.open(os.devnull, os.O_RDONLY), *descriptors)):
        os.dup2(descriptor, number)
        os.close(descriptor)
    os.environ.clear()
    os.environ.update(request["environ"])
    os.chdir(request["cwd"])
    warnings.simplefilter("always", ResourceWarning)
    try:
        settings = load_settings(**request["settings"])
        set_up_logging(settings)
        uvloop.run(_serve(settings, nursery))
    except (ServerStartError, SettingsError) as error:
        sys.stderr.write(f"{error}\n")
        return 1
    except BaseException:  # noqa: BLE001 - nothing may come back to the nursery's code
        traceback.print_exc()
        return 1
    else:
        if os.getppid() != nursery:
            shutil.rmtree(request["directory"])
        return 0
    finally:
        gc.collect()  # what was left open is told of now
        sys.stderr.flush()


async def _serve(settings: Settings, nursery: int) -> None:
    """Serves until SIGTERM, or until the nursery has ended."""
    stopping = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stopping.set)
    server = Server(settings)
    await server.start()
    os.write(1, json.dumps({"address": server.address, "pid": os.getpid()}).encode() + b"\n")
    while not stopping.is_set() and os.getppid() == nursery:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_LOOK_SECONDS):
                await stopping.wait()
    await server.stop()


if __name__ == "__main__":
    main(int(sys.argv[1]))
