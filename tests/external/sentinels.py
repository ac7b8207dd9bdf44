"""A master, its replicas and the Sentinels that watch them, all of them processes of this machine."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from typing import Any, Final

from external.processes import Node, until_answering
from worker.leases import until

SERVICE: Final = "main"
_REPLICAS: Final = 2
_SENTINELS: Final = 3
_DOWN_MS: Final = 500
"""After so much silence a Sentinel takes a node for dead."""


class Deployment:
    """Three nodes, one of them the master, and three Sentinels.

    Args:
        kind: Which program.
        directory: Where they keep their files.
        stack: Ends them.
        passwords: Of the nodes and of the Sentinels, if any.

    Attributes:
        nodes: The nodes; the first one is the master at the beginning.
        sentinels: The Sentinels.
    """

    def __init__(self, kind: str, directory: Path, stack: ExitStack, passwords: tuple[str, str] = ("", "")) -> None:
        own, of_sentinels = passwords
        common = ("--repl-diskless-sync-delay", "0", *(("--masterauth", own) if own else ()))
        master = Node(kind, directory / "node-0", *common, password=own)
        self.nodes = [master]
        stack.callback(self._kill)
        self.sentinels: list[Node] = []
        for number in range(1, 1 + _REPLICAS):
            replica = ("--replicaof", f"127.0.0.1 {master.port}", *common)
            self.nodes.append(Node(kind, directory / f"node-{number}", *replica, password=own))
        for number in range(_SENTINELS):
            lines = [
                f"sentinel monitor {SERVICE} 127.0.0.1 {master.port} 2",
                f"sentinel down-after-milliseconds {SERVICE} {_DOWN_MS}",
                f"sentinel failover-timeout {SERVICE} 3000",
            ]
            if own:
                lines += [f"sentinel auth-pass {SERVICE} {own}", f"sentinel sentinel-pass {of_sentinels}"]
            folder = directory / f"sentinel-{number}"
            self.sentinels.append(Node(kind, folder, *lines, sentinel=True, password=of_sentinels))

    @property
    def url(self) -> str:
        """The address as ``--redis`` takes it."""
        hosts = ",".join(f"127.0.0.1:{sentinel.port}" for sentinel in self.sentinels)
        return f"redis+sentinel://{hosts}/{SERVICE}"

    @property
    def master(self) -> Node:
        """The node that the first Sentinel takes for the master."""
        with self.sentinels[0].connect() as client:
            _, port = client.sentinel_get_master_addr_by_name(SERVICE)
        return next(node for node in self.nodes if node.port == int(port))

    def _kill(self) -> None:
        for node in (*self.sentinels, *self.nodes):
            node.kill()

    async def until_complete(self) -> None:
        """Waits until replicas follow, and every Sentinel knows all of them and the other Sentinels."""
        await until_answering(self.nodes[0], connected_slaves=_REPLICAS)
        for sentinel in self.sentinels:
            with sentinel.connect() as client:

                def knows_all() -> bool:
                    state: Any = client.sentinel_master(SERVICE)
                    others = state["num-other-sentinels"], state["num-slaves"]
                    return others == (_SENTINELS - 1, _REPLICAS)

                await until(knows_all)
