"""The table of SA-DARTS beside our counts, run as users run it."""

import json
import os
import subprocess
import sys

import pytest

from tests.helpers import ROOT

# parameters; GMACs at HR and LR 1280x720, by an independent count; whether size and MACs agree
GOLDEN = {
    "DLSR": (322_620, 67.373, 269.51, True, False),
    "SA-DLSR": (264_732, 54.035, 216.16, True, True),
    "SAC-DLSR": (309_372, 64.320, None, True, False),
    "DLSR+Beta": (2_243_004, None, None, True, False),
    "IMDN": (715_176, 40.907983872, 654.527695872, True, True),
    "IMDN+Beta": (1_773_672, 101.88, 1630.04, True, False),
    "IMDN+Beta with FLOPs": (349_224, 19.774, 316.38, True, False),
    "SAC-IMDN": (349_224, 19.774, 316.38, True, True),
    "SAC-IMDN with FLOPs": (199_272, 11.120, 177.92, False, False),
}


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    file = tmp_path_factory.mktemp("table") / "rows.json"
    done = subprocess.run(
        [sys.executable, ROOT / "tools/paper_table.py", "--json", file],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    assert done.returncode == 0, done.stderr
    return done.stdout, {row["network"]: row for row in json.loads(file.read_text())["rows"]}


@pytest.mark.parametrize("network", GOLDEN)
def test_every_row_has_the_golden_size_and_cost(run, network):
    params, hr_gmacs, lr_gmacs, params_agree, macs_agree = GOLDEN[network]
    row = run[1][network]
    assert row["params"] == params
    for key, gmacs in (("hr_1280x720", hr_gmacs), ("lr_1280x720", lr_gmacs)):
        if gmacs:
            assert row[key]["macs"] / 1e9 == pytest.approx(gmacs, rel=5e-5)
    assert (row["params_agree"], row["macs_agree"]) == (params_agree, macs_agree)


def test_the_table_has_the_published_rows_in_order(run):
    text, rows = run
    assert list(rows) == list(GOLDEN)
    for row in rows.values():
        line = next(line for line in text.splitlines() if f"│ {row['network']} x" in line)
        assert f"{row['params']:,}" in line
        assert f"{row['published']['params_k']:.2f}" in line
    assert "200,040" in text, "why the last size differs"


def test_no_published_macs_are_made_up(run):
    published = {name: row["published"] for name, row in run[1].items()}
    known = {name: p["gmacs"] for name, p in published.items() if p["gmacs"] is not None}
    assert known == {"SA-DLSR": 215.90, "IMDN+Beta with FLOPs": 431.38, "SAC-IMDN": 317.09}
    for name in published.keys() - known:
        assert published[name]["gmacs_above_convolutions"], name


def test_the_published_macs_of_three_rows_are_thops(run):
    # THOP 0.1.1 itself on these networks; it sees pooling only as a module, as in IMDN's own
    # code: (H W + 1) operations for each of 64 channels in 6 blocks
    thop = {"SA-DLSR": 215_895_676_320, "IMDN": 654_173_801_472, "SAC-IMDN": 316_735_491_072}
    for name, gmacs in (("SA-DLSR", 215.90), ("IMDN", 654.53), ("SAC-IMDN", 317.09)):
        pooling = 0 if name == "SA-DLSR" else 6 * 64 * 1280 * 720
        macs = run[1][name]["lr_1280x720_thop"]["macs"]
        assert macs == thop[name] + pooling
        assert round(macs / 1e9, 2) == gmacs
