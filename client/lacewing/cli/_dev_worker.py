"""The worker of `lacewing dev`: `python -m lacewing.cli._dev_worker PARENT ARGUMENT...`.

A worker as any other, except that it ends when the process with the id PARENT does, however that ends.
"""

from __future__ import annotations

import sys

from lacewing.worker.__main__ import main
from lacewing.worker._linux import die_with_parent

if __name__ == "__main__":
    die_with_parent(int(sys.argv[1]))
    sys.exit(main(sys.argv[2:]))
