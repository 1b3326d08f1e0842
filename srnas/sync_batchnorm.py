"""BatchNorm over the batches of all processes, so that a run does not depend on their number."""

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor, nn

from srnas.distributed import Process, add_processes, world
from srnas.primitives.batchnorm import BatchNorm2d, track


class SyncedBatchNorm2d(nn.BatchNorm2d):
    """BatchNorm2d with the statistics of the batches of all processes.

    Output, gradients and running statistics are those of one process with the concatenated batch
    (a backward pass gives the gradient of the sum of the losses of all processes). Each process
    needs at least one sample; the numbers of samples may differ. In evaluation mode, and in a
    single process, it is `nn.BatchNorm2d`.

    `torch.nn.SyncBatchNorm` runs on CUDA only and cannot be differentiated twice, this one can.
    """

    def forward(self, input: Tensor) -> Tensor:
        """Map (B, C, H, W) to (B, C, H, W)."""
        if not self.training or world() == 1:
            return super().forward(input)
        self._check_input_dim(input)
        x = input.to(torch.promote_types(input.dtype, torch.float32))
        here = x.mean((0, 2, 3))
        centred = x - _by_channel(here)
        count = x.numel() // x.shape[1]
        mean, var, total = _of_all(here, centred.square().mean((0, 2, 3)), count)
        track(self, mean, var * total / (total - 1))
        scale = (var + self.eps).rsqrt()
        if self.affine:
            scale = scale * self.weight
        shift = (here - mean) * scale
        if self.affine:
            shift = shift + self.bias
        y = torch.addcmul(_by_channel(shift.to(x)), centred, _by_channel(scale.to(x)))
        return y.to(input.dtype)


def synchronize(network: nn.Module, process: Process, *, twice: bool = False) -> None:
    """Give the BatchNorm2d of a network the statistics of the batches of all processes, in place.

    Parameters, buffers and the keys of the state dict stay the same. A single process leaves the
    network as it is.

    Args:
        network: The network, on its device.
        process: Device and number of processes.
        twice: Whether the network is differentiated twice, which `torch.nn.SyncBatchNorm` (taken
            on CUDA otherwise) cannot do.
    """
    if process.world == 1:
        return
    if process.device.type == "cuda" and not twice:
        nn.SyncBatchNorm.convert_sync_batchnorm(network)
        return
    for parent in list(network.modules()):
        for name, module in parent.named_children():
            known = type(module) in (nn.BatchNorm2d, BatchNorm2d)  # others may do something else
            if known and isinstance(module, nn.BatchNorm2d):
                setattr(parent, name, _synced(module))


def _synced(norm: nn.BatchNorm2d) -> SyncedBatchNorm2d:
    """Return a synchronized BatchNorm that shares parameters, buffers and mode with `norm`."""
    synced = SyncedBatchNorm2d.__new__(SyncedBatchNorm2d)
    synced.__dict__.update(norm.__dict__)
    return synced


def _of_all(mean: Tensor, var: Tensor, count: int) -> tuple[Tensor, Tensor, Tensor]:
    """Combine the statistics of all processes (Chan et al., 1979), in float64.

    Args:
        mean: Mean of this process's batch by channel, (C,).
        var: Its biased variance, (C,).
        count: Number of values in a channel.

    Returns:
        Mean (C,), biased variance (C,) and number of values of all batches.
    """
    rank, processes = dist.get_rank(), world()
    mine = torch.cat((mean.double(), var.double(), mean.new_full((1,), count, dtype=torch.float64)))
    # Zeros for the other processes turn the sum into an exact gather, which gloo also has on CUDA.
    rows = add_processes(F.pad(mine[None], (0, 0, rank, processes - rank - 1)))
    means, variances, counts = rows.split((len(mean), len(var), 1), dim=1)
    total = counts.detach().sum()
    weights = counts.detach() / total
    overall = (weights * means).sum(0)
    return overall, (weights * (variances + (means - overall).square())).sum(0), total


def _by_channel(values: Tensor) -> Tensor:
    return values[:, None, None]
