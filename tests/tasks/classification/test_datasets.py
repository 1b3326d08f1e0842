"""Data sets of image classification: the pixels and labels that lie on disk, or one clear line."""

import hashlib
import itertools
import math
import pickle

import numpy as np
import pytest
import torch
import torchvision.datasets

from srnas.data.images import write_rgb
from srnas.errors import UserError
from srnas.tasks.classification.datasets import CIFAR10_NORMALIZATION, DATASETS


def opened(name, **options):
    return DATASETS.build({"name": name, **options})


class Harmful:
    """Makes a file when it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return open, (str(self.path), "w")


@pytest.fixture(params=["cifar10", "cifar100"])
def cifar(request, tmp_path):
    """(name, class, folder, pixels by split) in torchvision's layout, the sums not official."""
    dataset = getattr(torchvision.datasets, request.param.upper())
    rng = np.random.default_rng(0)
    folder = tmp_path / dataset.base_folder
    folder.mkdir()
    fine = request.param == "cifar100"
    key = "fine_labels" if fine else "labels"
    pixels = {}
    for split, files in (("train", dataset.train_list), ("test", dataset.test_list)):
        pixels[split] = rng.integers(256, size=(3 * len(files), 3072), dtype=np.uint8)
        for chunk, (name, _) in zip(np.split(pixels[split], len(files)), files, strict=True):
            batch = {"data": chunk, key: [7, 0, 3]}
            (folder / name).write_bytes(pickle.dumps(batch))
    names = [str(i) for i in range(100 if fine else 10)]
    meta = dataset.meta
    (folder / meta["filename"]).write_bytes(pickle.dumps({meta["key"]: names}))
    return request.param, dataset, folder, pixels


def believe(monkeypatch, dataset, folder):
    """Take the sums of the files in `folder` for the official ones."""

    def md5(name):
        return hashlib.md5((folder / name).read_bytes()).hexdigest()

    for kind in ("train_list", "test_list"):
        known = [[name, md5(name)] for name, _ in getattr(dataset, kind)]
        monkeypatch.setattr(dataset, kind, known)
    name = dataset.meta["filename"]
    monkeypatch.setattr(dataset, "meta", {**dataset.meta, "md5": md5(name)})


def test_cifar_is_red_green_and_blue_planes_with_its_labels(cifar, monkeypatch):
    name, dataset, folder, pixels = cifar
    believe(monkeypatch, dataset, folder)
    data = opened(name, root=str(folder.parent))
    assert data.num_classes == int(name[5:])
    for split in ("train", "test"):
        read = getattr(data, split)
        assert np.array_equal(read.images.numpy(), pixels[split].reshape(-1, 3, 32, 32))
        assert read.labels.dtype == torch.int64
        assert read.labels.tolist() == [7, 0, 3] * (len(pixels[split]) // 3)


def test_cifar_files_that_are_not_the_official_ones_are_refused_unread(cifar):
    name, dataset, folder, _ = cifar
    made = folder / "made"
    for file in folder.iterdir():
        file.write_bytes(pickle.dumps(Harmful(made)))
    with pytest.raises(
        UserError, match=r"not the official files .*; unpack https://.* in "
    ) as told:
        opened(name, root=str(folder.parent))
    assert str(folder) in str(told.value)
    assert "\n" not in str(told.value)
    assert not made.exists()
    pickle.loads((folder / dataset.train_list[0][0]).read_bytes()).close()
    assert made.exists(), "plain pickle runs what is in them"


def test_the_cifar10_subset_is_as_it_lies_and_close_to_the_published_normalization(shared):
    file = shared / "data" / "cifar10_subset" / "cifar10_subset.npz"
    data = opened("npz", file=str(file))
    assert (len(data.train), len(data.test), data.num_classes) == (5085, 1017, 10)
    with np.load(file) as raw:
        assert np.array_equal(data.train.images.numpy(), raw["x_train"])
        assert np.array_equal(data.test.labels.numpy(), raw["y_test"])
        pixels = raw["x_train"] / 255
    for found, true, published in zip(
        data.train.normalization,
        (pixels.mean((0, 2, 3)), pixels.std((0, 2, 3))),
        CIFAR10_NORMALIZATION,
        strict=True,
    ):
        assert np.allclose(found, true, rtol=1e-9)
        assert np.allclose(found, published, atol=0.005)


IMAGES, LABELS = np.zeros((4, 3, 8, 8), np.uint8), np.arange(4)
SPLITS = {"x_train": IMAGES, "y_train": LABELS, "x_test": IMAGES, "y_test": LABELS}


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"x_train": IMAGES.astype(np.float32)}, r"x_train is \(4, 3, 8, 8\) float32, not \(N, 3"),
        ({"x_test": IMAGES.transpose(0, 2, 3, 1)}, r"x_test is \(4, 8, 8, 3\) uint8, not \(N, 3"),
        ({"y_test": LABELS[:3]}, r"y_test is \(3,\) int64, not 4 integers from 0, one an image"),
        ({"y_train": LABELS - 1}, "y_train is .* not 4 integers from 0"),
        ({"y_train": LABELS.astype(object)}, "not a NumPy archive of x_train, .*allow_pickle"),
    ],
)
def test_an_archive_of_other_arrays_is_told(tmp_path, changes, told):
    np.savez(tmp_path / "data.npz", **{**SPLITS, **changes})
    with pytest.raises(UserError, match=told):
        opened("npz", file=str(tmp_path / "data.npz"))


def test_what_is_no_archive_of_the_four_arrays_is_told(tmp_path):
    np.savez(tmp_path / "less.npz", x_train=IMAGES)
    np.save(tmp_path / "array.npz", IMAGES)
    (tmp_path / "array.npz.npy").rename(tmp_path / "array.npz")
    np.savez_compressed(tmp_path / "short.npz", **SPLITS)
    whole = (tmp_path / "short.npz").read_bytes()
    (tmp_path / "short.npz").write_bytes(whole[: len(whole) // 2])
    for name in ("less", "array", "short"):
        with pytest.raises(UserError, match=f"{name}.npz: not a NumPy archive of x_train") as told:
            opened("npz", file=str(tmp_path / f"{name}.npz"))
        assert "\n" not in str(told.value)
    with pytest.raises(UserError, match=r"missing\.npz: no such file"):
        opened("npz", file=str(tmp_path / "missing.npz"))


def write_folder(root, photo, classes):
    """Five images of each (split, class), of several sizes."""
    for number, (split, name) in enumerate(classes):
        for index in range(5):
            place = photo[20 * number + index : 100 + 30 * index, 13 * index : 120]
            write_rgb(root / split / name / f"{index}.png", place)


def test_a_folder_numbers_classes_by_name_and_takes_subsets_of_each(tmp_path, photo):
    classes = [("train", "b"), ("train", "a"), ("val", "a"), ("val", "b")]
    write_folder(tmp_path, photo, classes)
    data = opened("folder", root=str(tmp_path), image_size=32)
    assert data.num_classes == 2
    expected = [
        (str(tmp_path / "train" / c / f"{i}.png"), "ab".index(c)) for c in "ab" for i in range(5)
    ]
    assert data.train.samples == expected
    halves = data.train.subset(0, 0.5), data.train.subset(0.5, 1)
    assert halves[0].samples == expected[:2] + expected[5:7]
    assert halves[1].samples == expected[2:5] + expected[7:]


def test_what_is_no_folder_of_classes_is_told(tmp_path, photo):
    with pytest.raises(UserError, match="not train/CLASS/IMAGE and val/CLASS/IMAGE"):
        opened("folder", root=str(tmp_path))
    write_folder(tmp_path, photo, [("train", "a"), ("train", "b"), ("val", "a")])
    with pytest.raises(UserError, match="class 'b' is only in one of train/ and val/"):
        opened("folder", root=str(tmp_path))
    (tmp_path / "val" / "b").mkdir()
    with pytest.raises(UserError, match=r"Found no valid file for the classes b"):
        opened("folder", root=str(tmp_path))


def test_subsets_of_images_in_memory_are_disjoint_and_together_complete():
    images = opened("generated", train=101, test=1).train
    images.labels[:] = torch.arange(101)
    shares = [0, 0.1, 0.29, 0.5, 0.57, 1]
    subsets = [images.subset(a, b) for a, b in itertools.pairwise(shares)]
    assert torch.cat([subset.labels for subset in subsets]).tolist() == list(range(101))
    assert torch.equal(torch.cat([subset.images for subset in subsets]), images.images)
    assert len(images.subset(0, 0.5)) == 50, "floor of half, as DARTS' code"
    for first, last in [(0.5, 0.5), (0.6, 0.4), (-0.1, 0.5), (0.5, 1.1), (0, 0.001)]:
        with pytest.raises(UserError, match="has no images; give two shares between 0 and 1"):
            images.subset(first, last)


def test_generated_gratings_point_where_their_class_says_and_repeat_by_seed():
    data = opened("generated", num_classes=4, train=40, test=8, side=64)
    assert (data.num_classes, len(data.train), len(data.test)) == (4, 40, 8)
    assert data.train.labels.bincount().tolist() == [10] * 4
    strength = data.train.images.numpy() - 127.5
    spectrum = np.abs(np.fft.fft2(strength)).sum(1)
    frequency = np.fft.fftfreq(64, 1 / 64)
    for label, plane in zip(data.train.labels.tolist(), spectrum, strict=True):
        row, column = np.unravel_index(plane.argmax(), plane.shape)
        angle = math.atan2(abs(frequency[row]), abs(frequency[column]))
        assert angle == pytest.approx(math.pi / 2 * label / 4, abs=0.2)
    same = opened("generated", num_classes=4, train=40, test=8, side=64)
    other = opened("generated", num_classes=4, train=40, test=8, side=64, seed=1)
    assert torch.equal(same.train.images, data.train.images)
    assert not torch.equal(other.train.images, data.train.images)
