"""Model files and ONNX: what is written rebuilds the network and computes the same."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from srnas.api import evaluate
from srnas.choice import Genotype
from srnas.engine.train import train
from srnas.errors import UserError
from srnas.export.int8 import photograph_budget
from srnas.export.target import EXPORT_TARGETS, fold_batchnorm, photograph
from srnas.export.write import export
from srnas.model_file import DEFAULT, Model, load_model, load_published, save_model
from srnas.options import check_options
from srnas.primitives.sr import SR_PRIMITIVES
from srnas.report.card import card, write_card
from srnas.spaces import check_space, derived_network, published_genotype
from srnas.tasks.base import Ports
from srnas.tasks.super_resolution.task import SuperResolution, scale_of
from srnas.tasks.super_resolution.tiles import MarginTiles
from tests.helpers import ROOT, srnas, train_options

LABELS = ("c1", "c2", "c3", "c4")
THREE_GENOTYPES = [list(SR_PRIMITIVES)[start : start + 4] for start in (0, 4, 8)]


def model(choices, scale=2, num_feat=16):
    """A network of the choices, its BatchNorms far from their initial state."""
    torch.manual_seed(0)
    space = check_space({"name": "imdn", "scale": scale, "num_feat": num_feat, "num_block": 2}, "t")
    genotype = Genotype("imdn", dict(zip(LABELS, choices, strict=True)))
    network = derived_network(space, genotype)
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            torch.nn.init.normal_(module.weight, 1, 0.2)
            torch.nn.init.normal_(module.bias, 0, 0.2)
            module.running_mean.normal_(0, 0.2)
            module.running_var.uniform_(0.3, 2)
    return Model(network.eval(), space, genotype, {"step": 7})


@pytest.mark.parametrize("choices", THREE_GENOTYPES, ids=" ".join)
def test_a_model_file_alone_rebuilds_its_network(tmp_path, choices):
    made = model(choices)
    save_model(tmp_path / "m.safetensors", made)
    loaded = load_model(tmp_path / "m.safetensors")
    x = torch.rand(1, 3, 9, 11)
    with torch.no_grad():
        assert torch.equal(loaded.network(x), made.network(x))
    assert (loaded.space, loaded.genotype, loaded.provenance) == (
        made.space, made.genotype, made.provenance
    )  # fmt: skip


@pytest.mark.parametrize("choices", THREE_GENOTYPES, ids=" ".join)
def test_folding_batchnorm_changes_nothing_but_its_presence(choices):
    network = model(choices).network.double()
    folded = fold_batchnorm(network)
    x = torch.rand(1, 3, 13, 10, dtype=torch.double)
    with torch.no_grad():
        torch.testing.assert_close(folded(x), network(x))
    assert any(isinstance(m, torch.nn.BatchNorm2d) for m in network.modules())
    assert not any(isinstance(m, torch.nn.BatchNorm2d) for m in folded.modules())


@pytest.mark.parametrize("scale", [2, 3, 4])
def test_onnx_runs_at_sizes_it_was_not_made_at(tmp_path, scale):
    onnxruntime = pytest.importorskip("onnxruntime", reason="needs srnas[export]")
    made = model(THREE_GENOTYPES[scale - 2], scale)
    assert len(export(made, tmp_path / "m.onnx").agreements) == 3
    session = onnxruntime.InferenceSession(str(tmp_path / "m.onnx"))
    for batch, height, width in ((1, 17, 40), (3, 64, 33), (1, 5, 7)):
        x = np.random.default_rng(0).random((batch, 3, height, width), dtype=np.float32)
        with torch.no_grad():
            expected = made.network(torch.from_numpy(x)).numpy()
        (sr,) = session.run(["sr"], {"lr": x})
        assert sr.shape == (batch, 3, scale * height, scale * width)
        assert np.abs(sr - expected).max() < 1e-4


def test_onnx_holds_no_batchnorm_and_no_path_of_this_machine(tmp_path):
    onnx = pytest.importorskip("onnx", reason="needs srnas[export]")
    path = tmp_path / "m.onnx"
    export(model(THREE_GENOTYPES[0]), path)
    graph = onnx.load(path)
    onnx.checker.check_model(graph, full_check=True)
    assert "BatchNormalization" not in {node.op_type for node in graph.graph.node}
    assert b"site-packages" not in path.read_bytes()
    assert b".py" not in path.read_bytes()


def test_the_programs_of_torch_run_without_srnas_and_hold_no_path(tmp_path):
    made = model(THREE_GENOTYPES[0])
    written = export(made, tmp_path / "m.pt2")
    assert written.files == [tmp_path / "m.pt2"]
    assert len(written.agreements) == 3
    content = (tmp_path / "m.pt2").read_bytes()
    assert b"site-packages" not in content
    assert str(ROOT).encode() not in content
    image = np.random.default_rng(0).random((2, 3, 15, 33), dtype=np.float32)
    np.save(tmp_path / "in.npy", image)
    script = (
        "import sys, numpy, torch\n"
        "program = torch.export.load('m.pt2').module()\n"
        "with torch.no_grad():\n"
        "    numpy.save('out.npy', program(torch.from_numpy(numpy.load('in.npy'))).numpy())\n"
        "assert 'srnas' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", script], check=True, cwd=tmp_path)
    with torch.no_grad():
        expected = made.network(torch.from_numpy(image)).numpy()
    np.testing.assert_allclose(np.load(tmp_path / "out.npy"), expected, atol=1e-5)


def test_a_network_whose_graph_depends_on_the_size_has_no_program(tmp_path):
    cell = load_model(ROOT / "tests/compatibility/v0_1_0/models/nasbench201.safetensors")
    with pytest.raises(UserError, match=r"no \.pt2 for images of any size"):
        export(cell, tmp_path / "x.pt2")
    assert not (tmp_path / "x.pt2").exists()


@pytest.mark.parametrize(("name", "precision"), [("imdn", "fp16"), ("dlsr", "fp32")])
@pytest.mark.usefixtures("small_tiles")
def test_published_networks_run_in_ncnn(tmp_path, shared, name, precision):
    ncnn = pytest.importorskip("ncnn", reason="needs srnas[ncnn]")
    pytest.importorskip("pnnx", reason="needs srnas[ncnn]")
    file = shared / "checkpoints" / f"{name.upper()}_x2.pth"
    published = load_published(file, {"name": name, "scale": 2})
    written = export(published, tmp_path / name, "ncnn", precision)
    assert [file.name for file in written.files] == [f"{name}.param", f"{name}.bin"]
    limit = {"fp32": 1e-4, "fp16": 2e-3}[precision]
    assert all(agreement.largest < limit for agreement in written.agreements)
    # as a program of ncnn's own would load it, on a photograph of another size
    net = ncnn.Net()
    net.opt.use_vulkan_compute = False
    assert net.load_param(str(tmp_path / f"{name}.param")) == 0
    assert net.load_model(str(tmp_path / f"{name}.bin")) == 0
    image = photograph(67, 41)
    extractor = net.create_extractor()
    extractor.input("data", ncnn.Mat(image[0]).clone())
    failed, output = extractor.extract("output")
    assert failed == 0
    with torch.no_grad():
        expected = published.network(torch.from_numpy(image))[0].numpy()
    np.testing.assert_allclose(np.array(output), expected, atol=limit)
    sizes = [file.stat().st_size for file in written.files]
    parameters = sum(p.numel() for p in published.network.parameters())
    bytes_each = {"fp32": 4, "fp16": 2}[precision]
    assert sizes[1] == pytest.approx(bytes_each * parameters, rel=0.02)
    assert "tiles of 200" in written.notes[0]


@pytest.mark.slow
@pytest.mark.parametrize(("name", "psnr"), [("imdn", 37.996), ("dlsr", 38.039), ("default", None)])
def test_half_precision_ncnn_keeps_the_psnr_on_set5(tmp_path, shared, name, psnr):
    """Published figures, and for the model in the package what PyTorch gives."""
    pytest.importorskip("ncnn", reason="needs srnas[ncnn]")
    pytest.importorskip("pnnx", reason="needs srnas[ncnn]")
    if name == "default":
        made = load_model(Path(DEFAULT))
        psnr = evaluate(made, {"Set5": shared / "data/Set5"}, device="cpu")["Set5"]["psnr"]
    else:
        file = shared / "checkpoints" / f"{name.upper()}_x2.pth"
        made = load_published(file, {"name": name, "scale": 2})
    written = export(made, tmp_path / "m", "ncnn", "fp16")
    content = {file.suffix: file.read_bytes() for file in written.files}
    budget = photograph_budget(made.network, None, shared / "data/Set5", 0)
    run = EXPORT_TARGETS.build("ncnn").open(content, Ports("lr", "sr", ((51, 37),)))
    assert budget.psnr(run) == pytest.approx(psnr, abs=0.01)


def test_half_precision_onnx_takes_and_gives_float32(tmp_path):
    onnxruntime = pytest.importorskip("onnxruntime", reason="needs srnas[export]")
    made = model(THREE_GENOTYPES[1])
    half = export(made, tmp_path / "half.onnx", precision="fp16").files[0]
    full = export(made, tmp_path / "full.onnx").files[0]
    assert half.stat().st_size < 0.75 * full.stat().st_size
    session = onnxruntime.InferenceSession(half.read_bytes(), providers=["CPUExecutionProvider"])
    assert session.get_inputs()[0].type == session.get_outputs()[0].type == "tensor(float)"
    image = photograph(33, 40)
    (output,) = session.run(None, {"lr": image})
    with torch.no_grad():
        expected = made.network(torch.from_numpy(image)).numpy()
    assert 0 < np.abs(output - expected).max() < 2e-2


def test_margin_tiles_of_a_local_method_change_nothing():
    def enlarge(image):  # nearest neighbour sees one pixel
        return image.repeat(2, 0).repeat(2, 1)

    image = np.random.default_rng(0).integers(0, 256, (37, 51, 3)).astype(np.uint8)
    tiled = MarginTiles(enlarge, 2, 16)(image)
    np.testing.assert_array_equal(tiled, enlarge(image))


def test_the_command_names_targets_and_precisions(tmp_path):
    save_model(tmp_path / "m.safetensors", model(THREE_GENOTYPES[0]))
    given = ("export", "--model", tmp_path / "m.safetensors", "--out")
    done = srnas(*given, tmp_path / "m", "--target", "torch")
    assert done.stdout.count("largest difference to PyTorch") == 3, done.stderr
    assert (tmp_path / "m.pt2").is_file()
    for refused, told in (
        ((tmp_path / "m.txt",), "no export for files '.txt'"),
        ((tmp_path / "m", "--target", "onxn"), "did you mean 'onnx'"),
        ((tmp_path / "m.onnx", "--precision", "int4"), "onnx has fp32, fp16"),
        ((tmp_path / "m.pt2",), "exists; give --overwrite"),
    ):
        wrong = srnas(*given, *refused)
        assert (wrong.returncode, wrong.stderr.count("\n")) == (2, 1), wrong.stderr
        assert told in wrong.stderr


def test_a_card_states_what_the_model_is_and_how_it_was_made(tmp_path, photo_folder):
    options = train_options(tmp_path, photo_folder, steps=2)
    trained = load_model(train(check_options("train", options, "t")))
    written = export(trained, tmp_path / "m.pt2")
    text = write_card(trained, written).read_text()
    assert (tmp_path / "m.pt2.md").is_file()
    counted = SuperResolution.profile(trained.network, None)
    for expected in (
        "# m\n",
        "factor of 2",
        "| c1 | `conv_3x3` |",
        f"| parameters | {counted['params']:,} |",
        f"| GMACs, hr 1280x720 | {counted['hr_1280x720']['macs'] / 1e9:.2f} |",
        "| steps | `2` |",
        "| photos | 5 | not recorded; ask who provided the images |",
        f"| psnr | {trained.provenance['val']['psnr']:.4f} |",
        f"| m.pt2 | {(tmp_path / 'm.pt2').stat().st_size:,} |",
        "| 51x37 | 0.0e+00 | inf |",
    ):
        assert expected in text, expected
    with pytest.raises(UserError, match=r"m\.pt2\.md: exists; give --overwrite"):
        write_card(trained, written)
    published = card(model(THREE_GENOTYPES[0]), written)
    assert "Not recorded." in published


def test_a_network_that_onnx_gets_wrong_is_not_written(tmp_path, monkeypatch):
    pytest.importorskip("onnxruntime", reason="needs srnas[export]")
    made = model(THREE_GENOTYPES[1])
    monkeypatch.setattr(
        "srnas.export.write.fold_batchnorm", lambda network: model(THREE_GENOTYPES[2]).network
    )
    with pytest.raises(UserError, match=r"not written: .* differs from PyTorch by"):
        export(made, tmp_path / "m.onnx")
    assert not (tmp_path / "m.onnx").exists()


def test_nothing_is_overwritten_unless_asked(tmp_path):
    (tmp_path / "m.onnx").write_text("precious")
    with pytest.raises(UserError, match="exists; give --overwrite"):
        export(model(THREE_GENOTYPES[0]), tmp_path / "m.onnx")
    assert (tmp_path / "m.onnx").read_text() == "precious"


def test_foreign_and_broken_weight_files_are_told(tmp_path):
    made = model(THREE_GENOTYPES[0])
    good = tmp_path / "good.safetensors"
    save_model(good, made)
    (tmp_path / "cut.safetensors").write_bytes(good.read_bytes()[:-100])
    save_file({"a": torch.zeros(2)}, tmp_path / "foreign.safetensors")
    with pytest.raises(UserError, match=r"cut\.safetensors: not a whole safetensors file"):
        load_model(tmp_path / "cut.safetensors")
    with pytest.raises(UserError, match=r"foreign\.safetensors: not an srnas model file"):
        load_model(tmp_path / "foreign.safetensors")

    space = made.space
    cases = {
        "other.pth": ({"conv.weight": torch.zeros(3)}, r"weights of another network \(lacks head"),
        "list.pth": ([torch.zeros(3)], "holds no state dict"),
        "nested.pth": ({"head.weight": {"x": 1}}, "is not a tensor"),
    }
    for name, (content, told) in cases.items():
        torch.save(content, tmp_path / name)
        with pytest.raises(UserError, match=told):
            load_published(tmp_path / name, space, made.genotype)


@pytest.mark.parametrize(
    "wrap", [lambda s: s, lambda s: {"params": s}, lambda s: {"params_ema": s}]
)
def test_state_dicts_load_bare_and_as_basicsr_wraps_them(tmp_path, wrap):
    made = model(THREE_GENOTYPES[1])
    torch.save(wrap(made.network.state_dict()), tmp_path / "w.pth")
    loaded = load_published(tmp_path / "w.pth", made.space, made.genotype)
    x = torch.rand(1, 3, 9, 11)
    with torch.no_grad():
        assert torch.equal(loaded.network(x), made.network(x))


def test_the_width_is_the_files_and_another_scale_is_told_with_its_shapes(tmp_path):
    made = model(THREE_GENOTYPES[0])
    torch.save(made.network.state_dict(), tmp_path / "w.pth")
    wider = made.space.with_options(num_feat=32)
    loaded = load_published(tmp_path / "w.pth", wider, made.genotype)
    assert loaded.space.options.num_feat == 16
    with pytest.raises(UserError, match=r"this network needs \(.*check space, scale and genotype"):
        load_published(tmp_path / "w.pth", made.space.with_options(scale=4), made.genotype)


def test_a_classifiers_file_rebuilds_it_and_has_no_scale(tmp_path):
    from srnas.cli.check import describe

    space = check_space({"name": "nasbench201", "num_feat": 4, "num_cell": 1}, "t")
    genotype = published_genotype("nasbench201")
    made = Model(derived_network(space, genotype).eval(), space, genotype, {})
    save_model(tmp_path / "m.safetensors", made)
    loaded = load_model(tmp_path / "m.safetensors")
    x = torch.rand(1, 3, 8, 8)
    assert torch.equal(loaded.network(x), made.network(x))
    with pytest.raises(UserError, match=r"for classification .* has no scale"):
        scale_of(loaded.network)
    assert describe(tmp_path / "m.safetensors").startswith("model of space 'nasbench201': cell=|")
