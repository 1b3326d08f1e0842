"""Shared fixtures: data beside the checkout where it is present, small images made here."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml

from srnas.data.images import read_rgb, write_rgb
from srnas.data.packaged import packaged_pairs

ROOT = Path(__file__).parents[1]
torch.set_num_threads(1)
needs_basicsr = pytest.mark.skipif(
    sys.version_info >= (3, 13), reason="BasicSR does not build on Python 3.13"
)


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of real data and published weights beside the checkout."""
    folder = ROOT.parent / "shared"
    if not (folder / "checkpoints").is_dir():
        pytest.skip(f"needs the published weights and data in {folder.name}/ beside the checkout")
    return folder


@pytest.fixture(scope="session")
def photo() -> np.ndarray:
    """A real photograph, (300, 451, 3) uint8 RGB."""
    return read_rgb(packaged_pairs("test")[1].hr)


@pytest.fixture
def photo_folder(tmp_path: Path) -> Path:
    """A folder with six 64x96 crops of a real photograph."""
    photo = read_rgb(packaged_pairs("train")[0].hr)
    folder = tmp_path / "photos"
    for index in range(6):
        row, column = 60 * index, 40 * index
        write_rgb(folder / f"{index}.png", photo[row : row + 64, column : column + 96])
    return folder


def search_options(tmp_path: Path, photos: Path, **changes: object) -> dict:
    """Options of a search that takes seconds."""
    return {
        "name": "search",
        "experiments": str(tmp_path / "experiments"),
        "space": {"name": "imdn", "scale": 2, "num_feat": 8, "num_block": 1},
        "threads": 1,
        "data": {
            "train": {"hr": str(photos), "images": "1-3"},
            "alpha": {"hr": str(photos), "images": "4-5"},
            "val": {"hr": str(photos), "images": "6-6"},
            "batch_size": 2,
            "hr_patch": 32,
        },
        "epochs": 4,
        "steps_per_epoch": 5,
        "warmup_epochs": 1,
        "log_every": 2,
        "checkpoint_every": 3,
        "weight_optimizer": {"lr": 1e-3, "weight_decay": 1e-8},
        "alpha_optimizer": {"lr": 1e-2, "betas": [0.5, 0.999]},
        "regularizers": [
            {"term": "smooth_activation", "weight": {"name": "linear", "start": 0, "end": 1}},
            {"term": "expected_cost", "weight": 0.1},
        ],
        **changes,
    }


def train_options(tmp_path: Path, photos: Path, **changes: object) -> dict:
    """Options of a training that takes seconds."""
    return {
        "name": "train",
        "experiments": str(tmp_path / "experiments"),
        "space": {"name": "imdn", "scale": 2, "num_feat": 8, "num_block": 1},
        "threads": 1,
        "data": {
            "train": {"hr": str(photos), "images": "1-5"},
            "val": {"hr": str(photos), "images": "6-6"},
            "batch_size": 2,
            "hr_patch": 32,
        },
        "steps": 24,
        "log_every": 2,
        "val_every": 8,
        "checkpoint_every": 3,
        "optimizer": {"lr": {"name": "one_cycle", "peak": 2e-3}},
        **changes,
    }


CLASS_SPACES = {
    "nasbench201": {"name": "nasbench201", "num_classes": 4, "num_feat": 4, "num_cell": 1},
    "darts": {
        "name": "darts",
        "num_classes": 4,
        "num_feat": 4,
        "num_cell": 3,
        "space_set": "s3",
    },
}


def class_options(tmp_path: Path, space: str = "nasbench201", **changes: object) -> dict:
    """Options of a classification search that takes seconds, on generated images."""
    return {
        "name": "search",
        "experiments": str(tmp_path / "experiments"),
        "space": CLASS_SPACES[space],
        "threads": 1,
        "data": {
            "dataset": {"name": "generated", "num_classes": 4, "train": 64, "test": 32, "side": 8},
            "batch_size": 8,
        },
        "epochs": 4,
        "steps_per_epoch": 5,
        "warmup_epochs": 1,
        "log_every": 2,
        "checkpoint_every": 3,
        "weight_optimizer": {"name": "sgd", "lr": 0.025, "weight_decay": 3e-4},
        "alpha_optimizer": {"lr": 1e-2, "betas": [0.5, 0.999], "weight_decay": 1e-3},
        "clip_grad_norm": 5,
        **changes,
    }


def class_train_options(tmp_path: Path, space: str = "nasbench201", **changes: object) -> dict:
    """Options of a classification training that takes seconds, of any candidates."""
    full = {key: value for key, value in CLASS_SPACES[space].items() if key != "space_set"}
    return {
        "name": "train",
        "experiments": str(tmp_path / "experiments"),
        "space": full,
        "threads": 1,
        "data": {
            "dataset": {
                "name": "generated",
                "num_classes": 4,
                "train": 128,
                "test": 64,
                "side": 16,
            },
            "batch_size": 16,
        },
        "steps": 40,
        "log_every": 10,
        "val_every": 20,
        "ema": 0,
        "optimizer": {"name": "sgd", "lr": {"name": "cosine", "start": 0.1}, "nesterov": True},
        **changes,
    }


def write_options(path: Path, options: dict) -> Path:
    """Write options as YAML."""
    path.write_text(yaml.safe_dump(options))
    return path


def srnas(
    *arguments: object, timeout: float = 300, **environment: str
) -> subprocess.CompletedProcess[str]:
    """Run the command line in a process of its own."""
    return subprocess.run(
        [sys.executable, "-m", "srnas", *map(str, arguments)],
        capture_output=True,
        text=True,
        env={**os.environ, **environment},
        timeout=timeout,
    )
