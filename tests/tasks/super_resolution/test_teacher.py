"""A teacher: its outputs as targets, computed once for whole images, whoever made the network."""

import sys

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import save_file

import srnas.data.taught
from srnas.data.images import LRImage, pair_folders, read_rgb, write_rgb
from srnas.data.patches import PatchSampler
from srnas.data.pixels import Pixels
from srnas.data.taught import Lesson, learn
from srnas.distributed import Process
from srnas.engine.search import search
from srnas.engine.train import dry_run, train
from srnas.errors import UserError
from srnas.files import read_json, read_json_lines
from srnas.losses import LOSSES
from srnas.model_file import Model, save_model
from srnas.options import check_options
from srnas.spaces import check_space, derived_network, published_genotype
from srnas.tasks.super_resolution.options import TeacherOptions
from srnas.tasks.super_resolution.task import SuperResolution
from srnas.tasks.super_resolution.teacher import Teacher
from srnas.tasks.super_resolution.teacher_networks import open_teacher
from tests.helpers import (
    Malicious,
    killed,
    killed_and_resumed,
    search_options,
    small_model,
    told,
    train_options,
    write_options,
)
from tests.helpers import (
    srnas as run_srnas,
)

CPU = torch.device("cpu")


def nearest_model(path, scale=2):
    """Write a model whose output repeats each pixel, and return its path."""
    space = check_space(
        {"name": "plain", "scale": scale, "widths": [4], "convs": 1, "attention": "none"}
    )
    network = derived_network(space, published_genotype("plain"))
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.zero_()
        for color in range(3):
            network.head.weight[4 + color, color, 1, 1] = 1
            network.upsample[0].weight[
                color * scale**2 : (color + 1) * scale**2, 4 + color, 1, 1
            ] = 1
    save_model(path, Model(network, space, published_genotype("plain"), {}))
    return path


def nearest_onnx(path, scale=2, inputs=("photo",), size=None):
    """Write an ONNX file that repeats each pixel, under names of its own, and return its path."""
    onnx = pytest.importorskip("onnx")
    helper, kind = onnx.helper, onnx.TensorProto
    shape = [1, 3, *(size or ("h", "w"))]
    node = helper.make_node(
        "Resize", [inputs[0], "", "scales"], ["large"], mode="nearest",
        coordinate_transformation_mode="asymmetric", nearest_mode="floor",
    )  # fmt: skip
    scales = helper.make_tensor("scales", kind.FLOAT, [4], [1.0, 1.0, scale, scale])
    graph = helper.make_graph(
        [node],
        "nearest",
        [helper.make_tensor_value_info(name, kind.FLOAT, shape) for name in inputs],
        [helper.make_tensor_value_info("large", kind.FLOAT, [1, 3, "H", "W"])],
        [scales],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    path.write_bytes(model.SerializeToString())
    return path


def repeated(lr, scale=2):
    return lr.repeat_interleave(scale, -2).repeat_interleave(scale, -1)


def teacher_of(file, tmp_path, **options):
    options = TeacherOptions.model_validate({"model": file, **options})
    return Teacher(options, 2, Process(CPU), tmp_path / "taught")


def sampler(pairs, teacher, **changes):
    options = {"hr_patch": 32, "batch_size": 16, "seed": 0, "process": Process(CPU), **changes}
    return PatchSampler(pairs, 2, teach=lambda lr: teacher.teach(pairs, lr), **options)


@pytest.mark.parametrize("keep", ["device", "memory", "mmap"])
def test_the_teachers_patch_is_the_place_of_the_lr_patch_in_the_same_orientation(
    tmp_path, photo_folder, keep
):
    pairs = pair_folders(photo_folder, None, 2)
    teacher = teacher_of(nearest_model(tmp_path / "t.safetensors"), tmp_path)
    patches = sampler(pairs, teacher, keep=keep, cache=tmp_path / "cache")
    plain = PatchSampler(pairs, 2, 32, 16, 0, Process(CPU))
    for _ in range(8):
        lr, hr, taught = next(patches)
        torch.testing.assert_close(taught, repeated(lr), atol=2**-12, rtol=0)  # float16
        assert all(torch.equal(a, b) for a, b in zip((lr, hr), next(plain), strict=True))


def test_the_loss_weighs_the_distances_to_the_teacher_and_to_hr(tmp_path):
    file = nearest_model(tmp_path / "t.safetensors")
    lr, hr, sr = torch.rand(2, 3, 8, 8), torch.rand(2, 3, 16, 16), torch.rand(2, 3, 16, 16)
    charbonnier = np.sqrt((sr - repeated(lr)).numpy() ** 2 + 1e-6).mean()
    expected = 0.7 * charbonnier + 0.3 * np.abs((sr - hr).numpy()).mean()
    for on, batch in (("images", (lr, hr, repeated(lr))), ("patches", (lr, hr))):
        options = {"on": on, "weight": 0.7, "hr_weight": 0.3, "loss": "charbonnier"}
        teacher = teacher_of(file, tmp_path, **options)
        task = SuperResolution(2, LOSSES.build("l1"), [], CPU, rgb_range=255.0, teacher=teacher)
        assert task.criterion(sr, batch).item() == pytest.approx(255 * expected, rel=1e-5)


def test_outputs_for_whole_images_do_not_end_at_a_patchs_border(tmp_path, photo_folder):
    torch.manual_seed(0)
    space = check_space({"name": "plain", "widths": [8], "attention": "none"})
    network = derived_network(space, published_genotype("plain"))
    save_model(tmp_path / "t.safetensors", Model(network, space, published_genotype("plain"), {}))
    teacher = teacher_of(tmp_path / "t.safetensors", tmp_path)
    image = torch.from_numpy(read_rgb(photo_folder / "0.png"))
    pixels = Pixels(torch.tensor([image.shape[:2]]), image.view(-1, 3))
    taught = teacher.teach([LRImage("0", photo_folder / "0.png")], pixels).pixels.image(0)
    x = image.permute(2, 0, 1)[None] / 255
    with torch.no_grad():
        whole = network.eval()(x)[0].permute(1, 2, 0)
        patch = network(x[:, :, 16:48, 16:48])[0].permute(1, 2, 0)
    torch.testing.assert_close(taught.float(), whole, atol=1e-3, rtol=0)
    there = taught[32:96, 32:96].float()
    inner = slice(8, -8)  # beyond the reach of four 3x3 convolutions
    torch.testing.assert_close(there[inner, inner], patch[inner, inner], atol=1e-3, rtol=0)
    assert (there - patch).abs().max() > 0.02


def test_an_lr_image_without_hr_has_the_teachers_output_as_hr(tmp_path, photo, photo_folder):
    for name in "ab":
        write_rgb(tmp_path / "alone" / f"{name}.png", photo[10:40, 20:70])
    alone = [LRImage(name, tmp_path / "alone" / f"{name}.png") for name in "ab"]
    teacher = teacher_of(nearest_model(tmp_path / "t.safetensors"), tmp_path)
    for cache in (None, tmp_path / "cache"):
        lr, hr, _ = next(sampler(alone, teacher, cache=cache))
        assert torch.equal(hr, repeated(lr))
    pairs = [*pair_folders(photo_folder, None, 2), *alone]
    lr, hr, _ = next(sampler(pairs, teacher, batch_size=64))
    same = [torch.equal(one, repeated(small)) for one, small in zip(hr, lr, strict=True)]
    assert 4 < sum(same) < 40, "a quarter of the images"


def work(folder, photos, file):
    torch.set_num_threads(1)
    sampler(pair_folders(photos, None, 2), teacher_of(file, folder))


def cached(folder):
    """The finished outputs and their index; nothing else may be left but the lock."""
    (index,) = folder.glob("*.json")
    names = {file.suffix for file in folder.iterdir()}
    assert names <= {".json", ".taught", ".lock"}, names
    return index.with_suffix(".taught").read_bytes(), read_json(index)


def test_a_cache_that_was_killed_goes_on_to_the_same_bytes(tmp_path, photo_folder):
    file = small_model(tmp_path / "t.safetensors")
    work(tmp_path / "whole", photo_folder, file)
    expected = cached(tmp_path / "whole/taught")
    moment, kept = 1, []
    while True:
        folder = tmp_path / str(moment)
        place = folder / "taught"
        was_killed = killed(moment, place, work, folder, photo_folder, file)
        kept.append(sum(len(read_json_lines(f)) for f in place.glob("*.jsonl")))
        work(folder, photo_folder, file)
        assert cached(place) == expected, moment
        if not was_killed:
            break
        moment += 1
    assert {0, 1, 2, 3, 4, 5} <= set(kept), "killed behind every image"


def lesson(values, enlarge=None):
    sizes = torch.tensor([[4, 5], [6, 3]])
    return Lesson(
        teacher="t",
        identity="t",
        enlarge=enlarge or (lambda image: repeated(image.permute(2, 0, 1)).permute(1, 2, 0) / 255),
        scale=2,
        names=["a", "b"],
        lr=Pixels(sizes, values),
    )


def interrupted(tmp_path, values):
    """Compute the first of two outputs, as a process that is killed then."""
    ready = lesson(values)

    def enlarge(image):
        if image.shape[0] == 6:
            raise KeyboardInterrupt
        return ready.enlarge(image)

    with pytest.raises(KeyboardInterrupt):
        learn(lesson(values, enlarge), tmp_path, show=False)
    (growing,) = tmp_path.glob("*.growing")
    return growing


@pytest.mark.parametrize("damage", [lambda b: b"\x01" + b[1:], lambda b: b[:-1], lambda b: b + b])
def test_a_damaged_part_is_computed_anew(tmp_path, damage):
    values = torch.randint(256, (38, 3), dtype=torch.uint8)
    part = interrupted(tmp_path, values)
    part.write_bytes(damage(part.read_bytes()))
    pixels = learn(lesson(values), tmp_path, show=False).pixels
    for index, (start, height, width) in enumerate([(0, 4, 5), (20, 6, 3)]):
        image = values[start : start + height * width].view(height, width, 3)
        large = image.repeat_interleave(2, 0).repeat_interleave(2, 1) / 255
        assert torch.equal(pixels.image(index), large.half())


def test_finished_outputs_are_used_again_and_broken_ones_are_not(tmp_path, capsys):
    values = torch.randint(256, (38, 3), dtype=torch.uint8)
    first = learn(lesson(values), tmp_path)
    assert "its outputs for 2 images take 0 MB" in capsys.readouterr().err

    def never(image):
        raise AssertionError

    assert torch.equal(learn(lesson(values, never), tmp_path).pixels.values, first.pixels.values)
    (file,) = tmp_path.glob("*.taught")
    whole = file.read_bytes()
    file.write_bytes(b"\x01" + whole[1:])
    learn(lesson(values), tmp_path)
    assert "damaged" in capsys.readouterr().err
    assert file.read_bytes() == whole
    changed = values.clone()
    changed[0, 0] ^= 1
    assert learn(lesson(changed), tmp_path, show=False).key != first.key


def test_a_full_disk_is_told_before(tmp_path, monkeypatch):
    usage = type("Usage", (), {"free": 100})
    monkeypatch.setattr(srnas.data.taught.shutil, "disk_usage", lambda _: usage)
    values = torch.zeros(38, 3, dtype=torch.uint8)
    message = told(learn, lesson(values), tmp_path, False)
    assert "outputs need 0 MB, 0 MB are free; give another teacher.cache" in message


def test_an_output_that_is_not_finite_names_the_image(tmp_path):
    values = torch.zeros(38, 3, dtype=torch.uint8)
    nan = lesson(
        values, lambda image: torch.full((2 * image.shape[0], 2 * image.shape[1], 3), np.nan)
    )
    assert told(learn, nan, tmp_path, False) == "teacher t: its output for a is not finite"


# Networks


def test_weights_of_other_programs_teach_through_spandrel(tmp_path, photo):
    spandrel = pytest.importorskip("spandrel")
    from spandrel.architectures.Compact import Compact

    torch.manual_seed(0)
    network = Compact(num_feat=8, num_conv=2, upscale=2).eval()
    torch.save({"params_ema": network.state_dict()}, tmp_path / "compact.pth")
    x = torch.from_numpy(photo[:20, :30].copy()).permute(2, 0, 1)[None].float() / 255
    taught = open_teacher(tmp_path / "compact.pth", 2, CPU)(x)
    expected = spandrel.ModelLoader("cpu").load_from_file(tmp_path / "compact.pth")(x)
    torch.testing.assert_close(taught, expected)
    F.l1_loss(torch.zeros_like(taught, requires_grad=True), taught).backward()


def test_an_onnx_file_of_any_names_teaches(tmp_path):
    pytest.importorskip("onnxruntime")
    x = torch.rand(2, 3, 9, 14)
    network = open_teacher(nearest_onnx(tmp_path / "t.onnx"), 2, CPU)
    assert torch.equal(network(x), repeated(x))


def test_published_weights_teach(shared):
    for file, scale in (("IMDN_x2.pth", 2), ("plainusr/PlainUSRU_Rep_x4.pth", 4)):
        network = open_teacher(shared / "checkpoints" / file, scale, CPU)
        assert network(torch.rand(1, 3, 12, 16)).shape == (1, 3, 12 * scale, 16 * scale)


def foreign(tmp_path, kind):
    file = tmp_path / f"{kind}.pth"
    if kind == "unknown":
        save_file({"what.weight": torch.zeros(3)}, tmp_path / "unknown.safetensors")
        return tmp_path / "unknown.safetensors"
    if kind == "denoiser":
        from spandrel.architectures.DnCNN import DnCNN

        torch.save(DnCNN(in_nc=3, out_nc=3, nc=8).state_dict(), file)
    elif kind == "classifier":
        space = check_space({"name": "nasbench201", "num_feat": 4, "num_cell": 1})
        genotype = published_genotype("nasbench201")
        save_model(file, Model(derived_network(space, genotype), space, genotype, {}))
        file = file.rename(file.with_suffix(".safetensors"))
    elif kind == "evil":
        torch.save({"params": Malicious(tmp_path / "evil")}, file)
    return file


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("missing", "no such file"),
        ("unknown", "neither srnas nor spandrel knows these weights; export the network to ONNX"),
        ("denoiser", "not an RGB super-resolution network"),
        ("classifier", "a network for classification"),
        ("evil", "evil.pth: "),
    ],
)
def test_other_files_are_told_in_one_line(tmp_path, kind, message):
    pytest.importorskip("spandrel")
    assert message in told(open_teacher, foreign(tmp_path, kind), 2, CPU)
    assert not (tmp_path / "evil").exists()


def test_onnx_files_of_other_things_are_told_in_one_line(tmp_path):
    pytest.importorskip("onnxruntime")
    (tmp_path / "broken.onnx").write_bytes(b"not onnx")
    for file, message in (
        (tmp_path / "missing.onnx", "no such file"),
        (tmp_path / "broken.onnx", "not a usable ONNX file"),
        (nearest_onnx(tmp_path / "two.onnx", inputs=("a", "b")), "not a usable ONNX file"),
        (nearest_onnx(tmp_path / "same.onnx", scale=1), "its output for an image of 48x48 is"),
        (nearest_onnx(tmp_path / "fixed.onnx", size=(20, 20)), "as a file of one size does"),
        (nearest_onnx(tmp_path / "x3.onnx", scale=3), "enlarges x3, but the space has scale 2"),
    ):
        assert message in told(open_teacher, file, 2, CPU), file


@pytest.mark.parametrize(
    ("suffix", "package", "extra"),
    [("pth", "spandrel", "spandrel"), ("onnx", "onnxruntime", "export")],
)
def test_a_missing_package_names_its_extra(tmp_path, monkeypatch, suffix, package, extra):
    file = tmp_path / f"t.{suffix}"
    torch.save({"what.weight": torch.zeros(3)}, file)
    monkeypatch.setitem(sys.modules, package, None)
    message = told(open_teacher, file, 2, CPU)
    assert f"needs {package}; install it with: pip install 'srnas[{extra}]'" in message


# Runs


def test_a_teacher_that_repeats_pixels_trains_as_photographs_of_repeated_pixels_do(tmp_path, photo):
    for index in range(4):
        lr = photo[30 * index : 30 * index + 24, 40 * index : 40 * index + 40]
        write_rgb(tmp_path / "LR" / f"{index}.png", lr)
        write_rgb(tmp_path / "HR" / f"{index}.png", np.kron(lr, np.ones((2, 2, 1), np.uint8)))
    teacher = {"model": str(nearest_model(tmp_path / "t.safetensors")), "hr_weight": 0}
    curves = []
    for name, train_images, changes in (
        ("taught", {"lr_only": str(tmp_path / "LR")}, {"teacher": teacher}),
        ("plain", {"hr": str(tmp_path / "HR"), "lr": str(tmp_path / "LR")}, {}),
    ):
        options = train_options(tmp_path, tmp_path / "HR", name=name, **changes)
        options["data"] |= {"train": train_images, "val": {"packaged": "val"}}
        run = train(check_options("train", options, "t")).parent
        curves.append([r["loss"] for r in read_json_lines(run / "metrics.jsonl") if "loss" in r])
    assert len(curves[0]) == 12
    np.testing.assert_allclose(*curves, rtol=2e-3)


def test_a_killed_run_with_a_teacher_resumes_to_the_same_bits(tmp_path, photo_folder):
    teacher = {"model": str(small_model(tmp_path / "t.safetensors"))}
    options = train_options(tmp_path, photo_folder, teacher=teacher)
    killed_and_resumed("train", write_options(tmp_path / "o.yml", options), tmp_path)


def test_a_run_does_not_go_on_with_another_teacher(tmp_path, photo_folder):
    file = small_model(tmp_path / "t.safetensors")
    options = train_options(tmp_path, photo_folder, steps=4, teacher={"model": str(file)})
    train(check_options("train", options, "t"))
    elsewhere = {"model": str(file), "cache": str(tmp_path / "elsewhere")}
    train(check_options("train", options | {"teacher": elsewhere}, "t"), resume=True)
    nearest_model(file)
    with pytest.raises(UserError, match="teacher: it or the images have changed since"):
        train(check_options("train", options, "t"), resume=True)


def test_a_search_of_all_images_has_a_teacher_for_all(tmp_path, photo_folder):
    teacher = {"model": str(nearest_model(tmp_path / "t.safetensors"))}
    options = search_options(
        tmp_path,
        photo_folder,
        epochs=1,
        teacher=teacher,
        update_rule="single_level",
        warmup_epochs=0,
    )
    search(check_options("search", options, "t"))
    names = [read_json(f)["names"] for f in (tmp_path / "experiments/teacher").glob("*.json")]
    assert sorted(map(len, names)) in ([2, 3], [2, 5], [5]), names


def test_a_dry_run_says_what_the_teacher_takes_and_computes_nothing(tmp_path, photo_folder):
    teacher = {"model": str(nearest_model(tmp_path / "t.safetensors"))}
    options = train_options(tmp_path, photo_folder, teacher=teacher)
    before = dry_run(check_options("train", options, "t"))
    assert "teacher     t.safetensors, its outputs for 5 images take 0 MB in" in before
    assert not (tmp_path / "experiments").exists()
    train(check_options("train", options | {"steps": 1}, "t"))
    after = dry_run(check_options("train", options | {"name": "again"}, "t"))
    assert "t.safetensors, its outputs are in" in after


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"teacher": None}, "images without HR need a teacher"),
        ({"teacher": {"model": "default", "on": "patches"}}, "images without HR need a teacher"),
        ({"teacher": {"modell": "default"}}, "did you mean 'model'?"),
        ({"teacher": {"model": "default", "weight": 0}}, "greater than 0"),
    ],
)
def test_options_without_targets_are_told(tmp_path, photo_folder, changes, message):
    options = train_options(tmp_path, photo_folder, teacher={"model": "default"})
    options["data"]["train"]["lr_only"] = str(photo_folder)
    assert message in told(check_options, "train", options | changes, "t")


def test_validation_needs_hr(tmp_path, photo_folder):
    options = train_options(tmp_path, photo_folder, teacher={"model": "default"})
    options["data"]["val"]["lr_only"] = str(photo_folder)
    assert "data.val: validation needs HR" in told(check_options, "train", options, "t")


def test_the_command_line_adds_a_teacher(tmp_path, photo_folder):
    file = write_options(tmp_path / "o.yml", train_options(tmp_path, photo_folder, steps=1))
    done = run_srnas(
        "train", "-opt", file, "teacher.model=default", "data.train.lr_only=" + str(photo_folder)
    )
    assert done.returncode == 2, "the images are in train and val"
    assert "is in both train and val" in done.stderr
    done = run_srnas("train", "-opt", file, "teacher.model=default")
    assert done.returncode == 0, done.stderr
    assert "teacher default: its outputs for 5 images" in done.stderr
