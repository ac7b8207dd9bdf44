"""Following an execution to its end, before the eyes of a person or for a program."""

from __future__ import annotations

import time
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.live import Live
from rich.spinner import Spinner
from rich.text import Text

from lacewing.cli._describe import Execution, summary


class _Line:
    """The line that shows how an execution stands, computed anew each time it is drawn: its clock runs."""

    def __init__(self) -> None:
        self.execution: Execution | None = None
        self._spinner = Spinner("dots")

    def __rich__(self) -> Text:
        frame = int(time.monotonic() * 1000 / self._spinner.interval) % len(self._spinner.frames)
        line = Text(self._spinner.frames[frame] + " ", no_wrap=True, overflow="ellipsis")
        return line.append_text(summary(self.execution)) if self.execution is not None else line


class Display:
    """Shows an execution as it changes: on a terminal one line that lives, elsewhere nothing, or a line per change."""

    def __init__(self, output: Console, *, lines: bool) -> None:
        """Make a display.

        Args:
            output: Where to show it.
            lines: Whether to print a line per change where there is no terminal.
        """
        self._output = output
        self._lines = lines and not output.is_terminal
        self._line = _Line()
        self._live = (
            Live(self._line, console=output, refresh_per_second=10, transient=True) if output.is_terminal else None
        )
        self._last = ""

    def __enter__(self) -> Self:
        if self._live is not None:
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._live is not None:
            self._live.stop()

    def show(self, execution: Execution) -> None:
        """Show how it stands now."""
        self._line.execution = execution
        if self._lines:
            self._output.print(summary(execution))
