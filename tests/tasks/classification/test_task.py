"""Classification through the same engine: searches, trainings, and what does not fit."""

import math

import pytest
import torch
import torch.nn.functional as F

from srnas.choice import Genotype
from srnas.distributed import Process
from srnas.engine.search import search
from srnas.engine.train import train
from srnas.errors import UserError
from srnas.files import read_json_lines
from srnas.model_file import load_model
from srnas.options import check_options, load_options
from srnas.report.page import write_report
from srnas.spaces import derived_network, published_genotype
from srnas.spaces.nasbench201 import read_arch
from tests.helpers import ROOT, class_options, class_train_options, srnas, write_options

CPU = Process(torch.device("cpu"))


def open_task(options, network, streams, **how):
    return options.task.open(options, CPU, network, streams, **how)


def network_of(options):
    return derived_network(options.space, published_genotype(options.space.name))


def test_a_nb201_search_writes_a_cell_and_its_accuracies_from_the_table(tmp_path, shared):
    table = next((shared / "data" / "nasbench201").glob("*.csv.gz"))
    options = class_options(tmp_path, nb201_table=str(table), method="sac_darts")
    run = search(check_options("search", options, str(ROOT / "options/search/x.yml"))).parent
    cell = Genotype.load(run / "genotype.json").choices["cell"]
    assert len(read_arch(cell)) == 3
    shown = srnas("nb201", "query", cell, "--table", table).stdout
    last = {}
    for row in read_json_lines(run / "metrics.jsonl"):
        last.update(row)
    assert f"{last['nb201_cifar10']:.4f}" in shown
    assert 0 <= last["val_accuracy"] <= 100
    assert math.isfinite(last["val_loss"])
    page = write_report(run).read_text()
    assert "Accuracy on the validation images" in page
    assert "in NAS-Bench-201, %" in page


@pytest.mark.parametrize("space", ["nasbench201", "darts"])
def test_a_derived_network_learns_and_is_tested_once_at_the_end(tmp_path, space):
    changes = {"space": {"num_feat": 8}} if space == "darts" else {}
    given = class_train_options(tmp_path, space, steps=120, val_every=60)
    given["space"] = {**given["space"], **changes.get("space", {})}
    model = train(check_options("train", given, "t"))
    rows = read_json_lines(model.parent / "metrics.jsonl")
    tested = [row for row in rows if "test_accuracy" in row]
    assert [row["step"] for row in tested] == [120]
    assert tested[0]["test_accuracy"] > 70, "four classes: chance is 25"
    network = load_model(model).network
    task, _ = open_task(check_options("train", given, "t"), network, ("train",))
    split = task.test_split
    with torch.no_grad():
        logits = network(split.normalization(split.images))
    right = (logits.argmax(1) == split.labels).float().mean().item()
    assert tested[0]["test_accuracy"] == pytest.approx(100 * right)
    assert tested[0]["test_loss"] == pytest.approx(F.cross_entropy(logits, split.labels).item())


def test_validation_images_choose_the_weights(tmp_path):
    given = class_train_options(tmp_path, steps=60, val_every=10)
    given["data"] |= {"train": [0, 0.75], "val": [0.75, 1]}
    model = train(check_options("train", given, "t"))
    rows = read_json_lines(model.parent / "metrics.jsonl")
    scores = {row["step"]: row["val_accuracy"] for row in rows if "val_accuracy" in row}
    kept = load_model(model).provenance
    assert sorted(scores) == [10, 20, 30, 40, 50, 60]
    assert kept["step"] == max(scores, key=scores.__getitem__), "the first of the best"
    assert kept["val"]["accuracy"] == max(scores.values())


def test_the_second_classifier_adds_its_weighted_loss_in_training_only(tmp_path):
    given = class_train_options(tmp_path, "darts", auxiliary_weight=0.3)
    given["space"] = {**given["space"], "auxiliary": True}
    given["data"]["dataset"]["side"] = 32
    options = check_options("train", given, "t")
    task, (batches,) = open_task(options, network_of(options), ("train",))
    images, labels = next(batches)
    one, two = torch.randn(2, 16, 4)

    class Two(torch.nn.Module):
        def forward(self, x):
            return (one, two) if self.training else one

    network = Two()
    expected = F.cross_entropy(one, labels) + 0.3 * F.cross_entropy(two, labels)
    assert task.loss(network, (images, labels)).item() == pytest.approx(expected.item())
    network.eval()
    assert task.loss(network, (images, labels)).item() == pytest.approx(
        F.cross_entropy(one, labels).item()
    )


def test_single_level_pools_both_halves(tmp_path):
    options = check_options("search", class_options(tmp_path), "t")
    for pooled, count in ((False, 32), (True, 64)):
        _, (train_batches, alpha_batches) = open_task(
            options, network_of(options), ("train", "alpha"), pooled=pooled
        )
        assert (train_batches.count, alpha_batches.count) == (count, 32)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ("data.trian=[0, 1]", r"data: unknown key 'trian'; did you mean 'train'"),
        ("data.hr_patch=64", r"data: unknown key 'hr_patch'"),
        ("data.dataset.name=cifar11", r"data\.dataset: no data set is named 'cifar11'.*cifar10"),
        ("data.train=[0, 0.6]", r"data: train \[0\.0, 0\.6\] and alpha \[0\.5, 1\.0\] overlap"),
        ("space.num_classes=7", r"space\.num_classes: 7, but the data has 4 classes"),
        ("loss=l1", r"loss: no classification loss is named 'l1'"),
        ("nb201_table=none.csv", r"none\.csv: no such file"),
    ],
)
def test_what_does_not_fit_is_one_line_and_exit_code_2(tmp_path, change, told):
    file = write_options(tmp_path / "o.yml", class_options(tmp_path))
    with pytest.raises(UserError, match=told):
        search(load_options("search", file, [change]))
    assert not (tmp_path / "experiments").exists()


@pytest.mark.parametrize(
    "file", sorted((ROOT / "options/study").glob("*_small.yml")), ids=lambda file: file.stem
)
def test_every_small_study_runs(tmp_path, file):
    overrides = [
        f"experiments={tmp_path}",
        "data.dataset={name: generated, side: 8, train: 32, test: 8}",
        "data.batch_size=4",
        "epochs=2",
        "steps_per_epoch=1",
        "warmup_epochs=1",
    ]
    run = search(load_options("search", file, overrides)).parent
    assert math.isfinite(read_json_lines(run / "alphas.jsonl")[-1]["expected_macs_per_pixel"])


def test_methods_that_pool_need_halves_that_meet(tmp_path):
    given = class_options(tmp_path, update_rule="single_level")
    given["data"] |= {"train": [0, 0.4]}
    with pytest.raises(UserError, match="train and alpha must meet"):
        search(check_options("search", given, "t"))


def test_drop_path_needs_a_space_with_paths(tmp_path):
    given = class_train_options(tmp_path, drop_path=0.2)
    with pytest.raises(UserError, match="space 'nasbench201' has no paths to drop"):
        train(check_options("train", given, "t"))


def test_images_whose_sides_a_space_cannot_halve_are_told(tmp_path):
    given = class_options(tmp_path, "darts")
    given["data"]["dataset"]["side"] = 10
    with pytest.raises(UserError, match="sides that are multiples of 4"):
        search(check_options("search", given, "t"))
