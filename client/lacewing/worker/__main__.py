"""`python -m lacewing.worker MODULE...`: a worker as a program, with nothing but the SDK installed."""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Sequence

from lacewing.errors import LacewingError
from lacewing.task import load_tasks
from lacewing.worker import Worker, run_worker


def main(arguments: Sequence[str] | None = None, program: str = "python -m lacewing.worker") -> int:
    """Run a worker with the given arguments; return the exit code.

    Args:
        arguments: Those of the command line. Default: those of this process.
        program: What it was called as, for its help.
    """
    options = vars(_parser(program).parse_args(arguments))
    modules, verbose = options.pop("modules"), options.pop("verbose")
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    try:
        run_worker(Worker(tasks=load_tasks(modules), echo=verbose, **options))
    except (LacewingError, ValueError) as error:
        sys.stderr.write(f"lacewing worker: {error}\n")
        return 1
    return 0


def _parser(program: str) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog=program, description="Run the tasks of modules.")
    parser.add_argument("modules", nargs="+", metavar="MODULE", help="a module, or the path of a .py file, with tasks")
    parser.add_argument("--address", help="where the server is (default: $LACEWING_ADDRESS, else 127.0.0.1:7400)")
    parser.add_argument("--slots", type=int, help="how many bodies run at a time (default: the number of CPUs)")
    parser.add_argument("--name", help="names the worker (default: host name and process id)")
    parser.add_argument("--project", default="", help="the project (default: the server's)")
    parser.add_argument("--domain", default="", help="the domain (default: the server's)")
    parser.add_argument(
        "--queue",
        action="append",
        default=[],
        dest="queues",
        help="a queue to serve; may be repeated (default: the tasks')",
    )
    parser.add_argument(
        "--isolation", choices=("process", "thread"), help="where bodies run (default: as the tasks say)"
    )
    parser.add_argument("--grace", type=float, default=5.0, help="seconds a stopped body may take to end")
    parser.add_argument("--drain-timeout", type=float, default=30.0, help="seconds bodies may go on when it is stopped")
    parser.add_argument("--max-calls", type=int, default=1000, help="bodies after which a child process is replaced")
    parser.add_argument("--max-memory-bytes", type=int, help="memory above which a child process is replaced")
    parser.add_argument("--no-register", action="store_false", dest="register", help="do not register the tasks")
    parser.add_argument("--verbose", action="store_true", help="show what bodies write")
    return parser


if __name__ == "__main__":
    sys.exit(main())
