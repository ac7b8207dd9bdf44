"""The command line: ``lacewing``. Commands of the server and others come by the entry points ``lacewing.commands``."""

from __future__ import annotations

import sys
from importlib.metadata import entry_points


def main() -> None:
    """Runs the command line; says what to install where its libraries are missing."""
    try:
        import click  # noqa: PLC0415 - an extra: the thin installation has no command line
    except ImportError:
        sys.stderr.write("lacewing: the command line is an extra: pip install 'lacewing[cli]'\n")
        sys.exit(1)

    @click.group(help="Lacewing: typed, retried, timed out and memoized tasks over gRPC.")
    @click.version_option(package_name="lacewing")
    def group() -> None:
        pass

    for entry in entry_points(group="lacewing.commands"):
        group.add_command(entry.load(), entry.name)

    @group.command(context_settings={"ignore_unknown_options": True, "help_option_names": []}, add_help_option=False)
    @click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
    def worker(arguments: tuple[str, ...]) -> None:
        """Run the tasks of modules; see --help."""
        from lacewing.worker.__main__ import main as run  # noqa: PLC0415 - loads gRPC, which other commands need not

        sys.exit(run(list(arguments)))

    group()
