"""A run's folder: its options, logs, checkpoints; written as it goes, resumed exactly."""

import json
import math
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

import torch

from srnas.engine.distributed import Place, anywhere
from srnas.engine.progress import Progress
from srnas.errors import UserError
from srnas.files import (
    load_tensors,
    read_json_lines,
    read_yaml,
    save_tensors,
    write_atomic,
    write_json_lines,
)
from srnas.options import RunOptions, check_options, dump_options

# What may differ between a run and its resumption without changing the result.
FREE_ON_RESUME = frozenset(
    {"experiments", "name", "device", "threads", "checkpoint_every", "tensorboard"}
)
FREE_IN_DATA = frozenset({"keep", "cache", "workers"})
LOGS = ("metrics.jsonl", "alphas.jsonl")
CHECKPOINT = Path("checkpoints") / "last.pt"


class Interrupted(Exception):  # noqa: N818  (not an error)
    """The user asked a run to stop; its state is saved."""


class Run:
    """The folder `experiments/NAME/` of one search or training.

    Opening one that exists without `resume`, or resuming with other options than it began
    with, is a UserError; nothing is overwritten. On resumption, logged rows beyond the
    checkpoint are dropped: they will be written again, the same.
    """

    def __init__(self, kind: str, options: RunOptions, place: Place, resume: bool) -> None:
        self.options = options
        self.place = place
        self.folder = Path(options.experiments) / options.name
        self.checkpoint = self.folder / CHECKPOINT
        self.state: dict[str, Any] | None = None
        options_file = self.folder / "options.yml"
        text = f"# srnas {kind}, resolved options\n" + dump_options(options)
        # All processes look before the first one writes.
        if anywhere(options_file.exists(), place.device):
            if not resume:
                raise UserError(
                    f"{self.folder}: this run exists; continue it with --resume, "
                    "or give another name=..."
                )
            _same_options(kind, read_yaml(options_file), options, options_file)
            if self.checkpoint.exists():
                self.state = load_tensors(self.checkpoint)
        elif place.primary:
            write_atomic(options_file, text)
        if place.primary:
            for log in LOGS:
                self._cut_log(self.folder / log)
        self._writer = self._tensorboard() if options.tensorboard and place.primary else None

    @property
    def start(self) -> int:
        """Steps that are done already."""
        return self.state["step"] if self.state else 0

    def restore(self, parts: dict[str, Any]) -> None:
        """Load the checkpoint, if there is one, into `parts` and the random generators."""
        if self.state is not None:
            load_parts(self.state, parts, self.checkpoint)

    def save(self, step: int, parts: dict[str, Any]) -> None:
        """Write the checkpoint: the parts' states, random generators, step.

        UserError, and the last checkpoint stays, if a tensor in it is not finite.
        """
        states = {name: part.state_dict() for name, part in parts.items()}
        for name, tensor in _tensors(states):
            if tensor.is_floating_point() and not torch.isfinite(tensor).all():
                raise self._diverged(name, step)
        if self.place.primary:
            save_tensors(self.checkpoint, {"step": step, "parts": states, "rng": _rng_state()})

    def log(self, file: str, row: dict[str, Any]) -> None:
        """Append a row (with its "step") to metrics.jsonl or alphas.jsonl.

        A value that is not finite stops the run with a UserError before it is checkpointed
        (a PSNR may be infinite).
        """
        for key, value in row.items():
            if isinstance(value, float) and not math.isfinite(value) and "psnr" not in key:
                raise self._diverged(key, row["step"])
        if not self.place.primary:
            return
        with open(self.folder / file, "a", encoding="utf-8") as log:
            log.write(json.dumps(row) + "\n")
        if self._writer:
            for key, value in row.items():
                if isinstance(value, int | float) and key != "step":
                    self._writer.add_scalar(key, value, row["step"])

    @contextmanager
    def steps(self, total: int) -> Iterator["Steps"]:
        """The loop over the remaining steps, with progress, checkpoints and Ctrl-C."""
        with Progress(total, self.start, show=self.place.primary) as progress, _signals() as asked:
            yield Steps(self, total, progress, asked)
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

        return SummaryWriter(str(self.folder / "tensorboard"), purge_step=self.start)


class Steps:
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
        """Show how it goes: in the live line of a terminal, else as a line of its own."""
        self.progress.say(message)

    def warn(self, message: str) -> None:
        """A line that stays."""
        self.progress.warn(message)

    def stop(self) -> None:
        """Leave the loop after this step."""
        self._stopped = True

    def done(self, done: int, parts: dict[str, Any], checkpoint: bool = False) -> None:
        """Step number `done` (from 1) is finished: checkpoint if it is due, or if asked to stop.

        parts: name -> what has a state_dict, for the checkpoint.

        Raises Interrupted once the state is safe.
        """
        options = self.run.options
        self.progress.advance(done)
        together = self.run.place.world == 1 or done % options.log_every == 0
        interrupted = together and anywhere(self.asked_to_stop(), self.run.place.device)
        last = done == self.total or self._stopped
        if checkpoint or interrupted or last or done % options.checkpoint_every == 0:
            self.run.save(done, parts)
        if interrupted and not last:
            raise Interrupted(
                f"stopped at step {done} of {self.total}; everything is saved in "
                f"{self.run.folder}, continue with --resume"
            )


class Meter:
    """Running means of losses, kept on the device until they are asked for."""

    def __init__(self) -> None:
        self.sums: dict[str, torch.Tensor] = {}
        self.counts: dict[str, int] = {}

    def add(self, name: str, value: torch.Tensor) -> None:
        """Count one more value in."""
        value = value.detach().float()
        self.sums[name] = self.sums[name] + value if name in self.sums else value
        self.counts[name] = self.counts.get(name, 0) + 1

    def means(self) -> dict[str, float]:
        """name -> mean since the last call."""
        means = {name: self.sums[name].item() / self.counts[name] for name in self.sums}
        self.sums, self.counts = {}, {}
        return means

    def state_dict(self) -> dict[str, Any]:
        """Sums and counts."""
        return {"sums": dict(self.sums), "counts": dict(self.counts)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on where `state_dict` was taken."""
        self.sums, self.counts = dict(state["sums"]), dict(state["counts"])


class Notes:
    """Plain values that belong into the checkpoint, as attributes."""

    def __init__(self, **values: Any) -> None:
        self.__dict__.update(values)

    def state_dict(self) -> dict[str, Any]:
        """The values."""
        return dict(self.__dict__)

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take the values back."""
        self.__dict__.update(state)


def load_parts(state: dict[str, Any], parts: dict[str, Any], checkpoint: Path) -> None:
    """Load a checkpoint's content into `parts` and the random generators.

    UserError, which names the file, if it does not fit them.
    """
    try:
        for name, part in parts.items():
            part.load_state_dict(state["parts"][name])
    except (KeyError, RuntimeError, ValueError, TypeError) as error:
        told = " ".join(line.strip() for line in str(error).splitlines()[:2])
        raise UserError(f"{checkpoint}: does not fit this run's network ({told[:200]})") from error
    _restore_rng(state["rng"])


def _same_options(kind: str, began: dict[str, Any], options: RunOptions, file: Path) -> None:
    before, now = (_what_counts(o) for o in (check_options(kind, began, str(file)), options))
    for key in now:
        if before[key] != now[key]:
            raise UserError(
                f"{file}: {key} was {before[key]!r} when this run began and is {now[key]!r} "
                "now; resume with the same options, or start under another name=..."
            )


def _what_counts(options: RunOptions) -> dict[str, Any]:
    values = options.model_dump(mode="json", exclude=FREE_ON_RESUME)
    values["data"] = {k: v for k, v in values["data"].items() if k not in FREE_IN_DATA}
    return values


def _tensors(value: Any, path: str = "") -> Iterator[tuple[str, torch.Tensor]]:
    """All tensors of nested dicts and lists, with their paths."""
    if isinstance(value, torch.Tensor):
        yield path, value
    elif isinstance(value, dict | list):
        items = value.items() if isinstance(value, dict) else enumerate(value)
        for key, inner in items:
            yield from _tensors(inner, f"{path}.{key}" if path else str(key))


def _rng_state() -> dict[str, Any]:
    cuda = torch.cuda.get_rng_state_all() if torch.cuda.is_available() else []
    return {"cpu": torch.get_rng_state(), "cuda": cuda}


def _restore_rng(state: dict[str, Any]) -> None:
    torch.set_rng_state(state["cpu"])
    if torch.cuda.is_available() and len(state["cuda"]) == torch.cuda.device_count():
        torch.cuda.set_rng_state_all(state["cuda"])


@contextmanager
def _signals() -> Iterator[Callable[[], bool]]:
    """Turn the first SIGINT or SIGTERM into a request; a second SIGINT breaks off at once."""
    asked: list[float] = []

    def ask(number: int, frame: FrameType | None) -> None:
        if asked and number == signal.SIGINT:
            raise KeyboardInterrupt
        asked.append(time.monotonic())

    before = {s: signal.signal(s, ask) for s in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield lambda: bool(asked)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
