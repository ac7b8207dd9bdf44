"""A process of `lacewing dev`: `python -m lacewing.cli._dev_process PARENT COMMAND ARGUMENT...`.

Runs a command of `lacewing` as any other, except that it ends when the process with the id PARENT does, however that
ends.
"""

from __future__ import annotations

import sys

from lacewing.cli import main
from lacewing.worker._linux import die_with_parent

if __name__ == "__main__":
    die_with_parent(int(sys.argv[1]))
    sys.argv[1:] = sys.argv[2:]
    main()
