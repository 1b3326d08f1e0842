"""int8 and OpenVINO: files are run by ONNX Runtime and OpenVINO themselves; PSNR is skimage's."""

import numpy as np
import pytest
import torch
from skimage.metrics import peak_signal_noise_ratio

from srnas.data.packaged import packaged_pairs
from srnas.errors import UserError
from srnas.export import int8
from srnas.export.int8 import Budget, photograph_budget, quantize
from srnas.export.target import EXPORT_TARGETS, photograph
from srnas.export.write import export
from srnas.model_file import Model, load_published, save_model
from srnas.spaces import check_space, derived_network, published_genotype
from srnas.tasks.base import Ports
from tests.helpers import srnas

onnx = pytest.importorskip("onnx", reason="needs srnas[export]")
onnxruntime = pytest.importorskip("onnxruntime", reason="needs srnas[export]")
PORTS_OF_SR = Ports("lr", "sr", ((51, 37),))
PORTS = Ports("x", "y", ((20, 24),))
PACKAGES = {"onnx": "onnxruntime", "openvino": "openvino"}


class Chain(torch.nn.Module):
    """Four convolutions; the third one has an output channel a thousand times smaller than its
    input's range, which one scale for all of its input cannot resolve."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.layers = torch.nn.ModuleList(
            torch.nn.Conv2d(3, 3, 3, padding=1, bias=False) for _ in range(4)
        )
        with torch.no_grad():
            for layer in self.layers:
                layer.weight.zero_()
                for channel in range(3):
                    layer.weight[channel, channel, 1, 1] = 1.0
            self.layers[1].weight[0] *= 1000  # the range of the third one's input
            self.layers[2].weight[0] /= 1000

    def forward(self, x):
        for layer in self.layers:
            x = layer(x)
        return x


@pytest.fixture(scope="module")
def chain():
    return EXPORT_TARGETS.build("onnx").convert(Chain().eval(), PORTS, "fp32")[".onnx"]


def run_onnx(content, image):
    session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
    return session.run(None, {session.get_inputs()[0].name: image})[0]


def quantized_convolutions(content):
    """Which convolutions have integer weights, in the order of the graph."""
    graph = onnx.load_from_string(content).graph
    dequantized = {o for n in graph.node if n.op_type == "DequantizeLinear" for o in n.output}
    return [node.input[1] in dequantized for node in graph.node if node.op_type == "Conv"]


@pytest.mark.parametrize("outputs", [True, False])
def test_recipes_go_from_all_convolutions_to_those_that_cost_least(chain, outputs, monkeypatch):
    monkeypatch.setattr(int8, "SHARES", (0.75,))
    images = [photograph(20, 24), photograph(24, 20)]
    recipes = dict(quantize(chain, PORTS, images, outputs))
    whole, inner, careful = recipes.values()
    assert next(iter(recipes)) == "all convolutions"
    assert "but the 3 of 4" in list(recipes)[2]
    assert quantized_convolutions(whole) == [True] * 4
    assert quantized_convolutions(inner) == [False, True, True, False]
    # what reads the wide range comes first among those that stay in floating point
    assert not quantized_convolutions(careful)[2]
    wanted = run_onnx(chain, images[0])
    errors = [np.square(run_onnx(model, images[0]) - wanted).mean() for model in (whole, careful)]
    assert errors[1] < errors[0] / 100
    np.testing.assert_allclose(wanted, images[0], atol=1e-4)  # a chain of identities


def test_integer_weights_have_a_scale_for_each_channel(chain):
    _, whole = next(quantize(chain, PORTS, [photograph(20, 24)], True))
    graph = onnx.load_from_string(whole).graph
    tensors = {t.name: onnx.numpy_helper.to_array(t) for t in graph.initializer}
    (name,) = (n for n in tensors if "layers.1.weight" in n and n.endswith("quantized"))
    assert tensors[name].dtype == np.int8
    (scale,) = (tensors[n] for n in tensors if "layers.1.weight" in n and n.endswith("scale"))
    np.testing.assert_allclose(scale, np.array([1000, 1, 1]) / 127, rtol=1e-5)


def imdn():
    space = check_space({"name": "imdn", "scale": 2, "num_feat": 16, "num_block": 1})
    genotype = published_genotype("imdn")
    torch.manual_seed(0)
    network = derived_network(space, genotype).eval()
    return Model(network, space, genotype, {})


def skimage_psnr(run):
    """Mean PSNR of the luma of the packaged photographs, by BasicSR's rule, with skimage."""
    values = []
    for pair in packaged_pairs("test"):
        lr, hr = pair.load(2)
        sr = run(np.ascontiguousarray(lr.transpose(2, 0, 1)[None], np.float32) / np.float32(255))
        sr = np.round(np.clip(sr[0], 0, 1) * 255).transpose(1, 2, 0)
        luma = [
            16 + (image.astype(np.float64) @ [65.481, 128.553, 24.966]) / 255 for image in (sr, hr)
        ]
        cut = [image[2:-2, 2:-2] for image in luma]
        values.append(peak_signal_noise_ratio(cut[1], cut[0], data_range=255))
    return float(np.mean(values))


@pytest.mark.parametrize("target", PACKAGES)
def test_the_printed_loss_is_that_of_the_file(tmp_path, target):
    pytest.importorskip(PACKAGES[target])
    made = imdn()
    budget = photograph_budget(made.network, None, None, max_drop=100)
    written = export(made, tmp_path / "m", target, "int8", budget=budget)
    chosen = EXPORT_TARGETS.build(target)
    content = {file.suffix: file.read_bytes() for file in written.files}
    after = skimage_psnr(chosen.open(content, PORTS_OF_SR))
    with torch.no_grad():
        before = skimage_psnr(lambda x: made.network(torch.from_numpy(x)).numpy())
    told = written.notes[0]
    assert "all convolutions" in told
    assert f"int8 {after:.3f} dB" in told
    assert f"fp32 {before:.3f} dB" in told
    assert f"{after - before:+.3f} dB" in told
    full = export(made, tmp_path / "f", target, "fp32").files
    assert written.files[-1].stat().st_size < 0.8 * full[-1].stat().st_size


def test_a_budget_that_nothing_keeps_writes_nothing_and_says_what_was_tried(tmp_path):
    made = imdn()
    scores = iter([30.0] + [29.0 + 0.1 * number for number in range(9)])
    budget = Budget([photograph(32, 32)], lambda run: next(scores), 0.05, "two photographs")
    with pytest.raises(UserError) as refused:
        export(made, tmp_path / "m.onnx", precision="int8", budget=budget)
    assert not list(tmp_path.iterdir())
    told = str(refused.value)
    assert "no int8 version loses at most 0.05 dB on two photographs" in told
    assert "all convolutions: -1.000 dB; all convolutions but the first and the last: -0.9" in told


def test_the_first_recipe_within_the_budget_is_kept(tmp_path):
    made = imdn()
    scores = iter([30.0, 29.0, 29.96])
    budget = Budget([photograph(32, 32)], lambda run: next(scores), 0.05, "two photographs")
    written = export(made, tmp_path / "m.onnx", precision="int8", budget=budget)
    content = written.files[0].read_bytes()
    expected = [True] * len(quantized_convolutions(content))
    expected[0] = expected[-1] = False
    assert quantized_convolutions(content) == expected
    assert "all convolutions but the first and the last: -0.040 dB" in written.notes[0]
    assert written.notes[2] == "int8, not kept: all convolutions: -1.000 dB"


@pytest.mark.parametrize("precision", ["fp32", "int8"])
@pytest.mark.parametrize("target", PACKAGES)
def test_a_fixed_size_is_the_only_one_and_computes_the_same(tmp_path, target, precision):
    pytest.importorskip(PACKAGES[target])
    made = imdn()
    budget = Budget([photograph(32, 32)], lambda run: 30.0, 0.05, "nothing")
    files = [
        export(made, tmp_path / name, target, precision, budget=budget, size=size).files
        for name, size in (("any", None), ("one", (24, 20)))
    ]
    any_size, one_size = (
        EXPORT_TARGETS.build(target).open({f.suffix: f.read_bytes() for f in both}, PORTS_OF_SR)
        for both in files
    )
    image = photograph(20, 24)
    np.testing.assert_allclose(one_size(image), any_size(image), atol=1e-5)
    assert any_size(photograph(24, 24)).shape == (1, 3, 48, 48)
    with pytest.raises(Exception, match=r"(?i)invalid|shape|dimension"):
        one_size(photograph(24, 24))
    sizes = [sum(file.stat().st_size for file in both) for both in files]
    assert sizes[1] == pytest.approx(sizes[0], rel=0.2)
    if target == "onnx":
        graph = onnx.load(files[1][0]).graph
        shape = [d.dim_value for d in graph.output[0].type.tensor_type.shape.dim]
        assert shape == [1, 3, 40, 48]


@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_openvino_runs_the_files_by_itself(tmp_path, precision):
    openvino = pytest.importorskip("openvino", reason="needs srnas[openvino]")
    made = imdn()
    written = export(made, tmp_path / "m", "openvino", precision)
    assert [file.name for file in written.files] == ["m.xml", "m.bin"]
    compiled = openvino.Core().compile_model(
        str(tmp_path / "m.xml"), "CPU", {"INFERENCE_PRECISION_HINT": "f32"}
    )
    image = np.concatenate([photograph(23, 40)] * 2)
    output = compiled({"lr": image})["sr"]
    with torch.no_grad():
        expected = made.network(torch.from_numpy(image)).numpy()
    limit = {"fp32": 1e-5, "fp16": 2e-3}[precision]
    np.testing.assert_allclose(output, expected, atol=limit)
    assert b"/" + b"tmp" not in (tmp_path / "m.xml").read_bytes()
    parameters = sum(p.numel() for p in made.network.parameters())
    bytes_each = {"fp32": 4, "fp16": 2}[precision]
    assert (tmp_path / "m.bin").stat().st_size == pytest.approx(bytes_each * parameters, rel=0.1)


def test_the_command_refuses_options_that_do_not_go_together(tmp_path):
    save_model(tmp_path / "m.safetensors", imdn())
    given = ("export", "--model", tmp_path / "m.safetensors", "--out", tmp_path / "m")
    for refused, told in (
        (("--target", "onnx", "--val", tmp_path), "--calibrate and --val go with --precision int8"),
        (("--target", "ncnn", "--precision", "int8"), "ncnn has fp16, fp32"),
        (("--target", "onnx", "--precision", "int8", "--calibrate", "none"), "none"),
    ):
        wrong = srnas(*given, *refused)
        assert (wrong.returncode, wrong.stderr.count("\n")) == (2, 1), wrong.stderr
        assert told in wrong.stderr
    assert [file.name for file in tmp_path.iterdir()] == ["m.safetensors"]


@pytest.mark.slow
@pytest.mark.parametrize("target", PACKAGES)
def test_the_published_network_in_int8_loses_at_most_a_tenth(tmp_path, shared, target):
    pytest.importorskip(PACKAGES[target])
    file = shared / "checkpoints" / "IMDN_x2.pth"
    published = load_published(file, {"name": "imdn", "scale": 2})
    sets = shared / "data"
    budget = photograph_budget(published.network, sets / "BSD400", sets / "Set5", 0.1)
    written = export(published, tmp_path / "m", target, "int8", budget=budget)
    chosen = EXPORT_TARGETS.build(target)
    content = {file.suffix: file.read_bytes() for file in written.files}
    psnr = budget.psnr(chosen.open(content, PORTS_OF_SR))
    assert 37.996 - psnr <= 0.1005  # published: 37.996
