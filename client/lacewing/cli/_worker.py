"""`lacewing worker`."""

from __future__ import annotations

import sys

import click

from lacewing.cli.options import settings
from lacewing.worker.__main__ import main


@click.command(context_settings={"ignore_unknown_options": True, "help_option_names": []}, add_help_option=False)
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
def worker(arguments: tuple[str, ...]) -> None:
    """Run the tasks of modules; the same as `python -m lacewing.worker`, which needs no extra."""
    said = settings()
    placed = [
        word
        for name in ("address", "project", "domain")
        if getattr(said, name)
        for word in (f"--{name}", getattr(said, name))
    ]
    sys.exit(main([*placed, *arguments], program="lacewing worker"))
