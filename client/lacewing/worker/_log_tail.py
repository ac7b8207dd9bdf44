"""What a body writes to its standard output and error."""

from __future__ import annotations

import os
import sys

from lacewing.worker._task_error import tail

LOG_TAIL_BYTES = 16 * 1024
_READ_BYTES = 64 * 1024
# More than a pipe can hold (1 MiB at most on Linux), so that what was written before is always taken in; and bounded,
# so that a body that never stops writing does not keep the event loop.
_MAX_READS = 17


class LogTail:
    """Keeps the end of what comes out of a pipe, and can show it line by line as it comes.

    Args:
        descriptor: the end to read, non-blocking. It is closed by `close`.
        echo: whether to show the lines on the worker's own standard error too, each after its `label` in brackets.
    """

    def __init__(self, descriptor: int, *, echo: bool) -> None:
        self.descriptor = descriptor
        self.label = ""
        self._echo = echo
        self._kept = bytearray()
        self._line = bytearray()

    def read(self) -> bool:
        """Take in what is there. Returns False once nobody can write any more."""
        for _ in range(_MAX_READS):
            try:
                data = os.read(self.descriptor, _READ_BYTES)
            except BlockingIOError:
                return True
            if not data:
                return False
            self._kept += data
            if len(self._kept) > 2 * LOG_TAIL_BYTES:
                del self._kept[:-LOG_TAIL_BYTES]
            if self._echo:
                self._show(data)
        return True

    def take(self) -> str:
        """Return the end of what came since it was last called, at most 16 KiB, and forgets it."""
        if not self._kept:
            return ""
        text = tail(self._kept.decode(errors="replace"), LOG_TAIL_BYTES)
        self._kept.clear()
        if self._line:
            self._show(b"\n")
        return text

    def close(self) -> None:
        """Close the pipe."""
        os.close(self.descriptor)

    def _show(self, data: bytes) -> None:
        self._line += data
        *lines, rest = self._line.split(b"\n")
        for line in lines:
            sys.stderr.write(f"[{self.label}] {line.decode(errors='replace')}\n")
        self._line = bytearray(rest)
