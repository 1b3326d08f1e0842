"""Mixed operations: weighted sums of candidates, on all channels or on a fraction of them."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from srnas.choice.primitive import Candidates, LinearPrimitive, Primitive
from srnas.errors import UserError
from srnas.primitives.batchnorm import BatchNorm2d, count_batch, in_fast_memory
from srnas.primitives.darts import FactorizedReduce, Zero


class SharedWeights:
    """State that all mixed operations of a supernet share during one forward pass.

    It is a plain object, not a module. Thus the alphas are parameters of the supernet alone, the
    weights of a label are computed (or sampled) only once per pass, and `copy.deepcopy` and
    `torch.func.functional_call` need no special treatment.

    Attributes:
        weights: Candidate weights (N,) by label.
        computed: Indices of the candidates to compute, by label; if a label is missing, all of its
            candidates are computed.
        skip_weight: Weight of the auxiliary skip connection (DARTS-).
    """

    def __init__(self) -> None:
        self.weights: dict[str, Tensor] = {}
        self.computed: Mapping[str, Sequence[int]] = {}
        self.skip_weight = 0.0


@dataclass(frozen=True)
class MixedOpOptions:
    """Options of the mixed operations of a supernet.

    Attributes:
        affine: Whether BatchNorm in the candidates has scale and shift.
        merge: Whether linear candidates run as one convolution, and weights scale parameters
            instead of outputs, see `MixedOp`.
        auxiliary_skip: Whether an auxiliary skip connection is added (DARTS-).
    """

    affine: bool = False
    merge: bool = True
    auxiliary_skip: bool = False


class MixedOp(nn.Module):
    """The weighted sum of the outputs of all candidates, o(x) = sum_i w_i o_i(x) (DARTS, Eq. 2).

    Candidates that are a single linear convolution (dense, or depthwise and pointwise without a
    nonlinearity in between) are not run separately. Their kernels are added with their weights, and
    the sum is run as one convolution. Outputs and gradients are the same, at a fraction of the time
    and memory. The weights of the others go into the scale of their BatchNorm, or into their last
    kernel.

    Args:
        shared: State of the supernet's forward pass, which holds the weights.
        label: Label of the position.
        candidates: The candidate operations.
        in_channels: Channels of the input.
        out_channels: Channels of the output.
        stride: Stride of the operation.
        options: How the operation is built.
    """

    def __init__(
        self,
        shared: SharedWeights,
        label: str,
        candidates: Candidates,
        in_channels: int,
        out_channels: int,
        *,
        stride: int,
        options: MixedOpOptions,
    ) -> None:
        super().__init__()
        self.shared = shared
        self.label = label
        self.stride = stride
        self.shape = (in_channels, out_channels, stride)
        self.merge = options.merge
        self.primitives = dict(candidates)
        self.candidates = nn.ModuleDict(
            {
                name: _searched(primitive, in_channels, out_channels, stride, options.affine)
                for name, primitive in candidates.items()
            }
        )
        self.auxiliary_skip = (
            _auxiliary_skip(in_channels, out_channels, stride, options.affine)
            if options.auxiliary_skip
            else None
        )

    def forward(self, x: Tensor, *more: Tensor) -> Tensor:
        """Map (B, C_in, H, W), and what else the candidates take, to (B, C_out, H', W')."""
        x = dense(x) if self.merge else x
        weights = self.computed()
        merged, size = self.merged(weights)
        weigh = weighted_output if self.merge else _plain_weighted_output
        outputs = [
            weigh(weight, self.candidates[name], x, *more)
            for name, weight in weights.items()
            if name not in merged
        ]
        if merged:
            kernel, bias = self._merged_kernel(weights, merged, size)
            outputs.append(F.conv2d(x, kernel, bias, stride=self.stride, padding=size // 2))
        return add_all([*outputs, *self.auxiliary(x)])

    def computed(self) -> dict[str, Tensor]:
        """Return the weights of the candidates to compute, by name.

        Zeros are not among them if there is anything to add them to.
        """
        weights = dict(zip(self.candidates, self.shared.weights[self.label].unbind(), strict=True))
        if self.label in self.shared.computed:
            names = list(weights)
            kept = [names[index] for index in self.shared.computed[self.label]]
            weights = {name: weights[name] for name in kept}
        if not self.merge:
            return weights
        others = {n: w for n, w in weights.items() if type(self.candidates[n]) is not Zero}
        return others or weights

    def auxiliary(self, x: Tensor) -> list[Tensor]:
        """Return the weighted auxiliary skip connection in a list, which is empty without one."""
        if self.auxiliary_skip is None or not self.shared.skip_weight:
            return []
        return [self.shared.skip_weight * self.auxiliary_skip(x)]

    def merged(self, names: Collection[str]) -> tuple[list[str], int]:
        """Return the names of the candidates to run as one convolution, and its kernel size.

        These are the linear candidates whose kernels fit into the largest dense kernel, since the
        sum then costs no more than the largest one alone.

        Args:
            names: Names of the candidates that are computed.

        Returns:
            The names and the side of the kernel, or ([], 0) if nothing is merged.
        """
        linear = {n: p for n, p in self.primitives.items() if n in names and p.linear_size}
        size = max((p.linear_size for p in linear.values() if p.dense), default=0)
        fitting = [name for name, p in linear.items() if p.linear_size <= size]
        return (fitting, size) if self.merge and len(fitting) > 1 else ([], 0)

    def _merged_kernel(
        self, weights: Mapping[str, Tensor], names: Sequence[str], size: int
    ) -> tuple[Tensor, Tensor]:
        kernels, biases = [], []
        for name in names:
            primitive = cast(LinearPrimitive, self.primitives[name])
            kernel, bias = primitive.as_kernel(self.candidates[name])
            margin = (size - kernel.shape[-1]) // 2
            kernels.append(F.pad(weights[name] * kernel, (margin,) * 4))
            biases.append(weights[name] * bias)
        return add_all(kernels), add_all(biases)

    def _load_from_state_dict(
        self, state_dict: dict[str, Any], prefix: str, *args: Any, **kwargs: Any
    ) -> None:
        """Also accept checkpoints of srnas 0.1.0, which called the auxiliary skip `auxiliary`."""
        before = f"{prefix}auxiliary."
        for key in [key for key in state_dict if key.startswith(before)]:
            state_dict[f"{prefix}auxiliary_skip.{key.removeprefix(before)}"] = state_dict.pop(key)
        super()._load_from_state_dict(state_dict, prefix, *args, **kwargs)


class PartialMixedOp(nn.Module):
    """A mixed operation on 1/K of the channels; the rest bypasses it (PC-DARTS, Sec. 3.1).

    The mixed operation gets the first 1/K of the channels, and the output channels are shuffled, as
    in the released code, which does not have the random mask of the paper. The bypass is the
    identity, or max pooling if the stride is not 1. Where the number of channels changes (at three
    of IMDN's four positions), it ends in a 1x1 convolution that is not searched. Otherwise it has
    no parameters.

    Args:
        shared: State of the supernet's forward pass, which holds the weights.
        label: Label of the position.
        candidates: The candidate operations.
        in_channels: Channels of the input.
        out_channels: Channels of the output.
        stride: Stride of the operation.
        options: How the mixed operation is built.
        divisor: K.

    Raises:
        UserError: K does not divide both channel counts.
    """

    def __init__(
        self,
        shared: SharedWeights,
        label: str,
        candidates: Candidates,
        in_channels: int,
        out_channels: int,
        *,
        stride: int,
        options: MixedOpOptions,
        divisor: int,
    ) -> None:
        super().__init__()
        if in_channels % divisor or out_channels % divisor:
            raise UserError(
                f"partial_channels: {divisor} does not divide the {in_channels} -> "
                f"{out_channels} channels of position {label!r}"
            )
        self.divisor = divisor
        self.searched_channels = in_channels // divisor
        out_searched = out_channels // divisor
        self.mixed = MixedOp(
            shared,
            label,
            candidates,
            self.searched_channels,
            out_searched,
            stride=stride,
            options=options,
        )
        passing, out_passing = in_channels - self.searched_channels, out_channels - out_searched
        layers: list[nn.Module] = []
        if stride != 1:
            layers.append(nn.MaxPool2d(stride))
        if in_channels != out_channels:
            layers.append(nn.Conv2d(passing, out_passing, 1))
        self.bypass = nn.Sequential(*layers)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, C_in, H, W) to (B, C_out, H/stride, W/stride)."""
        searched, passing = self.split(x)
        return self.join(self.mixed(searched), self.bypass(passing))

    def split(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Split (B, C_in, H, W) into the inputs of the mixed operation and of the bypass."""
        return x[:, : self.searched_channels], x[:, self.searched_channels :]

    def join(self, searched: Tensor, passed: Tensor) -> Tensor:
        """Join the outputs of the mixed operation and of the bypass."""
        return F.channel_shuffle(torch.cat((searched, passed), dim=1), self.divisor)


def weighted_output(weight: Tensor, candidate: nn.Module, x: Tensor, *more: Tensor) -> Tensor:
    """Return weight * candidate(x), with the weight in the scale of a BatchNorm at the end, or in
    the kernel of a convolution: neither the product nor its factor is a map to compute and keep.
    """
    layers = list(candidate) if isinstance(candidate, nn.Sequential) else [candidate]
    last = layers.pop()
    if type(last) not in (BatchNorm2d, nn.BatchNorm2d, nn.Conv2d):
        return _plain_weighted_output(weight, candidate, x, *more)
    for layer in layers:
        x = layer(x)
    if isinstance(last, nn.BatchNorm2d):
        return _scaled_norm(weight, last, x)
    assert isinstance(last, nn.Conv2d)
    bias = None if last.bias is None else weight * last.bias
    return F.conv2d(
        x, weight * last.weight, bias, last.stride, last.padding, last.dilation, last.groups
    )


def _plain_weighted_output(weight: Tensor, candidate: nn.Module, *inputs: Tensor) -> Tensor:
    output: Tensor = weight * candidate(*inputs)
    return output


def _scaled_norm(weight: Tensor, norm: nn.BatchNorm2d, x: Tensor) -> Tensor:
    """Return weight * norm(x), and update its running statistics as `norm` does."""
    momentum = count_batch(norm)
    weight = weight.to(torch.promote_types(x.dtype, torch.float32))
    training = norm.training or norm.running_mean is None
    scaled = partial(
        F.batch_norm,
        running_mean=norm.running_mean,
        running_var=norm.running_var,
        # no stride of 0
        weight=weight * norm.weight if norm.affine else weight.repeat(norm.num_features),
        bias=weight * norm.bias if norm.affine else None,
        training=training,
        momentum=momentum,
        eps=norm.eps,
    )
    return in_fast_memory(scaled, x) if training else scaled(x)


def _auxiliary_skip(in_channels: int, out_channels: int, stride: int, affine: bool) -> nn.Module:
    """Build the auxiliary skip connection of DARTS-, as in its released code (`model_search.py`).

    It is the identity, or a factorized reduction at stride 2. Where the channels change at stride
    1, which DARTS- does not have, it is a 1x1 convolution.
    """
    if stride != 1:
        return FactorizedReduce(in_channels, out_channels, affine)
    if in_channels == out_channels:
        return nn.Identity()
    return nn.Conv2d(in_channels, out_channels, 1, bias=False)


def _searched(
    primitive: Primitive, in_channels: int, out_channels: int, stride: int, affine: bool
) -> nn.Module:
    """Build a candidate, including the BatchNorm that some candidates have in the search only."""
    built = primitive.build(in_channels, out_channels, stride, affine)
    if not primitive.searched_norm:
        return built
    return nn.Sequential(built, BatchNorm2d(out_channels, affine=affine))


def dense(x: Tensor) -> Tensor:
    """Return a feature map in memory of its own if it is a slice of the channels of another.

    Every convolution of the slice would copy it, forward and backward.
    """
    if x.is_contiguous() or x.is_contiguous(memory_format=torch.channels_last):
        return x
    last = x.stride(1) == 1
    return x.contiguous(memory_format=torch.channels_last if last else torch.contiguous_format)


def add_all(tensors: Sequence[Tensor]) -> Tensor:
    """Return the sum of one or more tensors."""
    total = tensors[0]
    for tensor in tensors[1:]:
        total = total + tensor
    return total
