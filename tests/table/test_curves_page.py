"""The plain networks of docs/results.md are those of the stored trainings."""

import csv

import pytest

from srnas.files import read_json_lines
from srnas.model_file import load_model
from tests.helpers import ROOT

PAGE = (ROOT / "docs/results.md").read_text()
ROWS = read_json_lines(ROOT / "datasets/plain_x2_curves.jsonl")


def test_the_csv_file_has_every_point_of_the_curves():
    with (ROOT / "datasets/plain_x2_curves.csv").open(newline="") as file:
        points = list(csv.DictReader(file))
    for point, row in zip(points, ROWS, strict=True):
        assert point["training"] == row["training"]
        values = [row["step"], row["val_psnr"], *row["Set5"], *row["Set14"]]
        assert [float(point[key]) for key in list(point)[1:]] == values


def test_the_page_has_the_end_of_each_curve():
    last = {row["training"]: row for row in ROWS}
    assert len(last) == 3
    for training, row in last.items():
        shape, steps = training.removesuffix(" steps").split(", ")
        lines = [line for line in PAGE.splitlines() if line.startswith(f"| {shape}, this")]
        (line,) = (line for line in lines if f"| {steps} |" in line)
        assert all(f"| {row[name][0]:.3f} / " in line for name in ("Set5", "Set14"))


@pytest.mark.parametrize("name", ["plain_s_x2", "plain_s_x2_long", "plain_u_x2"])
def test_the_stored_network_is_the_end_of_its_curve(name):
    model = load_model(ROOT / f"datasets/{name}.safetensors")
    steps = model.provenance["options"]["steps"]
    training = f"{name[6].upper()}, {steps:,} steps"
    row = [row for row in ROWS if row["training"] == training][-1]
    assert model.provenance["step"] == row["step"] <= steps
    assert round(model.provenance["val"]["psnr"], 4) == row["val_psnr"]
    assert sum(source["images"] for source in model.provenance["images"]) == 721
    assert all(source["terms"] for source in model.provenance["images"])
