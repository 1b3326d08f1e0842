"""Checkpoints: everything that a run needs to continue exactly where it stopped."""

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, Protocol

import torch
from pydantic import TypeAdapter

from srnas.distributed import average, world
from srnas.errors import UserError, one_line, short
from srnas.files import load_tensors, save_tensors


class Stateful(Protocol):
    """An object whose state goes into a checkpoint."""

    def state_dict(self) -> dict[str, Any]:
        """Return the state as tensors and plain values."""

    def load_state_dict(self, state: dict[str, Any]) -> Any:
        """Continue from what `state_dict` returned."""


States = Mapping[str, Stateful]


@dataclass
class Record:
    """A dataclass of plain values that go into the checkpoint."""

    def state_dict(self) -> dict[str, Any]:
        """Return the values by name."""
        return asdict(self)

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore the values; those missing from `state` stay as they are.

        Raises:
            ValueError: A value has another type.
        """
        known = {name: state.get(name, value) for name, value in asdict(self).items()}
        checked = TypeAdapter(type(self)).validate_python(known)
        for field in fields(self):
            setattr(self, field.name, getattr(checked, field.name))


class Meter:
    """Running means of losses over steps and processes.

    The sums stay on the device, and in their process, until they are read, so that a step does not
    wait for the GPU or for other processes. All processes must read them together, by `means` or
    `state_dict`.
    """

    def __init__(self) -> None:
        self.sums: dict[str, torch.Tensor] = {}
        self.counts: dict[str, int] = {}

    def add(self, name: str, value: torch.Tensor) -> None:
        """Add a value to the mean called `name`."""
        value = value.detach().float()
        self.sums[name] = self.sums[name] + value if name in self.sums else value
        self.counts[name] = self.counts.get(name, 0) + 1

    def means(self) -> dict[str, float]:
        """Return the means by name since the last call, and start new ones."""
        sums = average([value.item() for value in self.sums.values()])
        means = {k: total / self.counts[k] for k, total in zip(self.sums, sums, strict=True)}
        self.sums, self.counts = {}, {}
        return means

    def state_dict(self) -> dict[str, Any]:
        """Return sums and counts, the same for all processes."""
        if world() > 1:
            # This meter continues from these values, so a resumed run rounds as if never stopped.
            sums = average([value.item() for value in self.sums.values()])
            self.sums = {k: torch.tensor(total) for k, total in zip(self.sums, sums, strict=True)}
        return {"sums": dict(self.sums), "counts": dict(self.counts)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from what `state_dict` returned.

        Raises:
            ValueError: A sum is not a scalar tensor, or a count no whole number.
        """
        sums, counts = dict(state["sums"]), dict(state["counts"])
        scalars = all(torch.is_tensor(value) and value.numel() == 1 for value in sums.values())
        if not scalars or not all(type(counts[name]) is int for name in sums):
            raise ValueError("the means of the losses are none")
        self.sums, self.counts = sums, counts


def save_checkpoint(file: Path, step: int, states: Mapping[str, dict[str, Any]]) -> None:
    """Write a checkpoint, atomically, with the states of torch's generators (CPU and CUDA)."""
    save_tensors(file, {"step": step, "parts": dict(states), "rng": _rng_state()})


def load_checkpoint(file: Path) -> dict[str, Any]:
    """Read a checkpoint.

    Returns:
        {"step": number of steps done, "parts": states by name, "rng": states of the generators}.

    Raises:
        UserError: The file is missing, broken, or not a checkpoint.
    """
    content = load_tensors(file)
    if not isinstance(content, dict) or not {"step", "parts", "rng"} <= content.keys():
        raise UserError(f"{file}: not a checkpoint of srnas")
    step, parts = content["step"], content["parts"]
    if type(step) is not int or step < 0 or not isinstance(parts, dict):
        raise UserError(f"{file}: a broken checkpoint (step {short(step)}); go back to a copy")
    return content


def restore(saved: dict[str, Any], states: States, file: Path) -> None:
    """Load a checkpoint into objects and into torch's random generators.

    Args:
        saved: What `load_checkpoint` returned.
        states: The objects that take the states, by name.
        file: File of the checkpoint, for error messages.

    Raises:
        UserError: A state is missing or does not fit.
    """
    try:
        for name, target in states.items():
            target.load_state_dict(saved["parts"][name])
    except UserError:
        raise
    except Exception as error:  # a broken state may raise anything
        why = one_line(" ".join(str(error).splitlines()[:2]), 200)
        raise UserError(f"{file}: does not fit this run's network ({why})") from error
    try:
        _restore_rng(saved["rng"])
    except (TypeError, RuntimeError, LookupError) as error:
        why = one_line(str(error), 200)
        raise UserError(f"{file}: broken states of the random generators ({why})") from error


def first_not_finite(states: Any, path: str = "") -> str | None:
    """Return the path of the first tensor with NaN or infinity in nested dicts and lists."""
    for name, tensor in _tensors(states, path):
        if tensor.is_floating_point() and not torch.isfinite(tensor).all():
            return name
    return None


def _tensors(value: Any, path: str) -> Iterator[tuple[str, torch.Tensor]]:
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
    if not torch.cuda.is_available() or not state["cuda"]:
        return
    if world() == 1 and len(state["cuda"]) == torch.cuda.device_count():
        torch.cuda.set_rng_state_all(state["cuda"])
    else:
        # The primary process, which wrote them, computed on the first device; all draw as it did.
        torch.cuda.set_rng_state(state["cuda"][0])
