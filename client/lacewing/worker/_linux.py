"""What only Linux offers to keep processes from being left behind. Elsewhere these do nothing, or find nothing."""

from __future__ import annotations

import ctypes
import os
import signal
import sys
from pathlib import Path

_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36


def die_with_parent(parent: int) -> None:
    """Make the kernel kill this process when its parent, which has the given id, ends, however that ends."""
    if sys.platform != "linux":
        return
    _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:  # It ended before the kernel was told.
        os.kill(os.getpid(), signal.SIGKILL)


def adopt_orphans() -> None:
    """Make this process the parent of all its descendants that lose theirs, instead of process 1."""
    if sys.platform == "linux":
        _prctl(_PR_SET_CHILD_SUBREAPER, 1)


def children() -> set[int]:
    """Return the ids of the processes whose parent this process is."""
    if sys.platform != "linux":
        return set()
    own = os.getpid()
    return {int(entry.name) for entry in os.scandir("/proc") if entry.name.isdigit() and _parent(entry.path) == own}


def _parent(folder: str) -> int | None:
    try:
        stat = Path(folder, "stat").read_bytes()
    except (FileNotFoundError, ProcessLookupError):  # It ended meanwhile.
        return None
    # The second field is the name in parentheses, which may hold anything; the fourth is the parent.
    return int(stat.rpartition(b")")[2].split()[1])


def _prctl(option: int, argument: int) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(option, argument, 0, 0, 0) != 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
