"""Optimizers: steps equal to torch's plain ones."""

import copy

import pytest
import torch
from torch import nn

from srnas.components import check_component
from srnas.optimizers import OPTIMIZERS


def network():
    torch.manual_seed(0)
    layers = [nn.Conv2d(3, 8, 3), nn.Conv2d(8, 8, 5, groups=8), nn.Conv2d(8, 4, 1)]
    network = nn.Sequential(*layers, nn.BatchNorm2d(4)).double()
    return network.to(memory_format=torch.channels_last)


@pytest.mark.parametrize(
    ("part", "plain"),
    [
        (
            {"name": "adam", "lr": 0.01, "betas": [0.5, 0.99], "weight_decay": 0.1},
            lambda p: torch.optim.Adam(
                p, 0.01, (0.5, 0.99), weight_decay=0.1, foreach=False, fused=False
            ),
        ),
        (
            {"name": "sgd", "lr": 0.01, "momentum": 0.9, "nesterov": True, "weight_decay": 0.1},
            lambda p: torch.optim.SGD(
                p, 0.01, 0.9, weight_decay=0.1, nesterov=True, foreach=False, fused=False
            ),
        ),
    ],
    ids=["adam", "sgd"],
)
def test_a_step_is_the_plain_one_also_for_parameters_without_a_gradient(part, plain):
    one = network()
    other = copy.deepcopy(one)
    ours = check_component(OPTIMIZERS, part, "o").build(list(one.parameters()))
    ours.set_progress(0.0, 0.0)
    theirs = plain(list(other.parameters()))
    for step in range(6):
        generator = torch.Generator().manual_seed(step)
        x = torch.randn(2, 3, 12, 12, generator=generator, dtype=torch.double)
        x = x.to(memory_format=torch.channels_last)
        for model, optimizer in ((one, ours), (other, theirs)):
            optimizer.zero_grad()
            model[1].requires_grad_(step % 2 == 1)  # as candidates that a step does not sample
            (model(x) * torch.linspace(-1, 1, 4).double()[:, None, None]).square().mean().backward()
            optimizer.step()
        for a, b in zip(one.parameters(), other.parameters(), strict=True):
            torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-12)
