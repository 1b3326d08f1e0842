"""Batches of labelled images: augmented as torchvision and DARTS' code do, repeatable."""

import itertools
import random
from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from scipy import stats
from torch import nn
from torchvision import transforms
from torchvision.transforms import functional as tv

from srnas.data.draws import seeded
from srnas.data.images import read_rgb, write_rgb
from srnas.distributed import Process
from srnas.errors import UserError
from srnas.tasks.classification.batches import evaluation_batches, training_batches
from srnas.tasks.classification.datasets import CIFAR10_NORMALIZATION, DATASETS
from srnas.tasks.classification.labelled import LabelledImages

CPU = torch.device("cpu")


def numbered(count, side=32):
    """Noise images; each one's label is its number."""
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(256, (count, 3, side, side), generator=generator, dtype=torch.uint8)
    return LabelledImages(images, torch.arange(count), CIFAR10_NORMALIZATION)


def picture(path):
    """A PIL image, by OpenCV."""
    return transforms.ToPILImage()(read_rgb(path))


def stream(split, batch_size=8, **changes):
    return training_batches(split, batch_size, **{"seed": 3, "process": Process(CPU), **changes})


def normalized(image):
    """torchvision's (3, H, W) of a PIL image."""
    return tv.normalize(tv.to_tensor(image), *CIFAR10_NORMALIZATION)


def variants(image, padding):
    """All crops and flips of a (3, H, W) uint8 image: bytes -> (top, left, flipped)."""
    side = image.shape[-1]
    padded = tv.pad(tv.to_pil_image(image), padding)
    found = {}
    for top, left in itertools.product(range(2 * padding + 1), repeat=2):
        crop = tv.crop(padded, top, left, side, side)
        for flipped, turned in enumerate((crop, tv.hflip(crop))):
            found[normalized(turned).numpy().tobytes()] = top, left, flipped
    return found


@pytest.mark.parametrize(("side", "padding"), [(32, 4), (16, 2)])
def test_each_image_is_one_of_torchvisions_crops_and_flips_all_equally_likely(side, padding):
    split = numbered(3, side)
    known = [variants(image, padding) for image in split.images]
    count = len(known[0])
    assert count == 2 * (2 * padding + 1) ** 2
    seen = []
    batches = stream(split, 81)
    for _ in range(25):
        images, labels = next(batches)
        seen += [
            known[label][image.contiguous().numpy().tobytes()]
            for image, label in zip(images, labels.tolist(), strict=True)
        ]
    numbers = [np.ravel_multi_index(s, (2 * padding + 1, 2 * padding + 1, 2)) for s in seen]
    assert stats.chisquare(np.bincount(numbers, minlength=count)).pvalue > 1e-3


def test_cutout_hides_what_darts_released_code_hides():
    split = numbered(40)
    plain, cut = stream(split, 40), stream(split, 40, cutout=10)
    masks = {}
    for y, x in itertools.product(range(32), repeat=2):
        mask = np.ones((32, 32), bool)
        y1, y2 = np.clip(y - 10 // 2, 0, 32), np.clip(y + 10 // 2, 0, 32)
        x1, x2 = np.clip(x - 10 // 2, 0, 32), np.clip(x + 10 // 2, 0, 32)
        mask[y1:y2, x1:x2] = False
        masks[mask.tobytes()] = y, x
    places = []
    for _ in range(20):
        (whole, _), (images, _) = next(plain), next(cut)
        assert images.is_contiguous(memory_format=torch.channels_last)
        kept = (images != 0).any(1)
        places += [masks[mask.numpy().tobytes()] for mask in kept]
        assert torch.equal(images, whole * kept[:, None])
    assert {0, 31} <= {y for y, _ in places} & {x for _, x in places}


def test_a_pass_gives_every_image_once_whatever_the_batch_size():
    orders = []
    for batch_size in (4, 7, 10, 23):
        batches = stream(numbered(10), batch_size)
        labels = torch.cat([next(batches)[1] for _ in range(20)])[:80].view(-1, 10)
        assert (labels.sort().values == torch.arange(10)).all()
        assert len(labels.unique(dim=0)) == 8, "every pass has an order of its own"
        orders.append(labels)
    assert all(torch.equal(orders[0], order) for order in orders)


@pytest.fixture
def files(tmp_path, photo):
    """Two classes of three images of several sizes, in train and val."""
    for index, (split, name, number) in enumerate(itertools.product(("train", "val"), "ab", "012")):
        size = 40 + 5 * index
        write_rgb(tmp_path / split / name / f"{number}.png", photo[9 * index :, 50:][:size, :60])
    return DATASETS["folder"](root=tmp_path, image_size=32)


@pytest.mark.parametrize("kind", ["memory", "files"])
def test_the_stream_repeats_and_goes_on_from_its_state(kind, files):
    split = numbered(10) if kind == "memory" else files.train
    options = {"cutout": 8} if kind == "memory" else {}
    one, two = stream(split, 4, **options), stream(split, 4, **options)
    for _ in range(6):
        assert all(map(torch.equal, next(one), next(two)))
    state, expected = one.state_dict(), [next(one) for _ in range(3)]
    fresh = stream(split, 4, **options)
    next(fresh)
    fresh.load_state_dict(state)
    for batch in expected:
        assert all(map(torch.equal, next(fresh), batch))
    other = stream(split, 4, **{**options, "seed": 4})
    assert not torch.equal(next(other)[0], next(stream(split, 4, **options))[0])


@pytest.mark.parametrize("kind", ["memory", "files"])
def test_processes_share_one_batch_between_them(kind, files):
    split = numbered(10) if kind == "memory" else files.train
    whole = stream(split, 4)
    streams = [stream(split, 4, process=Process(CPU, rank, 2)) for rank in range(2)]
    for _ in range(4):
        images, labels = next(whole)
        for rank, one in enumerate(streams):
            mine = next(one)
            assert torch.equal(mine[0], images[rank::2])
            assert torch.equal(mine[1], labels[rank::2])
    with pytest.raises(UserError, match=r"data\.batch_size: 3 is not a multiple of 2 processes"):
        stream(split, 3, process=Process(CPU, 0, 2))


@pytest.mark.parametrize("kind", ["memory", "files"])
def test_images_are_channels_last_floats_with_integer_labels(kind, files):
    split = numbered(10) if kind == "memory" else files.train
    assert stream(split).count == len(split)
    for images, labels in (next(stream(split)), next(evaluation_batches(split, 8, CPU))):
        assert images.dtype == torch.float32
        assert images.shape[1:] == (3, 32, 32)
        assert images.is_contiguous(memory_format=torch.channels_last)
        assert labels.dtype == torch.int64
        assert labels.shape == images.shape[:1]


def test_evaluation_gives_every_image_once_in_order_as_torchvision_normalizes_it():
    split = numbered(10)
    batches = list(evaluation_batches(split, 4, CPU))
    assert [len(labels) for _, labels in batches] == [4, 4, 2]
    assert torch.cat([labels for _, labels in batches]).tolist() == list(range(10))
    expected = torch.stack([normalized(tv.to_pil_image(image)) for image in split.images])
    assert torch.equal(torch.cat([images for images, _ in batches]), expected)


NORMALIZE = [
    transforms.ToTensor(),
    transforms.Normalize([0.485, 0.456, 0.406], [0.229, 0.224, 0.225]),
]


# cnn/train_imagenet.py of DARTS has colour jitter; train_search_imagenet.py of PC-DARTS has none.
@pytest.mark.parametrize("jitter", [True, False])
def test_files_are_augmented_as_darts_and_pc_darts_do_for_imagenet(files, jitter):
    colours = transforms.ColorJitter(brightness=0.4, contrast=0.4, saturation=0.4, hue=0.2)
    darts = transforms.Compose(
        [
            transforms.RandomResizedCrop(32),
            transforms.RandomHorizontalFlip(),
            *([colours] if jitter else []),
            *NORMALIZE,
        ]
    )
    sources = [picture(path) for path, _ in files.train.samples]
    images, labels = next(stream(replace(files.train, color_jitter=jitter), 6))
    assert labels.bincount().tolist() == [3, 3]
    drawn = []
    for draw, (image, label) in enumerate(zip(images, labels.tolist(), strict=True)):
        for number, source in enumerate(sources):
            with seeded(3, draw):
                if torch.equal(image, darts(source)):
                    assert files.train.samples[number][1] == label
                    drawn.append(number)
    assert sorted(drawn) == list(range(6))


def test_files_are_evaluated_at_the_middle_as_usual_for_imagenet(files):
    usual = transforms.Compose([transforms.Resize(36), transforms.CenterCrop(32), *NORMALIZE])
    batches = list(evaluation_batches(files.test, 4, CPU))
    assert torch.cat([labels for _, labels in batches]).tolist() == [0, 0, 0, 1, 1, 1]
    expected = [usual(picture(path)) for path, _ in files.test.samples]
    assert torch.equal(torch.cat([images for images, _ in batches]), torch.stack(expected))


def test_workers_read_the_same_and_leave_the_global_generators_alone(files):
    torch.manual_seed(5)
    random.seed(5)
    expected = torch.rand(1), random.random()
    torch.manual_seed(5)
    random.seed(5)
    one, two = stream(files.train, 4), stream(files.train, 4, workers=1)
    for _ in range(3):
        assert all(map(torch.equal, next(one), next(two)))
    pairs = [evaluation_batches(files.test, 4, CPU, workers) for workers in (0, 1)]
    for one, two in zip(*pairs, strict=True):
        assert all(map(torch.equal, one, two))
    assert (torch.rand(1), random.random()) == expected


@pytest.mark.parametrize("workers", [0, 1])
def test_an_unreadable_file_is_told_in_one_line(files, tmp_path, workers):
    path = tmp_path / "train" / "b" / "1.png"
    path.write_bytes(path.read_bytes()[:900])
    for batches in (
        stream(files.train, 6, workers=workers),
        evaluation_batches(files.train, 6, CPU, workers=workers),
    ):
        with pytest.raises(UserError, match=r"b/1\.png: not a readable image") as told:
            next(batches)
        assert str(told.value).startswith(str(path))
        assert "\n" not in str(told.value)


def test_cutout_of_files_is_told(files):
    with pytest.raises(UserError, match=r"data\.cutout: not for a folder"):
        stream(files.train, cutout=16)


def test_a_small_network_learns_the_generated_gratings():
    data = DATASETS["generated"](num_classes=4, test=120)
    torch.manual_seed(0)
    network = nn.Sequential(
        nn.Conv2d(3, 8, 5, 2), nn.BatchNorm2d(8), nn.ReLU(),
        nn.Conv2d(8, 16, 3, 2), nn.BatchNorm2d(16), nn.ReLU(),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(16, 4),
    )  # fmt: skip
    optimizer = torch.optim.Adam(network.parameters(), 1e-2)
    batches = stream(data.train, 32, cutout=8)
    for _ in range(40):
        images, labels = next(batches)
        optimizer.zero_grad()
        F.cross_entropy(network(images), labels).backward()
        optimizer.step()
    network.eval()
    with torch.no_grad():
        right = [
            (network(images).argmax(1) == labels).float()
            for images, labels in evaluation_batches(data.test, 40, CPU)
        ]
    assert torch.cat(right).mean() > 0.8
