"""A run folder: options, logs and checkpoints, written during the run and resumed exactly."""

import json
import math
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

from srnas.analysis.logs import read_alphas, read_metrics
from srnas.distributed import Process, anywhere
from srnas.engine.checkpoint import (
    States,
    first_not_finite,
    load_checkpoint,
    restore,
    save_checkpoint,
)
from srnas.engine.sessions import Session
from srnas.errors import Interrupted, UserError
from srnas.files import append_line, read_yaml, write_atomic, write_json_lines
from srnas.lock import hold, in_use
from srnas.options import RunOptions, check_options, dump_options
from srnas.progress import Progress

# Options that may change when a run is resumed, because they do not affect the result.
FREE_ON_RESUME = frozenset(
    {"experiments", "name", "device", "threads", "checkpoint_every", "tensorboard"}
)
FREE_INSIDE = {"data": frozenset({"keep", "cache", "workers"}), "teacher": frozenset({"cache"})}
LOGS = {"metrics.jsonl": read_metrics, "alphas.jsonl": read_alphas}
CHECKPOINT = Path("checkpoints") / "last.pt"
LOCK = ".lock"
NAMED = 16  # images in a message
ANOTHER = "give another name=..."


@contextmanager
def open_run(
    kind: str,
    options: RunOptions,
    process: Process,
    resume: bool,
    report: Callable[[Path], object] | None = None,
) -> Iterator["Run"]:
    """Hold the folder of a run against other processes, and open the run in it.

    Args:
        report: Called with the folder at the end of the block, while the folder is still held; not
            after an exception.

    Raises:
        UserError: Another process works on this run, or as in `Run`.
    """
    with ExitStack() as stack:
        _take(options.folder, process, stack)
        run = Run(kind, options, process, resume)
        stack.callback(run.close)
        yield run
        run.tell_session()
        if report and process.primary:
            report(run.folder)


class Run:
    """The folder `experiments/NAME/` of one search or training; see `open_run`.

    When a run is resumed, log rows after the checkpoint are dropped, because the resumed run writes
    the same rows again.

    Args:
        kind: "search" or "train".
        process: This process; only the primary one writes.

    Attributes:
        folder: The run folder.
        checkpoint: File of the checkpoint.
        saved: Content of the checkpoint to resume from, if there is one.
        batches: What the steps draw from, to name the images when a loss is not finite.

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
        self.batches: Sequence[object] = ()
        options_file = self.folder / "options.yml"
        text = f"# srnas {kind}, resolved options\n" + dump_options(options)
        # All processes check for the file before the primary one writes it.
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
            for name, read in LOGS.items():
                self._cut_log(self.folder / name, read)
        self._session = Session(self.folder, process.device, process.world)
        self.tell_session()
        self._writer = self._tensorboard() if options.tensorboard and process.primary else None

    @property
    def start(self) -> int:
        """Number of steps that are already done."""
        return self.saved["step"] if self.saved else 0

    def restore(self, states: States) -> None:
        """Load the checkpoint, if there is one, into `states` and torch's random generators."""
        if self.saved is not None:
            restore(self.saved, states, self.checkpoint)

    def save(self, step: int, states: States) -> None:
        """Write the checkpoint.

        Args:
            states: Objects whose states are saved, by name.

        Raises:
            UserError: A tensor is not finite. The previous checkpoint is kept.
        """
        content = {name: part.state_dict() for name, part in states.items()}
        broken = first_not_finite(content)
        if broken is not None:
            raise self._diverged(broken, step)
        if self.process.primary:
            save_checkpoint(self.checkpoint, step, content)
        self.tell_session()

    def tell_session(self) -> None:
        """Write until when this process has worked on the run."""
        if self.process.primary:
            self._session.write()

    def log(self, file: str, row: dict[str, Any]) -> None:
        """Append a row to a log, and its numbers to TensorBoard if the options ask for it.

        Args:
            file: metrics.jsonl or alphas.jsonl.
            row: The row, with its "step".

        Raises:
            UserError: A value is not finite, which stops the run before the next checkpoint. A PSNR
                may be infinite.
        """
        for key, value in row.items():
            if isinstance(value, float) and not math.isfinite(value) and "psnr" not in key:
                raise self._diverged(key, row["step"])
        if not self.process.primary:
            return
        append_line(self.folder / file, json.dumps(row))
        if self._writer:
            for key, value in row.items():
                if isinstance(value, int | float) and key != "step":
                    self._writer.add_scalar(key, value, row["step"])

    @contextmanager
    def loop(self, total: int) -> Iterator["Loop"]:
        """Open the loop over the remaining steps, with progress, checkpoints and Ctrl-C handling.

        Raises:
            UserError: More steps are done than that.
        """
        if self.start > total:
            raise UserError(
                f"{self.checkpoint}: at step {self.start}, but this run has {total}; start under "
                "another name=..."
            )
        show = self.process.primary
        with Progress(total, self.start, show=show) as progress, _signals() as asked:
            yield Loop(self, total, progress, asked)

    def close(self) -> None:
        """Finish the TensorBoard log."""
        if self._writer:
            self._writer.close()

    def _diverged(self, what: str, step: int) -> UserError:
        recent = [name for one in self.batches for name in getattr(one, "recent", ())]
        names = ", ".join(dict.fromkeys(recent[:NAMED]))
        more = ", ..." if len(recent) > NAMED else ""
        images = f" (last images: {names}{more})" if recent else ""
        return UserError(
            f"{self.folder}: {what} is not finite at step {step}{images}; lower the learning rate "
            "or set clip_grad_norm, and if it happens at once, look at the images. The last good "
            f"state, if any, is {self.checkpoint}"
        )

    def _cut_log(self, log: Path, read: Callable[[Path], list[dict[str, Any]]]) -> None:
        if log.exists():  # also without a whole row: rows are appended, not to the rest of one
            write_json_lines(log, [row for row in read(log) if row["step"] <= self.start])

    def _tensorboard(self) -> Any:
        from torch.utils.tensorboard import SummaryWriter

        folder = str(self.folder / "tensorboard")
        return SummaryWriter(folder, purge_step=self.start)


class Loop:
    """An iterator over the remaining steps of a run, from 0; call `done` at the end of each step.

    Args:
        progress: Where messages and the number of steps are shown.
        asked_to_stop: Returns the signal by which the user has asked to stop, or None.
    """

    def __init__(
        self, run: Run, total: int, progress: Progress, asked_to_stop: Callable[[], int | None]
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
        """Show a progress message, in the live line of a terminal or on a line of its own."""
        self.progress.say(message)

    def tell(self, message: str) -> None:
        """Print a message that stays visible."""
        self.progress.tell(message)

    def warn(self, message: str) -> None:
        """Print a warning that stays visible."""
        self.progress.warn(message)

    def stop(self) -> None:
        """Leave the loop after this step."""
        self._stopped = True

    def done(self, done: int, states: States, checkpoint: bool = False) -> None:
        """Close a step; write a checkpoint if one is due, at the last step, or if asked to stop.

        Args:
            done: Number of steps done, this one included.
            states: Objects whose states go into the checkpoint, by name.
            checkpoint: Whether to write a checkpoint in any case.

        Raises:
            Interrupted: The user asked to stop; the checkpoint is written.
        """
        options = self.run.options
        self.progress.advance(done)
        together = self.run.process.world == 1 or done % options.log_every == 0
        signalled = self.asked_to_stop()
        interrupted = together and anywhere(signalled is not None, self.run.process.device)
        last = done == self.total or self._stopped
        if checkpoint or interrupted or last or done % options.checkpoint_every == 0:
            self.run.save(done, states)
        if interrupted and not last:
            raise Interrupted(
                f"stopped at step {done} of {self.total}; everything is saved in "
                f"{self.run.folder}, continue with --resume",
                signalled or signal.SIGINT,
            )


def _take(folder: Path, process: Process, stack: ExitStack) -> None:
    """Hold a run folder until the stack is closed; all processes of the run learn if that fails."""
    lock = folder / LOCK
    problem: UserError | None = None
    if process.primary:
        try:
            stack.enter_context(hold(lock, folder, ANOTHER))
        except UserError as error:
            problem = error
    if anywhere(problem is not None, process.device):
        raise problem or UserError(in_use(lock, folder, ANOTHER))


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
    for key, free in FREE_INSIDE.items():
        if isinstance(values.get(key), dict):
            values[key] = {k: v for k, v in values[key].items() if k not in free}
    return values


@contextmanager
def _signals() -> Iterator[Callable[[], int | None]]:
    """Turn the first SIGINT or SIGTERM into a request to stop; a later SIGINT aborts at once.

    Outside the main thread, where Python cannot handle signals, nothing changes.

    Yields:
        A function that returns the signal, None before there is one.
    """
    asked: list[int] = []
    before: dict[int, Any] = {}

    def ask(number: int, frame: FrameType | None) -> None:
        if asked and number == signal.SIGINT:
            if callable(before[number]):
                before[number](number, frame)
            raise KeyboardInterrupt
        asked.append(number)

    try:
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                before[number] = signal.signal(number, ask)
        yield lambda: asked[0] if asked else None
    finally:
        for each, handler in before.items():
            signal.signal(each, handler)
