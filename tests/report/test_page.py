"""A run's page: what its figures show, that it stands alone, and that it stays small."""

import csv
import html
import json
import re
import shutil
import signal
import subprocess
import sys
import time
from itertools import combinations, pairwise
from xml.etree import ElementTree

import cv2
import numpy as np
import pytest

from srnas.errors import UserError
from srnas.report import charts
from srnas.report.charts import COLORS, lines, ranked_lines, scatter
from srnas.report.compare import write_comparison
from srnas.report.page import write_report
from srnas.spaces import derived_network, draw, published_genotype
from srnas.tasks.super_resolution import SuperResolution

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


def test_a_page_of_36_positions_stands_alone_and_stays_small(tmp_path, darts):
    text = page(tmp_path, *darts)
    assert len(text) < 3_000_000
    assert "http" not in text
    assert "<script" not in text
    assert "src=" not in text
    assert "<b>x" not in text
    charts = re.findall(r"<svg [^>]*><title>([^<]*)</title>", text)
    assert len(charts) == text.count("<svg")
    told = [html.unescape(title) for title in charts]
    assert [title for title in told if "/" in title] == [*EDGES, *NODES]


@pytest.mark.parametrize(
    ("settled", "told", "kind"),
    [
        (30, "The genotype is the same since epoch 31 of 50.", "verdict"),
        (46, "since epoch 47 of 50. The search has not converged.", "verdict open"),
    ],
)
def test_the_page_says_whether_the_search_converged_and_how_sure_it_is(
    tmp_path, settled, told, kind
):
    alphas, metrics = logs(
        50, settled, {"c1": 2, "c2": 3}, {"c1": ["a", "b"], "c2": ["a", "b", "c"]}
    )
    for row in alphas:
        row["probabilities"] = {"c1": [0.7, 0.3], "c2": [0.2, 0.35, 0.45]}
    text = page(tmp_path, alphas, metrics)
    (verdict,) = re.findall(r'<p class="(verdict[^"]*)">(.*?)</p>', text)
    assert verdict[0] == kind
    assert told in verdict[1]
    assert "ahead of the next by at least 0.10 (c2)" in verdict[1]
    cells = re.findall(r"<td class=\"best\"[^>]*>([\d.]+)</td>", text)
    assert cells == ["0.70", "0.45"]


@pytest.fixture
def figures(monkeypatch):
    """The figures that are drawn."""
    kept, to_svg = [], charts.to_svg
    monkeypatch.setattr(charts, "to_svg", lambda f, title: kept.append(f) or to_svg(f, title))
    return kept


def steps(figures):
    """The points of the Pareto front over parameters, a stepped line."""
    (figure,) = (one for one in figures if one.axes[0].get_xlabel() == "parameters")
    found = figure.axes[0].lines
    (front,) = (line for line in found if line.get_drawstyle() == "steps-post")
    return front.get_xydata().tolist()


def test_a_chart_has_the_points_of_its_series(figures):
    points = [(0, 1.0), (1, 3.0), (4, 2.0)]
    text = lines("Loss <1>", {"": points}, "step")
    assert "<title>Loss &lt;1&gt;</title>" in text
    (axes,) = figures[0].axes
    (line,) = axes.lines
    assert line.get_xydata().tolist() == [list(point) for point in points]
    assert not axes.yaxis_inverted()
    assert lines("Nothing", {"": []}, "step") == ""


def test_ticks_are_whole_numbers_apart_from_each_other():
    text = lines("Loss", {"": [(step, step / 5) for step in range(1, 6)]}, "epoch")
    ticks = re.findall(r"<text[^>]*>(\d[^<]*)</text>", text[: text.index("epoch")])
    assert ticks == ["1", "2", "3", "4", "5"]
    text = scatter("Front", {"a": [(30_922, 1)], "b": [(61_482, 2)]}, "parameters", "dB")
    ticks = re.findall(r"<text[^>]*>([^<]*)</text>", text[: text.index("parameters")])
    assert ticks == ["30,000", "40,000", "50,000", "60,000"]


def test_the_three_largest_at_the_end_are_named():
    ends = {"a": 0.1, "b": 3.0, "c": -1.0, "d": 2.0, "e": 2.0001}
    text = ranked_lines("c1", {name: [(1, 0.0), (2, end)] for name, end in ends.items()}, "epoch")
    named = re.findall(r"<text [^>]*fill: (#\w+)[^>]*>([a-e])</text>", text)
    assert named == [(COLORS[0], "b"), (COLORS[1], "e"), (COLORS[2], "d")]
    heights = [float(y) for y in re.findall(r'<text [^>]*fill: #\w+"[^>]* y="([\d.]+)"', text)]
    assert all(after - before > 8 for before, after in pairwise(heights)), "labels do not overlap"


@pytest.mark.parametrize("name", ["imdn", "dlsr", "darts", "nasbench201"])
def test_drawings_have_apart_boxes_and_arrows_that_go_down(name):
    for diagram in draw({"name": name}, published_genotype(name).choices):
        root = ElementTree.fromstring(diagram.svg())
        boxes = {}
        for group in root.iter("g"):
            rect, text = group.find("rect"), group.find("text")
            x, y, w, h = (float(rect.get(k)) for k in ("x", "y", "width", "height"))
            boxes.setdefault(text.text, []).append((x, y, x + w, y + h))
            assert len(text.text) * 6.5 < w
        every = [box for group in boxes.values() for box in group]
        assert len(every) == len(diagram.nodes)
        for one, other in combinations(every, 2):
            assert not (
                one[0] < other[2] and other[0] < one[2] and one[1] < other[3] and other[1] < one[3]
            ), "two boxes overlap"
        left, top, width, height = map(float, root.get("viewBox").split())
        for x0, y0, x1, y1 in every:
            assert left <= x0
            assert x1 <= left + width
            assert top <= y0
            assert y1 <= top + height
        arrows = [path.get("d") for path in root.iter("path")]
        assert len(arrows) == len(diagram.edges)
        for arrow in arrows:
            ys = [float(y) for _, y in re.findall(r"[MC ](-?[\d.]+) (-?[\d.]+)", arrow)]
            assert ys[0] < ys[-1] + 7


def test_the_links_of_dlsr_are_those_of_the_genotype():
    choices = {**published_genotype("dlsr").choices, "link6": [1, 5]}
    network, cell = draw({"name": "dlsr"}, choices)
    read = {b: sorted(a for a, t in network.edges if t == b) for b in ("3", "4", "5", "6")}
    assert read == {"3": ["1", "2"], "4": ["2", "3"], "5": ["2", "4"], "6": ["1", "5"]}
    assert [cell.nodes[label][0] for label in ("r1", "r2", "r3")] == [
        "r1  conv_1x1", "r2  sep_conv_7x7", "r3  sep_conv_5x5"
    ]  # fmt: skip


def test_the_published_cell_of_nasbench201_is_drawn():
    (cell,) = draw({"name": "nasbench201"}, published_genotype("nasbench201").choices)
    kinds = [text for text, kind in cell.nodes.values() if kind == "found"]
    assert kinds == 3 * ["nor_conv_3x3"] + ["skip_connect"] + 2 * ["nor_conv_3x3"]
    assert ("node0", "3<-0") in cell.edges
    assert cell.nodes["3<-0"][0] == "skip_connect"


def test_a_run_without_alphas_and_one_that_draws_at_random_have_no_empty_axes(tmp_path, darts):
    assert "No genotype yet" in page(tmp_path, [], [])
    alphas, metrics = logs(2, 0, {"c1": 2}, {"c1": ["a", "b"]})
    alphas[1]["alphas"] = alphas[0]["alphas"]  # nothing is learnt
    text = page(tmp_path, alphas, metrics)
    assert "<svg" not in text
    assert "Probabilities" not in text
    with pytest.raises(UserError, match="not a run folder"):
        write_report(tmp_path / "none")


def test_what_a_test_measured_and_crops_in_the_folder_are_shown(tmp_path):
    one = {"dataset": "Set5", "psnr": 34.5, "ssim": 0.93, "bicubic": {"psnr": 33.68, "ssim": 0.92}}
    other = [{"dataset": "Set5", "psnr": 37.996, "ssim": 0.9605}]
    tested = {"scale": 2, "protocol": "basicsr", "results": [one], "beside": [
        {"model": "big.safetensors", "results": other}
    ]}  # fmt: skip
    (tmp_path / "test.json").write_text(json.dumps(tested))
    (tmp_path / "crops").mkdir()
    cv2.imwrite(str(tmp_path / "crops/baby.png"), np.zeros((4, 5, 3), np.uint8))
    text = page(tmp_path, [], [])
    (measured,) = [t for t in re.findall(r"<table>.*?</table>", text) if "bicubic" in t]
    cells = re.findall(r"<t[dh][^>]*>([^<]*)<", measured)
    assert cells == [
        "set", "network", "PSNR, dB", "SSIM",
        "Set5", "bicubic", "33.680", "0.9200",
        "Set5", "this network", "34.500", "0.9300",
        "Set5", "big.safetensors", "37.996", "0.9605",
    ]  # fmt: skip
    assert re.findall(r'best">([^<]*)', measured) == ["37.996", "0.9605"]
    assert '<img alt="baby" src="data:image/png;base64,' in text


def test_of_a_metric_where_lower_is_better_the_lowest_is_marked(tmp_path):
    one = {"dataset": "S", "metrics": ["lpips", "mine"], "lpips": 0.2, "mine": 5.0}
    one["bicubic"] = {"lpips": 0.31, "mine": 7.0}
    tested = {"scale": 2, "protocol": "basicsr", "results": [one]}
    (tmp_path / "test.json").write_text(json.dumps(tested))
    text = page(tmp_path, [], [])
    (measured,) = [t for t in re.findall(r"<table>.*?</table>", text) if "bicubic" in t]
    assert re.findall(r"<th[^>]*>([^<]*)<", measured) == ["set", "network", "LPIPS", "mine"]
    assert re.findall(r'best">([^<]*)', measured) == ["0.2000"], "mine is of no known direction"
    assert "Lower is better: LPIPS." in text


def test_every_metric_of_validations_has_a_curve(tmp_path):
    figures = {"val_psnr": 30.0, "val_bicubic_psnr": 29.0, "val_lpips": 0.25, "val_mine": 7.0}
    rows = [{"step": step, "loss": 1.0, **figures} for step in (10, 20)]
    asked = {"metrics": ["psnr", {"name": "mine"}]}  # of a plugin that is not loaded
    for name, given, curves in (("old", {}, ["LPIPS"]), ("new", asked, ["mine", "LPIPS"])):
        run = written_run(tmp_path / name, **given)
        (run / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        text = write_report(run).read_text()
        titles = re.findall(r"<title>(\w+) on the validation images", text)
        assert titles == ["PSNR", *curves]
        assert "<b>0.2500</b><span>LPIPS on the validation images</span>" in text


def test_a_run_that_has_not_ended_says_how_far_it_came(tmp_path):
    file = tmp_path / "options.yml"
    page(tmp_path, [], [{"step": 50, "loss": 0.1}])
    for steps, told in ((20_000, "Not finished: 50 of 20,000 steps are in the log"), (50, "")):
        file.write_text(f"steps: {steps}\n")
        text = write_report(tmp_path).read_text()
        assert told in text
        assert ("Not finished" in text) == bool(told)
    alphas, metrics = logs(4, 0, {"c1": 2}, {"c1": ["a", "b"]})
    page(tmp_path, alphas, metrics)
    for epochs, told in ((9, "Not finished: 4 of 9 epochs are in the log"), (4, "")):
        file.write_text(f"epochs: {epochs}\nweight_optimizer: {{}}\n")
        text = write_report(tmp_path).read_text()
        assert told in text
        assert ("Not finished" in text) == bool(told)


def test_a_comparison_has_the_front_and_the_figures(tmp_path, figures):
    scores = {"small": (4, 30.0), "large": (8, 31.0), "worse": (8, 30.5)}
    for name, (width, psnr) in scores.items():
        folder = tmp_path / name
        folder.mkdir()
        published_genotype("imdn").save(folder / "genotype.json")
        page(folder, [], [{"step": 5, "val_psnr": psnr}, {"step": 9, "val_psnr": psnr + 1}])
        space = f"space: {{name: imdn, scale: 2, num_feat: {width}, num_block: 1}}\n"
        (folder / "options.yml").write_text(space)
    out, table = write_comparison([tmp_path / name for name in scores], tmp_path / "c.html")
    rows = list(csv.DictReader(table.open()))
    assert [row["psnr"] for row in rows] == ["31.0", "32.0", "31.5"]
    assert rows[0]["genotype"] == "c1=conv_3x3 c2=conv_3x3 c3=conv_3x3 c4=conv_3x3"
    space = {"name": "imdn", "scale": 2, "num_feat": 8, "num_block": 1}
    network = derived_network(space, published_genotype("imdn"))
    assert int(rows[1]["params"]) == sum(p.numel() for p in network.parameters())
    text = out.read_text()
    assert "PSNR against parameters" in text
    sizes = [int(row["params"]) for row in rows]
    assert steps(figures) == [[sizes[0], 31.0], [sizes[1], 32.0]]
    with pytest.raises(UserError, match="small: given twice; name each run once"):
        write_comparison([tmp_path / "small", tmp_path / "small"], tmp_path / "c.html")


def test_the_front_of_a_score_where_lower_is_better_has_the_lowest(tmp_path, monkeypatch, figures):
    monkeypatch.setattr(SuperResolution, "higher_is_better", False)
    for name, (width, score) in {"small": (4, 3.0), "large": (8, 2.0), "worse": (8, 2.5)}.items():
        folder = tmp_path / name
        folder.mkdir()
        published_genotype("imdn").save(folder / "genotype.json")
        page(folder, [], [{"step": 5, "val_psnr": score}])
        space = f"space: {{name: imdn, scale: 2, num_feat: {width}, num_block: 1}}\n"
        (folder / "options.yml").write_text(space)
    write_comparison([tmp_path / name for name in ("small", "large", "worse")], tmp_path / "c")
    assert [score for _, score in steps(figures)] == [3.0, 2.0]


def test_a_comparison_of_classifiers_has_accuracies_and_is_not_mixed_with_other_tasks(tmp_path):
    spaces = {"one": "nasbench201", "two": "nasbench201", "sr": "imdn"}
    for number, (name, space) in enumerate(spaces.items()):
        (tmp_path / name).mkdir()
        score = "val_psnr" if space == "imdn" else "val_accuracy"
        page(tmp_path / name, [], [{"step": 5, score: 60.0 + number}, {"step": 9, score: 70.0}])
        (tmp_path / name / "options.yml").write_text(f"space: {{name: {space}, num_feat: 4}}\n")
        published_genotype(space).save(tmp_path / name / "genotype.json")
    folders = [tmp_path / name for name in spaces]
    out, table = write_comparison(folders[:2], tmp_path / "c.html")
    assert [row["accuracy"] for row in csv.DictReader(table.open())] == ["70.0", "70.0"]
    for told in ("accuracy, %", "Accuracy against parameters", "Accuracy on the validation images"):
        assert told in out.read_text()
    with pytest.raises(UserError, match="runs with accuracy and with psnr"):
        write_comparison(folders, tmp_path / "c.html")


def test_runs_of_one_name_are_told_apart_by_the_folders_above_them(tmp_path):
    folders = [tmp_path / "one/search", tmp_path / "two/search", tmp_path / "other"]
    for folder in folders:
        folder.mkdir(parents=True)
        page(folder, [], [{"step": 5, "val_psnr": 30.0}])
    _, table = write_comparison(folders, tmp_path / "c.html")
    names = [row["run"] for row in csv.DictReader(table.open())]
    assert names == ["one/search", "two/search", f"{tmp_path.name}/other"]


def test_a_followed_report_is_written_again_until_it_is_interrupted(tmp_path):
    alphas, metrics = logs(4, 0, {"c1": 2}, {"c1": ["a", "b"]})
    page(tmp_path, alphas[:2], metrics[:2])
    command = [sys.executable, "-c", "from srnas.cli import report, main; report.EVERY = 1; main()"]
    process = subprocess.Popen([*command, "report", str(tmp_path), "--follow"])
    file = tmp_path / "report.html"
    wait_until(lambda: "live, as of" in file.read_text())
    assert '<meta http-equiv="refresh" content="1">' in file.read_text()
    (tmp_path / "alphas.jsonl").write_text("".join(json.dumps(row) + "\n" for row in alphas))
    wait_until(lambda: "of 4." in file.read_text())
    process.send_signal(signal.SIGINT)
    assert process.wait(60) == 0
    assert "refresh" not in file.read_text()


def wait_until(condition):
    end = time.monotonic() + 120
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.1)


CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
MEASURE = """<script>top.document.title = JSON.stringify([
  document.documentElement.scrollWidth, innerWidth,
  [...document.querySelectorAll("svg, img")].filter(
    e => !(e.alt || e.querySelector("title"))).length,
  [...document.querySelectorAll("svg, figure, p, h1, h2, .cards div")].filter(
    e => e.getBoundingClientRect().right > innerWidth + 1).length,
  getComputedStyle(document.body).backgroundColor])</script>"""


@pytest.mark.skipif(CHROMIUM is None, reason="needs chromium")
@pytest.mark.parametrize("width", [1280, 400])
@pytest.mark.parametrize("dark", [True, False])
def test_nothing_overflows_in_a_browser_without_a_network(tmp_path, darts, width, dark):
    text = page(tmp_path, *darts)
    inside = html.escape(text.replace("</html>", MEASURE + "</html>"))
    frame = f'<iframe width="{width}" height="900" style="border:0" srcdoc="{inside}"></iframe>'
    (tmp_path / "measured.html").write_text(f"<!doctype html><title>none</title>{frame}")
    command = [
        CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", "--no-first-run",
        "--disable-background-networking", "--disable-component-update", "--disable-sync",
        "--host-resolver-rules=MAP * ~NOTFOUND", f"--user-data-dir={tmp_path / 'profile'}",
        "--window-size=1400,1000", f"--blink-settings=preferredColorScheme={int(not dark)}",
        "--dump-dom", (tmp_path / "measured.html").as_uri(),
    ]  # fmt: skip
    dom = subprocess.run(command, capture_output=True, text=True, timeout=300).stdout
    title = html.unescape(re.search(r"<title>(\[.*?\])</title>", dom)[1])
    wide, seen, untold, outside, background = json.loads(title)
    assert seen == width
    assert wide <= width
    assert untold == 0
    assert outside == 0
    assert (background == "rgb(255, 255, 255)") != dark


def written_run(folder, **options):
    """A run folder of a training that validated twice."""
    folder.mkdir(parents=True)
    content = {
        "name": folder.name,
        "space": {"name": "imdn", "scale": 2, "num_feat": 8, "num_block": 1},
        "steps": 20,
        "data": {"val": {"hr": "photos"}},
        **options,
    }
    (folder / "options.yml").write_text(json.dumps(content))
    published_genotype("imdn").save(folder / "genotype.json")
    return folder


def test_a_training_is_shown_beside_bicubic_and_other_trainings_on_its_images(tmp_path):
    mine = written_run(tmp_path / "mine")
    other, elsewhere, larger = (written_run(tmp_path / name) for name in ("other", "else", "x4"))
    (elsewhere / "options.yml").write_text(
        (elsewhere / "options.yml").read_text().replace("photos", "drawings")
    )
    (larger / "options.yml").write_text(
        (larger / "options.yml").read_text().replace('"scale": 2', '"scale": 4')
    )
    for run, psnr in ((mine, 31.5), (other, 32.25), (elsewhere, 40.0), (larger, 27.0)):
        rows = [
            {"step": step, "loss": 1.0, "val_psnr": value, "val_bicubic_psnr": 30.0}
            for step, value in ((10, 25.0), (20, psnr))
        ]
        (run / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (mine / "latency.json").write_text(
        json.dumps(
            {
                "runtime": "onnxruntime",
                "precision": "fp32",
                "threads": 1,
                "size": "320x180",
                "models": [
                    {"model": "x/other/model.safetensors", "median": 5.0},
                    {"model": "x/mine/model.safetensors", "median": 7.25},
                ],
            }
        )
    )
    text = write_report(mine).read_text()
    cells = re.findall(r"<tr><td>([^<]*)</td><td>[^<]*</td><td>([\d.]+)</td></tr>", text)
    assert cells == [("bicubic", "30.000"), ("mine (this run)", "31.500"), ("other", "32.250")]
    assert "<b>7.2</b><span>ms, onnxruntime, fp32, 1 thread, 320x180</span>" in text
    curve = text.split("PSNR on the validation images, dB</title>")[1].split("</svg>")[0]
    assert "bicubic" in curve
    write_comparison([mine, other], tmp_path / "both.html")
    rows = list(csv.DictReader((tmp_path / "both.csv").open()))
    assert [row["ms"] for row in rows] == ["7.25", ""]
