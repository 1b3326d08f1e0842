"""BatchNorm over the batches of two processes; nn.BatchNorm2d on the whole batch is the oracle."""

import copy

import pytest
import torch
from torch import nn

from srnas.distributed import Process, add_processes
from srnas.sync_batchnorm import SyncedBatchNorm2d, synchronize
from tests.helpers import in_two

CPU = torch.device("cpu")
SHARES = (slice(0, 3), slice(3, 5))  # of unequal size


def network(affine=True, momentum=0.1):
    """A network with curvature, so that its second derivatives count, in double precision."""
    torch.manual_seed(0)
    norm = nn.BatchNorm2d(4, affine=affine, momentum=momentum)
    net = nn.Sequential(nn.Conv2d(3, 4, 3), norm, nn.Tanh(), nn.Conv2d(4, 2, 1)).double()
    if affine:
        nn.init.normal_(norm.weight)
        nn.init.normal_(norm.bias)
    return net


def sample():
    return torch.randn(5, 3, 6, 7, dtype=torch.float64, generator=torch.Generator().manual_seed(1))


def figures(net, x, sum_over_processes=lambda tensor: tensor):
    """Outputs, gradients of the loss, and gradients of the norm of its gradient."""
    x = x.clone().requires_grad_()
    weights = list(net.parameters())
    y = net(x)
    loss = y.pow(3).sum()
    first = torch.autograd.grad(loss, [x, *weights], create_graph=True)
    of_weights = [sum_over_processes(g) for g in first[1:]]
    norm = sum(g.square().sum() for g in of_weights)
    # Each process adds its x alone to the norm of the whole, and its share of the norm of weights.
    penalty = first[0].square().sum() + norm * (len(x) / 5)
    second = torch.autograd.grad(penalty, [x, *weights])
    return {
        **{"y": y.detach(), "x": first[0].detach(), "xx": second[0]},
        **{f"w{i}": g.detach() for i, g in enumerate(of_weights)},
        **{f"ww{i}": g for i, g in enumerate(second[1:])},
        **{f"b{i}": b for i, b in enumerate(net.buffers())},
    }


def twice_differentiated(rank, affine, momentum):
    net = network(affine, momentum)
    synchronize(net, Process(CPU, rank, 2), twice=True)
    for _ in range(2):  # so that the running statistics have a past
        result = figures(net, sample()[SHARES[rank]], add_processes)
    return result


@pytest.mark.parametrize(("affine", "momentum"), [(True, 0.1), (False, None)])
def test_two_processes_have_the_derivatives_of_the_whole_batch(affine, momentum):
    net = network(affine, momentum)
    for _ in range(2):
        whole = figures(net, sample())
    parts = in_two(twice_differentiated, affine, momentum)
    for name, expected in whole.items():
        if name in ("y", "x", "xx"):
            value = torch.cat([part[name] for part in parts])
        elif name.startswith("ww"):
            value = parts[0][name] + parts[1][name]
        else:
            value = parts[0][name]
            assert torch.equal(value, parts[1][name]), name
        torch.testing.assert_close(value, expected, rtol=1e-9, atol=1e-9, msg=name)


def far_from_zero(dtype=torch.float32):
    """Values whose mean is a thousand times their standard deviation, in channels-last memory."""
    x = 1000 + torch.randn(4, 3, 8, 8, generator=torch.Generator().manual_seed(2))
    return x.to(dtype).to(memory_format=torch.channels_last)


def single_precision(rank, dtype):
    norm = nn.Sequential(nn.BatchNorm2d(3, dtype=torch.float32))
    synchronize(norm, Process(CPU, rank, 2))
    x = far_from_zero(dtype)[rank::2].requires_grad_()
    y = norm(x)
    (y.float() ** 3).sum().backward()
    assert y.is_contiguous(memory_format=torch.channels_last)
    return {"y": y.detach(), "x": x.grad, **norm.state_dict()}


@pytest.mark.parametrize(
    ("dtype", "tolerance"), [(torch.float32, 5e-4), (torch.bfloat16, 3e-2)], ids=str
)
def test_a_mean_far_from_zero_costs_no_precision(dtype, tolerance):
    norm = nn.BatchNorm2d(3, dtype=torch.float64)
    x = far_from_zero(dtype).double().requires_grad_()
    y = norm(x)
    (y**3).sum().backward()
    parts = in_two(single_precision, dtype)
    for rank, part in enumerate(parts):
        assert part["y"].dtype == part["x"].dtype == dtype
        for name, expected in (("y", y), ("x", x.grad)):
            close = {"rtol": tolerance, "atol": 10 * tolerance if name == "x" else tolerance}
            torch.testing.assert_close(part[name].double(), expected[rank::2], **close, msg=name)
        for name, expected in norm.state_dict().items():
            value = part[f"0.{name}"].to(expected)
            torch.testing.assert_close(value, expected, rtol=1e-6, atol=0, msg=name)


@pytest.mark.parametrize(
    ("device", "twice", "kind"),
    [
        ("cpu", False, SyncedBatchNorm2d),
        ("cuda", True, SyncedBatchNorm2d),
        ("cuda", False, nn.SyncBatchNorm),
    ],
)
def test_a_synchronized_network_keeps_its_state_and_what_it_computes_in_evaluation(
    device, twice, kind
):
    net = network()
    net(sample())  # so that the running statistics are not as initialized
    synced = copy.deepcopy(net)
    parameters = list(synced.parameters())
    synchronize(synced, Process(torch.device(device), 0, 2), twice=twice)
    assert type(synced[1]) is kind
    assert all(a is b for a, b in zip(parameters, synced.parameters(), strict=True))
    assert list(net.state_dict()) == list(synced.state_dict())
    for key, tensor in net.state_dict().items():
        assert torch.equal(tensor, synced.state_dict()[key]), key
    assert synced[1].training
    assert torch.equal(net.eval()(sample()), synced.eval()(sample()))


def test_a_single_process_keeps_torchs_batchnorm():
    net = network()
    synchronize(net, Process(CPU))
    assert type(net[1]) is nn.BatchNorm2d
