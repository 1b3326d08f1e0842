"""Shared fixtures: data beside the checkout where it is present, small images made here."""

from pathlib import Path

import numpy as np
import pytest
import torch

from srnas.data.images import DecodedPair, read_rgb, write_rgb
from srnas.data.packaged import packaged_pairs
from tests.helpers import ROOT

torch.set_num_threads(1)


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
def small_tiles(monkeypatch: pytest.MonkeyPatch, photo: np.ndarray) -> None:
    """Measure what ncnn's tiles cost on a crop alone, as whole photographs take many seconds."""
    hr = photo[:96, :128]
    pair = DecodedPair("crop", hr[::2, ::2], hr)
    monkeypatch.setattr("srnas.export.ncnn.packaged_pairs", lambda _: [pair])


@pytest.fixture
def photo_folder(tmp_path: Path) -> Path:
    """A folder with six 64x96 crops of a real photograph."""
    photo = read_rgb(packaged_pairs("train")[0].hr)
    folder = tmp_path / "photos"
    for index in range(6):
        row, column = 60 * index, 40 * index
        write_rgb(folder / f"{index}.png", photo[row : row + 64, column : column + 96])
    return folder
