"""The order in which options are resolved, and where each comes from."""

import pytest
import yaml

import srnas as package
from srnas.errors import UserError
from srnas.options import check_options, load_options, load_resolved
from tests.helpers import ROOT, class_options, search_options, srnas, train_options, write_options

METHOD = """
about: {title: Mine}
partial_channels: 2
on:
  nasbench201: {source: me, epochs: 30, warmup_epochs: 30, alpha_std: 0.3, partial_channels: 4}
"""


@pytest.fixture
def files(tmp_path):
    """A file, its base and its method, each of which gives some of four options."""
    (tmp_path / "methods").mkdir()
    (tmp_path / "search").mkdir()
    (tmp_path / "methods/mine.yml").write_text(METHOD)
    base = class_options(tmp_path, epochs=10, warmup_epochs=1)
    write_options(tmp_path / "search/base.yml", base)
    file = tmp_path / "search/o.yml"
    file.write_text("_base_: base.yml\nmethod: mine\nepochs: 20\npartial_channels: 8\n")
    return file


@pytest.mark.parametrize(
    ("overrides", "values", "places"),
    [
        # epochs, warmup_epochs, alpha_std, partial_channels, clip_alpha_grad_norm
        (
            [],
            (20, 1, 0.3, 4, None),
            ("{file}", "base {base}", "recipe of mine for nasbench201", "method mine", "default"),
        ),
        (
            ["recipe=over"],
            (30, 30, 0.3, 4, None),
            (*["recipe of mine for nasbench201"] * 3, "method mine", "default"),
        ),
        (
            ["recipe=false"],
            (20, 1, 0.001, 2, None),
            ("{file}", "base {base}", "default", "method mine", "default"),
        ),
        (
            ["method=null"],
            (20, 1, 0.001, 8, None),
            ("{file}", "base {base}", "default", "{file}", "default"),
        ),
        (
            ["epochs=5", "warmup_epochs=2", "alpha_std=0", "partial_channels=1", "recipe=over"],
            (5, 2, 0, 1, None),
            (*["command line"] * 4, "default"),
        ),
    ],
    ids=["under", "over", "no recipe", "no method", "command line"],
)
def test_the_command_line_goes_over_the_method_over_the_file_over_the_recipe_over_defaults(
    files, monkeypatch, overrides, values, places
):
    monkeypatch.chdir(files.parent)
    options, resolved = load_resolved("search", files, overrides)
    keys = ("epochs", "warmup_epochs", "alpha_std", "partial_channels", "clip_alpha_grad_norm")
    assert tuple(getattr(options, key) for key in keys) == values
    found = [resolved.sources(key, getattr(options, key)) for key in keys]
    assert found == [[place.format(file=files, base="base.yml")] for place in places]


def test_an_option_of_several_places_names_them_all_and_only_them(files, monkeypatch):
    monkeypatch.chdir(files.parent)
    with files.open("a") as file:
        file.write("alpha_optimizer: {betas: [0.1, 0.9]}\nweight_optimizer: {name: adam, lr: 1}\n")
    options, resolved = load_resolved("search", files, ["alpha_optimizer.lr=0.5", "data.cutout=2"])
    plain = options.model_dump(mode="json")

    def sources(key):
        return resolved.sources(key, plain[key])

    assert sources("alpha_optimizer") == ["command line", str(files), "base base.yml"]
    assert sources("data") == ["command line", "base base.yml"]
    assert sources("weight_optimizer") == [str(files)], "the base has another optimizer"
    assert sources("space") == ["base base.yml"]
    assert sources("from_method") == [str(files)]


def test_regularizers_are_the_files_and_then_the_methods(tmp_path):
    content = search_options(tmp_path, tmp_path, method="sa_darts")
    file = write_options(tmp_path / "o.yml", content)
    options, resolved = load_resolved("search", file, ["regularizers.2.weight=7"])
    names = [one.term.name for one in options.regularizers]
    assert names == ["smooth_activation", "expected_cost", "smooth_activation"]
    assert options.regularizers[2].weight.to_dict()["value"] == 7
    found = "; ".join(resolved.sources("regularizers", options.model_dump()["regularizers"]))
    assert found == f"command line; method sa_darts; {file}"


def test_check_prints_options_that_are_the_same_and_their_places(files):
    shown = srnas("check", files, "--resolved", "data.batch_size=2", "regularizers=[]")
    assert shown.returncode == 0, shown.stderr
    first, *lines = shown.stdout.splitlines()
    assert first == f"# {files}: valid options for srnas search"
    expected = load_options("search", files, ["data.batch_size=2"])
    assert check_options("search", yaml.safe_load(shown.stdout), "printed") == expected
    behind = dict(line.split(":", 1)[0::1] for line in lines if not line.startswith((" ", "-")))
    assert behind["epochs"] == f" 20  # {files}"
    assert behind["data"].startswith("  # command line; base ")
    assert behind["from_method"] == f" mine  # {files}"
    assert all("  # " in text for text in behind.values())


@pytest.mark.parametrize(
    "name",
    ["study/imdn_table.yml", "table/imdn_x2_wide.yml", "methods/sa_darts.yml", "test/imdn_x3.yml"],
)
def test_check_resolves_every_kind_of_options_file(name):
    shown = srnas("check", ROOT / "options" / name, "--resolved")
    assert shown.returncode == 0, shown.stderr
    assert yaml.safe_load(shown.stdout)
    assert str(name) in shown.stdout.splitlines()[1]
    assert srnas("check", name).stdout.startswith(f"{name}: valid options")


@pytest.mark.parametrize(
    ("override", "told"),
    [
        ([], "o.yml (base "),
        (["epochs=x"], "override 'epochs=x': epochs: "),
    ],
)
def test_an_error_names_the_base_or_the_override_at_fault(files, override, told):
    base = files.parent / "base.yml"
    base.write_text(base.read_text().replace("warmup_epochs: 1", "warmup_epochs: many"))
    with pytest.raises(UserError) as error:
        load_options("search", files, override)
    assert told in str(error.value)
    assert "\n" not in str(error.value)


def test_a_mapping_on_the_command_line_is_merged_and_another_part_replaces(tmp_path, photo_folder):
    content = search_options(tmp_path, photo_folder)
    file = write_options(tmp_path / "o.yml", content)

    def resolved(*overrides):
        return load_options("search", file, overrides)

    plain = resolved()
    merged = resolved("data={batch_size: 1, train: {images: 1-2}}")
    assert merged.data.batch_size == 1
    assert merged.data.train.images == "1-2"
    assert (merged.data.hr_patch, merged.data.alpha) == (32, plain.data.alpha)
    assert merged.data.train.hr == plain.data.train.hr
    assert resolved("space={num_feat: 16}").space.options.num_block == 1
    assert resolved("space={name: imdn, num_feat: 16}").space.options.num_block == 1
    sgd = resolved("weight_optimizer={name: sgd, lr: 1}").weight_optimizer
    assert (sgd.name, sgd.options.weight_decay) == ("sgd", 0), "not that of the file's Adam"
    assert resolved("data.train={packaged: train}").data.train.hr is None


def test_a_mapping_in_python_is_merged(tmp_path, photo_folder):
    content = search_options(tmp_path, photo_folder, epochs=1, steps_per_epoch=1, warmup_epochs=0)
    file = write_options(tmp_path / "o.yml", content)
    found = package.search(file, data={"batch_size": 1}, space={"num_feat": 12})
    options = found.genotype.provenance["options"]
    assert options["space"]["num_feat"] == 12
    assert options["space"]["num_block"] == 1
    written = yaml.safe_load((found.folder / "options.yml").read_text())
    data = {**content["data"], "batch_size": 1}
    assert {key: written["data"][key] for key in ("batch_size", "hr_patch")} == {
        "batch_size": 1,
        "hr_patch": 32,
    }
    assert written["data"]["train"]["hr"] == data["train"]["hr"]


def test_sets_of_a_test_are_replaced_as_before(tmp_path):
    file = write_options(tmp_path / "t.yml", {"model": "m", "data": {"A": "a", "B": "b"}})
    assert set(load_options("test", file, ["data={C: c}"]).data) == {"C"}
    assert set(load_options("test", file, ["data.C=c"]).data) == {"A", "B", "C"}


@pytest.mark.parametrize(
    ("left_out", "told"),
    [
        ((), None),
        (("alpha", "val"), "note: data.alpha not given"),
        (("train", "alpha", "val"), "note: data.train and data.alpha not given"),
    ],
)
def test_images_that_nobody_named_are_told_in_one_line(
    tmp_path, photo_folder, capsys, left_out, told
):
    content = search_options(tmp_path, photo_folder, epochs=1, steps_per_epoch=1, warmup_epochs=0)
    for split in left_out:
        del content["data"][split]
    package.search(content)
    lines = [line for line in capsys.readouterr().err.splitlines() if "packaged" in line]
    assert len(lines) == (told is not None)
    assert not lines or lines[0].startswith(told)


def test_packaged_images_that_are_named_are_not_told(tmp_path, photo_folder, capsys):
    content = train_options(tmp_path, photo_folder, steps=1)
    content["data"] |= {"train": {"packaged": "train"}, "val": {"packaged": "val"}}
    package.train(content)
    assert "packaged" not in capsys.readouterr().err
