"""Single-process and distributed runs (torchrun): devices, and averaging of gradients.

Gradients are averaged with one all-reduce over a flat buffer instead of
`DistributedDataParallel`. A search computes gradients of the weights and of the alphas in turn,
whereas DDP expects every backward pass to produce a gradient for every parameter. The networks are
small (a supernet has a few million weights), so overlapping communication with the backward pass
would gain nothing.
"""

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn

from srnas.errors import UserError

Module = TypeVar("Module", bound=nn.Module)


@dataclass(frozen=True)
class Process:
    """The device of this process and its rank among all processes of the run.

    Attributes:
        device: Device that the process computes on.
        rank: Rank of the process, from 0 to `world` - 1.
        world: Number of processes.
    """

    device: torch.device
    rank: int = 0
    world: int = 1

    @property
    def primary(self) -> bool:
        """Whether this is the process that writes files and reports progress (rank 0)."""
        return self.rank == 0


def start(device: str = "auto", threads: int | None = None) -> Process:
    """Choose the device, and join the process group if torchrun started several processes.

    Args:
        device: Name of the device, see `choose_device`. In a distributed run on CUDA, each process
            takes the GPU of its local rank.
        threads: Number of CPU threads of PyTorch operations; PyTorch's default if None or 0.

    Raises:
        UserError: The device is not available.
    """
    if threads:
        torch.set_num_threads(threads)
    world = int(os.environ.get("WORLD_SIZE", "1"))
    if world == 1:
        return Process(choose_device(device))
    chosen = choose_device(device)
    if chosen.type == "cuda":
        chosen = torch.device("cuda", int(os.environ["LOCAL_RANK"]))
        torch.cuda.set_device(chosen)
    if not dist.is_initialized():
        dist.init_process_group("nccl" if chosen.type == "cuda" else "gloo")
    return Process(chosen, dist.get_rank(), world)


def choose_device(device: str) -> torch.device:
    """Return the device with a given name; `auto` is CUDA if available, otherwise the CPU.

    Raises:
        UserError: The device is not available.
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


def move(module: Module, device: torch.device) -> Module:
    """Move a module to a device, with its convolutions in channels-last memory, and return it."""
    return module.to(device).to(memory_format=torch.channels_last)


@contextmanager
def primary_first(process: Process) -> Iterator[None]:
    """Run the block in the primary process first, then in all other processes.

    The other processes can then use what the primary process has written, such as a cache.
    """
    if process.world > 1 and not process.primary:
        dist.barrier()
    try:
        yield
    finally:
        if process.world > 1 and process.primary:
            dist.barrier()


def average_gradients(parameters: Sequence[nn.Parameter]) -> None:
    """Replace each gradient by its mean over all processes, in place.

    Parameters without a gradient are skipped. A single process leaves the gradients unchanged.
    """
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
    """Return whether `flag` is true in any process; all processes must make the call together."""
    if not dist.is_initialized() or dist.get_world_size() == 1:
        return flag
    said: Tensor = torch.tensor(int(flag), device=device)
    dist.all_reduce(said, op=dist.ReduceOp.MAX)
    return bool(said.item())


def finish() -> None:
    """Leave the process group if this process has joined one."""
    if dist.is_initialized():
        dist.destroy_process_group()
