"""`srnas analyze` on real searches: what it restores, measures, writes, and leaves alone."""

import json

import numpy as np
import pytest
import torch

from srnas.analysis import (
    edge_gradient_correlations,
    operator_gradients,
    weight_gradient_correlation,
)
from srnas.choice import Supernet
from srnas.distributed import Process
from srnas.engine.analyze import analyze, restore, substitutions, trajectory
from srnas.engine.search import search
from srnas.engine.stepper import SearchStepper
from srnas.errors import UserError
from srnas.files import load_tensors, read_json_lines
from srnas.options import check_options, dump_options
from srnas.primitives.nasbench201 import NB201_PRIMITIVES
from srnas.spaces import space_builder
from tests.helpers import assert_same_run, flat, search_options

CPU = Process(torch.device("cpu"))
SHRUNK = {
    "partial_channels": 2,
    "shrink": [{"at": 0.25, "keep": 5, "partial_channels": 1}, {"at": 0.75, "keep": 2}],
}
SAMPLED = {"relaxation": {"name": "gumbel_softmax"}, "update_rule": "single_level"}
SKIPPED = {"auxiliary_skip": {"name": "linear", "start": 1, "end": 0}, "update_rule": "fimt"}


@pytest.fixture
def make(tmp_path, photo_folder):
    """Options of a tiny search, and its folder."""

    def of(**changes):
        options = search_options(tmp_path, photo_folder, **changes)
        return check_options("search", options, "test")

    return of


class PowerCutError(Exception):
    pass


def interrupted(options, monkeypatch, step):
    """A search that breaks off before `step`; its folder."""
    begin = SearchStepper.begin

    def cut(self, at):
        if at == step:
            raise PowerCutError
        begin(self, at)

    with monkeypatch.context() as patched:
        patched.setattr(SearchStepper, "begin", cut)
        with pytest.raises(PowerCutError):
            search(options)
    return options.experiments / options.name


def contents(folder):
    files = (file for file in folder.rglob("*") if file.is_file())
    return {f: f.read_bytes() for f in files if f.parent.name != "analysis"}


def by_hand(options, run):
    """The checkpoint's state without `restore`."""
    saved = load_tensors(run / "checkpoints/last.pt")
    state = SearchStepper(options, CPU)
    for name in ("supernet", "train", "alpha"):
        state.states[name].load_state_dict(saved["parts"][name])
    return state


@pytest.mark.parametrize("changes", [SHRUNK, SAMPLED, SKIPPED])
def test_what_is_restored_is_the_checkpoint_to_the_bit(make, changes):
    options = make(**changes)
    run = search(options).parent
    saved = load_tensors(run / "checkpoints/last.pt")
    step, state = restore(run, options, "cpu")
    assert step == saved["step"] == 20
    restored = {name: part.state_dict() for name, part in state.states.items()}
    assert restored.keys() | {"notes"} == saved["parts"].keys()
    expected = dict(flat({name: saved["parts"][name] for name in restored}))
    found = dict(flat(restored))
    assert found.keys() == expected.keys()
    for path, value in found.items():
        same = torch.equal if torch.is_tensor(value) else (lambda a, b: a == b)
        assert same(value, expected[path]), path
    assert state.supernet.relaxation.progress == 3 / 4, "as in the last epoch"
    assert torch.equal(torch.get_rng_state(), saved["rng"]["cpu"])


@pytest.mark.parametrize("changes", [{}, SHRUNK])
def test_a_search_that_was_analyzed_goes_on_to_the_same_bits(make, tmp_path, monkeypatch, changes):
    whole = make(experiments=str(tmp_path / "whole"), **changes)
    search(whole)
    options = make(**changes)
    run = interrupted(options, monkeypatch, 17)  # of 20; the checkpoint is of 15
    before = contents(run)
    result = analyze(run, gradients=True, landscape_of="alphas", points=3, batches=1, device="cpu")
    assert result["gradients"]["step"] == result["landscape_alphas"]["step"] == 15
    assert contents(run) == before
    search(options, resume=True)
    assert_same_run(tmp_path / "whole/search", run)


def test_gradients_are_those_of_the_analysis_functions_on_the_checkpoint(make):
    options = make(space={"name": "imdn", "scale": 2, "num_feat": 8, "num_block": 2})
    run = search(options).parent
    result = analyze(run, gradients=True, batches=2, device="cpu")["gradients"]
    state = by_hand(options, run)
    net = state.supernet
    weights, edges, everywhere, last = [], [], [], []
    for _ in range(2):
        one, other = next(state.train_batches), next(state.alpha_batches)
        losses = (lambda b=one: state.loss(b)), (lambda b=other: state.loss(b))
        weights.append(weight_gradient_correlation(net, *losses))
        edges.append(edge_gradient_correlations(net, *losses)["blocks.1.c3"])
        everywhere.append(operator_gradients(net, losses[1])["conv_3x3"])
        last.append(operator_gradients(net, losses[1], "blocks.1.")["conv_3x3"])
    for found, expected in ((result["weights"], weights), (result["edges"]["blocks.1.c3"], edges)):
        assert found == pytest.approx(
            {
                "inner": np.mean([e.inner for e in expected]),
                "cosine": np.mean([e.cosine for e in expected]),
            }
        )
    assert list(result["edges"]) == [f"blocks.{b}.c{c}" for b in (0, 1) for c in (1, 2, 3, 4)]
    assert result["operators"].keys() == {"all", "blocks.1"}
    assert result["operators"]["all"]["conv_3x3"] == pytest.approx(np.mean(everywhere))
    assert result["operators"]["blocks.1"]["conv_3x3"] == pytest.approx(np.mean(last))


@pytest.mark.parametrize("of", ["weights", "alphas"])
def test_the_middle_of_the_landscape_is_the_loss_at_the_checkpoint(make, of):
    options = make()
    run = search(options).parent
    found = analyze(run, landscape_of=of, points=3, span=0.5, batches=2, device="cpu")
    figures = found[f"landscape_{of}"]
    with np.load(run / "analysis" / f"landscape_{of}.npz") as arrays:
        positions, loss = arrays["positions"], arrays["loss"]
    assert positions.tolist() == [-0.5, 0, 0.5]
    assert loss.shape == (3, 3)
    assert len(np.unique(loss)) == 9
    state = by_hand(options, run)
    net = state.supernet.eval()
    with torch.no_grad():
        batches = [next(state.alpha_batches) for _ in range(2)]
        expected = np.mean([(net(lr) - hr).abs().mean().item() for lr, hr in batches])
    assert loss[1, 1] == figures["loss"] == pytest.approx(expected)
    assert (figures["min"], figures["max"]) == (loss.min(), loss.max())
    assert (run / "analysis" / figures["files"][1]).read_bytes().startswith(b"\x89PNG")


def test_sections_of_earlier_calls_are_kept(make):
    run = search(make(val_every_epochs=0)).parent
    one = analyze(run, landscape_of="alphas", points=2, batches=1, device="cpu")
    assert one.keys() == {"trajectory", "landscape_alphas"}
    other = analyze(run, gradients=True, batches=1, device="cpu")
    assert other.keys() == {"trajectory", "gradients"}
    assert json.loads((run / "analysis/analysis.json").read_text()) == {**one, **other}


def test_the_trajectory_is_that_of_the_logs(make):
    genotypes = ["a", "b", "b", "b", "b", "b", "b", "b"]
    rows = [
        {"step": 5 * (i + 1), "epoch": i, "genotype": {"c1": g}, "expected_macs_per_pixel": 9.0 - i}
        for i, g in enumerate(genotypes)
    ]
    metrics = [
        {"step": 5 * (i + 1), "epoch": i, "top2_gap_min": gap, "entropy": 2.0}
        for i, gap in enumerate((0.3, 0.1, 0.5, 0.2))
    ]
    metrics[3]["looked_up"] = 90.0  # not in every epoch
    metrics.append({"step": 20, "epoch": 3, "loss": 1.0, "val_psnr": 30.0})
    found = trajectory(make(epochs=40), rows, metrics)
    assert found == {
        "step": 40,
        "epochs": 8,
        "epochs_planned": 40,
        "convergence_epoch": 1,
        "converged": True,
        "converge_share": 2 / 8,
        "genotype": {"c1": "b"},
        "figures": {
            "top2_gap_min": {"first": 0.3, "last": 0.2, "min": 0.1, "max": 0.5},
            "entropy": {"first": 2.0, "last": 2.0, "min": 2.0, "max": 2.0},
            "looked_up": dict.fromkeys(("first", "last", "min", "max"), 90.0),
            "expected_macs_per_pixel": {"first": 9.0, "last": 2.0, "min": 2.0, "max": 9.0},
        },
    }


def test_a_real_searchs_trajectory_has_the_figures_that_it_logged(make):
    run = search(make()).parent
    found = analyze(run)["trajectory"]
    rows = [r for r in read_json_lines(run / "metrics.jsonl") if "entropy" in r]
    assert (found["epochs"], found["step"], found["converged"]) == (4, 20, False)
    for name in ("top2_gap_min", "entropy", "alpha_std", "parameter_free_share"):
        values = [row[name] for row in rows]
        assert found["figures"][name] == {
            "first": values[0], "last": values[3], "min": min(values), "max": max(values)
        }  # fmt: skip


@pytest.fixture
def sa_row():
    """The last row of a search that found SA's cell, and ranks the first edge as SA does."""
    space = {"name": "nasbench201", "num_feat": 4, "num_cell": 1}
    net = Supernet(space_builder(space), "nasbench201")
    chosen = ["nor_conv_3x3"] * 3 + ["skip_connect"] + ["nor_conv_3x3"] * 2
    with torch.no_grad():
        for alpha, name in zip(net.arch_parameters(), chosen, strict=True):
            alpha[list(NB201_PRIMITIVES).index(name)] = 1.0
        net.alphas["cell/1<-0"].copy_(torch.tensor([-4.0, -2.0, -1.0, 0.5, -3.0]))
    return {
        "step": 2,
        "genotype": net.genotype().choices,
        "alphas": {label: alpha.tolist() for label, alpha in net.alphas.items()},
        "candidates": {label: p.names for label, p in net.choices.competing.items()},
    }


def test_substitution_on_nas_bench_201_ranks_as_sa_darts_prints(sa_row, shared):
    table = shared / "data/nasbench201/nb201_test_accuracy_200epochs.csv.gz"
    found = substitutions("nasbench201", sa_row, "cell/1<-0", table)
    assert found["candidates"] == [
        "nor_conv_3x3", "nor_conv_1x1", "skip_connect", "avg_pool_3x3", "none"
    ]  # fmt: skip
    assert found["alphas"] == [0.5, -1.0, -2.0, -3.0, -4.0]
    assert found["accuracy"]["cifar100"] == pytest.approx([73.5, 72.3, 70.78, 71.8, 70.02], abs=0.5)
    assert found["accuracy"]["cifar10"][0] == 94.3633
    assert found["tau"]["cifar100"] == pytest.approx(0.8)


def test_equal_accuracies_have_no_tau_and_cells_may_be_missing(sa_row, tmp_path):
    table = tmp_path / "t.csv"
    cell = "|{}~0|+|nor_conv_3x3~0|nor_conv_3x3~1|+|skip_connect~0|nor_conv_3x3~1|nor_conv_3x3~2|"
    lines = [f"{cell.format(name)},1,2,{i}" for i, name in enumerate(NB201_PRIMITIVES)]
    head = "arch,cifar10_test,cifar100_test,imagenet16_120_test"
    table.write_text("\n".join([head, *lines]))
    found = substitutions("nasbench201", sa_row, "cell/1<-0", table)
    assert found["tau"]["cifar10"] is None
    assert found["tau"]["imagenet16-120"] == pytest.approx(0.4), "avg_pool_3x3 has 3 of 10 wrong"
    table.write_text("\n".join([head, *lines[1:]]))
    with pytest.raises(UserError, match="holds 4 cells, but not"):
        substitutions("nasbench201", sa_row, "cell/1<-0", table)


@pytest.mark.parametrize(
    ("space", "label", "told"),
    [
        ("nasbench201", "cell/1-0", "did you mean 'cell/1<-0'"),
        ("nasbench201", "cell/1<-0", "name the table"),
        ("imdn", "c1", r"a table of space 'imdn' by --table.* srnas\.analysis\.substitute"),
    ],
)
def test_substitutions_that_cannot_be_are_told(sa_row, space, label, told):
    with pytest.raises(UserError, match=told):
        substitutions(space, sa_row, label, None)


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"landscape_of": "weight"}, "did you mean 'weights'"),
        ({"landscape_of": "alphas", "points": 1}, "--points is 2 to 1,000"),
        ({"gradients": True, "batches": 0}, "--batches 1"),
        ({"landscape_of": "alphas", "span": 0}, "--span above 0"),
        ({"gradients": True}, "no checkpoint yet"),
    ],
)
def test_wrong_requests_are_told_and_write_nothing(make, tmp_path, given, told):
    (tmp_path / "options.yml").write_text(dump_options(make()))
    row = {
        "step": 5,
        "epoch": 0,
        "genotype": {"c1": "conv_3x3"},
        "alphas": {"c1": [0.0]},
        "probabilities": {"c1": [1.0]},
        "candidates": {"c1": ["conv_3x3"]},
        "expected_macs_per_pixel": 1.0,
    }
    (tmp_path / "alphas.jsonl").write_text(json.dumps(row) + "\n")
    with pytest.raises(UserError, match=told):
        analyze(tmp_path, **given)
    assert not (tmp_path / "analysis").exists()


def test_folders_of_no_search_are_told(make, tmp_path):
    for content in (None, "name: x\noptimizer: {lr: 0.1}\n"):
        if content:
            (tmp_path / "options.yml").write_text(content)
        with pytest.raises(UserError, match="not a search's folder"):
            analyze(tmp_path)
    (tmp_path / "options.yml").write_text(dump_options(make()))
    with pytest.raises(UserError, match="no epoch is finished yet"):
        analyze(tmp_path)
