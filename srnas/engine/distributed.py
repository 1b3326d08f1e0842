"""One process or several (torchrun): the device of each, and gradients averaged over all.

Gradients are averaged with one all-reduce over a flat buffer rather than through
DistributedDataParallel: a search differentiates for the weights and for the alphas in turn,
and DDP expects a gradient for every parameter of every backward pass. The networks are small
(a supernet has a few million weights), so overlapping the reduction would gain nothing.
"""

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
import torch.distributed as dist
from torch import Tensor, nn

from srnas.errors import UserError


@dataclass(frozen=True)
class Place:
    """Where this process runs: its device, and its rank among `world` processes."""

    device: torch.device
    rank: int = 0
    world: int = 1

    @property
    def primary(self) -> bool:
        """Whether this process writes files and talks."""
        return self.rank == 0


def start(device: str = "auto", threads: int | None = None) -> Place:
    """Settle the device, and join the process group if torchrun started several processes."""
    if threads:
        torch.set_num_threads(threads)
    world = int(os.environ.get("WORLD_SIZE", "1"))
    if world == 1:
        return Place(choose_device(device))
    chosen = choose_device(device)
    if chosen.type == "cuda":
        chosen = torch.device("cuda", int(os.environ["LOCAL_RANK"]))
        torch.cuda.set_device(chosen)
    if not dist.is_initialized():
        dist.init_process_group("nccl" if chosen.type == "cuda" else "gloo")
    return Place(chosen, dist.get_rank(), world)


def choose_device(device: str) -> torch.device:
    """The device of a name; `auto` is CUDA where there is one, else the CPU.

    UserError for a device that is not there.
    """
    if device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        chosen = torch.device(device)
        torch.empty(0, device=chosen)
    except (RuntimeError, AssertionError) as error:
        first = str(error).splitlines()[0]
        raise UserError(f"device: {device!r} is not available here ({first}); try auto") from error
    return chosen


@contextmanager
def primary_first(place: Place) -> Iterator[None]:
    """The primary process runs the block before the others, which find what it left behind."""
    if place.world > 1 and not place.primary:
        dist.barrier()
    try:
        yield
    finally:
        if place.world > 1 and place.primary:
            dist.barrier()


def average_gradients(parameters: Sequence[nn.Parameter]) -> None:
    """Replace each gradient by its mean over all processes; nothing to do for one process."""
    if not dist.is_initialized() or dist.get_world_size() == 1:
        return
    gradients = [p.grad for p in parameters if p.grad is not None]
    flat = torch.cat([g.flatten() for g in gradients])
    dist.all_reduce(flat)
    flat /= dist.get_world_size()
    offset = 0
    for gradient in gradients:
        gradient.copy_(flat[offset : offset + gradient.numel()].view_as(gradient))
        offset += gradient.numel()


def anywhere(flag: bool, device: torch.device) -> bool:
    """Whether any process says so; all of them must ask together."""
    if not dist.is_initialized() or dist.get_world_size() == 1:
        return flag
    said: Tensor = torch.tensor(int(flag), device=device)
    dist.all_reduce(said, op=dist.ReduceOp.MAX)
    return bool(said.item())


def finish() -> None:
    """Leave the process group, if there is one."""
    if dist.is_initialized():
        dist.destroy_process_group()
