"""Fits of all alternatives to the modules that they replace, in one pass of the original network.

Each learns the module's outputs from the module's inputs on real images (blockwise distillation,
Li et al., *Blockwisely Supervised Neural Architecture Search with Knowledge Distillation*, CVPR
2020): minimize |module(x) - y|^2 / |y - mean(y)|^2 by Adam, along a cosine.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from srnas.choice import Space
from srnas.shrinking.alternatives import Alternative

RATE = 1e-3
RATE_OF_NETWORK = 3e-4


class Fits:
    """Alternatives that learn what their modules compute.

    Args:
        network: The network whose modules they replace, on its device.
        alternatives: The alternatives.
        networks: For each, the network with it in its place; only the module in it is trained.
        steps: Number of steps of the fit.
    """

    def __init__(
        self,
        network: nn.Module,
        alternatives: Sequence[Alternative],
        networks: Sequence[Space],
        steps: int,
    ) -> None:
        self.network, self.steps = network, steps
        self.scopes = [one.scope for one in alternatives]
        device = next(network.parameters()).device
        pairs = zip(networks, self.scopes, strict=True)
        modules = [changed.get_submodule(scope).to(device) for changed, scope in pairs]
        self.modules = nn.ModuleList(modules)
        self.rates = [RATE if scope else RATE_OF_NETWORK for scope in self.scopes]
        groups = [{"params": [*module.parameters()]} for module in self.modules]
        self.optimizer = torch.optim.Adam(groups, lr=RATE)

    def step(self, number: int, x: Tensor) -> list[float]:
        """Take step `number`, from 0, on LR images (B, 3, H, W).

        Returns:
            The loss of each alternative, relative to the variance of what it is to compute.
        """
        self.modules.train()
        cosine = (1 + math.cos(math.pi * number / self.steps)) / 2
        for group, rate in zip(self.optimizer.param_groups, self.rates, strict=True):
            group["lr"] = rate * cosine
        self.optimizer.zero_grad()
        with torch.no_grad(), observed(self.network, self.scopes) as seen:
            self.network(x)
        losses = []
        for scope, module in zip(self.scopes, self.modules, strict=True):
            inputs, output = seen[scope]
            loss = (module(*inputs) - output).square().mean() / output.var()
            loss.backward()
            losses.append(loss.item())
        self.optimizer.step()
        self.modules.eval()
        return losses

    def state_dict(self) -> dict[str, Any]:
        """Return weights and moments."""
        return {"modules": self.modules.state_dict(), "optimizer": self.optimizer.state_dict()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take over what `state_dict` returned."""
        self.modules.load_state_dict(state["modules"])
        self.optimizer.load_state_dict(state["optimizer"])


Seen = dict[str, tuple[tuple[Tensor, ...], Tensor]]
"""Inputs and output of modules by name."""


@contextmanager
def observed(network: nn.Module, names: Sequence[str]) -> Iterator[Seen]:
    """Collect the inputs and outputs of modules while the network runs."""
    seen: Seen = {}

    def hook(name: str) -> Any:
        def keep(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
            seen[name] = (inputs, output)

        return keep

    handles = [network.get_submodule(name).register_forward_hook(hook(name)) for name in set(names)]
    try:
        yield seen
    finally:
        for handle in handles:
            handle.remove()


@contextmanager
def replaced(network: Space, scope: str, module: nn.Module) -> Iterator[nn.Module]:
    """Put a module into a network for a while; yield the network with it."""
    if not scope:
        yield module
        return
    before = network.get_submodule(scope)
    network.set_submodule(scope, module)
    try:
        yield network
    finally:
        network.set_submodule(scope, before)
