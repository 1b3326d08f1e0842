"""Exports that compute in half precision, where exponentials do not fit into it."""

import numpy as np
import pytest
import torch

from srnas.choice import Genotype
from srnas.export.write import export
from srnas.model_file import Model
from srnas.spaces import check_space, derived_network

LARGE = 30.0  # exp(30) is 1e13, half ends at 65,504


@pytest.fixture
def model():
    """A network whose soft pooling has exponents up to LARGE on a checkerboard."""
    torch.manual_seed(0)
    space, genotype = check_space({"name": "plain", "widths": [4, 4]}), Genotype("plain", {})
    network = derived_network(space, genotype).eval()
    squeezes = [block.attention.squeeze for block in network.blocks]
    with torch.no_grad():
        for squeeze in squeezes:
            seen = []
            handle = squeeze.register_forward_hook(lambda m, i, y, seen=seen: seen.append(y))
            network(torch.from_numpy(checkerboard()))
            handle.remove()
            squeeze.weight.mul_(LARGE / seen[0].abs().max())
            squeeze.bias.mul_(LARGE / seen[0].abs().max())
    return Model(network, space, genotype, {})


def checkerboard(side=24):
    board = np.indices((side, side)).sum(0) % 2
    return np.broadcast_to(board, (1, 3, side, side)).astype(np.float32)


def test_onnx_in_true_half_precision_does_not_overflow(tmp_path, model):
    """The reference evaluator computes every node in its type, as a GPU does."""
    onnx = pytest.importorskip("onnx", reason="needs srnas[export]")
    pytest.importorskip("onnxruntime", reason="needs srnas[export]")
    reference = pytest.importorskip("onnx.reference")
    made = onnx.load(export(model, tmp_path / "m.onnx", precision="fp16").files[0])
    onnx.checker.check_model(made)
    image = checkerboard()
    (found,) = reference.ReferenceEvaluator(made).run(None, {"lr": image})
    with torch.no_grad():
        expected = model.network(torch.from_numpy(image)).numpy()
    np.testing.assert_allclose(found, expected, atol=2e-2)
    halves = [t.name for t in made.graph.initializer if t.data_type == onnx.TensorProto.FLOAT16]
    assert {"head.weight", "blocks.0.attention.squeeze.weight"} <= set(halves)


def test_ncnn_is_told_to_keep_the_pooling_in_single_precision(tmp_path, model):
    """31=3 is "no fp16 arithmetic, no fp16 storage" in ncnn's page on masks of layers."""
    pytest.importorskip("ncnn", reason="needs srnas[ncnn]")
    pytest.importorskip("pnnx", reason="needs srnas[ncnn]")
    written = export(model, tmp_path / "m", "ncnn", "fp16")
    lines = written.files[0].read_text().splitlines()
    masked = [line.split()[0] for line in lines if line.endswith(" 31=3")]
    a_pooling = ["UnaryOp", "Split", "BinaryOp", "Pooling", "Pooling", "BinaryOp"]
    assert masked == 2 * a_pooling


def test_a_network_in_half_precision_pools_in_single(model):
    image = torch.from_numpy(checkerboard())
    with torch.no_grad():
        expected = model.network(image)
        found = model.network.half()(image.half())
    torch.testing.assert_close(found.float(), expected, rtol=0, atol=2e-2)
