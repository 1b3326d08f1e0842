"""What a new user types first."""

import hashlib
import json
import re
import shutil
import sys
import tarfile
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import ClassVar

import numpy as np
import pytest
import yaml
from PIL import Image

from srnas import __version__
from srnas.errors import UserError
from srnas.options import check_options
from srnas.tasks.super_resolution import download
from srnas.tasks.super_resolution.download import Archive, archives, fetch, unpack_benchmarks
from tests.cli.test_commands import refused
from tests.helpers import search_options, small_model, srnas, train_options, write_options


def test_own_photographs_take_one_command(tmp_path, photo_folder):
    out = tmp_path / "out"
    done = srnas(
        "init", photo_folder, "--name", "cats", "--scale", 3, "--width", 12, "--out", out,
        "--method", "beta_darts",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == f"next: srnas search {out / 'cats_search.yml'}"
    for kind in ("search", "train"):
        text = (out / f"cats_{kind}.yml").read_text()
        assert text.startswith(f"# yaml-language-server: $schema={kind}.schema.json\n")
        assert json.loads((out / f"{kind}.schema.json").read_text())["anyOf"]
        options = check_options(kind, yaml.safe_load(text), kind)
        assert options.space.options.scale == 3
    done = srnas("init", photo_folder, "--name", "cats", "--out", out)
    assert refused(done, "cats_search.yml: exists; give --overwrite")
    assert refused(srnas("init", photo_folder, "--space", "darts"), "not for photographs")
    assert refused(srnas("init", photo_folder, "--method", "sadarts"), "did you mean 'sa_darts'")
    (tmp_path / "one").mkdir()
    shutil.copy(next(photo_folder.iterdir()), tmp_path / "one")
    assert refused(srnas("init", tmp_path / "one"), "1 image; a search needs at least 3")
    done = srnas(
        "search", out / "cats_search.yml", "epochs=1", "steps_per_epoch=2", "warmup_epochs=0",
        "data.batch_size=1", "data.hr_patch=24", f"experiments={tmp_path}", "val_every_epochs=1",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "cats_search/genotype.json").exists()


def test_the_version_is_told():
    assert srnas("--version").stdout == f"{__version__}\n"


def test_a_dry_run_tells_what_it_found_and_keeps_nothing(tmp_path, photo_folder):
    search = write_options(tmp_path / "s.yml", search_options(tmp_path, photo_folder))
    train = write_options(tmp_path / "t.yml", train_options(tmp_path, photo_folder))
    for kind, file in (("search", search), ("train", train)):
        done = srnas(kind, file, "--dry-run")
        assert done.returncode == 0, done.stderr
        assert len(done.stdout.splitlines()) <= 7
        assert re.search(r"takes .* about .* \(.* s a step\), [0-9.]+ GB of memory", done.stdout)
        printed = srnas(kind, file, "--print-options").stdout
        assert check_options(kind, yaml.safe_load(printed), kind).name == kind
    assert not (tmp_path / "experiments").exists()


def test_a_log_in_a_pipe_says_what_was_measured_last(tmp_path, photo_folder):
    options = search_options(tmp_path, photo_folder, epochs=3, val_every_epochs=3)
    done = srnas("search", write_options(tmp_path / "s.yml", options))
    assert done.returncode == 0, done.stderr
    rows = (tmp_path / "experiments/search/metrics.jsonl").read_text().splitlines()
    last = next(row["val_psnr"] for row in map(json.loads, reversed(rows)) if "val_psnr" in row)
    assert f"\nval PSNR {last:.3f} dB (epoch 3)\n" in done.stderr
    genotype = json.loads((tmp_path / "experiments/search/genotype.json").read_text())["choices"]
    told = [line for line in done.stderr.splitlines() if line.startswith("epoch 3: ")]
    assert all(f"{label}={choice}" in told[0] for label, choice in genotype.items())
    assert "by chance 0.083)" in told[0]
    options = train_options(tmp_path, photo_folder, steps=4, val_every=2)
    done = srnas("train", write_options(tmp_path / "t.yml", options))
    rows = (tmp_path / "experiments/train/metrics.jsonl").read_text().splitlines()
    for row in map(json.loads, rows):
        if "val_psnr" in row:
            assert f"step {row['step']}: val PSNR {row['val_psnr']:.3f} dB" in done.stderr
    best = max(row["val_psnr"] for row in map(json.loads, rows) if "val_psnr" in row)
    *_, shown = [line for line in done.stderr.splitlines() if line.startswith("4/4  ")]
    assert f"best val PSNR {best:.3f} dB" in shown


def test_the_scale_is_that_of_the_model(tmp_path, photo_folder):
    model = small_model(tmp_path / "model.safetensors")
    done = srnas("test", "--model", model, "--data", f"P={photo_folder}", "--json", tmp_path / "j")
    assert done.returncode == 0, done.stderr
    assert json.loads((tmp_path / "j").read_text())["scale"] == 2
    assert max(map(len, done.stdout.splitlines())) <= 80
    done = srnas("test", "--model", model, "--scale", 3, "--data", f"P={photo_folder}")
    assert refused(done, "the model enlarges x2, but scale is 3")


def test_tables_of_many_sets_and_models_fit_a_terminal(tmp_path, photo_folder):
    model = small_model(tmp_path / "a_model_of_mine.safetensors")
    sets = [part for n in range(4) for part in ("--data", f"Urban10{n}={photo_folder}")]
    beside = [part for n in range(3) for part in ("--beside", model)]
    done = srnas("test", "--model", model, *sets, *beside, "--explain")
    assert done.returncode == 0, done.stderr
    assert max(map(len, done.stdout.splitlines())) <= 80
    assert all(done.stdout.count(f"Urban10{n}") >= 2 for n in range(4))


def test_a_large_image_is_tested_in_tiles_and_told_so(tmp_path):
    model = small_model(tmp_path / "model.safetensors")
    rng = np.random.default_rng(0)
    (tmp_path / "set").mkdir()
    Image.fromarray(rng.integers(0, 256, (64, 128, 3), np.uint8)).save(tmp_path / "set/a.png")
    plugin = tmp_path / "p.py"
    plugin.write_text(
        "from srnas.tasks.super_resolution import tiles\ntiles.WHOLE, tiles.TILE = 2047, 40\n"
    )
    command = ("test", "--model", model, "--data", f"S={tmp_path / 'set'}", "--plugin", plugin)
    figures = []
    for more in ((), ("--tile", 40), ("--tile", 0)):
        done = srnas(*command, *more, "--json", tmp_path / "j")
        assert done.returncode == 0, done.stderr
        assert ("S: 1 image enlarged in tiles" in done.stderr) == (more != ("--tile", 0))
        figures.append(json.loads((tmp_path / "j").read_text())["results"][0]["psnr"])
    assert figures[0] == figures[1] != figures[2]


def test_a_wrong_override_is_blamed_not_the_file(tmp_path, photo_folder):
    options = search_options(tmp_path, photo_folder)
    file = write_options(tmp_path / "o.yml", options)
    assert srnas("search", file, "epochs=x").stderr.startswith("error: override 'epochs=x': epochs")
    done = srnas("search", file, "data.trian.hr=x")
    assert done.stderr.startswith("error: override 'data.trian.hr=x': data: unknown key")
    file = write_options(tmp_path / "o.yml", {**options, "epochs": "x"})
    assert refused(srnas("search", file, "seed=1"), f"error: {file}: epochs")
    assert refused(srnas("search", "seed=1"), "give an options file: srnas search -opt FILE")


def test_other_images_do_not_keep_the_lr_images_of_the_former(tmp_path, photo_folder):
    options = train_options(tmp_path, photo_folder)
    train = {"hr": "DIV2K/HR", "lr": "DIV2K/X2", "images": "1-800"}
    options["data"] = {**options["data"], "train": train}

    def resolved(*overrides):
        return check_options("train", options, "t", overrides).data.train

    changed = resolved("data.train.hr=mine")
    assert (str(changed.hr), changed.lr, changed.images) == ("mine", None, "1-800")
    changed = resolved("data.train.lr=small", "data.train.hr=mine")
    assert (str(changed.hr), str(changed.lr)) == ("mine", "small")
    changed = resolved("data.train.packaged=train")
    assert (changed.hr, changed.lr, changed.images) == (None, None, None)
    with pytest.raises(UserError, match="give one of hr: FOLDER, packaged"):
        resolved("data.train.packaged=train", "data.train.hr=mine")


def test_a_plugin_may_stand_anywhere_and_its_mistakes_are_one_line(tmp_path, photo_folder):
    plugin = tmp_path / "mine.py"
    plugin.write_text(
        "from srnas.losses import LOSSES, Loss\n\n\n"
        '@LOSSES.register("mine")\nclass Mine(Loss):\n'
        '    """A loss that fails."""\n\n'
        "    def __call__(self, sr, hr):\n"
        "        return sr.no_such_method(hr)\n"
    )
    options = {**train_options(tmp_path, photo_folder), "loss": "mine"}
    file = write_options(tmp_path / "o.yml", options)
    for arguments in (
        ("--plugin", plugin, "train", file),
        ("train", "--plugin", plugin, file),
        ("train", file, f"--plugin={plugin}"),
    ):
        shutil.rmtree(tmp_path / "experiments", ignore_errors=True)
        told = f"--plugin {plugin}: line 9: AttributeError: 'Tensor' object has no attribute"
        assert refused(srnas(*arguments), told)
    plugin.write_text(plugin.read_text().replace("__call__", "forward"))
    line = 4 if sys.version_info >= (3, 11) else 5  # a class began below its decorator
    told = f"--plugin {plugin}: line {line}: loss 'mine' must define __call__"
    assert refused(srnas("--plugin", plugin, "train", file), told)


class Server(BaseHTTPRequestHandler):
    """Serves `content`, the first time only in part."""

    content = b""
    requests: ClassVar[list] = []
    breaks_at: int | None = None
    ranges = True

    def do_GET(self):
        cls = type(self)
        asked = self.headers.get("Range")
        cls.requests.append((self.path, asked))
        if "missing" in self.path:
            self.send_error(404)
            return
        start = int(asked[6:-1]) if asked and cls.ranges else 0
        if start >= len(cls.content):
            self.send_error(416)
            return
        rest = cls.content[start:]
        self.send_response(206 if start else 200)
        self.send_header("Content-Length", str(len(rest)))
        self.end_headers()
        cut, cls.breaks_at = cls.breaks_at, None
        self.wfile.write(rest[:cut])

    def log_message(self, *_):
        pass


@pytest.fixture
def server():
    Server.requests, Server.breaks_at, Server.ranges = [], None, True
    with HTTPServer(("127.0.0.1", 0), Server) as running:
        thread = threading.Thread(target=running.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{running.server_port}"
        running.shutdown()
        thread.join()


@pytest.mark.parametrize("ranges", [True, False])
def test_a_download_goes_on_where_it_broke(tmp_path, server, ranges):
    Server.content = np.random.default_rng(0).bytes(3_000_000)
    Server.breaks_at, Server.ranges = 1_200_000, ranges
    archive = Archive("a.zip", "http://other", hashlib.sha256(Server.content).hexdigest())
    with pytest.raises(UserError, match=r"cannot be fetched .*; 1\.2 MB are there, run the comm"):
        fetch(archive, tmp_path / "in", server)
    assert not (tmp_path / "in/a.zip").exists()
    told = []
    file = fetch(archive, tmp_path / "in", server, told.append)
    assert file.read_bytes() == Server.content
    assert Server.requests[1] == ("/a.zip", "bytes=1200000-")
    assert "SHA-256 as expected" in told[0]
    fetch(archive, tmp_path / "in", server)
    assert len(Server.requests) == 2, "what is there is not fetched again"


def test_a_download_that_is_wrong_is_told(tmp_path, server):
    Server.content = b"something else"
    wrong = Archive("a.zip", server, hashlib.sha256(b"expected").hexdigest())
    for _ in range(2):  # whole, the server has nothing more to send
        with pytest.raises(UserError, match=r"a\.zip\.part: its SHA-256 is .* remove it and"):
            fetch(wrong, tmp_path)
    with pytest.raises(UserError, match=r"missing\.zip: cannot be fetched \(.*404.*\); 0\.0 MB"):
        fetch(Archive("missing.zip", server, ""), tmp_path)
    with pytest.raises(UserError, match="begins with https"):
        fetch(wrong, tmp_path, "file:///etc")
    running = HTTPServer(("127.0.0.1", 0), Server)
    address = f"http://127.0.0.1:{running.server_port}"
    running.server_close()
    done = srnas("data", "download", "benchmarks", "--out", tmp_path, "--mirror", address)
    assert refused(done, "benchmark.tar: cannot be fetched (", "Connection refused")
    assert refused(srnas("data", "download", "div2"), "known: div2k, benchmarks")


def test_benchmark_sets_are_fetched_and_unpacked(tmp_path, server, photo_folder, monkeypatch):
    photo = sorted(photo_folder.iterdir())[0]
    with tarfile.open(tmp_path / "benchmark.tar", "w") as packed:
        for place in (
            "benchmark/Set5/HR/baby.png", "benchmark/Set5/LR_bicubic/X2/babyx2.png",
            "benchmark/Urban100/HR/img001.png", "benchmark/Set5/HR/Thumbs.db",
            "benchmark/../../Set5/evil.png", "benchmark/Manga109/HR/a.png",
        ):  # fmt: skip
            packed.add(photo, place)
    Server.content = (tmp_path / "benchmark.tar").read_bytes()
    sums = hashlib.sha256(Server.content).hexdigest()
    monkeypatch.setattr(download, "BENCHMARK_SUM", sums)
    (archive,) = archives("benchmarks", [2])
    file = fetch(archive, tmp_path / "data/downloads", server)
    counts = unpack_benchmarks(file, tmp_path / "data")
    assert counts == {"Set5": 1, "Set14": 0, "B100": 0, "Urban100": 1}
    written = {
        str(path.relative_to(tmp_path / "data")): path.read_bytes()
        for path in (tmp_path / "data").rglob("*.png")
    }
    assert written == dict.fromkeys(
        ("Set5/HR/baby.png", "Set5/LR_bicubic/X2/babyx2.png", "Urban100/HR/img001.png"),
        photo.read_bytes(),
    )
    file.write_bytes(Server.content[:3000])
    with pytest.raises(UserError, match="broken or truncated"):
        unpack_benchmarks(file, tmp_path / "again")


def test_div2k_is_fetched_with_the_lr_images_that_are_asked_for():
    names = [archive.name for archive in archives("div2k", [2, 4])]
    assert names == [
        "DIV2K_train_HR.zip", "DIV2K_valid_HR.zip",
        "DIV2K_train_LR_bicubic_X2.zip", "DIV2K_valid_LR_bicubic_X2.zip",
        "DIV2K_train_LR_bicubic_X4.zip", "DIV2K_valid_LR_bicubic_X4.zip",
    ]  # fmt: skip
