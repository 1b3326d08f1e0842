"""A run's folder: its options, logs, checkpoints; written as it goes, resumed exactly."""

import json
import math
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

from srnas.engine.checkpoint import (
    States,
    first_not_finite,
    load_checkpoint,
    restore,
    save_checkpoint,
)
from srnas.engine.distributed import Process, anywhere
from srnas.engine.progress import Progress
from srnas.errors import Interrupted, UserError
from srnas.files import read_json_lines, read_yaml, write_atomic, write_json_lines
from srnas.options import RunOptions, check_options, dump_options

# What may differ between a run and its resumption without changing the result.
FREE_ON_RESUME = frozenset(
    {"experiments", "name", "device", "threads", "checkpoint_every", "tensorboard"}
)
FREE_IN_DATA = frozenset({"keep", "cache", "workers"})
LOGS = ("metrics.jsonl", "alphas.jsonl")
CHECKPOINT = Path("checkpoints") / "last.pt"


class Run:
    """The folder `experiments/NAME/` of one search or training.

    On resumption, logged rows beyond the checkpoint are dropped: they will be written again, the
    same.

    Args:
        kind: search or train.
        resume: Continue a run that exists.

    Raises:
        UserError: The folder exists and `resume` is off, or the run began with other options.
            Nothing is overwritten.
    """

    def __init__(self, kind: str, options: RunOptions, process: Process, resume: bool) -> None:
        self.options = options
        self.process = process
        self.folder = options.folder
        self.checkpoint = self.folder / CHECKPOINT
        self.saved: dict[str, Any] | None = None
        options_file = self.folder / "options.yml"
        text = f"# srnas {kind}, resolved options\n" + dump_options(options)
        # All processes look before the first one writes.
        if anywhere(options_file.exists(), process.device):
            if not resume:
                raise UserError(
                    f"{self.folder}: this run exists; continue it with --resume, "
                    "or give another name=..."
                )
            _same_options(kind, read_yaml(options_file), options, options_file)
            if self.checkpoint.exists():
                self.saved = load_checkpoint(self.checkpoint)
        elif process.primary:
            write_atomic(options_file, text)
        if process.primary:
            for log in LOGS:
                self._cut_log(self.folder / log)
        self._writer = self._tensorboard() if options.tensorboard and process.primary else None

    @property
    def start(self) -> int:
        """The number of steps that are done already."""
        return self.saved["step"] if self.saved else 0

    def restore(self, states: States) -> None:
        """Load the checkpoint, if there is one, into `states` and the random generators."""
        if self.saved is not None:
            restore(self.saved, states, self.checkpoint)

    def save(self, step: int, states: States) -> None:
        """Write the checkpoint.

        Raises:
            UserError: A tensor in it is not finite; the last checkpoint stays.
        """
        content = {name: part.state_dict() for name, part in states.items()}
        broken = first_not_finite(content)
        if broken is not None:
            raise self._diverged(broken, step)
        if self.process.primary:
            save_checkpoint(self.checkpoint, step, content)

    def log(self, file: str, row: dict[str, Any]) -> None:
        """Append a row (with its "step") to metrics.jsonl or alphas.jsonl.

        Raises:
            UserError: A value is not finite (a PSNR may be infinite); the run stops before it
                is checkpointed.
        """
        for key, value in row.items():
            if isinstance(value, float) and not math.isfinite(value) and "psnr" not in key:
                raise self._diverged(key, row["step"])
        if not self.process.primary:
            return
        with open(self.folder / file, "a", encoding="utf-8") as log:
            log.write(json.dumps(row) + "\n")
        if self._writer:
            for key, value in row.items():
                if isinstance(value, int | float) and key != "step":
                    self._writer.add_scalar(key, value, row["step"])

    @contextmanager
    def loop(self, total: int) -> Iterator["Loop"]:
        """Open the loop over the remaining steps, with progress, checkpoints and Ctrl-C."""
        show = self.process.primary
        with Progress(total, self.start, show=show) as progress, _signals() as asked:
            yield Loop(self, total, progress, asked)
        if self._writer:
            self._writer.close()

    def _diverged(self, what: str, step: int) -> UserError:
        return UserError(
            f"{self.folder}: {what} is not finite at step {step}; lower the learning rate or set "
            f"clip_grad_norm. The last good state, if any, is {self.checkpoint}"
        )

    def _cut_log(self, log: Path) -> None:
        rows = read_json_lines(log)
        if rows:
            write_json_lines(log, [row for row in rows if row["step"] <= self.start])

    def _tensorboard(self) -> Any:
        from torch.utils.tensorboard import SummaryWriter

        folder = str(self.folder / "tensorboard")
        return SummaryWriter(folder, purge_step=self.start)


class Loop:
    """Iterates over a run's remaining steps; `done` closes each."""

    def __init__(
        self,
        run: Run,
        total: int,
        progress: Progress,
        asked_to_stop: Callable[[], bool],
    ) -> None:
        self.run, self.total = run, total
        self.progress, self.asked_to_stop = progress, asked_to_stop
        self._stopped = False

    def __iter__(self) -> Iterator[int]:
        for step in range(self.run.start, self.total):
            self.progress.step = step + 1
            yield step
            if self._stopped:
                return

    def say(self, message: str) -> None:
        """Show how the run goes: in the live line of a terminal, else in a line of its own."""
        self.progress.say(message)

    def warn(self, message: str) -> None:
        """Print a line that stays."""
        self.progress.warn(message)

    def stop(self) -> None:
        """Leave the loop after this step."""
        self._stopped = True

    def done(self, done: int, states: States, checkpoint: bool = False) -> None:
        """Finish step number `done` (from 1): checkpoint if it is due, or if asked to stop.

        Args:
            states: What goes into the checkpoint.
            checkpoint: Whether one is due whatever the step.

        Raises:
            Interrupted: The user asked to stop; the state is safe.
        """
        options = self.run.options
        self.progress.advance(done)
        together = self.run.process.world == 1 or done % options.log_every == 0
        interrupted = together and anywhere(self.asked_to_stop(), self.run.process.device)
        last = done == self.total or self._stopped
        if checkpoint or interrupted or last or done % options.checkpoint_every == 0:
            self.run.save(done, states)
        if interrupted and not last:
            raise Interrupted(
                f"stopped at step {done} of {self.total}; everything is saved in "
                f"{self.run.folder}, continue with --resume"
            )


def _same_options(kind: str, began: dict[str, Any], options: RunOptions, file: Path) -> None:
    before, now = (_what_counts(o) for o in (check_options(kind, began, str(file)), options))
    for key in now:
        if before.get(key) != now[key]:
            raise UserError(
                f"{file}: {key} was {before.get(key)!r} when this run began and is {now[key]!r} "
                "now; resume with the same options, or start under another name=..."
            )


def _what_counts(options: RunOptions) -> dict[str, Any]:
    values = options.model_dump(mode="json", exclude=set(FREE_ON_RESUME))
    values["data"] = {k: v for k, v in values["data"].items() if k not in FREE_IN_DATA}
    return values


@contextmanager
def _signals() -> Iterator[Callable[[], bool]]:
    """Turn the first SIGINT or SIGTERM into a request; a second SIGINT breaks off at once.

    Outside the main thread, where signals cannot be handled, nothing changes.
    """
    asked: list[float] = []

    def ask(number: int, frame: FrameType | None) -> None:
        if asked and number == signal.SIGINT:
            raise KeyboardInterrupt
        asked.append(time.monotonic())

    before: dict[signal.Signals, Any] = {}
    if threading.current_thread() is threading.main_thread():
        before = {s: signal.signal(s, ask) for s in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield lambda: bool(asked)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
