"""Single-process and distributed runs (torchrun): devices, and what processes compute together.

Each process works on its share of every batch. What a step needs of the whole batch is computed
together: gradients, losses, random draws for each sample, and BatchNorm's statistics (see
`srnas.sync_batchnorm`). A run then gives the same result, up to rounding, on any number of
processes. All processes must make these calls together, in the same order.

Gradients are averaged with one all-reduce over a flat buffer instead of
`DistributedDataParallel`. A search computes gradients of the weights and of the alphas in turn,
whereas DDP expects every backward pass to produce a gradient for every parameter. The networks are
small (a supernet has a few million weights), so overlapping communication with the backward pass
would gain nothing.
"""

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn

from srnas.errors import UserError, first_line, short
from srnas.fast import switched_off
from srnas.fast.memory_format import layout
from srnas.machine import keep_freed_memory

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

    The process then keeps memory that it frees, see `keep_freed_memory`.

    Args:
        device: Name of the device, see `choose_device`. In a distributed run on CUDA, each process
            takes the GPU of its local rank.
        threads: Number of CPU threads of PyTorch operations; PyTorch's default if None or 0.

    Raises:
        UserError: The device is not available, or SRNAS_PLAIN names an unknown technique.
    """
    switched_off()
    if threads:
        torch.set_num_threads(threads)
    keep_freed_memory()
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
        torch.zeros(1, device=chosen).item()  # which fails on `meta`, too: it has no values
    except (RuntimeError, AssertionError, ValueError) as error:
        raise UserError(
            f"device: {short(device)} is not available here ({first_line(error)}); try auto"
        ) from error
    return chosen


def move(module: Module, device: torch.device) -> Module:
    """Move a module to a device, its convolutions into channels-last memory, and return it."""
    return module.to(device).to(memory_format=layout())


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


def world() -> int:
    """Return the number of processes of the run."""
    return dist.get_world_size() if dist.is_initialized() else 1


@torch.no_grad()
def average_gradients(parameters: Sequence[nn.Parameter]) -> None:
    """Replace each gradient by its mean over all processes, in place.

    Parameters without a gradient are skipped. A single process leaves the gradients unchanged.
    """
    gradients = [p.grad for p in parameters if p.grad is not None]
    if world() > 1:
        for gradient, mean in zip(gradients, averaged(gradients), strict=True):
            gradient.copy_(mean)


def averaged(tensors: Sequence[Tensor]) -> list[Tensor]:
    """Return the mean of each tensor over all processes; see `add_processes` for derivatives."""
    if world() == 1 or not tensors:
        return list(tensors)
    flat = add_processes(torch.cat([t.flatten() for t in tensors])) / world()
    parts = flat.split([t.numel() for t in tensors])
    return [part.view_as(t) for part, t in zip(parts, tensors, strict=True)]


def average(values: Sequence[float]) -> list[float]:
    """Return the means of numbers over all processes."""
    if world() == 1 or not values:
        return list(values)
    device = torch.device("cuda" if dist.get_backend() == "nccl" else "cpu")
    total = torch.tensor(values, dtype=torch.float64, device=device)
    dist.all_reduce(total)
    means: list[float] = (total / world()).tolist()
    return means


def add_processes(tensor: Tensor) -> Tensor:
    """Return the sum of a tensor over all processes, differentiable any number of times.

    A backward pass gives the gradient of the sum of the losses of all processes.
    """
    if world() == 1:
        return tensor
    total: Tensor = _Sum.apply(tensor)
    return total


class _Sum(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, tensor: Tensor) -> Tensor:
        total = tensor.clone(memory_format=torch.contiguous_format)
        dist.all_reduce(total)
        return total

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        return add_processes(gradient)


def draw_samples(like: Tensor, draw: Callable[[Tensor], Tensor]) -> Tensor:
    """Return random numbers for this process's share of a batch.

    Every process draws for the whole batch and takes its share (as `srnas.data.draws.share` does),
    so that the numbers, and the states of the random generators, do not depend on the number of
    processes.

    Args:
        like: A tensor (B, ...) for B samples; only its shape, type and memory format matter.
        draw: Returns random numbers for the samples of a tensor like that.
    """
    count = world()
    if count == 1:
        return draw(like)
    return draw(torch.cat([like.detach()] * count))[dist.get_rank() :: count]


def anywhere(flag: bool, device: torch.device) -> bool:
    """Return whether `flag` is true in any process."""
    if world() == 1:
        return flag
    said: Tensor = torch.tensor(int(flag), device=device)
    dist.all_reduce(said, op=dist.ReduceOp.MAX)
    return bool(said.item())


def finish() -> None:
    """Leave the process group if this process has joined one."""
    if dist.is_initialized():
        dist.destroy_process_group()
