"""Widening: transfer of a supernet to one with fewer partial channels K."""

import torch
from torch import Tensor, nn

from srnas.choice.mixed_op import MixedOp, PartialMixedOp
from srnas.choice.supernet import Supernet

Axes = tuple[Tensor, ...]  # an index into the narrower tensor for each leading axis
BATCHNORM = (nn.BatchNorm2d, nn.SyncBatchNorm)


class Widening:
    """The transfer of weights, alphas and optimizer states to a supernet with another K.

    The wider candidates have the channels of the narrower ones and copies of channels drawn at
    random, as in DrNAS's released code (`net2wider.py`): a BatchNorm and the state of an optimizer
    follow the channels of their convolution, and a pointwise convolution reads the same copies as
    the depthwise one before it. As in the released code, copied inputs are not divided by the
    number of copies (Chen et al., Net2Net, ICLR 2016, would), since BatchNorm follows.

    If the new K is larger, channels are cut. Everything outside the candidates is kept.

    Args:
        old: The trained supernet.
        new: A supernet of the same space with another K, which receives the weights.
    """

    def __init__(self, old: Supernet, new: Supernet) -> None:
        self.old, self.new = old, new
        self.axes = _network_axes(old.network, new.network)

    @torch.no_grad()
    def copy_weights(self) -> None:
        """Copy weights, buffers, alphas, and which candidates are still in the search."""
        tensors = {_common(name): t for name, t in self.old.network.state_dict().items()}
        for name, tensor in self.new.network.state_dict().items():
            if _common(name) in tensors:
                tensor.copy_(self._widened(_common(name), tensors[_common(name)]))
        kept = {k: t for k, t in self.old.state_dict().items() if not k.startswith("network.")}
        self.new.load_state_dict(kept, strict=False)

    @torch.no_grad()
    def copy_state(self, old: torch.optim.Optimizer, new: torch.optim.Optimizer) -> None:
        """Copy the states (momentum, moments) of all parameters from one optimizer to another.

        Args:
            old: Optimizer of parameters of the old supernet.
            new: Optimizer of the corresponding parameters of the new supernet.
        """
        states = {_common(n): (p, old.state.get(p)) for n, p in self.old.named_parameters()}
        for name, parameter in self.new.named_parameters():
            before, state = states.get(_common(name), (None, None))
            if before is None or not state:
                continue
            name = _common(name.removeprefix("network."))
            new.state[parameter] = {
                key: self._widened(name, value).clone()
                if isinstance(value, Tensor) and value.shape == before.shape
                else value
                for key, value in state.items()
            }

    def _widened(self, name: str, tensor: Tensor) -> Tensor:
        for axis, index in enumerate(self.axes.get(name, ())):
            tensor = tensor.index_select(axis, index.to(tensor.device))
        return tensor


def _common(name: str) -> str:
    """Return the name of a tensor without the level that only exists at K > 1."""
    return name.replace(".mixed.", ".")


def _network_axes(old: nn.Module, new: nn.Module) -> dict[str, Axes]:
    """Return the channels to take for every tensor whose shape depends on K, by common name."""
    axes: dict[str, Axes] = {}
    mixed, partial = (
        {_common(f"{name}."): m for name, m in old.named_modules() if isinstance(m, kind)}
        for kind in (MixedOp, PartialMixedOp)
    )
    for name, module in new.named_modules():
        prefix = _common(f"{name}.")
        if isinstance(module, MixedOp):
            narrow = mixed[prefix]
            layers = {f"candidates.{key}": layer for key, layer in module.candidates.items()}
            if module.auxiliary_skip is not None:
                layers["auxiliary_skip"] = module.auxiliary_skip
            for path, layer in layers.items():
                axes |= _layer_axes(narrow.get_submodule(path), layer, f"{prefix}{path}.")
        elif isinstance(module, PartialMixedOp) and prefix in partial:
            bypass = partial[prefix].get_submodule("bypass")
            axes |= _bypass_axes(bypass, module.bypass, f"{prefix}bypass.")
    return axes


def _layer_axes(old: nn.Module, new: nn.Module, prefix: str) -> dict[str, Axes]:
    """Return the channels to take for the tensors of one candidate."""
    axes: dict[str, Axes] = {}
    outputs: list[Tensor] = []  # of the convolutions whose outputs the next BatchNorm sees
    widths: list[int] = []
    depthwise = False
    for (name, before), after in zip(old.named_modules(), new.modules(), strict=True):
        path = f"{prefix}{name}." if name else prefix
        if isinstance(before, nn.Conv2d) and isinstance(after, nn.Conv2d):
            out = _channels(before.out_channels, after.out_channels)
            if after.groups > 1:
                axes[f"{path}weight"] = (out,)
            else:
                inputs = _channels(before.in_channels, after.in_channels)
                axes[f"{path}weight"] = (out, outputs[-1] if depthwise else inputs)
            axes[f"{path}bias"] = (out,)
            # Only two convolutions side by side (a factorized reduction) share a BatchNorm.
            outputs.append(out)
            widths.append(before.out_channels)
            depthwise = after.groups > 1
        elif isinstance(before, BATCHNORM) and isinstance(after, BATCHNORM):
            index = _seen(outputs, widths, before.num_features, after.num_features)
            for key in ("weight", "bias", "running_mean", "running_var"):
                axes[f"{path}{key}"] = (index,)
            outputs, widths, depthwise = [], [], False
    return axes


def _seen(outputs: list[Tensor], widths: list[int], before: int, after: int) -> Tensor:
    """Return the channels that a BatchNorm sees, which are those of the convolutions before it."""
    if outputs and len(outputs[-1]) == after:
        return outputs[-1]
    if len(outputs) > 1 and len(outputs[-2]) + len(outputs[-1]) == after:
        return torch.cat((outputs[-2], outputs[-1] + widths[-2]))
    return _channels(before, after)  # after a pooling


def _bypass_axes(old: nn.Module, new: nn.Module, prefix: str) -> dict[str, Axes]:
    """Return the channels to take for the bypass, which keeps the last ones."""
    axes: dict[str, Axes] = {}
    for (name, before), after in zip(old.named_modules(), new.modules(), strict=True):
        if isinstance(before, nn.Conv2d) and isinstance(after, nn.Conv2d):
            out, inputs = (
                torch.arange(max(0, b - a), b) if a <= b else _channels(b, a)
                for b, a in (
                    (before.out_channels, after.out_channels),
                    (before.in_channels, after.in_channels),
                )
            )
            axes |= {f"{prefix}{name}.weight": (out, inputs), f"{prefix}{name}.bias": (out,)}
    return axes


def _channels(before: int, after: int) -> Tensor:
    """Return all channels and copies of channels drawn at random, or the first ones."""
    if after <= before:
        return torch.arange(after)
    return torch.cat((torch.arange(before), torch.randint(before, (after - before,))))
