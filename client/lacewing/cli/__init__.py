"""The command line: `lacewing`.

Only this module is imported where the extra `cli` is not installed. Each command lives in a module of its own, which is
imported when the command runs: help and completion are quick.
"""

from __future__ import annotations

import sys
from importlib.util import find_spec


def main() -> None:
    """Run the command line; say what to install where its libraries are missing."""
    if not all(map(find_spec, ("click", "rich"))):
        sys.stderr.write("lacewing: the command line is an extra: pip install 'lacewing[cli]'\n")
        sys.exit(1)
    from lacewing.cli._app import app  # noqa: PLC0415 - needs what was looked for above

    app(prog_name="lacewing")
