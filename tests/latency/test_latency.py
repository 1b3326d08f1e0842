"""Latency: the clock and the table against networks whose time is a closed form; one real run."""

import json
from types import SimpleNamespace

import pytest
import torch

from srnas import machine
from srnas.choice import Genotype, Supernet
from srnas.errors import UserError
from srnas.latency import measure
from srnas.latency.runtime import memory_of, open_network, runtimes
from srnas.latency.table import read_latency_table
from srnas.machine import time_alternately
from srnas.model_file import Model, save_model
from srnas.options import check_options
from srnas.primitives.sr import SR_PRIMITIVES
from srnas.regularizers import REGULARIZERS
from srnas.spaces import check_space, derived_network, published_genotype, space_builder
from tests.helpers import FORKSERVER, srnas

SPACE = {"name": "imdn", "scale": 2, "num_feat": 16, "num_block": 1}
LABELS = ("c1", "c2", "c3", "c4")


class FakeTime:
    """A clock that only calls move."""

    def __init__(self, monkeypatch):
        self.seconds = 0.0
        monkeypatch.setattr(machine, "time", SimpleNamespace(perf_counter=lambda: self.seconds))

    def taking(self, *milliseconds):
        """A call that takes these times in turn."""
        times = iter(milliseconds * 1000)

        def call():
            self.seconds += next(times) / 1e3

        return call


def test_calls_take_turns_and_their_times_leave_the_warmup_out(monkeypatch):
    now = FakeTime(monkeypatch)
    order = []
    slow, fast = now.taking(90, 90, 1, 2, 3, 4, 5), now.taking(50, 50, 7, 7, 7, 7, 7)
    calls = [lambda: (order.append("slow"), slow()), lambda: (order.append("fast"), fast())]
    rounds = []
    first, second = time_alternately(calls, 5, warmup=2, after_round=rounds.append)
    assert order == ["slow", "fast"] * 7
    assert rounds == [1, 2, 3, 4, 5, 6, 7]
    assert first == pytest.approx([1, 2, 3, 4, 5])
    assert second == pytest.approx([7] * 5)


def true_milliseconds(genotype, interaction=0.0):
    """An additive time, and what may break it."""
    names = list(SR_PRIMITIVES)
    numbers = [names.index(genotype.choices[label]) for label in LABELS]
    own = sum((k + 1) * n for k, n in enumerate(numbers))
    return 100 + own + interaction * numbers[0] * numbers[1]


@pytest.fixture
def fake_networks(monkeypatch):
    """Networks that take `true_milliseconds`; returns a function that sets the interaction."""
    now = FakeTime(monkeypatch)
    state = {"interaction": 0.0}
    monkeypatch.setattr(
        measure, "derived_network", lambda space, g: SimpleNamespace(eval=lambda: g)
    )
    monkeypatch.setattr(
        measure,
        "open_network",
        lambda g, *_: SimpleNamespace(call=now.taking(true_milliseconds(g, **state))),
    )
    return lambda value: state.update(interaction=value)


def measured():
    return measure.measure_table(SPACE, "onnxruntime", (320, 180), repeats=3)


def test_a_table_predicts_additive_times_exactly(fake_networks):
    found = measured()
    assert found.base_ms == pytest.approx(true_milliseconds(published_genotype("imdn")))
    genotype = Genotype("imdn", dict(zip(LABELS, list(SR_PRIMITIVES)[3:7], strict=True)))
    assert found.predict(genotype) == pytest.approx(true_milliseconds(genotype))
    check = measure.check_prediction(found, 20)
    assert (check["spearman"], check["error"]) == (1.0, 0.0)
    assert len({row["genotype"] for row in check["networks"]}) > 15


def test_a_check_reveals_times_that_are_not_additive(fake_networks):
    found = measured()
    fake_networks(-0.9)
    check = measure.check_prediction(found, 20)
    assert check["spearman"] < 0.9
    assert check["error"] > 0.05


def test_a_table_survives_its_file_and_a_broken_one_is_refused(fake_networks, tmp_path):
    found = measured()
    found.save(tmp_path / "t.json")
    assert read_latency_table(tmp_path / "t.json").ms == found.ms
    content = json.loads((tmp_path / "t.json").read_text())
    for broken, why in (
        ({"format": "other"}, "not a latency table"),
        ({**content, "ms": {"c1": {"conv_3x3": -1}}}, "broken latency table"),
        ({**content, "ms": {"c1": {"conv_3x3": float("nan")}}}, "broken latency table"),
        ({**content, "ms": [1]}, "broken latency table"),
        ({**content, "more": 1}, "broken latency table"),
        ([], "not a latency table"),
    ):
        (tmp_path / "t.json").write_text(json.dumps(broken))
        with pytest.raises(UserError, match=why):
            read_latency_table(tmp_path / "t.json")


def test_the_penalty_is_the_expected_time_as_a_share_of_the_base_network(fake_networks, tmp_path):
    found = measured()
    found.save(tmp_path / "t.json")
    term = REGULARIZERS.build(
        {"name": "expected_cost", "cost": "latency", "table": tmp_path / "t.json"}
    )
    torch.manual_seed(0)
    supernet = Supernet(space_builder(SPACE), "imdn", alpha_std=1.0).double()
    value = term(supernet)
    expected = 0.0
    for number, label in enumerate(LABELS):
        p = torch.softmax(supernet.alphas[label], 0)
        base = true_milliseconds(published_genotype("imdn"))
        base_own = (number + 1) * list(SR_PRIMITIVES).index("conv_3x3")
        times = base - base_own + (number + 1) * torch.arange(12.0, dtype=torch.double)
        expected = expected + (p * times).sum() / base
    assert value.item() == pytest.approx(expected.item(), abs=1e-6)
    got = torch.autograd.grad(value, supernet.arch_parameters())
    wanted = torch.autograd.grad(expected, supernet.arch_parameters())
    for mine, other in zip(got, wanted, strict=True):
        torch.testing.assert_close(mine, other, rtol=0, atol=1e-6)


def test_a_target_of_milliseconds_is_that_of_the_predicted_network(fake_networks, tmp_path):
    found = measured()
    found.save(tmp_path / "t.json")
    supernet = Supernet(space_builder(SPACE), "imdn", alpha_std=100.0).double()
    with torch.no_grad():
        for alpha in supernet.arch_parameters():
            alpha.mul_(1e3)  # one candidate has it all
    predicted = found.predict(supernet.genotype())
    given = {"name": "expected_cost", "cost": "latency", "table": tmp_path / "t.json"}
    term = REGULARIZERS.build({**given, "target": 0.8 * predicted})
    assert term(supernet).item() == pytest.approx(0.25, abs=1e-9)
    assert REGULARIZERS.build({**given, "target": 1.1 * predicted})(supernet).item() == 0


def test_a_table_of_another_width_or_without_its_cost_is_refused(fake_networks, tmp_path):
    measured().save(tmp_path / "t.json")
    wide = Supernet(space_builder({**SPACE, "num_feat": 32}), "imdn")
    latency = {"name": "expected_cost", "cost": "latency", "table": tmp_path / "t.json"}
    with pytest.raises(UserError, match="16 -> 16 channels at position 'c1', this search 32 -> 32"):
        REGULARIZERS.build(latency)(wide)
    dlsr = Supernet(space_builder({"name": "dlsr", "num_feat": 16}), "dlsr")
    with pytest.raises(UserError, match="no position"):
        REGULARIZERS.build(latency)(dlsr)
    for wrong in (
        {"cost": "latency"},
        {"table": tmp_path / "t.json"},
        {"cost": "latency", "table": tmp_path / "t.json", "norm": "sum"},
        {"norm": "network"},
    ):
        with pytest.raises(UserError, match="go together"):
            REGULARIZERS.build({"name": "expected_cost", **wrong})


def test_spaces_of_cells_have_no_latency_table():
    with pytest.raises(UserError, match="has cells"):
        measure.measure_table("darts", "onnxruntime", (32, 32))


@pytest.mark.parametrize("runtime", runtimes())
def test_a_network_opens_in_every_runtime_and_bad_names_are_said(runtime, monkeypatch):
    if runtime != "torch":  # one process that starts afresh is enough, the others are forked
        monkeypatch.setattr("multiprocessing.get_context", lambda method: FORKSERVER)
    packages = {"onnxruntime": "onnx", "ncnn": "pnnx", "openvino": "openvino", "torch": "torch"}
    pytest.importorskip(packages[runtime])
    network = derived_network(SPACE, published_genotype("imdn")).eval()
    opened = open_network(network, runtime, (40, 24), threads=1)
    opened.call()
    assert memory_of(opened) > 0
    with pytest.raises(UserError, match="--runtime onnxruntim: "):
        open_network(network, "onnxruntim", (40, 24))
    with pytest.raises(UserError, match="--precision fp64"):
        open_network(network, runtime, (40, 24), precision="fp64")


@pytest.mark.parametrize("runtime", ["onnxruntime", "openvino"])
def test_int8_is_timed_with_integer_weights(runtime):
    pytest.importorskip(runtime)
    network = derived_network({**SPACE, "num_feat": 32}, published_genotype("imdn")).eval()
    sizes = []
    for precision in ("fp32", "int8"):
        content = open_network(network, runtime, (40, 24), precision=precision).content
        sizes.append(len(content.get(".onnx") or content[".bin"]))
    assert sizes[1] < 0.6 * sizes[0]


def test_the_command_times_models_beside_the_published_network(tmp_path):
    pytest.importorskip("onnxruntime")
    space, genotype = check_space(SPACE), published_genotype("imdn")
    network = derived_network(space, genotype).eval()
    save_model(tmp_path / "m.safetensors", Model(network, space, genotype, {}))
    shown = srnas(
        "latency", tmp_path / "m.safetensors", "--size", "32x24", "--repeats", "3",
        "--json", tmp_path / "l.json",
    ).stdout  # fmt: skip
    content = json.loads((tmp_path / "l.json").read_text())
    mine, published, default = content["models"]
    assert mine["params"] == sum(p.numel() for p in network.parameters())
    assert published["params"] == 694_404  # the published size of IMDN x2
    assert default["params"] == 375_222  # as its card says
    assert 0 < mine["low"] <= mine["median"] <= mine["high"]
    assert "694,404" in shown
    refused = srnas("latency", tmp_path / "m.safetensors", "--size", "32")
    assert refused.returncode == 2
    assert refused.stderr == "error: --size 32: write it as WIDTHxHEIGHT, such as 640x360\n"


@pytest.mark.slow
def test_a_measured_table_orders_real_networks(tmp_path):
    """Twelve candidates differ by more than the noise even on a busy machine."""
    pytest.importorskip("onnxruntime")
    srnas(
        "latency", "table", "--space", "imdn", "scale=2", "num_feat=16", "num_block=2",
        "--size", "160x90", "--check", "20", "--out", tmp_path / "t.json", timeout=1200,
    )  # fmt: skip
    content = json.loads((tmp_path / "t.json").read_text())
    assert content["check"]["spearman"] > 0.7
    term = {"term": {"name": "expected_cost", "cost": "latency", "table": str(tmp_path / "t.json")}}
    check_options("search", {"name": "s", "space": SPACE, "regularizers": [term]}, "test")
