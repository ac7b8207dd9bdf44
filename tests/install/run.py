"""Runs a client of the wheel, installed without extras, against a real server of the project's own environment.

Usage: `python tests/install/run.py --client PATH_TO_PYTHON`, with the Python that has the server.
"""

from __future__ import annotations

import argparse
import os
import signal
import socket
import subprocess
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).parent
SECONDS = 60


def free_port() -> int:
    """A port that was free a moment ago."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port


def main() -> None:
    """Starts the server, runs the client, and ends with the client's exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--client", type=Path, required=True, help="the Python of the environment without extras")
    client = parser.parse_args().client.absolute()
    port = free_port()
    with tempfile.TemporaryDirectory() as folder:
        environment = os.environ | {"LACEWING_PORT": str(port), "LACEWING_DATA_DIR": folder}
        server = subprocess.Popen([Path(sys.executable).parent / "lacewing", "serve"], env=environment)
        try:
            # In a folder of its own and isolated, so that the client can only import what its environment has.
            command = [client, "-I", HERE / "thin_client.py", f"127.0.0.1:{port}"]
            code = subprocess.run(command, cwd=folder, timeout=SECONDS, check=False).returncode
        finally:
            server.send_signal(signal.SIGTERM)
            server.wait(SECONDS)
    sys.exit(code)


if __name__ == "__main__":
    main()
