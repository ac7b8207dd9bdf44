"""What goes wrong: told with what to do next, and turned into an exit code, never a traceback."""

from __future__ import annotations

import errno
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import click

from lacewing.cli.options import is_debugging, settings_of

DID_NOT_SUCCEED = 1
REFUSED = 2
NO_ANSWER = 3
FAULT = 70
INTERRUPTED = 130


@contextmanager
def reported(context: click.Context) -> Iterator[None]:
    """Report what is raised, and exit with its code. $LACEWING_DEBUG lets it through instead."""
    try:
        yield
    except (click.ClickException, click.exceptions.Exit, click.Abort):
        raise
    except KeyboardInterrupt:
        context.exit(INTERRUPTED)
    except Exception as error:
        if is_debugging() or (isinstance(error, OSError) and error.errno == errno.EPIPE):
            raise
        context.exit(_report(context, error))


def _report(context: click.Context, error: Exception) -> int:
    # Only what has imported it can have raised it.
    errors = sys.modules.get("lacewing.errors")
    if errors is not None and isinstance(error, errors.LacewingError):
        from lacewing.cli._errors import exit_code, print_error, print_error_json  # noqa: PLC0415 - it imports gRPC

        said = settings_of(context)
        (print_error_json if said.is_json else print_error)(error, said)
        return exit_code(error)
    click.echo(
        f"Error: a fault of the command line: {type(error).__name__}: {error}\n"
        "Set LACEWING_DEBUG=1 for the traceback, and report it with that.",
        err=True,
    )
    return FAULT
