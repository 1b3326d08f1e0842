"""BasicSR's own data sets as a stream of batches: its images, repeatable, resumable."""

import numpy as np
import pytest
import torch

from srnas.data.images import pair_folders, read_rgb, write_rgb
from srnas.distributed import Process
from srnas.errors import UserError
from srnas.tasks.super_resolution.basicsr_stream import BasicSRStream
from tests.helpers import needs_basicsr

pytestmark = needs_basicsr
CPU = torch.device("cpu")


@pytest.fixture
def folders(tmp_path, photo):
    for index in range(5):
        write_rgb(tmp_path / "HR" / f"{index}.png", photo[20 * index :, 30:][:32, :32])
    for pair in pair_folders(tmp_path / "HR", None, 2):
        write_rgb(tmp_path / "LR" / f"{pair.name}.png", pair.load(2)[0])
    return {"dataroot_gt": str(tmp_path / "HR"), "dataroot_lq": str(tmp_path / "LR")}


def stream(folders, **changes):
    dataset = {"type": "PairedImageDataset", **folders, **changes.pop("dataset", {})}
    options = {
        "scale": 2,
        "hr_patch": 32,
        "batch_size": 5,
        "seed": 1,
        "process": Process(CPU),
        **changes,
    }
    return BasicSRStream(dataset, **options)


def test_a_pass_gives_every_image_once_as_it_is(folders, tmp_path):
    plain = stream(folders, dataset={"use_hflip": False, "use_rot": False})
    expected = {
        (read_rgb(tmp_path / "HR" / f"{i}.png").astype(np.float32) / 255).tobytes()
        for i in range(5)
    }
    for _ in range(2):
        lr, hr = next(plain)
        assert lr.shape == (5, 3, 16, 16)
        assert {np.ascontiguousarray(h.permute(1, 2, 0).numpy()).tobytes() for h in hr} == expected


def test_it_repeats_for_any_number_of_workers_and_goes_on_from_its_state(folders):
    one, two = stream(folders, batch_size=2), stream(folders, batch_size=2, workers=2)
    seen = [next(one)[1] for _ in range(70)]
    assert all(torch.equal(hr, next(two)[1]) for hr in seen)
    fresh = stream(folders, batch_size=2)
    fresh.load_state_dict({"done": 66})
    assert all(torch.equal(hr, next(fresh)[1]) for hr in seen[66:])
    assert len({hr.numpy().tobytes() for hr in seen}) > 50


def test_processes_share_one_batch_and_the_global_generators_are_left_alone(folders):
    import random

    whole = next(stream(folders, batch_size=4))[0]
    random.seed(5)
    torch.manual_seed(5)
    expected = random.random(), torch.rand(1)
    random.seed(5)
    torch.manual_seed(5)
    parts = [next(stream(folders, batch_size=4, process=Process(CPU, r, 2)))[0] for r in range(2)]
    assert (random.random(), torch.rand(1)) == expected
    assert torch.equal(whole[0::2], parts[0])
    assert torch.equal(whole[1::2], parts[1])


@pytest.mark.parametrize(
    ("dataset", "told"),
    [
        ({"type": "PairedImageDatset"}, "did you mean 'PairedImageDataset'"),
        ({"type": "PairedImageDataset", "dataroot_gt": "x"}, "needs the option 'dataroot_lq'"),
        (
            {"type": "PairedImageDataset", "dataroot_gt": "x", "dataroot_lq": "y"},
            "cannot be opened|finds no images",
        ),
    ],
)
def test_what_basicsr_cannot_open_is_told(dataset, told):
    with pytest.raises(UserError, match=told):
        BasicSRStream(dataset, 2, 32, 4, 0, Process(CPU))


@pytest.mark.parametrize("workers", [0, 1])
def test_an_unreadable_image_is_told_in_one_line(folders, tmp_path, workers):
    (tmp_path / "LR" / "3.png").write_bytes(b"no image")
    with pytest.raises(UserError, match="BasicSR cannot read") as told:
        next(stream(folders, workers=workers))
    assert "\n" not in str(told.value)
