"""What docs/searching.md says of alphas as priors is what the stored simulations give."""

import csv

from tests.helpers import ROOT


def test_the_figures_of_the_page_are_the_stored_ones():
    page = " ".join((ROOT / "docs/searching.md").read_text().split())
    with (ROOT / "datasets/imdn_x2_priors.csv").open() as file:
        rows = list(csv.DictReader(file))

    def mean(alphas, weight, trainings):
        key = (alphas, weight, trainings)
        found = (r for r in rows if (r["alphas"], r["weight"], r["trainings"]) == key)
        return float(next(found)["mean"])

    with_drnas, without = mean("drnas", "3", "12"), mean("none", "0", "12")
    assert f"to the {with_drnas:.1f}st percentile instead of the {without:.1f}th" in page
    assert f"20 alone lead to the {mean('none', '0', '20'):.1f}rd" in page
    for weight in ("1", "3"):  # "Those of DARTS do not help at all."
        assert mean("darts", weight, "12") < without + 0.1
