"""Re-parameterized convolutions computed branch by branch, as their papers draw them."""

import torch
import torch.nn.functional as F
from torch import nn

from srnas.primitives.reparameterized import ECB, Conv3XC, RepMBConv

SOBEL_X = [[1, 0, -1], [2, 0, -2], [1, 0, -1]]
SOBEL_Y = [[1, 2, 1], [0, 0, 0], [-1, -2, -1]]
LAPLACE = [[0, 1, 0], [1, -4, 1], [0, 1, 0]]


def surrounded(pointwise, x):
    """The output of a 1x1 convolution with a border of its bias."""
    y = pointwise(x)
    height, width = y.shape[2:]
    wide = pointwise.bias[:, None, None].expand(len(y), -1, height + 2, width + 2).clone()
    wide[:, :, 1:-1, 1:-1] = y
    return wide


def plus_input(y, x):
    """The skip connection, which only an output as wide as the input has."""
    return y + x if y.shape == x.shape else y


def rep_mbconv(form, x):
    hidden = form.expand(x)
    vector = form.latent.flatten()[None]
    attention = F.linear(F.silu(F.linear(vector, form.reduce)), form.restore).sigmoid()
    spatial = attention[:, :, None, None] * form.conv(surrounded(form.expand, x))
    y = plus_input(form.squeeze(spatial + hidden), x)
    if form.mix is not None:
        y = torch.cat([form.mix(y), y[:, 1:]], dim=1)
    return y


def ecb(form, x):
    y = plus_input(F.conv2d(x, form.conv.weight, form.conv.bias, padding=1), x)
    y = y + form.squeeze(surrounded(form.expand, x))
    channels = y.shape[1]
    for index, mask in enumerate((SOBEL_X, SOBEL_Y, LAPLACE)):
        pointwise = form.edges.weight[index * channels : (index + 1) * channels]
        edge = F.conv2d(x, pointwise)
        kernel = torch.tensor(mask).to(x).expand(channels, 1, 3, 3)
        found = F.conv2d(edge, kernel, padding=1, groups=channels)  # its 1x1 has no bias
        y = y + form.edge_scale[index].view(-1, 1, 1) * found
        y = y + form.edge_bias[index].view(-1, 1, 1)
    return y


def conv3xc(form, x):
    return form.squeeze(form.conv(form.expand(F.pad(x, (1, 1, 1, 1))))) + form.skip(x)


BRANCHES = {RepMBConv: rep_mbconv, ECB: ecb, Conv3XC: conv3xc}


class ByBranches(nn.Module):
    """A re-parameterized convolution that shares its parameters and is never merged."""

    def __init__(self, form):
        super().__init__()
        self.form = form

    def forward(self, x):
        return BRANCHES[type(self.form)](self.form, x)


def never_merged(network):
    """Replace the re-parameterized convolutions of a network by their branches, in place."""
    for module in list(network.modules()):
        for name, child in list(module.named_children()):
            if type(child) in BRANCHES:
                module.register_module(name, ByBranches(child))
    return network


def disturb(network, amount=0.1):
    """Move all parameters away from where they start."""
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(amount * torch.randn_like(parameter))
    return network
