"""The work that is killed: each kind does it in a folder, and goes on when it is called again."""

import hashlib
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml
from PIL import Image

from srnas.engine.search import search
from srnas.engine.train import train
from srnas.files import load_tensors
from srnas.options import check_options
from srnas.table.build import build
from srnas.table.protocol import load_protocol
from srnas.table.results import read_results
from srnas.tasks.super_resolution.div2k import SubImages, prepare
from tests.helpers import class_options, flat, search_options, train_options

LOGS = ("metrics.jsonl", "alphas.jsonl", "genotype.json", "model.safetensors")


def photographs(folder: Path, count: int = 6, height: int = 64, width: int = 96) -> Path:
    """Write smooth images with noise, named 0.png, 1.png, ...; return the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(0)
    for number in range(count):
        rows, columns = np.mgrid[:height, :width]
        image = np.stack([rows * 2 + number * 9, columns + number * 5, rows + columns], -1)
        noisy = np.clip(image + rng.normal(0, 8, image.shape), 0, 255).astype(np.uint8)
        Image.fromarray(noisy).save(folder / f"{number}.png")
    return folder


def do_search(folder: Path, photos: Path) -> None:
    """Search IMDN's space, with regularizers and validation."""
    torch.set_num_threads(1)
    search(check_options("search", search_options(folder, photos), "search"), resume=True)


def do_class_search(folder: Path, photos: Path) -> None:
    """Search NAS-Bench-201's space."""
    torch.set_num_threads(1)
    search(check_options("search", class_options(folder), "search"), resume=True)


def do_train(folder: Path, photos: Path) -> None:
    """Train IMDN."""
    torch.set_num_threads(1)
    train(check_options("train", train_options(folder, photos), "train"), resume=True)


def do_cache(folder: Path, photos: Path) -> None:
    """Train from a cache of decoded pixels that is mapped into memory."""
    torch.set_num_threads(1)
    folder.mkdir(exist_ok=True)
    os.chdir(folder)  # model files say where the cache was
    options = train_options(folder, photos, steps=6, val_every=6)
    options["data"] |= {"keep": "mmap", "cache": "cache"}
    train(check_options("train", options, "train"), resume=True)


def do_teach(folder: Path, photos: Path) -> None:
    """Train IMDN with a teacher, whose outputs are computed first."""
    torch.set_num_threads(1)
    folder.mkdir(exist_ok=True)
    os.chdir(folder)  # the options are the same everywhere
    teacher = {"model": "default", "cache": "cache"}
    options = train_options(folder, photos, steps=6, val_every=6, teacher=teacher)
    train(check_options("train", options, "train"), resume=True)


def do_prepare(folder: Path, photos: Path) -> None:
    """Prepare a small tree in DIV2K's layout, with LR images and sub-images."""
    tree = folder.parent / "tree"
    prepare(tree, folder / "DIV2K", [2], SubImages(32, 16), say=lambda _: None)


def do_bench(folder: Path, photos: Path) -> None:
    """Train a table of four networks."""
    content = {
        "name": "tiny",
        "version": 1,
        "train": {
            key: value
            for key, value in train_options(folder, photos, steps=6).items()
            if key in ("space", "data", "optimizer", "steps")
        },
        "sample": {"count": 4},
    }
    file = folder.parent / "table.yml"
    if not file.exists():
        file.write_text(yaml.safe_dump(content))
    build(load_protocol(file), folder / "table", processes=1)


def run_state(folder: Path) -> dict[str, Any]:
    """Return what must be equal of a run: its logs and results, and all tensors of its state."""
    (run,) = (path.parent for path in folder.rglob("options.yml"))
    state: dict[str, Any] = {
        name: (run / name).read_bytes() for name in LOGS if (run / name).exists()
    }
    for path, value in flat(load_tensors(run / "checkpoints/last.pt")):
        state[path] = value.numpy().tobytes() if torch.is_tensor(value) else value
    kept = [file for suffix in ("npy", "taught") for file in folder.glob(f"cache/*.{suffix}")]
    return state | {f"cache/{file.name}": file.read_bytes() for file in kept}


def files_state(folder: Path) -> dict[str, Any]:
    """Return the hash of every file."""
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in folder.rglob("*")
        if path.is_file()
    }


def bench_state(folder: Path) -> dict[str, Any]:
    """Return the results, without how long they took."""
    rows = [json.loads(result.to_json()) for result in read_results([folder / "table"])]
    for row in rows:
        row.pop("seconds")
    return {str((row["number"], row["seed"])): row for row in rows}


Work = Callable[[Path, Path], None]
State = Callable[[Path], dict[str, Any]]
KINDS: dict[str, tuple[Work, State]] = {
    "search": (do_search, run_state),
    "class_search": (do_class_search, run_state),
    "train": (do_train, run_state),
    "cache": (do_cache, run_state),
    "teach": (do_teach, run_state),
    "prepare": (do_prepare, files_state),
    "table": (do_bench, bench_state),
}
