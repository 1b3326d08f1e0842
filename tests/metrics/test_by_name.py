"""Metrics by name: their figures, and how they are asked for."""

import json

import numpy as np
import pytest
import torch
from skimage.color import rgb2ycbcr
from skimage.metrics import normalized_root_mse, peak_signal_noise_ratio, structural_similarity

import srnas
from srnas.data.bicubic import resize_uint8
from srnas.data.images import ImagePair, read_rgb
from srnas.engine.train import TrainRecord, _keeps
from srnas.errors import UserError
from srnas.files import read_json_lines
from srnas.metrics import METRICS, best_of, show_value, title_of
from srnas.model_file import load_model
from srnas.tasks.super_resolution.evaluate import bicubic, evaluate, open_metrics
from srnas.tasks.super_resolution.protocols import PROTOCOLS
from tests.helpers import small_model, train_options, write_options
from tests.helpers import srnas as command

PLUGIN = '''
import numpy as np
from srnas.metrics import METRICS, Metric

@METRICS.register("mine")
class Mine(Metric):
    """The error as a share of the image."""

    title, unit, higher_is_better, digits = "My error", "%", False, 2

    def __call__(self, sr, hr, border):
        inner = np.s_[border : len(hr) - border, border : hr.shape[1] - border]
        sr, hr = sr[inner].astype(float), hr[inner].astype(float)
        return 100 * np.linalg.norm(sr - hr) / np.linalg.norm(hr)
'''


@pytest.fixture
def noisy(photo):
    noise = np.random.default_rng(0).normal(0, 8, photo.shape)
    return (photo + noise).clip(0, 255).round().astype(np.uint8)


@pytest.mark.parametrize("border", [0, 3])
def test_psnr_and_ssim_on_y_and_on_rgb_are_scikit_images(photo, noisy, border):
    inner = np.s_[border : len(photo) - border, border : photo.shape[1] - border]
    wang = {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False}
    for channels, prepare in (("y", lambda x: rgb2ycbcr(x)[..., 0]), ("rgb", lambda x: x)):
        images = [prepare(image[inner]) for image in (photo, noisy)]
        expected = peak_signal_noise_ratio(*images, data_range=255)
        assert METRICS[f"psnr_{channels}"]()(noisy, photo, border) == pytest.approx(expected)
        axis = {"channel_axis": 2} if channels == "rgb" else {}
        expected = structural_similarity(*images, data_range=255, **wang, **axis)
        assert METRICS[f"ssim_{channels}"]()(noisy, photo, border) == pytest.approx(expected)


def test_psnr_and_ssim_are_the_protocols_and_the_others_are_not(photo, noisy):
    by_protocol = {}
    for name in ("basicsr", "ntire_esr"):
        parts = [
            srnas.components.check_component(METRICS, m, "m") for m in ("psnr", "ssim", "psnr_y")
        ]
        metrics = open_metrics(parts, PROTOCOLS[name], torch.device("cpu"))
        by_protocol[name] = PROTOCOLS[name](noisy, photo, 2, metrics)
    assert by_protocol["basicsr"]["psnr"] == by_protocol["basicsr"]["psnr_y"]
    assert by_protocol["ntire_esr"]["psnr_y"] == by_protocol["basicsr"]["psnr_y"]
    rgb = peak_signal_noise_ratio(photo[2:-2, 2:-2], noisy[2:-2, 2:-2], data_range=255)
    assert by_protocol["ntire_esr"]["psnr"] == pytest.approx(rgb)
    assert by_protocol["ntire_esr"]["ssim"] != by_protocol["basicsr"]["ssim"]


def test_titles_decimals_and_the_best_follow_the_metric():
    assert [title_of(name) for name in ("psnr_rgb", "lpips", "no_such")] == [
        "PSNR on RGB, dB", "LPIPS", "no_such"
    ]  # fmt: skip
    assert (show_value("psnr", 1 / 3), show_value("lpips", 1 / 3)) == ("0.333", "0.3333")
    assert (best_of("ssim", [0.5, 0.9]), best_of("dists", [0.5, 0.9])) == (0.9, 0.5)
    assert best_of("no_such", [1.0, 2.0]) is None


def test_a_plugins_metric_is_measured_shown_and_written(tmp_path, photo_folder):
    (tmp_path / "mine.py").write_text(PLUGIN)
    model = small_model(tmp_path / "model.safetensors")
    done = command(
        "test", "--plugin", tmp_path / "mine.py", "--model", model, "--data", f"P={photo_folder}",
        "--metric", "mine", "--metric", "psnr_rgb", "--json", tmp_path / "o.json", "--explain",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    for told in ("My error, %", "PSNR on RGB, dB", "lower is better: My error, %"):
        assert told in done.stdout
    (result,) = json.loads((tmp_path / "o.json").read_text())["results"]
    assert result["metrics"] == ["mine", "psnr_rgb"]
    assert "psnr" not in result
    assert result["bicubic"].keys() == {"mine", "psnr_rgb"}
    assert all(one.keys() == {"name", "mine", "psnr_rgb"} for one in result["images"])
    upscaled = {"bicubic": lambda lr: resize_uint8(lr, 2)}
    upscaled["model"] = lambda lr: srnas.upscale(load_model(model), lr, device="cpu")
    for name, upscale in upscaled.items():
        values = []
        for file in sorted(photo_folder.iterdir()):
            hr = read_rgb(file)
            sr = upscale(resize_uint8(hr, 0.5))
            values.append(100 * normalized_root_mse(hr[2:-2, 2:-2], sr[2:-2, 2:-2]))
        measured = result["bicubic"] if name == "bicubic" else result
        assert measured["mine"] == pytest.approx(np.mean(values)), name
    assert f"{result['mine']:.2f}" in done.stdout


def test_the_best_of_a_column_is_bold_on_a_terminal(tmp_path, photo_folder):
    (tmp_path / "mine.py").write_text(PLUGIN)
    model = small_model(tmp_path / "model.safetensors")
    done = command(
        "test", "--plugin", tmp_path / "mine.py", "--model", model, "--data", f"P={photo_folder}",
        "--metric", "mine", "--metric", "psnr", "--json", tmp_path / "o.json",
        FORCE_COLOR="1",
    )  # fmt: skip
    (result,) = json.loads((tmp_path / "o.json").read_text())["results"]
    bicubic = result["bicubic"]
    assert bicubic["psnr"] > result["psnr"], "the network is not trained"
    assert f"\x1b[1m{bicubic['psnr']:.3f}\x1b[0m" in done.stdout
    assert f"\x1b[1m{bicubic['mine']:.2f}\x1b[0m" in done.stdout
    assert f"\x1b[1m{result['mine']:.2f}\x1b[0m" not in done.stdout


def test_validations_of_a_training_measure_the_metrics_of_its_options(tmp_path, photo_folder):
    (tmp_path / "mine.py").write_text(PLUGIN)
    options = train_options(tmp_path, photo_folder, steps=4, val_every=2)
    options["metrics"] = ["psnr", "mine", {"name": "psnr_rgb"}]
    file = write_options(tmp_path / "o.yml", options)
    done = command("train", "--plugin", tmp_path / "mine.py", file)
    assert done.returncode == 0, done.stderr
    run = tmp_path / "experiments/train"
    rows = [row for row in read_json_lines(run / "metrics.jsonl") if "val_psnr" in row]
    assert len(rows) == 2
    assert {key for key in rows[0] if key.startswith("val_")} == {
        "val_psnr", "val_mine", "val_psnr_rgb", "val_bicubic_psnr"
    }  # fmt: skip
    told = f"val PSNR {rows[1]['val_psnr']:.3f} dB, My error {rows[1]['val_mine']:.2f} %, PSNR on"
    assert told in done.stderr
    text = (run / "report.html").read_text()
    for title in ("PSNR on the validation images, dB", "My error on the validation images, %"):
        assert f"<title>{title}</title>" in text
    model = srnas.load(run / "model.safetensors")
    assert model.provenance["val"].keys() == {"psnr", "mine", "psnr_rgb", "bicubic_psnr"}


def test_python_asks_for_metrics_by_name(tmp_path, photo_folder):
    model = load_model(small_model(tmp_path / "model.safetensors"))
    given = {"P": photo_folder}
    default = srnas.evaluate(model, given, device="cpu")["P"]
    asked = srnas.evaluate(model, given, device="cpu", metrics=["psnr", "ssim_y"])["P"]
    assert (default["metrics"], asked["metrics"]) == (["psnr", "ssim"], ["psnr", "ssim_y"])
    assert (asked["psnr"], asked["ssim_y"]) == (default["psnr"], default["ssim"])
    with pytest.raises(UserError, match="no metric is named 'ssim_z'; did you mean"):
        srnas.evaluate(model, given, metrics=["ssim_z"])
    with pytest.raises(UserError, match="metrics: 'ssim'; give a list of names"):
        srnas.evaluate(model, given, metrics="ssim")


@pytest.mark.parametrize(
    ("kind", "metrics", "told"),
    [
        ("test", ["psnrr"], "metrics.0: no metric is named 'psnrr'; did you mean 'psnr'"),
        ("test", ["psnr", "psnr"], "metrics: psnr is named twice"),
        ("test", [], "metrics: List should have at least 1 item"),
        ("test", [{"name": "lpips", "weight": 4}], "metrics.0: unknown key 'weight'; did you mean"),
        ("train", ["ssim"], "metrics: lacks psnr, by which validations are compared"),
    ],
)
def test_wrong_metrics_in_options_are_told(tmp_path, photo_folder, kind, metrics, told):
    content = {"model": "default", "data": {"P": str(photo_folder)}}
    if kind == "train":
        content = train_options(tmp_path, photo_folder)
    with pytest.raises(UserError) as error:
        srnas.options.check_options(kind, {**content, "metrics": metrics}, kind)
    assert told in str(error.value)


def test_a_metric_that_cannot_be_measured_is_told_with_its_image(photo_folder):
    pairs = [ImagePair(file.name, file) for file in sorted(photo_folder.iterdir())]
    protocol = PROTOCOLS["basicsr"]

    def few(sr, hr, border):
        raise ValueError("needs more pixels")

    for metric, told in (
        (few, r"0\.png: cannot be evaluated \(needs more pixels\)"),
        (lambda sr, hr, border: float("nan"), r"0\.png: metric mine is not a number"),
    ):
        with pytest.raises(UserError, match=told):
            evaluate(bicubic(2), pairs, 2, protocol, metrics={"mine": metric})


def test_a_metric_with_the_name_of_something_else_in_results_is_told(monkeypatch):
    list(METRICS)
    monkeypatch.setitem(METRICS._builders, "images", METRICS["psnr"])
    part = srnas.components.check_component(METRICS, "images", "m")
    with pytest.raises(UserError, match="'images': results hold something else under this name"):
        open_metrics([part], PROTOCOLS["basicsr"], torch.device("cpu"))


def test_a_metric_says_which_values_are_better():
    with pytest.raises(UserError, match="metric Vague: say higher_is_better = True or False"):
        type("Vague", (srnas.metrics.Metric,), {})


@pytest.mark.parametrize(("higher", "kept"), [(True, [1, 3]), (False, [1, 2, 4])])
def test_the_weights_that_are_kept_have_the_best_score(higher, kept):
    class Judge:
        score, higher_is_better = "perplexity", higher

        def describe(self, quality):
            return ""

    record, scores = TrainRecord(), (5.0, 4.0, 6.0, 3.0)
    found = [
        step
        for step, score in enumerate(scores, 1)
        if _keeps({"perplexity": score}, Judge(), record, step)
    ]
    assert found == kept
    assert record.best_step == kept[-1]
