"""Progress with time left: a live line on a terminal, plain lines elsewhere."""

import time
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as RichProgress


class Progress:
    """Shows how far a run of `total` steps is; silent if not `show`."""

    def __init__(self, total: int, start: int = 0, show: bool = True) -> None:
        self.total, self.start, self.step = total, start, start
        self.console = Console(stderr=True)
        self.show = show
        self.began = time.monotonic()
        self.live: RichProgress | None = None
        if show and self.console.is_terminal:
            self.live = RichProgress(
                MofNCompleteColumn(),
                BarColumn(bar_width=20),
                TimeRemainingColumn(elapsed_when_finished=True),
                TextColumn("{task.description}"),
                console=self.console,
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
        """`step` steps are done."""
        self.step = step
        if self.live:
            self.live.update(self.task, completed=step)

    def say(self, message: str) -> None:
        """The state in a few words: replaces the live line's text, or prints a line."""
        if self.live:
            self.live.update(self.task, description=message)
        elif self.show:
            line = f"{self.step}/{self.total}  {message}  {self._left()}"
            print(line, file=self.console.file, flush=True)

    def warn(self, message: str) -> None:
        """A line of its own, in the terminal above the live one."""
        if self.show:
            self.console.print(f"warning: {message}", markup=False, highlight=False, soft_wrap=True)

    def _left(self) -> str:
        done = self.step - self.start
        if not done:
            return ""
        seconds = round((time.monotonic() - self.began) / done * (self.total - self.step))
        return f"({seconds // 3600}:{seconds // 60 % 60:02}:{seconds % 60:02} left)"
