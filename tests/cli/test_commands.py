"""The command line as its users meet it: in processes of its own."""

import json

import cv2
import numpy as np
import pydantic
import pytest
import torch

from srnas.data.bicubic import resize_uint8
from srnas.data.images import read_rgb, write_rgb
from srnas.files import load_tensors
from srnas.model_file import Model, save_model
from srnas.spaces import check_space, derived_network, published_genotype
from tests.helpers import (
    Malicious,
    search_options,
    small_model,
    srnas,
    train_options,
    write_options,
)


def refused(result, *told):
    """One clear line, exit code 2, no traceback."""
    assert result.returncode == 2, (result.stdout, result.stderr)
    assert result.stderr.startswith("error: ")
    assert len(result.stderr.strip().splitlines()) == 1, result.stderr
    for part in told:
        assert part in result.stderr, result.stderr
    return True


@pytest.fixture
def model_file(tmp_path):
    return small_model(tmp_path / "model.safetensors")


def test_a_misspelt_key(tmp_path, photo_folder):
    options = search_options(tmp_path, photo_folder)
    options["data"]["batch_sise"] = options["data"].pop("batch_size")
    result = srnas("search", "-opt", write_options(tmp_path / "o.yml", options))
    assert refused(result, "o.yml: data: unknown key 'batch_sise'", "did you mean 'batch_size'")
    assert not (tmp_path / "experiments").exists()


def test_a_missing_folder_and_a_missing_file(tmp_path, photo_folder):
    options = search_options(tmp_path, photo_folder)
    options["data"]["alpha"]["hr"] = str(tmp_path / "nowhere")
    result = srnas("search", "-opt", write_options(tmp_path / "o.yml", options))
    assert refused(result, "nowhere: no such folder")
    assert refused(srnas("search", "-opt", tmp_path / "none.yml"), "none.yml: no such file")
    assert not (tmp_path / "experiments").exists()


def test_a_truncated_png_and_sizes_that_do_not_fit(tmp_path, photo_folder, model_file):
    data = (photo_folder / "2.png").read_bytes()
    (photo_folder / "2.png").write_bytes(data[: len(data) // 2])
    options = write_options(tmp_path / "o.yml", train_options(tmp_path, photo_folder))
    assert refused(srnas("train", "-opt", options), "2.png: truncated image")
    assert not (tmp_path / "experiments").exists()

    write_rgb(tmp_path / "set/HR/a.png", read_rgb(photo_folder / "1.png"))
    write_rgb(tmp_path / "set/LR_bicubic/X2/ax2.png", read_rgb(photo_folder / "1.png"))
    result = srnas(
        "test", "--model", model_file, "--scale", 2, "--data", f"S={tmp_path / 'set'}",
        "--json", tmp_path / "out.json",
    )  # fmt: skip
    assert refused(result, "ax2.png: 96x64 does not fit", "expected 48x32")
    assert not (tmp_path / "out.json").exists()


def test_a_checkpoint_of_another_network_and_a_pickle_with_code(tmp_path, photo_folder):
    target = tmp_path / "executed"
    torch.save({"fea_conv.weight": torch.zeros(48, 3, 3, 3)}, tmp_path / "dlsr.pth")
    torch.save({"w": Malicious(target)}, tmp_path / "evil.pth")
    for name, told in (("dlsr.pth", "weights of another network"), ("evil.pth", "execute code")):
        result = srnas(
            "test", "--weights", tmp_path / name, "--space", "imdn", "--scale", 2,
            "--data", f"P={photo_folder}",
        )  # fmt: skip
        assert refused(result, name, told)
    assert not target.exists()


def test_a_resumed_checkpoint_of_another_space_is_told_and_kept(tmp_path, photo_folder):
    file = write_options(tmp_path / "o.yml", train_options(tmp_path, photo_folder, steps=4))
    assert srnas("train", "-opt", file).returncode == 0
    checkpoint = tmp_path / "experiments/train/checkpoints/last.pt"
    state = load_tensors(checkpoint)
    state["parts"]["network"] = {"other.weight": torch.zeros(3)}
    torch.save(state, checkpoint)
    before = checkpoint.read_bytes()
    assert refused(
        srnas("train", "-opt", file, "--resume"), "last.pt: does not fit this run's network"
    )
    assert checkpoint.read_bytes() == before


def test_a_run_that_exists_is_not_overwritten(tmp_path, photo_folder):
    file = write_options(tmp_path / "o.yml", train_options(tmp_path, photo_folder, steps=2))
    assert srnas("train", "-opt", file).returncode == 0
    run = tmp_path / "experiments/train"
    before = {p: p.read_bytes() for p in run.rglob("*") if p.is_file()}
    assert refused(srnas("train", "-opt", file), "this run exists", "--resume")
    assert before == {p: p.read_bytes() for p in run.rglob("*") if p.is_file()}


MEASURE = ["test", "--model", "m", "--scale", "2", "--data", "A=b"]


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["test", "--scale", "2", "--data", "A=b"], "give either model or weights"),
        (["test", "--model", "m", "--scale", "2", "--data", "b"], "write it as NAME=DIR"),
        (
            ["test", "--model", "m", "--scale", "5", "--data", "A=b"],
            "scale: Input should be 2, 3 or 4",
        ),
        (["test", "--weights", "w", "--scale", "2", "--data", "A=b"], "weights need a space"),
        ([*MEASURE, "--protocol", "basicrs"], "did you mean 'basicsr'?\n"),
        ([*MEASURE, "--protocol", "ntire"], "did you mean 'ntire_esr'?\n"),
        ([*MEASURE, "--scorecard", "--self-ensemble"], "leave out self_ensemble"),
        (
            [*MEASURE, "--crops", "o", "--save-images", "./o"],
            "crops and save_images would overwrite each other",
        ),
        (["profile", "--scale", "2"], "give one of --model, --genotype, --space"),
        (["profile", "--space", "imdm", "--scale", "2"], "did you mean 'imdn'"),
        (["profile", "--space", "imdn", "--scale", "2", "--input", "big"], "WIDTHxHEIGHT"),
        (["check", "x.txt"], "expected .yml, .json, .safetensors or .pth"),
        (["report", "."], "not a run folder"),
        (["analyze", "."], "not a search's folder"),
        (["analyze", ".", "--landscape", "alpha"], "--landscape alpha: did you mean 'alphas'?\n"),
        (["schema", "serach"], "did you mean 'search'"),
    ],
)
def test_wrong_arguments(arguments, told):
    assert refused(srnas(*arguments), told)


def test_the_whole_line_through_the_command_line(tmp_path, photo_folder):
    search = write_options(tmp_path / "s.yml", search_options(tmp_path, photo_folder))
    train = write_options(tmp_path / "t.yml", train_options(tmp_path, photo_folder))
    run = tmp_path / "experiments"
    assert "supernet    imdn:" in srnas("search", "-opt", search, "--dry-run").stdout
    assert not run.exists()
    done = srnas("search", "-opt", search)
    assert done.stdout.strip() == str(run / "search/genotype.json")
    assert "left)" in done.stderr, "progress is shown, with the time left"
    genotype = json.loads((run / "search/genotype.json").read_text())
    assert genotype["format"] == "srnas-genotype"
    assert genotype["provenance"]["options"]["space"]["num_feat"] == 8
    done = srnas("train", "-opt", train, "--genotype", run / "search/genotype.json")
    model = run / "train/model.safetensors"
    assert done.stdout.strip() == str(model)
    for name in ("search", "train"):
        files = {p.name for p in (run / name).iterdir()}
        assert {
            "options.yml",
            "genotype.json",
            "metrics.jsonl",
            "checkpoints",
            "report.html",
        } <= files
        assert "<svg" in (run / name / "report.html").read_text()
    done = srnas(
        "test", "--model", model, "--scale", 2, "--data", f"Photos={photo_folder}",
        "--json", tmp_path / "out.json", "--save-images", tmp_path / "sr",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    result = json.loads((tmp_path / "out.json").read_text())
    assert {"scale", "protocol", "params", "results"} <= result.keys()
    (photos,) = result["results"]
    assert photos["lr_source"] == "bicubic made from HR"
    assert len(photos["images"]) == 6
    assert read_rgb(tmp_path / "sr/Photos/3.png").shape == (64, 96, 3)
    assert "bicubic" in done.stdout
    for file in (search, run / "search/genotype.json", model):
        assert (
            "valid options" in srnas("check", file).stdout or "imdn" in srnas("check", file).stdout
        )


def test_a_search_is_analyzed_and_told_what_is_wrong(tmp_path, photo_folder):
    options = write_options(tmp_path / "s.yml", search_options(tmp_path, photo_folder, epochs=1))
    assert srnas("search", "-opt", options).returncode == 0
    run = tmp_path / "experiments/search"
    done = srnas(
        "analyze", run, "--gradients", "--landscape", "alphas", "--points", 3, "--batches", 1,
        "--json", tmp_path / "a.json",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    for told in ("epoch 1 of 1", "not converged", "entropy", "cosine", "dil_ds_conv_5x5_bn"):
        assert told in done.stdout, told
    assert "9/9" in done.stderr
    assert "left)" in done.stderr, "progress is shown, with the time left"
    result = json.loads((tmp_path / "a.json").read_text())
    assert result == json.loads((run / "analysis/analysis.json").read_text())
    assert result.keys() == {"trajectory", "gradients", "landscape_alphas"}
    assert f"loss {result['landscape_alphas']['loss']:.4g} at the checkpoint" in done.stdout
    assert refused(srnas("analyze", run, "--substitution", "c1"), "space 'imdn'", "srnas table")


def test_profile_of_a_genotype_uses_the_width_it_was_searched_at(tmp_path, photo_folder):
    search = write_options(tmp_path / "s.yml", search_options(tmp_path, photo_folder, epochs=1))
    assert srnas("search", "-opt", search).returncode == 0
    genotype = tmp_path / "experiments/search/genotype.json"
    done = srnas("profile", "--genotype", genotype, "--scale", 2, "--json", tmp_path / "p.json")
    assert done.returncode == 0, done.stderr
    assert json.loads((tmp_path / "p.json").read_text())["params"] < 10_000
    done = srnas(
        "profile",
        "--space",
        "imdn",
        "--scale",
        4,
        "--json",
        tmp_path / "p.json",
        "--input",
        "64x32",
    )
    result = json.loads((tmp_path / "p.json").read_text())
    assert result["params"] == 715_176
    assert result["lr_1280x720"] == {"macs": 654_527_695_872}
    assert result["input"]["size"] == "64x32"


def test_upscale_writes_what_the_network_says(tmp_path, photo, model_file):
    cv2.imwrite(str(tmp_path / "in.jpg"), photo[:50, :70])
    done = srnas("upscale", "--model", model_file, tmp_path / "in.jpg", "--out", tmp_path / "out")
    assert done.returncode == 0, done.stderr
    assert read_rgb(tmp_path / "out/in_x2.png").shape == (100, 140, 3)
    again = ("upscale", "--model", model_file, tmp_path / "in.jpg", "--out", tmp_path / "out")
    assert refused(srnas(*again), "in_x2.png: exists; give --overwrite")
    tiled = srnas(*again, "--overwrite", "--tile", 40, "--overlap", 8)
    assert tiled.returncode == 0, tiled.stderr
    assert refused(srnas(*again, tmp_path / "in.jpg"), "two of the images")


def test_published_weights_become_a_model_file(tmp_path, shared, photo):
    weights = shared / "checkpoints/DLSR_x2.pth"
    made = tmp_path / "dlsr.safetensors"
    done = srnas("convert", weights, "--out", made)
    assert done.returncode == 0, done.stderr
    assert "name dlsr, scale 2, num_feat 48" in done.stdout
    assert refused(srnas("convert", weights, "--out", made), "dlsr.safetensors: exists")
    assert refused(srnas("convert", weights, "--out", tmp_path / "x.pth"), "in .safetensors")
    named = tmp_path / "named.safetensors"
    done = srnas("convert", weights, "--space", "dlsr", "--scale", 2, "--out", named)
    assert done.returncode == 0, done.stderr
    assert named.read_bytes() == made.read_bytes()
    assert refused(
        srnas(
            "convert", weights, "--space", "dlsr", "--scale", 4, "--out", tmp_path / "y.safetensors"
        ),
        "upsample.0.weight is (12, 48, 3, 3), this network needs (48, 48, 3, 3)",
    )
    cv2.imwrite(str(tmp_path / "in.png"), photo[:40, :50])
    for number, model in enumerate((weights, made)):
        out = tmp_path / str(number)
        done = srnas("upscale", "--model", model, tmp_path / "in.png", "--out", out)
        assert done.returncode == 0, done.stderr
    assert (tmp_path / "0/in_x2.png").read_bytes() == (tmp_path / "1/in_x2.png").read_bytes()


def test_models_beside_the_main_one_are_measured_and_shown(tmp_path, model_file):
    torch.manual_seed(1)
    space = check_space({"name": "imdn", "scale": 2, "num_feat": 12, "num_block": 1}, "test")
    genotype = published_genotype("imdn")
    other = tmp_path / "wide[r]/model.safetensors"
    save_model(other, Model(derived_network(space, genotype), space, genotype, {}))
    sets = ("--scale", 2, "--data", "P=packaged", "--json", tmp_path / "o.json")
    done = srnas("test", "--model", other, *sets)
    assert done.returncode == 0, done.stderr
    alone = json.loads((tmp_path / "o.json").read_text())
    done = srnas(
        "test", "--model", model_file, *sets, "--beside", other, "--crops", tmp_path / "crops"
    )
    assert done.returncode == 0, done.stderr
    assert "bicubic" in done.stdout
    for name in (model_file.parent.name, "wide[r]"):
        assert f"{name}: c1=conv_3x3 c2=conv_3x3" in done.stdout
    assert sum("wide[r]" in line for line in done.stdout.splitlines()) == 2
    result = json.loads((tmp_path / "o.json").read_text())
    assert result.keys() == {*alone.keys(), "beside"}
    (beside,) = result["beside"]
    assert beside == {
        "model": str(other), **{key: alone[key] for key in ("params", "genotype", "results")}
    }  # fmt: skip
    assert result["results"] != beside["results"]
    assert result["results"][0]["bicubic"] == beside["results"][0]["bicubic"]
    pictures = sorted((tmp_path / "crops/P").iterdir())
    assert [file.name for file in pictures] == ["camera.png", "chelsea.png", "coffee.png"]
    assert all(min(read_rgb(file).shape[:2]) > 2 * 288 for file in pictures), "two rows of crops"


def test_a_scorecard_has_a_column_for_each_model_three_to_a_table(
    tmp_path, photo_folder, model_file
):
    names = ("zeta", "long_" * 12, "alpha", "[mid]")
    main, *others = (tmp_path / f"{name}.safetensors" for name in names)
    for file in (main, *others):
        file.write_bytes(model_file.read_bytes())
    beside = [argument for file in others for argument in ("--beside", file)]
    done = srnas(
        "test", "--model", main, *beside, "--scale", 2, "--data", f"P={photo_folder}",
        "--scorecard", "--device", "cpu", "--json", tmp_path / "o.json",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert max(map(len, lines)) <= 80
    first, second = (line for line in lines if "figure" in line)
    assert first.index("zeta") < first.index("_") < first.index("alpha")
    assert "[mid]" in second
    for row in ("P RGB, dB", "P Y, dB", "parameters", "MACs, G", "activations, M", "runtime, ms"):
        assert sum(row in line for line in lines) == 2 + (row == "parameters"), row
    assert sum("not measured" in line for line in lines) == 2
    card = json.loads((tmp_path / "o.json").read_text())["scorecard"]
    assert [model["model"] for model in card["models"]] == list(map(str, (main, *others)))


def test_bicubic_of_a_photo_is_beside_the_model_in_the_json(tmp_path, photo_folder, model_file):
    srnas(
        "test", "--model", model_file, "--scale", 2, "--data", f"P={photo_folder}",
        "--json", tmp_path / "o.json",
    )  # fmt: skip
    (result,) = json.loads((tmp_path / "o.json").read_text())["results"]
    from skimage.metrics import peak_signal_noise_ratio

    from srnas.metrics.quality import luma

    values = []
    for file in sorted(photo_folder.iterdir()):
        hr = read_rgb(file)
        sr = resize_uint8(resize_uint8(hr, 0.5), 2)
        a, b = (luma(image[2:-2, 2:-2]) for image in (hr, sr))
        values.append(peak_signal_noise_ratio(a, b, data_range=255))
    assert result["bicubic"]["psnr"] == pytest.approx(np.mean(values))


def test_lr_files_that_are_not_matlabs_bicubic_are_warned_about(tmp_path, photo_folder, model_file):
    for kind, shrink in (
        ("good", lambda hr: resize_uint8(hr, 0.5)),
        ("bad", lambda hr: cv2.resize(hr, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_NEAREST)),
    ):
        for file in photo_folder.iterdir():
            hr = read_rgb(file)
            write_rgb(tmp_path / kind / "HR" / file.name, hr)
            write_rgb(tmp_path / kind / "LR_bicubic/X2" / f"{file.stem}x2.png", shrink(hr))
        done = srnas(
            "test", "--model", model_file, "--scale", 2, "--data", f"S={tmp_path / kind}",
            "--explain", "--self-ensemble", "--protocol", "edsr", "--json", tmp_path / "o.json",
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        assert ("warning: S: the LR files are" in done.stderr) == (kind == "bad")
        result = json.loads((tmp_path / "o.json").read_text())
        assert (result["protocol"], result["self_ensemble"]) == ("edsr", True)
        rows = result["results"][0]["explained"]
        assert rows[2]["psnr"] == result["results"][0]["psnr"]
        assert result["results"][0]["lr_source"] == "files"


def test_doctor_and_help_answer():
    told = srnas("doctor").stdout
    assert "torch uses" in told
    assert f"  pydantic {pydantic.VERSION}\n" in told
    assert "  onnxruntime " in told
    assert "pytest" not in told, "users do not need it"
    for command in ("search", "train", "test", "profile", "export", "upscale", "demo"):
        assert command in srnas("--help").stdout
        assert srnas(command, "--help").returncode == 0


def test_flags_replace_the_model_of_an_options_file(tmp_path, photo_folder, model_file):
    content = {"model": "nowhere.safetensors", "scale": 2, "data": {"P": str(photo_folder)}}
    file = write_options(tmp_path / "test.yml", content)
    assert refused(srnas("test", "-opt", file), "nowhere.safetensors: no such file")
    done = srnas("test", "-opt", file, "--model", model_file)
    assert done.returncode == 0, done.stderr
    torch.save({"x": torch.zeros(1)}, tmp_path / "w.pth")
    done = srnas(
        "test", "-opt", file, "--weights", tmp_path / "w.pth", "--space", "imdn", "--scale", 2
    )
    assert refused(done, "w.pth: weights of another network")


def test_a_broken_validation_image_is_told_before_training_starts(tmp_path, photo_folder):
    (photo_folder / "5.png").write_bytes((photo_folder / "5.png").read_bytes()[:200])
    options = write_options(tmp_path / "o.yml", train_options(tmp_path, photo_folder))
    assert refused(srnas("train", "-opt", options), "5.png: truncated image")
    assert not (tmp_path / "experiments").exists()


def test_data_lr_and_data_check(tmp_path, photo_folder):
    lr = ("data", "lr", photo_folder, "--scale", 2, "--out", tmp_path / "lr")
    assert "6 images in" in srnas(*lr).stdout
    made = {file: file.read_bytes() for file in (tmp_path / "lr").iterdir()}
    (tmp_path / "lr/2x2.png").unlink()  # as if it had been killed
    assert "6 images in" in srnas(*lr).stdout
    assert made == {file: file.read_bytes() for file in (tmp_path / "lr").iterdir()}
    (tmp_path / "lr/2x2.png").write_bytes((tmp_path / "lr/3x2.png").read_bytes())
    assert refused(srnas(*lr), "2x2.png: exists, and is not the LR image of", "another --out")
    (tmp_path / "lr/2x2.png").write_bytes(made[tmp_path / "lr/2x2.png"])
    done = srnas("data", "check", photo_folder, "--lr", tmp_path / "lr", "--scale", 2)
    assert done.stdout.strip().endswith("6 images, no faults")
    expected = resize_uint8(read_rgb(photo_folder / "4.png"), 0.5)
    assert np.array_equal(read_rgb(tmp_path / "lr/4x2.png"), expected)
    (tmp_path / "lr/4x2.png").write_bytes(b"")
    done = srnas("data", "check", photo_folder, "--lr", tmp_path / "lr", "--against", photo_folder)
    assert refused(done, "7 faults in 6 images")
    assert "4x2.png: not a readable image" in done.stdout
