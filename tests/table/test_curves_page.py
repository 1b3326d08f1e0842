"""The curves of docs/results.md are those of the stored trainings, cell by cell."""

import pytest

from srnas.files import read_json_lines
from srnas.model_file import load_model
from tests.helpers import ROOT

PAGE = (ROOT / "docs/results.md").read_text()
ROWS = read_json_lines(ROOT / "datasets/plain_x2_curves.jsonl")


def test_every_point_of_a_curve_is_on_the_page():
    for row in ROWS:
        cells = (
            row["training"],
            f"{row['step']:,}",
            f"{row['val_psnr']:.3f}",
            *(f"{row[name][0]:.3f} / {row[name][1]:.4f}" for name in ("Set5", "Set14")),
        )
        assert "| " + " | ".join(cells) + " |" in PAGE, cells


def test_the_page_has_no_other_points():
    section = PAGE.partition("## Plain networks and a teacher")[2].partition("\n## ")[0]
    rows = [line for line in section.splitlines() if line.startswith(("| S, 1", "| U, 3"))]
    assert len(rows) == len(ROWS)


@pytest.mark.parametrize("name", ["plain_s_x2", "plain_u_x2"])
def test_the_stored_network_is_the_end_of_its_curve(name):
    model = load_model(ROOT / f"datasets/{name}.safetensors")
    row = [row for row in ROWS if row["training"].lower().startswith(name[6])][-1]
    assert model.provenance["step"] == row["step"] == model.provenance["options"]["steps"]
    assert round(model.provenance["val"]["psnr"], 4) == row["val_psnr"]
    assert sum(source["images"] for source in model.provenance["images"]) == 721
    assert all(source["terms"] for source in model.provenance["images"])
