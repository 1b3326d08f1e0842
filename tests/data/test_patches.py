"""Random patches: aligned, from the images, in all eight orientations, repeatable."""

import numpy as np
import pytest
import torch

from srnas.data.images import ImagePair, pair_folders, write_rgb
from srnas.data.patches import PatchSampler
from srnas.distributed import Process
from srnas.errors import UserError

CPU = torch.device("cpu")


def sampler(folder, **changes):
    options = {
        "scale": 2,
        "hr_patch": 32,
        "batch_size": 8,
        "seed": 3,
        "process": Process(CPU),
        **changes,
    }
    return PatchSampler(pair_folders(folder, None, options["scale"]), **options)


@pytest.fixture
def block_pairs(tmp_path, photo):
    """Pairs in which each LR pixel is a block of equal HR pixels."""
    pairs = []
    for index, (height, width) in enumerate([(20, 31), (27, 18)]):
        lr = photo[50 * index : 50 * index + height, 90 : 90 + width]
        write_rgb(tmp_path / "LR" / f"{index}.png", lr)
        write_rgb(tmp_path / "HR" / f"{index}.png", np.kron(lr, np.ones((3, 3, 1), np.uint8)))
        pairs.append(
            ImagePair(
                str(index), tmp_path / "HR" / f"{index}.png", tmp_path / "LR" / f"{index}.png"
            )
        )
    return pairs


def test_lr_and_hr_patches_show_the_same_place_in_the_same_orientation(block_pairs):
    patches = PatchSampler(block_pairs, 3, 27, 16, seed=0, process=Process(CPU))
    for _ in range(8):
        lr, hr = next(patches)
        assert lr.shape == (16, 3, 9, 9)
        assert torch.equal(hr, lr.repeat_interleave(3, 2).repeat_interleave(3, 3))


def test_patches_come_from_the_images_in_all_eight_orientations(tmp_path, photo):
    write_rgb(tmp_path / "a.png", photo[:40, :44])
    patches = sampler(tmp_path, hr_patch=32, batch_size=64)
    image = torch.from_numpy(photo[:40, :44]).permute(2, 0, 1).float() / 255
    windows = {}
    for row in range(9):
        for column in range(13):
            window = image[:, row : row + 32, column : column + 32]
            for turn in range(8):
                turned = window.transpose(1, 2) if turn >= 4 else window
                turned = turned.flip([axis for axis in (1, 2) if turn & axis])
                windows[turned.contiguous().numpy().tobytes()] = (row, column, turn)
    seen = [
        windows[p.contiguous().numpy().tobytes()]
        for p in torch.cat([next(patches)[1] for _ in range(8)])
    ]
    assert {turn for _, _, turn in seen} == set(range(8))
    assert {row for row, _, _ in seen} == {0, 2, 4, 6, 8}, "corners at even rows up to the last"
    assert {column for _, column, _ in seen} == {0, 2, 4, 6, 8, 10, 12}


def test_the_stream_repeats_and_goes_on_from_its_state(photo_folder):
    one, two = sampler(photo_folder), sampler(photo_folder)
    for _ in range(3):
        assert torch.equal(next(one)[0], next(two)[0])
    state, expected = one.state_dict(), next(one)[1]
    fresh = sampler(photo_folder, seed=99)
    fresh.load_state_dict(state)
    assert torch.equal(next(fresh)[1], expected)


def test_processes_share_one_batch_between_them(photo_folder):
    whole = next(sampler(photo_folder))[0]
    parts = [next(sampler(photo_folder, process=Process(CPU, rank, 2)))[0] for rank in range(2)]
    assert torch.equal(whole[0::2], parts[0])
    assert torch.equal(whole[1::2], parts[1])


def test_patches_are_channels_last_floats_in_the_unit_interval(photo_folder):
    lr, hr = next(sampler(photo_folder))
    for tensor in (lr, hr):
        assert tensor.dtype == torch.float32
        assert tensor.is_contiguous(memory_format=torch.channels_last)
        assert 0 <= tensor.min() < tensor.max() <= 1


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"hr_patch": 33}, "hr_patch: 33 is not a multiple of the scale 2"),
        ({"hr_patch": 128}, r"\.png: 96x64 is smaller than data\.hr_patch 128"),
        (
            {"batch_size": 3, "process": Process(CPU, 0, 2)},
            "batch_size: 3 is not a multiple of 2 processes",
        ),
    ],
)
def test_what_does_not_fit_is_told(photo_folder, changes, told):
    with pytest.raises(UserError, match=told):
        sampler(photo_folder, **changes)
