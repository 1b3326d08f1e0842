"""Parameters and MACs against the published networks and fvcore."""

import json
import random
import re
import sys
from contextlib import redirect_stdout
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from fvcore.nn import ActivationCountAnalysis, FlopCountAnalysis
from torch import nn

from srnas.choice import Genotype, Supernet
from srnas.cli import build_app
from srnas.cost import count_activations, count_macs, count_parameters, expected_macs_per_pixel
from srnas.errors import UserError
from srnas.primitives.sr import SR_PRIMITIVES
from srnas.spaces import derived_network, published_genotype, space_builder
from srnas.tasks import task_class
from tests.helpers import derive, together

LABELS = ("c1", "c2", "c3", "c4")
IMDN = ("conv_3x3",) * 4
SMALLEST = ("dil_ds_conv_3x3", "ds_conv_3x3", "ds_conv_3x3", "dil_ds_conv_3x3")
ONE_BN = ("dil_ds_conv_3x3", "ds_conv_3x3_bn", "ds_conv_3x3", "dil_ds_conv_3x3")
PUBLISHED = [
    (IMDN, 2, 694_404, 635.417398272, 158.854351872),
    (IMDN, 4, 715_176, 654.527695872, 40.907983872),
    (("conv_5x5_bn", "conv_5x5", "conv_5x5_bn", "conv_5x5_bn"), 4, 1_773_672, 1630.04, 101.88),
    (("ds_conv_3x3", "conv_3x3", "ds_conv_3x3_bn", "ds_conv_5x5"), 4, 349_224, 316.38, 19.774),
    (SMALLEST, 4, 199_272, 177.92, 11.120),
    (ONE_BN, 4, 200_040, 178.63, 11.164),
]


def profile(network, size=None):
    return task_class(network.task).profile(network, size)


def network(choices, scale=2, **options):
    genotype = Genotype("imdn", dict(zip(LABELS, choices, strict=True)))
    return derived_network({"name": "imdn", "scale": scale, **options}, genotype)


def assert_fvcores(net, height, width):
    """MACs and activations of a network without linear layers are fvcore's."""
    for count, analysis in (
        (count_macs, FlopCountAnalysis),
        (count_activations, ActivationCountAnalysis),
    ):
        theirs = analysis(net, torch.rand(1, 3, height, width))
        theirs.unsupported_ops_warnings(False).uncalled_modules_warnings(False)
        assert count(net, width, height) == theirs.total()


@pytest.mark.parametrize(("choices", "scale", "params", "lr_gmacs", "hr_gmacs"), PUBLISHED)
def test_published_sizes_and_costs(choices, scale, params, lr_gmacs, hr_gmacs):
    result = profile(network(choices, scale), (320, 180))
    assert result["params"] == params
    assert result["lr_1280x720"]["macs"] / 1e9 == pytest.approx(lr_gmacs, rel=5e-5)
    assert result["hr_1280x720"]["macs"] / 1e9 == pytest.approx(hr_gmacs, rel=5e-5)
    assert result["input"]["macs"] / 1e9 == pytest.approx(lr_gmacs / 16, rel=1e-4)


@pytest.mark.parametrize("seed", range(6))
def test_macs_and_activations_are_fvcores_for_random_genotypes(seed):
    choices = random.Random(seed).choices(list(SR_PRIMITIVES), k=4)
    net = network(choices, num_feat=16, num_block=2).eval()
    assert_fvcores(net, 20, 24)


@pytest.mark.parametrize("attention", ["lia", "gate", "span", "spanv2"])
@pytest.mark.parametrize("unshuffle", [False, True])
def test_macs_and_activations_of_plain_networks_are_fvcores_in_every_form(attention, unshuffle):
    options = {"name": "plain", "attention": attention, "unshuffle": unshuffle}
    net = derived_network(options, published_genotype("plain")).eval()
    assert_fvcores(net, 20, 24)
    for form in ("rep_mbconv", "ecb", "conv3xc"):
        trained = derived_network({**options, "reparameterize": form}, published_genotype("plain"))
        assert profile(trained, (20, 24)) == profile(net, (20, 24))
        assert count_activations(trained, 20, 24) == count_activations(net, 20, 24)


class RLFB(nn.Module):
    """Block of RLFN: three convolutions, a 1x1 convolution, and spatial attention."""

    def __init__(self):
        super().__init__()
        self.body = nn.ModuleList(
            nn.Conv2d(*width, 3, padding=1) for width in ((46, 48), (48, 48), (48, 46))
        )
        self.last = nn.Conv2d(46, 46, 1)
        self.enter, self.bypass, self.leave = (
            nn.Conv2d(*width, 1) for width in ((46, 16), (16, 16), (16, 46))
        )
        self.shrink = nn.Conv2d(16, 16, 3, stride=2)
        self.small = nn.Conv2d(16, 16, 3, padding=1)

    def forward(self, x):
        out = x
        for conv in self.body:
            out = F.leaky_relu(conv(out), 0.05)
        out = self.last(out + x)
        entered = self.enter(out)
        small = self.small(F.max_pool2d(self.shrink(entered), 7, 3))
        wide = F.interpolate(small, x.shape[2:], mode="bilinear")
        return out * torch.sigmoid(self.leave(wide + self.bypass(entered)))


class RLFN(nn.Module):
    """The baseline of NTIRE 2024 (Kong et al., Residual local feature network, CVPRW 2022)."""

    def __init__(self):
        super().__init__()
        self.head = nn.Conv2d(3, 46, 3, padding=1)
        self.blocks = nn.Sequential(*(RLFB() for _ in range(4)))
        self.end = nn.Conv2d(46, 46, 3, padding=1)
        self.upsample = nn.Sequential(nn.Conv2d(46, 48, 3, padding=1), nn.PixelShuffle(4))

    def forward(self, x):
        x = self.head(x)
        return self.upsample(self.end(self.blocks(x)) + x)


def test_the_baseline_of_ntire_2024_costs_what_the_challenge_reports():
    # results.txt of github.com/Amazingren/NTIRE2024_ESR: 0.317 M, 19.67 G, 80.05 M
    assert count_parameters(RLFN()) / 1e6 == pytest.approx(0.317, abs=5e-4)
    assert count_macs(RLFN(), 256, 256) / 1e9 == pytest.approx(19.67, abs=5e-3)
    assert count_activations(RLFN(), 256, 256) / 1e6 == pytest.approx(80.05, abs=5e-3)


@pytest.mark.parametrize(
    ("choices", "params", "lr_gmacs", "hr_gmacs"),
    [
        (("conv_1x1", "sep_conv_7x7", "sep_conv_5x5"), 322_620, 269.51, 67.373),
        (("dil_conv_3x3", "dil_conv_5x5", "dil_conv_3x3"), 264_732, 216.16, 54.035),
        (("sep_conv_3x3",) * 3, 309_372, None, 64.320),
        (("conv_7x7",) * 3, 2_243_004, None, None),
    ],
)
def test_published_sizes_and_costs_of_dlsr(choices, params, lr_gmacs, hr_gmacs):
    published = published_genotype("dlsr").choices
    genotype = Genotype("dlsr", published | dict(zip(("r1", "r2", "r3"), choices, strict=True)))
    result = profile(derived_network({"name": "dlsr", "scale": 2}, genotype))
    assert result["params"] == params
    for convention, gmacs in (("lr_1280x720", lr_gmacs), ("hr_1280x720", hr_gmacs)):
        if gmacs:
            assert result[convention]["macs"] / 1e9 == pytest.approx(gmacs, rel=2e-5)


def test_macs_and_activations_of_dlsr_are_fvcores():
    net = derived_network({"name": "dlsr", "num_feat": 16}, published_genotype("dlsr")).eval()
    assert_fvcores(net, 20, 24)


@pytest.mark.parametrize(
    "space", [{"name": "nasbench201"}, {"name": "darts", "num_feat": 8}], ids=str
)
def test_macs_of_classifiers_are_fvcores_and_profiled_at_32x32(space):
    net = derived_network(space, published_genotype(space["name"])).eval()
    theirs = FlopCountAnalysis(net, torch.rand(1, 3, 32, 32))
    theirs.unsupported_ops_warnings(False).uncalled_modules_warnings(False)
    result = profile(net)
    assert result["input"] == {"size": "32x32", "macs": theirs.total()}
    assert result.keys() == {"params", "input"}


def test_the_profile_command_asks_a_classifier_for_no_scale(tmp_path):
    def profile_command(*arguments):
        build_app()(["profile", "--space", "nasbench201", *arguments], standalone_mode=False)

    profile_command("--json", str(tmp_path / "p.json"), "--input", "16x8")
    result = json.loads((tmp_path / "p.json").read_text())
    assert result["params"] == 1_288_506
    assert result["input"]["size"] == "16x8"
    with pytest.raises(UserError, match="unknown key 'scale'"):
        profile_command("--scale", "2")


def profiled_peak(genotype, out):
    """Profile a genotype at full size; write down what is shown, and this process's memory."""
    with out.open("w") as file, redirect_stdout(file):
        build_app()(["profile", "--genotype", str(genotype), "--scale", "4"], standalone_mode=False)
        print(Path("/proc/self/status").read_text())


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
@pytest.mark.parametrize("choices", [IMDN, SMALLEST, PUBLISHED[2][0]], ids=" ".join)
def test_profiling_at_full_size_takes_less_than_a_gibibyte(tmp_path, choices):
    genotype = Genotype("imdn", dict(zip(LABELS, choices, strict=True)))
    genotype.save(tmp_path / "genotype.json")
    together((profiled_peak, tmp_path / "genotype.json", tmp_path / "out"))
    shown = (tmp_path / "out").read_text()
    assert "GMACs" in shown
    peak_kib = int(re.search(r"VmHWM:\s*(\d+) kB", shown)[1])
    assert peak_kib < 2**20


def test_expected_macs_are_the_derived_networks_when_alphas_are_one_hot():
    space = {"name": "imdn", "num_feat": 16, "num_block": 3}
    supernet = Supernet(space_builder(space), "imdn")
    with torch.no_grad():
        for alpha, name in zip(supernet.arch_parameters(), SMALLEST, strict=True):
            alpha[list(SR_PRIMITIVES).index(name)] = 200.0
    searched = sum(
        flops
        for name, flops in FlopCountAnalysis(derive(supernet, space).eval(), torch.rand(1, 3, 8, 8))
        .unsupported_ops_warnings(False)
        .by_module()
        .items()
        if name.startswith("blocks.") and name.split(".")[2:] in (["c1"], ["c2"], ["c3"], ["c4"])
    )
    assert float(expected_macs_per_pixel(supernet)) == pytest.approx(searched / 64)
