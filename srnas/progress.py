"""Progress with the remaining time: a live line on a terminal, plain lines elsewhere."""

import time
from collections.abc import Iterable, Sequence
from types import TracebackType
from typing import TypeVar

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as RichProgress
from rich.progress import track as rich_track
from rich.table import Column

Item = TypeVar("Item")


def duration(seconds: float) -> str:
    """Write a duration with two figures that matter.

    >>> duration(8.4), duration(90), duration(5000), duration(200_000)
    ('8 s', '1 min 30 s', '1 h 23 min', '2 days 7 h')
    """
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    if whole < 2 * 86400:
        return f"{whole // 3600} h {whole // 60 % 60} min"
    return f"{whole // 86400} days {whole // 3600 % 24} h"


def track(items: Sequence[Item], name: str) -> Iterable[Item]:
    """Iterate with a bar on standard error, on a terminal only; it vanishes at the end."""
    console = Console(stderr=True)
    hidden = not console.is_terminal
    return rich_track(items, name, console=console, transient=True, disable=hidden)


class Progress:
    """Show the progress of a run on standard error; use it as a context manager.

    Args:
        start: Number of steps that were done before, for a resumed run.
        show: Whether to print anything, warnings included.
    """

    def __init__(self, total: int, start: int = 0, show: bool = True) -> None:
        self.total, self.start, self.step = total, start, start
        self.console = Console(stderr=True)
        self.show = show
        self.began = time.monotonic()
        self.live: RichProgress | None = None
        if show and self.console.is_terminal:
            self.live = RichProgress(
                MofNCompleteColumn(),
                BarColumn(bar_width=12),
                TimeRemainingColumn(elapsed_when_finished=True),
                TextColumn(
                    "{task.description}",
                    markup=False,
                    table_column=Column(no_wrap=True, overflow="ellipsis", ratio=1),
                ),
                console=self.console,
                expand=True,
            )
            self.task = self.live.add_task("", total=total, completed=start)

    def __enter__(self) -> "Progress":
        if self.live:
            self.live.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self.live:
            self.live.stop()

    def advance(self, step: int) -> None:
        """Record that `step` steps of the run are done."""
        self.step = step
        if self.live:
            self.live.update(self.task, completed=step)

    def say(self, message: str) -> None:
        """Show a short message: as the text of the live line, or as a line of its own.

        On a terminal, what does not fit beside the bar is cut.
        """
        if self.live:
            self.live.update(self.task, description=message)
        elif self.show:
            line = f"{self.step}/{self.total}  {message}  {self._left()}"
            print(line, file=self.console.file, flush=True)

    def tell(self, message: str) -> None:
        """Print a message that stays, on a line of its own.

        On a terminal it is above the live line, and broken between words.
        """
        if self.show:
            whole = not self.console.is_terminal
            self.console.print(message, markup=False, highlight=False, soft_wrap=whole)

    def warn(self, message: str) -> None:
        """Print a warning that stays."""
        self.tell(f"warning: {message}")

    def _left(self) -> str:
        done = self.step - self.start
        if not done:
            return ""
        seconds = round((time.monotonic() - self.began) / done * (self.total - self.step))
        return f"({seconds // 3600}:{seconds // 60 % 60:02}:{seconds % 60:02} left)"
