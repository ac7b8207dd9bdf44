"""The command line: `lacewing`.

Only this module is imported where the extra `cli` is not installed. Each command lives in a module of its own, which is
imported when the command runs: help and completion are quick.
"""

from __future__ import annotations

import sys


def main() -> None:
    """Run the command line; say what to install where its libraries are missing."""
    try:
        import click  # noqa: F401, PLC0415 - an extra: the thin installation has no command line
        import rich  # noqa: F401, PLC0415 - likewise
    except ImportError:
        sys.stderr.write("lacewing: the command line is an extra: pip install 'lacewing[cli]'\n")
        sys.exit(1)
    from lacewing.cli._app import app  # noqa: PLC0415 - needs what was looked for above

    app(prog_name="lacewing")
