"""A run's page: what its figures show, that it stands alone, and that it stays small."""

import base64
import json
import re

import cv2
import numpy as np
import pytest

from srnas.errors import UserError
from srnas.report.page import alpha_panels, write_report

OPS = ["none", "max_pool_3x3", "avg_pool_3x3", "skip_connect", *(f"conv_{i}" for i in range(4))]
EDGES = [f"{c}/{n}<-{i}" for c in ("normal", "reduce") for n in (2, 3, 4, 5) for i in range(n)]
NODES = {f"{cell}/{n}": n for cell in ("normal", "reduce") for n in (2, 3, 4, 5)}


def logs(epochs, settled, sizes, candidates):
    """Rows of alphas.jsonl and metrics.jsonl; the genotype is the last one from `settled` on."""
    rng = np.random.default_rng(0)
    walks = {label: rng.normal(size=(epochs, size)).cumsum(0) for label, size in sizes.items()}
    place = [{"step": 10 * epoch + 10, "epoch": epoch} for epoch in range(epochs)]
    alphas = [
        {
            **at,
            "alphas": {label: walk[at["epoch"]].tolist() for label, walk in walks.items()},
            "candidates": candidates,
            "genotype": {"normal": min(at["epoch"], settled)},
        }
        for at in place
    ]
    figures = ("top2_gap_min", "top2_gap_mean", "entropy", "parameter_free_share")
    metrics = [{**at, **dict.fromkeys(figures, 0.5)} for at in place]
    return alphas, metrics


@pytest.fixture
def darts():
    """A DARTS search of 50 epochs with edge normalization: 28 edges and 8 nodes."""
    sizes = {**dict.fromkeys(EDGES, len(OPS)), **NODES}
    return logs(50, 30, sizes, dict.fromkeys(EDGES, OPS))


def page(folder, alphas, metrics):
    (folder / "options.yml").write_text("name: <b>x</b>\n")
    for name, rows in (("alphas", alphas), ("metrics", metrics)):
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return write_report(folder).read_text()


def images(text):
    found = re.findall(r'<img alt="([^"]*)" src="data:image/png;base64,([^"]*)">', text)
    pixels = [np.frombuffer(base64.b64decode(data), np.uint8) for _, data in found]
    return {alt: cv2.imdecode(one, 1) for (alt, _), one in zip(found, pixels, strict=True)}


def test_a_page_of_36_positions_stands_alone_and_is_below_a_megabyte(tmp_path, darts):
    text = page(tmp_path, *darts)
    assert len(text) < 1_000_000
    shown = images(text)
    assert list(shown) == ["Convergence", "Alphas", "Alphas of inputs"]
    assert len(shown) == text.count("src=")
    assert "http" not in text
    assert "<b>x" not in text
    for picture in shown.values():
        assert picture.shape[1] == 968, "as wide as the page"


@pytest.mark.parametrize(
    ("settled", "told"),
    [
        (30, "<p>The genotype is the same since epoch 31 of 50.</p>"),
        (46, "since epoch 47 of 50. The search has not converged.</p>"),
    ],
)
def test_the_page_says_whether_the_search_converged(tmp_path, settled, told):
    assert told in page(tmp_path, *logs(50, settled, {"c1": 2}, {"c1": ["a", "b"]}))


def test_panels_show_every_alpha_and_one_legend_for_all(darts):
    rows, _ = darts
    figure = alpha_panels(rows, dict.fromkeys(EDGES, OPS))
    panels = [axes for axes in figure.axes if axes.axison]
    assert [axes.get_title("left") for axes in panels] == EDGES
    for axes, label in zip(panels, EDGES, strict=True):
        shown = np.array([line.get_ydata() for line in axes.lines])
        np.testing.assert_array_equal(shown.T, [row["alphas"][label] for row in rows])
        assert axes.lines[0].get_xdata()[[0, -1]].tolist() == [1, 50]
        assert axes.get_legend() is None
    (legend,) = figure.legends
    assert [text.get_text() for text in legend.get_texts()] == OPS


def test_a_candidate_looks_the_same_in_every_panel_whatever_its_set():
    sets = {"a": ["skip", "conv"], "b": ["conv", "pool"], "c": [f"op{i}" for i in range(25)]}
    rows, _ = logs(3, 0, {label: len(names) for label, names in sets.items()}, sets)
    figure = alpha_panels(rows, sets)
    looks = {}
    for axes, names in zip(figure.axes, sets.values(), strict=False):
        for name, line in zip(names, axes.lines, strict=True):
            looks.setdefault(name, set()).add((line.get_color(), line.get_linestyle()))
    assert all(len(look) == 1 for look in looks.values())
    assert len(set.union(*looks.values())) == len(looks) == 28


def test_a_run_without_alphas_and_one_without_figures_have_pages_too(tmp_path, darts):
    assert "No metrics yet" in page(tmp_path, [], [])
    assert list(images(page(tmp_path, darts[0][:1], []))) == ["Alphas", "Alphas of inputs"]
    with pytest.raises(UserError, match="not a run folder"):
        write_report(tmp_path / "none")
